package scenario

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/config"
	"github.com/broletto/broletto/operator/broker"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/embedded"
	"github.com/broletto/broletto/test/cluster"
)

// right is one thing that the operator may do.
type right struct {
	namespace       string // of a Role; empty for the ClusterRole
	group, resource string
	name            string // of the one object that it is about; empty: of all
	verb            string
}

func (r right) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s.%s %s", r.verb, r.resource, r.group, r.name))
}

// TestEveryRightIsNeeded takes each right of config/rbac/role.yaml away while the operator does what it is for, and wants to see it ask in
// vain. Rights that do not stand in each other's way go together: the operator then meets them in different objects.
func TestEveryRightIsNeeded(t *testing.T) {
	d := deprive(t)
	for _, round := range []struct {
		name string
		of   func(right) bool
		work func()
	}{
		{"watch", verb("watch"), d.restart},
		{"list", verb("list"), d.restartWithoutStreams},
		{"create", of("create", slices.Concat(children, policies, []string{"namespaces", "events"})...), d.makeAnew},
		{"get", of("get", append(children, "namespaces")...), d.changeChildren},
		{"get secrets", of("get", "secrets"), d.startWithoutAuthority},
		{"create secrets", of("create", "secrets"), d.startWithoutAuthority},
		{"patch", of("patch", append(children, "namespaces")...), d.changeChildren},
		{"patch events", of("patch", "events"), d.deleteTwice},
		{"delete", of("delete", children...), d.wantLess},
		{"delete namespaces", of("delete", "namespaces"), d.endWorkspace},
		{"bind", verb("bind"), d.unbind},
		{"update", of("update", append(policies, "consortia", "tenants", "workspaces")...), d.weaken},
		{"update status", of("update", "consortia/status", "tenants/status", "workspaces/status"), d.changeSpecs},
		{"token reviews", of("create", "tokenreviews"), d.scrape},
		{"access reviews", of("create", "subjectaccessreviews"), d.scrape},
		{"keep the lease", of("update", "leases"), func() {}},
		{"read the lease", func(r right) bool { return r.resource == "leases" && r.verb != "create" }, func() {}},
		{"take the lease", of("create", "leases"), d.endLease},
	} {
		t.Run(round.name, func(t *testing.T) { d.round(t, round.of, round.work) })
	}
	d.operator.end(t) // it may have lost its lease or be about to
	d.endLease()
	d.start()
	for _, r := range d.all {
		if !d.seen[r] && !r.elsewhere() {
			t.Errorf("nobody missed the right to %s: give it up, or let a round ask for it", r)
		}
	}
	for resource, verbs := range elsewhere {
		for _, verb := range verbs {
			if !slices.ContainsFunc(d.all, func(r right) bool { return r.of() == resource && r.verb == verb }) {
				t.Errorf("the operator has no right to %s %s: strike it", verb, resource)
			}
		}
	}
	d.end()
}

// elsewhere are the rights that no round takes away: they are for stacks, the catalogue and backups, whose objects come to something only where
// runs come to their end or a store is, and neither is here. Who misses them are the tests of operator/stack, operator/service, operator/broker
// and operator/vault, test/stacks and test/backups: they all run with the operator's own account.
var elsewhere = map[string][]string{
	"secrets.":                             {"update", "delete", "list"}, // outputs, and what the vault keeps
	"serviceaccounts.":                     {"impersonate"},              // what an offering's manifests become is written as a workspace's account
	"nodes.":                               {"get"},                      // does the node of a pod that says nothing still exist?
	"pods.":                                {"get"},                      // who calls the broker
	"services.":                            {"get"},                      // is there a server of a database that is to be dumped?
	"jobs.batch":                           {"create", "get", "patch", "delete"},
	"networkpolicies.networking.k8s.io":    {"delete"}, // that of a stack that goes
	"endpointslices.discovery.k8s.io":      {"get"},
	"stacks.broletto.dev":                  {"create", "update", "delete"},
	"stacks/status.broletto.dev":           {"update"},
	"stackruns.broletto.dev":               {"create", "delete"},
	"stackruns/status.broletto.dev":        {"update"},
	"serviceofferings.broletto.dev":        {"get"}, // the API server wants it of who writes a policy with offerings for parameters
	"serviceinstances.broletto.dev":        {"update"},
	"serviceofferings/status.broletto.dev": {"update"},
	"serviceinstances/status.broletto.dev": {"update"},

	"volumesnapshots.snapshot.storage.k8s.io":                {"create", "get", "list", "delete"}, // where a class of volumes takes them
	"volumesnapshotclasses.snapshot.storage.k8s.io":          {"list"},
	"backuprepositories/status.broletto.dev":                 {"update"},
	"backuppolicies/status.broletto.dev":                     {"update"},
	"backups.broletto.dev":                                   {"create", "update", "delete"},
	"backups/status.broletto.dev":                            {"update"},
	"restores.broletto.dev":                                  {"create", "delete"},
	"restores/status.broletto.dev":                           {"update"},
	"workspaces.broletto.dev":                                {"create"}, // that a restore goes into
	"clusterroles.rbac.authorization.k8s.io broletto-backup": {"bind"},
}

