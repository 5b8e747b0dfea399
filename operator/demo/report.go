package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/embedded"
	"github.com/broletto/broletto/operator/guardrail"
)

// The comune whose administrator one can be in the demo, and the workspace that the report looks at closely.
const (
	sampleTenant    = "lugano"
	sampleGroup     = "lugano:ict"
	sampleUser      = "anna"
	sampleWorkspace = "sportello"
)

const ownPods = "own pods"

// report prints what is hosted, what isolates it, and what to try next. It reads the cluster, not the samples.
func (d *demo) report(ctx context.Context) error {
	var consortia v1alpha1.ConsortiumList
	var tenants v1alpha1.TenantList
	var workspaces v1alpha1.WorkspaceList
	for _, list := range []client.ObjectList{&consortia, &tenants, &workspaces} {
		if err := d.client.List(ctx, list); err != nil {
			return fmt.Errorf("reading what is hosted: %w", err)
		}
	}
	openings, err := d.openings(ctx)
	if err != nil {
		return err
	}
	for _, c := range consortia.Items {
		fmt.Fprintf(d.Out, "\n%s: %s (%s, %s)\n", c.Name, printable(c.Spec.DisplayName), c.Spec.Country, c.Spec.Currency)
		table := tabwriter.NewWriter(d.Out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "  TENANT / WORKSPACE\tNAMESPACE\tKIND\tDATA\tCPU\tMEMORY\tSTORAGE\tOPEN TO")
		for _, t := range tenants.Items {
			if t.Spec.Consortium == c.Name {
				printTenant(table, &t, workspaces.Items, openings)
			}
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	if err := d.guarded(ctx); err != nil {
		return err
	}
	if err := d.isolation(ctx, sampleTenant+"--"+sampleWorkspace); err != nil {
		return err
	}
	return d.next()
}

func printTenant(table *tabwriter.Writer, t *v1alpha1.Tenant, workspaces []v1alpha1.Workspace, openings map[string]string) {
	total := t.Spec.Quota.List()
	of := func(name corev1.ResourceName) string {
		granted, all := t.Status.Allocated[name], total[name]
		return granted.String() + " of " + all.String()
	}
	fmt.Fprintf(table, "  %s\t%s\t%s\t\t%s\t%s\t%s\t%s\n", t.Name, t.Status.Namespace, t.Spec.Kind,
		of(corev1.ResourceRequestsCPU), of(corev1.ResourceRequestsMemory), of(corev1.ResourceRequestsStorage), openings[t.Status.Namespace])
	for _, w := range workspaces {
		if w.Namespace != t.Name {
			continue
		}
		cpu, memory, storage := w.Status.Quota[corev1.ResourceRequestsCPU], w.Status.Quota[corev1.ResourceRequestsMemory], w.Status.Quota[corev1.ResourceRequestsStorage]
		fmt.Fprintf(table, "    %s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", w.Name, w.Status.Namespace, w.Spec.Environment, w.Spec.DataClass,
			cpu.String(), memory.String(), storage.String(), openings[w.Status.Namespace])
	}
}

// openings says of each namespace what its network policies let through beside its own pods.
func (d *demo) openings(ctx context.Context) (map[string]string, error) {
	var policies networkingv1.NetworkPolicyList
	if err := d.client.List(ctx, &policies); err != nil {
		return nil, fmt.Errorf("reading network policies: %w", err)
	}
	all := map[string][]string{}
	for _, p := range policies.Items {
		for _, rule := range p.Spec.Ingress {
			all[p.Namespace] = append(all[p.Namespace], peers(rule.From)...)
		}
		for _, rule := range p.Spec.Egress {
			all[p.Namespace] = append(all[p.Namespace], peers(rule.To)...)
		}
	}
	out := map[string]string{}
	for _, p := range policies.Items {
		others := slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(all[p.Namespace]))), func(peer string) bool { return peer == ownPods })
		out[p.Namespace] = cmp.Or(strings.Join(others, ", "), "nothing")
	}
	return out, nil
}

// guarded counts the managed namespaces that have every guardrail, as the API server holds them now.
func (d *demo) guarded(ctx context.Context) error {
	var namespaces corev1.NamespaceList
	if err := d.client.List(ctx, &namespaces, client.HasLabels{v1alpha1.LabelTenant}); err != nil {
		return fmt.Errorf("reading managed namespaces: %w", err)
	}
	guarded := 0
	for _, ns := range namespaces.Items {
		account, quota := &corev1.ServiceAccount{}, &corev1.ResourceQuota{}
		err := errors.Join(
			d.client.Get(ctx, client.ObjectKey{Namespace: ns.Name, Name: "default-deny"}, &networkingv1.NetworkPolicy{}),
			d.client.Get(ctx, client.ObjectKey{Namespace: ns.Name, Name: guardrail.QuotaName}, quota),
			d.client.Get(ctx, client.ObjectKey{Namespace: ns.Name, Name: "default"}, account),
		)
		if err != nil {
			return fmt.Errorf("reading the guardrails of %s: %w", ns.Name, err)
		}
		if guardrail.Counted(quota) && account.AutomountServiceAccountToken != nil && !*account.AutomountServiceAccountToken &&
			ns.Labels["pod-security.kubernetes.io/enforce"] == "restricted" {
			guarded++
		}
	}
	fmt.Fprintf(d.Out, "\nIn %d of %d namespaces: network closed but for what OPEN TO names, Pod Security restricted and pinned,\n"+
		"quota in force, default account without a token.\n", guarded, len(namespaces.Items))
	return nil
}

