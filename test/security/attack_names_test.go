package security

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// TestNamesThatCollide asks for names that would make one namespace of two workspaces, or of a workspace and a tenant.
func TestNamesThatCollide(t *testing.T) {
	t.Parallel()
	w := newTown(t, "names")
	attacks := map[string]attack{}
	for _, name := range []string{
		"b--c", "-b", "b-", "--", "B", "b.c", "b_c", "b/c", "..", "b c", "b%2Dc", "sito\x00", "sìto", "ｓｉｔｏ", strings.Repeat("b", 32), strings.Repeat("b", 300), "",
	} {
		o := &v1alpha1.Workspace{ObjectMeta: stage.In(w.own.Name, name), Spec: w.annex.DeepCopy().Spec}
		o.Spec.Network = v1alpha1.WorkspaceNetwork{}
		attacks["workspace "+name] = attack{"its namespace would be another's", stage.Making(o), ""}
	}
	prefixed := &v1alpha1.Workspace{Spec: w.annex.DeepCopy().Spec}
	prefixed.Namespace, prefixed.GenerateName = w.own.Name, "b--"
	attacks["workspace by a prefix"] = attack{"its namespace would be another's", stage.Making(prefixed), ""}
	attacks["in another's home"] = attack{"it would be the victims' to pay", stage.Making(&v1alpha1.Workspace{ObjectMeta: stage.In(w.other.Name, "mio"), Spec: prefixed.Spec}), ""}
	attacks["in a workspace"] = attack{"a home in a home", stage.Making(&v1alpha1.Workspace{ObjectMeta: stage.In(w.site.TargetNamespace(), "mio"), Spec: prefixed.Spec}), ""}
	w.suffers("administrator", w.administrator(), attacks, w.site, w.annex, w.target)

	attacks = map[string]attack{}
	for _, name := range []string{
		w.own.Name + "--sito", w.own.Name + "--neu", "kube-system", "kube-public", "kube-x", "default", "broletto-system", "a--b", "-a", "a-", "A", strings.Repeat("a", 31),
	} {
		o := w.other.DeepCopy()
		o.Name, o.ResourceVersion, o.UID, o.Finalizers, o.Status = name, "", "", nil, v1alpha1.TenantStatus{}
		attacks["tenant "+name] = attack{"its home would be another's namespace", stage.Making(o), ""}
	}
	w.suffers("cluster administrator", cluster.ClusterAdmin(), attacks, namespaceNamed(w.site.TargetNamespace()))

	// Names that begin alike are not one's own.
	w.try(w.administrator(), map[string]rule{
		"tenant that begins alike": {"OWN is a prefix of it", "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: net, namespace: SITE}, spec: {podSelector: {}, " +
			"ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: OWN-x--sito}}}]}]}}", "select namespaces of your own tenant only"},
		"host that begins alike": {"OWN is a part of it", "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i, namespace: SITE}, spec: {rules: [{host: www.OWN.example.evil.example}]}}", "is not this workspace's to serve"},
	})
	w.Rest()
}

// TestSquatters stand where a workspace, a home, a binding or an account is to be made.
func TestSquatters(t *testing.T) {
	t.Parallel()
	w := newTown(t, "squat")
	admin := cluster.Client(t, cluster.ClusterAdmin())
	for what, squat := range map[string]struct {
		namespace string
		settle    func() string
	}{
		"workspace": {w.own.Name + "--neu", func() string {
			return w.Await(w.Workspace(w.own, "neu"), v1alpha1.ConditionStalled, v1alpha1.ReasonNamespaceConflict)
		}},
		"home": {w.ID("z"), func() string {
			return w.Await(w.Tenant("z"), v1alpha1.ConditionStalled, v1alpha1.ReasonNamespaceConflict)
		}},
	} {
		ns := namespaceNamed(squat.namespace)
		binding := &rbacv1.RoleBinding{ObjectMeta: stage.In(squat.namespace, "tenant-admin")}
		binding.RoleRef = rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "admin"}
		binding.Subjects = []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: w.ID("ex")}}
		for _, o := range []client.Object{ns, binding} {
			if err := admin.Create(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}
		settled := &corev1.ServiceAccount{ObjectMeta: stage.In(squat.namespace, "default")}
		cluster.Eventually(t, stage.Soon, "the namespace is complete", func() error {
			if !w.Exists(settled) {
				return errNotYet
			}
			return nil
		})
		before := w.bytes([]client.Object{ns, binding, settled})
		if said := squat.settle(); !strings.Contains(said, "nothing was written to it") {
			t.Errorf("%s: %s", what, said)
		}
		if err := stage.Same(before, w.bytes([]client.Object{ns, binding, settled})); err != nil {
			t.Errorf("%s: the squatter's namespace: %v", what, err)
		}
	}

	// Under the names of bindings and accounts that the operator will need, tenants make their own: they make way.
	w.make(w.administrator(), "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: admin, namespace: SITE}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, "+
		"name: broletto-workspace-view}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: PREFIX-web}]}")
	w.make(w.administrator(), "{apiVersion: v1, kind: ServiceAccount, metadata: {name: deployer, namespace: SITE}, automountServiceAccountToken: true}")
	stage.Edit(w.Stage, w.site, func(site *v1alpha1.Workspace) {
		site.Spec.Access = append(site.Spec.Access, v1alpha1.Access{Role: v1alpha1.RoleAdmin, Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Name: "deployer"}})
	})
	w.Ready(w.site)
	binding := &rbacv1.RoleBinding{ObjectMeta: stage.In(w.site.TargetNamespace(), "admin")}
	w.Read(binding)
	if binding.RoleRef.Name != "broletto-workspace-admin" || len(binding.Subjects) != 1 || binding.Subjects[0].Name != "deployer" {
		t.Errorf("the squatter's binding: %s %v", binding.RoleRef.Name, binding.Subjects)
	}
	account := &corev1.ServiceAccount{ObjectMeta: stage.In(w.site.TargetNamespace(), "deployer")}
	w.Read(account)
	if *account.AutomountServiceAccountToken || account.Labels[v1alpha1.LabelOwner] != string(w.site.UID) {
		t.Errorf("the squatter's account: %v %v", account.Labels, *account.AutomountServiceAccountToken)
	}
}
