package security

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
)

// hijacks are what makes a namespace another tenant's, or nobody's, or laxer: CVE-2022-46167, CVE-2024-39690, CVE-2025-55205 and their
// kin took the owner reference, then labels, then the subresources.
var hijacks = map[string]struct{ reason, change string }{
	"owner reference":      {"CVE-2022-46167: the peer took the owner for the tenant", "metadata: {ownerReferences: [{apiVersion: broletto.dev/v1alpha1, kind: Tenant, name: OWN, uid: 00000000-0000-0000-0000-000000000001}]}"},
	"another owner":        {"whose UID the operator trusts", "metadata: {labels: {broletto.dev/owner: 00000000-0000-0000-0000-000000000001}}"},
	"another tenant":       {"CVE-2025-55205: labels of a foreign namespace", "metadata: {labels: {broletto.dev/tenant: OTHER}}"},
	"no tenant":            {"no policy would match", "metadata: {labels: {broletto.dev/tenant: null}}"},
	"no owner":             {"the operator would take it for foreign", "metadata: {labels: {broletto.dev/owner: null}}"},
	"no labels":            {"no policy would match", "metadata: {labels: null}"},
	"no annotations":       {"nothing would be told", "metadata: {annotations: null}"},
	"no marks at all":      {"no policy would match", "metadata: {labels: null, annotations: null}"},
	"privileged":           {"past Pod Security", "metadata: {labels: {pod-security.kubernetes.io/enforce: privileged}}"},
	"Pod Security version": {"an older rule", "metadata: {labels: {pod-security.kubernetes.io/enforce-version: v1.0}}"},
	"Pod Security off":     {"no rule", "metadata: {labels: {pod-security.kubernetes.io/enforce: null}}"},
	"hosts":                {"another's", "metadata: {annotations: {broletto.dev/hosts: www.OTHER.example}}"},
	"subjects":             {"everybody", "metadata: {annotations: {broletto.dev/subjects: 'Group:PREFIX-ex'}}"},
	"service types":        {"more than was granted", "metadata: {annotations: {broletto.dev/service-types: NodePort LoadBalancer}}"},
	"node pools":           {"any node", "metadata: {annotations: {broletto.dev/node-pools: '*'}}"},
	"any image":            {"no policy would match", "metadata: {labels: {broletto.dev/any-registry: 'true'}}"},
	"any node":             {"no policy would match", "metadata: {labels: {broletto.dev/any-node: 'true'}}"},
	"inventory":            {"the operator would forget what it made", "metadata: {annotations: {broletto.dev/inventory: ''}}"},
	"node selector":        {"PodNodeSelector reads it where it is on", "metadata: {annotations: {scheduler.alpha.kubernetes.io/node-selector: a=b}}"},
	"a label of its own":   {"a network policy of somebody's may select it", "metadata: {labels: {team: eve}}"},
	"a finalizer":          {"it would never go", "metadata: {finalizers: [eve.example/hold]}"},
	"no finalizer":         {"it would go before what is in it", "spec: {finalizers: []}"},
	"condition":            {"it would look as if it could not go", "status: {conditions: [{type: NamespaceContentRemaining, status: 'True', reason: Eve, message: eve}]}"},
}

const onlyBroletto = "which only Broletto writes"

// TestNamespaceHijack writes to managed namespaces, to the victims' and to the cluster's, in every form and on every subresource.
func TestNamespaceHijack(t *testing.T) {
	t.Parallel()
	w := newTown(t, "hijack")
	site, target, home := namespaceNamed(w.site.TargetNamespace()), namespaceNamed(w.target.TargetNamespace()), namespaceNamed(w.own.Name)
	plain := namespaceNamed(w.ID("plain"))
	w.Create(plain)
	all := []client.Object{site, target, home, plain, namespaceNamed("kube-system")}
	for who, cfg := range w.identities() {
		attacks := map[string]attack{}
		for change, h := range hijacks {
			for _, ns := range all {
				if change == "another tenant" || ns == site { // the whole matrix on one, one row on all
					add(attacks, ns.GetName()+": "+change, h.reason, "", w.forms(ns, h.change, "status", "finalize"))
				}
			}
		}
		for _, ns := range all {
			add(attacks, ns.GetName(), "gone", "", deletions(ns))
		}
		for name, request := range creations(w) {
			attacks[name] = attack{"tenants have no right on namespaces", request, ""}
		}
		w.suffers(who, cfg, attacks, all...)
	}
	w.Rest()
}