func (r right) elsewhere() bool { return slices.Contains(elsewhere[r.of()], r.verb) }

// of is what a right is about, the name included where it is about one binding of rights.
func (r right) of() string {
	if r.verb == "bind" {
		return r.resource + "." + r.group + " " + r.name
	}
	return r.resource + "." + r.group
}

// children are the resources that the operator makes in its namespaces.
var children = []string{"limitranges", "resourcequotas", "persistentvolumeclaims", "serviceaccounts", "networkpolicies", "rolebindings"}

// policies are the resources that guard what tenants write.
var policies = []string{
	"validatingadmissionpolicies", "validatingadmissionpolicybindings", "mutatingadmissionpolicies", "mutatingadmissionpolicybindings",
}

// guards is a policy or binding of each of them, and what weakens it.
var guards = map[client.Object]string{
	&admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "broletto-secrets"}}:             `{"spec":{"failurePolicy":"Ignore"}}`,
	&admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "broletto-services"}}:     `{"spec":{"validationActions":["Warn"]}}`,
	&admissionv1.MutatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "broletto-default-claims"}}:        `{"spec":{"failurePolicy":"Ignore"}}`,
	&admissionv1.MutatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "broletto-default-claims"}}: `{"spec":{"matchResources":{"matchPolicy":"Exact"}}}`,
}

func verb(verb string) func(right) bool {
	return func(r right) bool { return r.verb == verb && r.resource != "leases" }
}

func of(verb string, resources ...string) func(right) bool {
	return func(r right) bool { return r.verb == verb && slices.Contains(resources, r.resource) }
}

// deprivation is an operator with something to do, from which rights are taken.
type deprivation struct {
	*world
	top      *testing.T
	operator *operator
	all      []right
	seen     map[right]bool
	tenants  []*v1alpha1.Tenant
	objects  []condition.Object             // all that is to be Ready
	homes    map[string]*v1alpha1.Workspace // one workspace per resource, by its plural
	bound    map[string]string              // cluster role -> a binding to it, as namespace/name
}

func deprive(t *testing.T) *deprivation {
	t.Helper()
	d := &deprivation{top: t, all: rights(t), seen: map[right]bool{}, homes: map[string]*v1alpha1.Workspace{}}
	t.Cleanup(func() { setRights(lasting(t), admin(t), rights(t), rights(t)) })
	closeCatalogue(t, admin(t))
	d.operator = start(t)
	d.operator.deprived = true
	d.world = newWorld(t, "prove")
	for _, name := range []string{"prove-uno", "prove-due"} {
		tenant := d.tenant(name, func(t *v1alpha1.Tenant) {
			t.Spec.Viewers = []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: "revisori"}}
		})
		d.make(tenant)
		d.tenants, d.objects = append(d.tenants, tenant), append(d.objects, tenant)
	}
	d.awaitReady(d.objects...)
	for _, resource := range append(children, "namespaces", "events", "broletto-workspace-admin", "broletto-workspace-edit", "broletto-workspace-view") {
		w := d.full(resource)
		d.make(w)
		d.homes[resource], d.objects = w, append(d.objects, w)
	}
	d.bound = map[string]string{
		"broletto-tenant-admin":    "prove-uno/admin",
		"broletto-tenant-view":     "prove-due/view",
		"broletto-workspace-admin": d.homes["broletto-workspace-admin"].TargetNamespace() + "/tenant-admin",
		"broletto-workspace-edit":  d.homes["broletto-workspace-edit"].TargetNamespace() + "/edit",
		"broletto-workspace-view":  d.homes["broletto-workspace-view"].TargetNamespace() + "/tenant-view",
	}
	d.awaitReady(d.objects...)
	return d
}

