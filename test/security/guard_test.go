package security

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/guard"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// TestNothingRuns judges while the operator is away, as it is in every town but when a test has it look at something: by the audit log, it
// asks for nothing meanwhile.
func TestNothingRuns(t *testing.T) {
	t.Parallel()
	w := newTown(t, "away")
	from := cluster.Mark(t)
	w.try(w.administrator(), map[string]rule{
		"a ConfigMap":    {"nothing is blocked", "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: SITE}}", ""},
		"a pod":          podRule("nothing is blocked", "terminationGracePeriodSeconds: 5", ""),
		"the own host":   {"nothing is blocked", "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i, namespace: SITE}, spec: {rules: [{host: www.OWN.example}]}}", ""},
		"a workspace":    {"nothing is blocked", "{apiVersion: broletto.dev/v1alpha1, kind: Workspace, metadata: {name: neu, namespace: HOME}, spec: {environment: Test, dataClass: Ordinary, personalData: false}}", ""},
		"another's host": {"nothing opens", "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i, namespace: SITE}, spec: {rules: [{host: www.OTHER.example}]}}", "is not this workspace's to serve"},
		"a node":         podRule("nothing opens", "nodeName: n1", "nodeName is the scheduler's"),
	})
	w.try(cluster.ClusterAdmin(), map[string]rule{
		"an ordinary namespace": {"what is not ours is not in our way", "{apiVersion: v1, kind: Namespace, metadata: {name: PREFIX-plain}}", ""},
		"one that looks ours":   {"nothing opens", "{apiVersion: v1, kind: Namespace, metadata: {name: PREFIX-fake, labels: {broletto.dev/tenant: OWN}}}", onlyBroletto},
	})
	for _, e := range cluster.Since(t, from) {
		if e.UserAgent == w.Prefix && e.Verb != "watch" {
			t.Errorf("the operator was not away: %s %s", e.Verb, e.RequestURI)
		}
	}
}

// TestBareNamespace writes into a namespace that is its tenant's and has no annotations: what is not said is not allowed.
func TestBareNamespace(t *testing.T) {
	t.Parallel()
	w := newTown(t, "bare")
	bare := namespaceNamed(w.own.Name + "--bare")
	bare.Labels = map[string]string{v1alpha1.LabelTenant: w.own.Name}
	w.Create(bare)
	in := func(text string) string { return strings.ReplaceAll(text, "SITE", bare.Name) }
	pod := func(spec string) string {
		return in("{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: SITE}, spec: {" + spec + ", POD}}")
	}
	cluster.Eventually(t, stage.Soon, "the namespace has its account", func() error {
		if !w.Exists(&corev1.ServiceAccount{ObjectMeta: stage.In(bare.Name, "default")}) {
			return errNotYet
		}
		return nil
	})
	w.try(cluster.ClusterAdmin(), map[string]rule{
		"a host":                     {"none is said", in("{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i, namespace: SITE}, spec: {rules: [{host: www.OWN.example}]}}"), "this workspace serves no host"},
		"no host":                    {"all are not allowed", in("{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i, namespace: SITE}, spec: {rules: [{}]}}"), "this workspace serves no host"},
		"a class":                    {"none is said", in("{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c, namespace: SITE}, spec: {storageClassName: standard, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}"), "is not your tenant's"},
		"no class":                   {"none is said", in("{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c, namespace: SITE}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}"), "is not your tenant's"},
		"an image":                   {"no registry is said", pod("terminationGracePeriodSeconds: 5"), "denied request"},
		"an image, if nodes are any": {"no registry is said", in("{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, namespace: SITE}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {POD}}}}"), "comes from outside your tenant's registries"},
		"a pool":                     {"none is said", pod("nodeSelector: {broletto.dev/node-pool: shared}"), "denied request"},
		"toleration":                 {"no pool is said", pod("tolerations: [{key: broletto.dev/node-pool, value: shared}]"), "denied request"},
		"priority":                   {"none is said", pod("priorityClassName: system-cluster-critical"), "denied request"},
		"NodePort":                   {"no type is said", in("{apiVersion: v1, kind: Service, metadata: {name: s, namespace: SITE}, spec: {type: NodePort, ports: [{port: 80}]}}"), "is not granted to this workspace"},
		"a subject":                  {"nobody is said", in("{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: b, namespace: SITE}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: broletto-workspace-view}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'OWN:ict'}]}"), "is not one of your tenant's subjects"},
		"a ConfigMap":                {"it asks for nothing", in("{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: SITE}}"), ""},
		"a Service":                  {"it stays within", in("{apiVersion: v1, kind: Service, metadata: {name: s, namespace: SITE}, spec: {ports: [{port: 80}]}}"), ""},
	})
	w.Remove(bare)
}