// TestNamespaceHijackByClusterAdmin does it with all rights that there are, but not those of the operator and the platform's group.
func TestNamespaceHijackByClusterAdmin(t *testing.T) {
	t.Parallel()
	w := newTown(t, "clusteradmin")
	site, home := namespaceNamed(w.site.TargetNamespace()), namespaceNamed(w.own.Name)
	attacks := map[string]attack{}
	for change, h := range hijacks {
		for name, do := range w.forms(site, h.change, "status", "finalize") {
			attacks[change+", "+name] = attack{h.reason, do, onlyBroletto}
		}
	}
	add(attacks, "site", "gone with all data", onlyBroletto, deletions(site))
	add(attacks, "home", "gone with all workspaces", onlyBroletto, deletions(home))
	for name, request := range creations(w) {
		attacks[name] = attack{"it would look managed", request, onlyBroletto}
	}
	w.suffers("cluster administrator", cluster.ClusterAdmin(), attacks, site, home)

	plain := namespaceNamed(w.ID("plain"))
	w.Create(plain)
	attacks = map[string]attack{}
	for change, patch := range map[string]string{
		"tenant":       "metadata: {labels: {broletto.dev/tenant: OWN}}",
		"owner":        "metadata: {labels: {broletto.dev/owner: 00000000-0000-0000-0000-000000000001}}",
		"any label":    "metadata: {labels: {broletto.dev/x: eve}}",
		"inventory":    "metadata: {annotations: {broletto.dev/inventory: Secret/x}}",
		"hosts":        "metadata: {annotations: {broletto.dev/hosts: www.OTHER.example}}",
		"with a label": "metadata: {labels: {broletto.dev/tenant: OTHER, team: eve}, annotations: {a: b}}",
	} {
		for name, do := range w.forms(plain, patch, "status", "finalize") {
			attacks[change+", "+name] = attack{"it would look managed", do, onlyBroletto}
		}
	}
	w.suffers("cluster administrator", cluster.ClusterAdmin(), attacks, plain)

	// What is nobody's, an administrator may still change, but not pass it off under another namespace's name.
	c := cluster.Client(t, cluster.ClusterAdmin())
	for name, do := range w.forms(plain, "metadata: {labels: {kubernetes.io/metadata.name: TARGET, team: a}}") {
		if err := do(t.Context(), c); err != nil {
			t.Errorf("%s of an ordinary namespace: %v", name, err)
		}
		w.Read(plain)
		if got := plain.Labels[corev1.LabelMetadataName]; got != plain.Name {
			t.Errorf("%s: the label %s is %s, by which network policies know %s", name, corev1.LabelMetadataName, got, plain.Name)
		}
	}
	if err := c.Delete(t.Context(), plain); err != nil {
		t.Errorf("deleting an ordinary namespace: %v", err)
	}
	w.Rest()
}

// creations make namespaces that look managed, or that stand where a workspace's would.
func creations(w *town) map[string]func(context.Context, client.Client) error {
	marked := func(key string) *corev1.Namespace {
		ns := namespaceNamed(w.ID("made"))
		ns.Labels = map[string]string{key: w.own.Name}
		return ns
	}
	out := map[string]func(context.Context, client.Client) error{}
	for _, key := range []string{v1alpha1.LabelTenant, v1alpha1.LabelOwner, v1alpha1.LabelWorkspace, "broletto.dev/anything"} {
		out["create with "+key] = func(ctx context.Context, c client.Client) error { return c.Create(ctx, marked(key)) }
		out["apply with "+key] = func(ctx context.Context, c client.Client) error {
			return c.Patch(ctx, w.read("{apiVersion: v1, kind: Namespace, metadata: {name: PREFIX-made, labels: {"+key+": x}}}"), client.Apply, client.FieldOwner("eve"), client.ForceOwnership) //nolint:staticcheck // it is the form under test
		}
	}
	out["create with an annotation"] = func(ctx context.Context, c client.Client) error {
		ns := namespaceNamed(w.ID("made"))
		ns.Annotations = map[string]string{v1alpha1.AnnotationHosts: "www." + w.other.Name + ".example"}
		return c.Create(ctx, ns)
	}
	out["create by a prefix"] = func(ctx context.Context, c client.Client) error {
		ns := marked(v1alpha1.LabelTenant)
		ns.Name, ns.GenerateName = "", w.ID("made-")
		return c.Create(ctx, ns)
	}
	return out
}