// closeCatalogue keeps from everybody, for this test, what everybody may read: it would hide what the operator is given.
func closeCatalogue(t *testing.T, c client.Client) {
	t.Helper()
	binding := &rbacv1.ClusterRoleBinding{}
	if err := c.Get(t.Context(), client.ObjectKey{Name: "broletto-catalogue-view"}, binding); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		binding.ResourceVersion, binding.UID = "", ""
		if err := c.Create(lasting(t).Context(), binding); err != nil {
			t.Error(err)
		}
	})
}

// full is a workspace that has one of everything.
func (d *deprivation) full(name string) *v1alpha1.Workspace {
	return d.workspace("prove-uno", strings.ReplaceAll(name, "broletto-", ""), func(w *v1alpha1.Workspace) {
		w.Spec.DeletionPolicy = v1alpha1.DeletionDelete
		w.Spec.Access = []v1alpha1.Access{{Role: v1alpha1.RoleEdit, Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Name: "deploy"}}}
		w.Spec.Storage = &v1alpha1.WorkspaceStorage{Volumes: []v1alpha1.Volume{{Name: "dati", Size: "1Gi"}}}
	})
}

// round takes rights away, has the operator miss each of them, and gives them back: all must become Ready again.
func (d *deprivation) round(t *testing.T, taken func(right) bool, work func()) {
	d.t = t
	defer func() { d.t = d.top }()
	if !d.operator.running() { // it lost its lease
		d.endLease()
		d.start()
	}
	d.operator.awaitReady(t)
	d.awaitReady(d.objects...)
	var missed, left []right
	for _, r := range d.all {
		if taken(r) && !r.elsewhere() {
			missed = append(missed, r)
		} else {
			left = append(left, r)
		}
	}
	if len(missed) == 0 {
		t.Fatal("no such right")
	}
	w := open(t)
	defer setRights(t, d.admin, d.all, missed)
	setRights(t, d.admin, left, missed)
	work()
	cluster.Eventually(t, soon, "the operator asks for what it may not have", func() error {
		for _, q := range byOperator(w.requests(t)) {
			d.judge(t, q, missed)
		}
		for _, r := range missed {
			if !d.seen[r] {
				return fmt.Errorf("it never asked to %s", r)
			}
		}
		return nil
	})
}

// judge finds out which of the missed rights a request asked for in vain.
func (d *deprivation) judge(t *testing.T, q request, missed []right) {
	t.Helper()
	if q.Code != http.StatusForbidden {
		return
	}
	asked := right{group: q.Group, resource: q.Resource, verb: q.Verb}
	if q.Subresource != "" {
		asked.resource += "/" + q.Subresource
	}
	switch q.Resource {
	case "leases":
		asked.namespace = q.Namespace
	case "configmaps": // by a field selector, which the API server takes for the name
		asked.namespace, asked.name = q.Namespace, q.Name
	}
	if !q.Forbidden { // a binding refused by the rule against giving what one has not, or a volume by a quota
		for _, r := range missed {
			if r.verb == "bind" && q.Resource == "rolebindings" && d.bound[r.name] == q.Namespace+"/"+q.Name {
				d.seen[r] = true
			}
		}
		return
	}
	if !slices.Contains(missed, asked) {
		t.Errorf("the operator asked for what config/rbac does not give: %s", q)
	}
	d.seen[asked] = true
}

// rights are all that config/rbac/role.yaml gives, which has no wildcard.
func rights(t testing.TB) (out []right) {
	t.Helper()
	text, err := config.RBAC.ReadFile("rbac/role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	documents, err := cluster.Documents(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, document := range documents {
		var role rbacv1.ClusterRole // a Role has the same fields that matter
		if err := yaml.UnmarshalStrict(document, &role); err != nil {
			t.Fatal(err)
		}
		for _, rule := range role.Rules {
			if text := fmt.Sprint(rule); strings.Contains(text, "*") || len(rule.NonResourceURLs) > 0 {
				t.Errorf("a rule of %s %s is wider than it needs to be: %s", role.Kind, role.Name, text)
			}
			out = append(out, single(role.Namespace, rule)...)
		}
	}
	return out
}

// single takes a rule apart.
func single(namespace string, rule rbacv1.PolicyRule) (out []right) {
	names := rule.ResourceNames
	if len(names) == 0 {
		names = []string{""}
	}
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			for _, name := range names {
				for _, verb := range rule.Verbs {
					out = append(out, right{namespace: namespace, group: group, resource: resource, name: name, verb: verb})
				}
			}
		}
	}
	return out
}