// isolation prints what stands between one namespace and all others.
func (d *demo) isolation(ctx context.Context, namespace string) error {
	var ns corev1.Namespace
	var policies networkingv1.NetworkPolicyList
	var bindings rbacv1.RoleBindingList
	var account corev1.ServiceAccount
	in := client.InNamespace(namespace)
	for _, err := range []error{
		d.client.Get(ctx, client.ObjectKey{Name: namespace}, &ns),
		d.client.List(ctx, &policies, in), d.client.List(ctx, &bindings, in),
		d.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "default"}, &account),
	} {
		if err != nil {
			return fmt.Errorf("reading what isolates %s: %w", namespace, err)
		}
	}
	fmt.Fprintf(d.Out, "\nWhat isolates %s\n", namespace)
	table := tabwriter.NewWriter(d.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "  pods\tPod Security %s, pinned at %s; the default account carries a token: %t\n",
		ns.Labels["pod-security.kubernetes.io/enforce"], ns.Labels["pod-security.kubernetes.io/enforce-version"],
		account.AutomountServiceAccountToken == nil || *account.AutomountServiceAccountToken)
	for _, allowed := range []struct{ what, by string }{
		{"hosts", v1alpha1.AnnotationHosts}, {"images", v1alpha1.AnnotationRegistries}, {"nodes", v1alpha1.AnnotationNodePools}, {"storage", v1alpha1.AnnotationStorageClasses},
	} {
		fmt.Fprintf(table, "  admission allows %s\t%s\n", allowed.what, strings.ReplaceAll(ns.Annotations[allowed.by], " ", ", "))
	}
	for _, p := range policies.Items {
		fmt.Fprintf(table, "  network policy %s\t%s\n", p.Name, opened(&p))
	}
	for _, b := range bindings.Items {
		var subjects []string
		for _, s := range b.Subjects {
			subjects = append(subjects, s.Kind+" "+printable(s.Name))
		}
		fmt.Fprintf(table, "  rights %s\t%s\n", strings.TrimPrefix(b.RoleRef.Name, "broletto-"), strings.Join(subjects, ", "))
	}
	return table.Flush()
}

// opened says what a network policy lets through.
func opened(p *networkingv1.NetworkPolicy) string {
	var in, out []string
	for _, rule := range p.Spec.Ingress {
		in = append(in, peers(rule.From)...)
	}
	for _, rule := range p.Spec.Egress {
		var ports []string
		for _, port := range rule.Ports {
			ports = append(ports, fmt.Sprintf("%s/%s", port.Port, *port.Protocol))
		}
		for _, peer := range peers(rule.To) {
			out = append(out, strings.TrimSpace(peer+" "+strings.Join(ports, ",")))
		}
	}
	return "in: " + cmp.Or(strings.Join(in, ", "), "nothing") + "; out: " + cmp.Or(strings.Join(out, ", "), "nothing")
}

func peers(list []networkingv1.NetworkPolicyPeer) (out []string) {
	for _, p := range list {
		switch {
		case p.IPBlock != nil:
			out = append(out, p.IPBlock.CIDR)
		case p.NamespaceSelector != nil && p.PodSelector != nil && p.PodSelector.MatchLabels["k8s-app"] == "kube-dns":
			out = append(out, "DNS")
		case p.NamespaceSelector != nil:
			out = append(out, p.NamespaceSelector.MatchLabels[corev1.LabelMetadataName])
		default:
			out = append(out, ownPods)
		}
	}
	return out
}

// next writes kubeconfigs of the platform and of one comune's administrator and prints what to try with them.
func (d *demo) next() error {
	platform, err := d.cluster.Admin()
	if err != nil {
		return err
	}
	comune := *platform
	comune.Impersonate.UserName, comune.Impersonate.Groups = sampleUser, []string{sampleGroup, "system:authenticated"}
	platformFile, comuneFile := d.path("platform.kubeconfig"), d.path(sampleTenant+".kubeconfig")
	if err := embedded.WriteKubeconfig(platformFile, platform, ""); err != nil {
		return err
	}
	if err := embedded.WriteKubeconfig(comuneFile, &comune, sampleTenant); err != nil {
		return err
	}
	kubectl := "kubectl"
	if _, err := exec.LookPath(kubectl); err != nil {
		kubectl = `"$(make -s kubectl)"`
	}
	fmt.Fprintf(d.Out, `
Try, as an administrator of %[1]s (%[2]s in group %[3]s):
  export KUBECONFIG=%[4]s
  %[6]s get workspaces
  %[6]s describe workspace %[7]s
  %[6]s explain workspace.spec.network
  %[6]s auth can-i create pods -n %[1]s--%[7]s      # yes
  %[6]s auth can-i get secrets -n bellinzona           # no
  %[6]s delete networkpolicy default-deny -n %[1]s--%[7]s   # forbidden
  %[6]s create service nodeport web --tcp=80 -n %[1]s--%[7]s   # forbidden
or as the platform, who sees everything:
  %[6]s --kubeconfig %[5]s get consortia,tenants,workspaces -A
`, sampleTenant, sampleUser, sampleGroup, short(comuneFile), short(platformFile), kubectl, sampleWorkspace)
	return nil
}

// short writes a path below the user's home with a tilde, as a shell reads it.
func short(path string) string {
	home, err := os.UserHomeDir()
	if err != nil {
		return path
	}
	if rest, err := filepath.Rel(home, path); err == nil && filepath.IsLocal(rest) {
		return "~/" + filepath.ToSlash(rest)
	}
	return path
}

// printable keeps text that others wrote from moving the cursor or turning the line around.
func printable(text string) string {
	return string(slices.DeleteFunc([]rune(text), func(r rune) bool { return !unicode.IsPrint(r) }))
}
