package security

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// guardrails are what Broletto made in the site and in the home, but for volumes, and a change of each that would loosen it.
func (w *town) guardrails() map[client.Object]string {
	site, home := w.site.TargetNamespace(), w.own.Name
	const open, subjects = "spec: {podSelector: {matchLabels: {none: of-ours}}}", "subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: PREFIX-ex}]"
	return map[client.Object]string{
		&corev1.ResourceQuota{ObjectMeta: stage.In(site, "broletto")}:           "spec: {hard: {pods: '9999'}}",
		&corev1.LimitRange{ObjectMeta: stage.In(site, "broletto")}:              "spec: {limits: []}",
		&corev1.ServiceAccount{ObjectMeta: stage.In(site, "default")}:           "automountServiceAccountToken: true",
		&corev1.ServiceAccount{ObjectMeta: stage.In(site, "pipeline")}:          "imagePullSecrets: [{name: eve}]",
		&networkingv1.NetworkPolicy{ObjectMeta: stage.In(site, "default-deny")}: open,
		&networkingv1.NetworkPolicy{ObjectMeta: stage.In(site, "granted")}:      open,
		&rbacv1.RoleBinding{ObjectMeta: stage.In(site, "tenant-admin")}:         subjects,
		&rbacv1.RoleBinding{ObjectMeta: stage.In(site, "edit")}:                 subjects,
		&corev1.ResourceQuota{ObjectMeta: stage.In(home, "broletto")}:           "spec: {hard: {count/workspaces.broletto.dev: '9999'}}",
		&corev1.ServiceAccount{ObjectMeta: stage.In(home, "flux")}:              "automountServiceAccountToken: true",
		&networkingv1.NetworkPolicy{ObjectMeta: stage.In(home, "default-deny")}: open,
		&rbacv1.RoleBinding{ObjectMeta: stage.In(home, "admin")}:                subjects,
	}
}

// marks are what would make an object nobody's, another's, or prey of the garbage collector.
var marks = map[string]string{
	"owner taken off":   "metadata: {labels: {broletto.dev/owner: null}}",
	"owner changed":     "metadata: {labels: {broletto.dev/owner: 00000000-0000-0000-0000-000000000001}}",
	"labels taken off":  "metadata: {labels: null}",
	"an owner, to go":   "metadata: {ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: gone, uid: 00000000-0000-0000-0000-000000000001}]}",
	"a finalizer":       "metadata: {finalizers: [eve.example/hold]}",
	"an annotation":     "metadata: {annotations: {eve: was-here}}",
	"a label of theirs": "metadata: {labels: {broletto.dev/tenant: OTHER}}",
}

// TestGuardrailsHold takes marks off what Broletto made, loosens it and deletes it, as everybody who has rights in the workspace.
func TestGuardrailsHold(t *testing.T) {
	t.Parallel()
	w := newTown(t, "guardrails")
	targets := []client.Object{}
	attacks := map[string]attack{}
	for o, loosened := range w.guardrails() {
		targets = append(targets, o)
		name := w.kindOf(o) + " " + o.GetNamespace() + "/" + o.GetName()
		for change, patch := range marks {
			add(attacks, name+": "+change, "it is the operator's", "", w.forms(o, patch))
		}
		add(attacks, name+": loosened", "it is the operator's", "", w.forms(o, loosened))
		add(attacks, name, "it is the operator's", "", deletions(o))
	}
	few := maps.Clone(attacks) // one of each verb: RBAC looks at no more, and refuses all to those whom no policy needs to
	maps.DeleteFunc(few, func(name string, _ attack) bool {
		return !slices.ContainsFunc([]string{": loosened, update", ": loosened, merge patch", ", delete, Background"}, func(form string) bool { return strings.HasSuffix(name, form) })
	})
	if len(few) != 3*len(targets) {
		t.Errorf("%d attacks are tried by all, want three on each of %d objects", len(few), len(targets))
	}
	for who, cfg := range w.identities() {
		if slices.Contains([]string{"administrator", "member", "account", "tool"}, who) {
			w.suffers(who, cfg, attacks, targets...)
		} else {
			w.suffers(who, cfg, few, targets...)
		}
	}
	for name, a := range attacks { // whoever has all rights meets the policy, which says the way out
		a.want = "only Broletto writes and deletes it"
		attacks[name] = a
	}
	w.suffers("cluster administrator", cluster.ClusterAdmin(), attacks, targets...)
	w.Rest()
}