// setRights gives the operator just these rights and waits until the API server says so of those that change.
func setRights(t testing.TB, c client.Client, all, changed []right) {
	t.Helper()
	var everywhere, own []rbacv1.PolicyRule
	for _, r := range all {
		rule := rbacv1.PolicyRule{APIGroups: []string{r.group}, Resources: []string{r.resource}, Verbs: []string{r.verb}}
		if r.name != "" {
			rule.ResourceNames = []string{r.name}
		}
		if r.namespace == "" {
			everywhere = append(everywhere, rule)
		} else {
			own = append(own, rule)
		}
	}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "broletto-operator"}, Rules: everywhere}
	namespaced := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: embedded.Namespace, Name: "broletto-operator"}, Rules: own}
	for _, o := range []client.Object{role, namespaced} {
		if err := c.Update(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range changed {
		awaitRight(t, c, r, slices.Contains(all, r))
	}
}

func awaitRight(t testing.TB, c client.Client, r right, want bool) {
	t.Helper()
	resource, subresource, _ := strings.Cut(r.resource, "/")
	cluster.Eventually(t, soon, fmt.Sprintf("the right to %s is %t", r, want), func() error {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: operatorUser, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + embedded.Namespace, "system:authenticated"},
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: r.namespace, Group: r.group, Resource: resource, Subresource: subresource, Name: r.name, Verb: r.verb,
			},
		}}
		if err := c.Create(t.Context(), review); err != nil {
			return err
		}
		if review.Status.Allowed != want {
			return errors.New(review.Status.Reason)
		}
		return nil
	})
}

func (d *deprivation) start(env ...string) {
	d.operator = start(d.top, env...)
	d.operator.deprived = true
}

// restart has a new operator watch everything.
func (d *deprivation) restart() {
	d.operator.end(d.t)
	d.start()
}

// restartWithoutStreams has a new operator list everything, as one does whose API server cannot stream a list, or is too busy to.
func (d *deprivation) restartWithoutStreams() {
	d.operator.end(d.t)
	d.start("KUBE_FEATURE_WatchListClient=false")
}

// startWithoutAuthority has a new operator look for the authority of its broker and make it, without which it does not start.
func (d *deprivation) startWithoutAuthority() {
	d.operator.end(d.t)
	d.discard(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: embedded.Namespace, Name: broker.SecretName}})
	d.start()
	select {
	case <-d.operator.ended:
	case <-time.After(long):
		d.t.Error("the operator runs without the authority of its broker")
	}
}

// in names an object of a workspace of d, of the resource that the workspace is there for.
func (d *deprivation) in(resource, name string) *unstructured.Unstructured {
	kinds := map[string]string{
		"limitranges": "v1/LimitRange", "resourcequotas": "v1/ResourceQuota", "persistentvolumeclaims": "v1/PersistentVolumeClaim",
		"serviceaccounts": "v1/ServiceAccount", "networkpolicies": "networking.k8s.io/v1/NetworkPolicy", "rolebindings": "rbac.authorization.k8s.io/v1/RoleBinding",
	}
	at := strings.LastIndexByte(kinds[resource], '/')
	o := &unstructured.Unstructured{}
	o.SetAPIVersion(kinds[resource][:at])
	o.SetKind(kinds[resource][at+1:])
	o.SetNamespace(d.homes[resource].TargetNamespace())
	o.SetName(name)
	return o
}

// sample is one object of each kind that nobody but the operator makes.
var sample = map[string]string{
	"limitranges": "broletto", "resourcequotas": "broletto", "persistentvolumeclaims": "dati",
	"serviceaccounts": "deploy", "networkpolicies": "granted", "rolebindings": "edit",
}

// makeAnew deletes one object of each kind, each in another workspace, asks for one more workspace, and changes an object to be told of.
func (d *deprivation) makeAnew() {
	for guard := range guards {
		d.discard(guard.DeepCopyObject().(client.Object))
	}
	for resource, name := range sample {
		d.discard(d.in(resource, name))
	}
	more := d.workspace("prove-uno", "nuovo")
	d.make(more)
	d.objects = append(d.objects, more)
	d.spoil(&networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: d.homes["events"].TargetNamespace(), Name: "granted"}}, changes["NetworkPolicy"])
}