// TestManyHosts has a namespace with as many and as long hosts as nobody has, and as many rules as fit: the expressions stay within what
// they may cost.
func TestManyHosts(t *testing.T) {
	t.Parallel()
	w := newTown(t, "many")
	var hosts []string
	for i := range 200 {
		host := fmt.Sprintf("h%03d.%s", i, strings.Repeat(strings.Repeat("x", 47)+".", 5)+w.own.Name+".example")
		hosts = append(hosts, host[:min(len(host), 250)])
	}
	slices.Reverse(hosts)
	if err := w.patched(w.Admin, namespaceNamed(w.site.TargetNamespace()), `{"metadata":{"annotations":{"broletto.dev/hosts":%q,"broletto.dev/subjects":%q}}}`,
		strings.Join(hosts, " "), "Group:"+strings.Join(hosts, " Group:"))(); err != nil {
		t.Fatal(err)
	}
	all := ""
	for _, host := range hosts {
		all += "{host: " + host + ", http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: s, port: {number: 80}}}}]}}, "
	}
	ingress := func(rules string) string {
		return "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i, namespace: SITE}, spec: {tls: [{hosts: [" + strings.Join(hosts[:50], ", ") + "]}], rules: [" + rules + "]}}"
	}
	cluster.Eventually(t, stage.Soon, "the policies see the annotation", func() error {
		return cluster.Client(t, w.administrator()).Create(t.Context(), w.read(ingress("{host: "+hosts[199]+"}")), client.DryRunAll)
	})
	begin := time.Now()
	w.try(w.administrator(), map[string]rule{
		"the last":       {"of two hundred", ingress("{host: " + hosts[199] + "}"), ""},
		"all":            {"two hundred rules", ingress(all), ""},
		"one too many":   {"another's, at the end", ingress(all + "{host: www.OTHER.example}"), "broletto-hosts"},
		"one that looks": {"ends alike", ingress("{host: x" + hosts[199][1:] + "}"), "broletto-hosts"},
		"a subject":      {"the last of two hundred", "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: b, namespace: SITE}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: broletto-workspace-view}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: " + hosts[199] + "}]}", ""},
		"a stranger":     {"none of two hundred", "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: b, namespace: SITE}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: broletto-workspace-view}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: eve}]}", "is not one of your tenant's subjects"},
	})
	if took := time.Since(begin); took > stage.Soon {
		t.Errorf("it took %s", took)
	}
	w.Ready(w.site) // which takes the annotations back
}

// TestPoliciesAreSound finds no expression of which the API server itself warns, and none that it has not looked at.
func TestPoliciesAreSound(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "sound")
	wanted, err := guard.Policies(guard.Operator, guard.PlatformGroup)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range wanted {
		if _, validating := o.(*admissionv1.ValidatingAdmissionPolicy); !validating {
			continue
		}
		p := &admissionv1.ValidatingAdmissionPolicy{}
		p.Name = o.GetName()
		cluster.Eventually(t, stage.Patience, p.Name+" was looked at", func() error {
			s.Read(p)
			if p.Status.ObservedGeneration != p.Generation || p.Status.TypeChecking == nil {
				return errNotYet
			}
			return nil
		})
		for _, warning := range p.Status.TypeChecking.ExpressionWarnings {
			t.Errorf("%s: %s: %s", p.Name, warning.FieldRef, warning.Warning)
		}
	}
}