// TestLabelsInjected gives objects of the tenant's own the marks of Broletto's, after they were made.
func TestLabelsInjected(t *testing.T) {
	t.Parallel()
	w := newTown(t, "labels")
	const at = "metadata: {name: own, namespace: SITE}"
	attacks, targets := map[string]attack{}, []client.Object{}
	for _, text := range []string{
		"{apiVersion: v1, kind: ServiceAccount, " + at + "}",
		"{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, " + at + ", spec: {podSelector: {}}}",
		"{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, " + at + ", roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: broletto-workspace-view}}",
		"{apiVersion: v1, kind: PersistentVolumeClaim, " + at + ", spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}",
	} {
		o := w.make(w.administrator(), text)
		targets = append(targets, o)
		add(attacks, o.GetKind(), "it would look like Broletto's", "broletto.dev", w.forms(o, "metadata: {labels: {broletto.dev/owner: "+string(w.site.UID)+"}}"))
	}
	note := w.make(w.administrator(), "{apiVersion: v1, kind: ConfigMap, "+at+"}")
	for name, owner := range map[string]string{
		"workspace": "apiVersion: broletto.dev/v1alpha1, kind: Workspace, name: sito, blockOwnerDeletion: true, controller: true",
		"tenant":    "apiVersion: broletto.dev/v1alpha1, kind: Tenant, name: OTHER, blockOwnerDeletion: true",
		"namespace": "apiVersion: v1, kind: Namespace, name: TARGET, blockOwnerDeletion: true",
		"policy":    "apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, name: broletto-owners, blockOwnerDeletion: true",
		"class":     "apiVersion: storage.k8s.io/v1, kind: StorageClass, name: standard, blockOwnerDeletion: true",
		"role":      "apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, name: cluster-admin, blockOwnerDeletion: true",
		"webhook":   "apiVersion: admissionregistration.k8s.io/v1, kind: MutatingWebhookConfiguration, name: x, blockOwnerDeletion: true",
	} {
		add(attacks, "owned by a "+name, "its deletion would wait for ever", "names an object of the cluster or of Broletto",
			w.forms(note, "metadata: {finalizers: [eve.example/hold], ownerReferences: [{uid: 00000000-0000-0000-0000-000000000001, "+owner+"}]}"))
	}
	targets = append(targets, note)
	w.suffers("administrator", w.administrator(), attacks, targets...)
	w.suffers("cluster administrator", cluster.ClusterAdmin(), attacks, targets...)

	// Under the operator's mark, which spares its bindings the rules of rights, none of a tenant's own gets past them.
	const marked = "metadata: {name: marked, namespace: SITE, labels: {broletto.dev/owner: x}}"
	w.try(cluster.ClusterAdmin(), map[string]rule{
		"role":    {"every verb", "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, " + marked + ", rules: [{apiGroups: [''], resources: [pods], verbs: ['*']}]}", "a Role may hold no wildcard"},
		"binding": {"everybody", "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, " + marked + ", roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'system:authenticated'}]}", "carries the label broletto.dev/owner"},
		"policy":  {"all namespaces", "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, " + marked + ", spec: {podSelector: {}, ingress: [{}]}}", "carries the label broletto.dev/owner"},
	})

	// An owner of a Workspace would take it away, or keep the other from going.
	attacks = map[string]attack{}
	add(attacks, "workspace", "its deletion would wait for ever", "names an object of the cluster or of Broletto",
		w.forms(w.site, "metadata: {ownerReferences: [{uid: 00000000-0000-0000-0000-000000000001, apiVersion: broletto.dev/v1alpha1, kind: Tenant, name: OTHER}]}"))
	w.suffers("administrator", w.administrator(), attacks, w.site)
	w.Rest()
}

// TestStatusIsTheOperators writes the status of our kinds: quota, hosts and membership rest on it.
func TestStatusIsTheOperators(t *testing.T) {
	t.Parallel()
	w := newTown(t, "status")
	attacks := map[string]attack{}
	for name, row := range map[string]struct {
		object client.Object
		change string
	}{
		"more quota":   {w.site, "status: {quota: {requests.cpu: '9999'}}"},
		"given back":   {w.site, "status: {allocationRevision: 99}"},
		"another home": {w.site, "status: {namespace: TARGET}"},
		"ready":        {w.site, "status: {conditions: [{type: Ready, status: 'True', reason: Eve, message: x, lastTransitionTime: '2027-01-01T00:00:00Z'}]}"},
		"empty":        {w.site, "status: null"},
		"the ledger":   {w.own, "status: {allocations: null, allocated: null}"},
		"a claim":      {w.own, "status: {claims: ['domain:OTHER.example']}"},
		"the others'":  {w.other, "status: {claims: null}"},
		"consortium":   {w.consortium, "status: {conditions: null}"},
	} {
		for form, do := range w.forms(row.object, row.change, "status") {
			if form[len(form)-1] != ' ' { // on the object itself a status is passed over
				attacks[name+", "+form] = attack{"only the operator says what it saw", do, ""}
			}
		}
	}
	targets := []client.Object{w.site, w.own, w.other, w.consortium}
	for who, cfg := range w.identities() {
		w.suffers(who, cfg, attacks, targets...)
	}
	for name, a := range attacks {
		a.want = "only the operator writes it"
		attacks[name] = a
	}
	w.suffers("cluster administrator", cluster.ClusterAdmin(), attacks, targets...)
	for name, o := range map[string]client.Object{"tenant": w.own, "victim": w.other, "consortium": w.consortium} {
		tenants := map[string]attack{}
		for _, change := range []string{"metadata: {labels: {eve: was-here}}", "spec: {quota: {pods: '9999'}}", "spec: {sponsor: {tenant: OTHER, costCarrier: Sponsor}}"} {
			add(tenants, name+" "+change, "what the platform engineer writes", "", w.forms(o, change))
		}
		add(tenants, name, "what the platform engineer writes", "", deletions(o))
		for who, cfg := range w.identities() {
			w.suffers(who, cfg, tenants, o)
		}
	}
	w.Rest()
}

// make creates an object as somebody.
func (w *town) make(who *rest.Config, text string) *unstructured.Unstructured {
	w.Helper()
	o := w.read(text)
	if err := cluster.Client(w, who).Create(w.Context(), o); err != nil {
		w.Fatalf("%s: %v", w.names(text), err)
	}
	return o
}

// deleting asks for the deletion of all objects of a kind in a namespace.
func deleting(o client.Object, namespace string, options ...client.DeleteAllOfOption) stage.Request {
	return func(ctx context.Context, c client.Client) error {
		return c.DeleteAllOf(ctx, o.DeepCopyObject().(client.Object), slices.Concat(options, []client.DeleteAllOfOption{client.InNamespace(namespace)})...)
	}
}