func (d *deprivation) spoil(o client.Object, patch string) {
	d.t.Helper()
	if err := d.admin.Patch(d.t.Context(), o, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		d.t.Fatal(err)
	}
}

// changeChildren changes one object of each kind, each in another workspace.
func (d *deprivation) changeChildren() {
	for resource, name := range sample {
		o := d.in(resource, name)
		d.spoil(o, changes[o.GetKind()])
	}
	d.spoil(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: d.homes["namespaces"].TargetNamespace()}}, changes["Namespace"])
}

// deleteTwice deletes one object twice: the second time the operator counts the event that told of the first.
func (d *deprivation) deleteTwice() {
	policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: d.homes["events"].TargetNamespace(), Name: "default-deny"}}
	for range 2 {
		d.get(client.ObjectKeyFromObject(policy), policy)
		before := policy.GetUID()
		d.discard(policy)
		cluster.Eventually(d.t, soon, "the policy is made again", func() error {
			if err := d.admin.Get(d.t.Context(), client.ObjectKeyFromObject(policy), policy); err != nil {
				return err
			}
			if policy.GetUID() == before {
				return errors.New("it is the same")
			}
			return nil
		})
	}
}

// wantLess asks for less: the operator removes an account, a binding and a volume that nobody wants any more.
func (d *deprivation) wantLess() {
	for _, resource := range []string{"serviceaccounts", "rolebindings"} {
		w := d.homes[resource]
		d.change(w, func() { w.Spec.Access = nil })
	}
	w := d.homes["persistentvolumeclaims"]
	d.change(w, func() { w.Spec.Storage = nil })
}

// endWorkspace deletes a workspace: its namespace is to go.
func (d *deprivation) endWorkspace() {
	gone := d.homes["namespaces"]
	d.discard(gone)
	d.objects = slices.DeleteFunc(d.objects, func(o condition.Object) bool { return o == condition.Object(gone) })
}

// unbind deletes one binding of each role, which the operator must be allowed to bind to make it again.
func (d *deprivation) unbind() {
	for _, binding := range d.bound {
		namespace, name, _ := strings.Cut(binding, "/")
		d.discard(&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}})
	}
}

// weaken takes the finalizer off one object of each kind of ours, as who breaks the glass can, and spoils a policy of each kind.
func (d *deprivation) weaken() {
	consortium, workspace := &v1alpha1.Consortium{}, &v1alpha1.Workspace{}
	d.get(client.ObjectKey{Name: d.consortium}, consortium)
	d.get(client.ObjectKeyFromObject(d.homes["events"]), workspace)
	tenant := d.tenants[0]
	d.get(client.ObjectKeyFromObject(tenant), tenant)
	d.change(consortium, func() { consortium.Finalizers, consortium.Spec.DisplayName = nil, "Prove sciolte" })
	d.change(tenant, func() { tenant.Finalizers, tenant.Spec.DisplayName = nil, "Prova sciolta" })
	d.change(workspace, func() { workspace.Finalizers, workspace.Spec.DisplayName = nil, "Prova sciolta" })
	for guard, patch := range guards {
		d.spoil(guard.DeepCopyObject().(client.Object), patch)
	}
}

func (d *deprivation) get(key client.ObjectKey, o client.Object) {
	d.t.Helper()
	if err := d.admin.Get(d.t.Context(), key, o); err != nil {
		d.t.Fatal(err)
	}
}

// changeSpecs has the operator say that it has seen a change, in each kind of ours.
func (d *deprivation) changeSpecs() {
	consortium := &v1alpha1.Consortium{}
	d.get(client.ObjectKey{Name: d.consortium}, consortium)
	d.change(consortium, func() { consortium.Spec.DisplayName = "Altre prove" })
	d.change(d.tenants[0], func() { d.tenants[0].Spec.DisplayName = "Altra prova" })
	w := d.homes["events"]
	d.change(w, func() { w.Spec.DisplayName = "Altra prova" })
}

// scrape reads the operator's metrics with a token that it has not seen yet.
func (d *deprivation) scrape() {
	if _, err := d.operator.scrape(d.t.Context(), d.t); err == nil {
		d.t.Error("the operator served its metrics to whom it could not ask about")
	}
}

// endLease does what time would, when the one that holds the lease cannot renew it.
func (d *deprivation) endLease() {
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: embedded.Namespace, Name: "broletto"}}
	if err := client.IgnoreNotFound(d.admin.Delete(d.t.Context(), lease)); err != nil {
		d.t.Fatal(err)
	}
}
