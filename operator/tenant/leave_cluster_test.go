package tenant_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/manager"
	"github.com/broletto/broletto/operator/vault"
	"github.com/broletto/broletto/test/stage"
)

// TestLeave deletes a tenant with workspaces: it names them, goes after them, takes its home and its key along, and frees what it claimed.
func TestLeave(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "leave")
	c, a := s.Consortium(), s.Tenant("a")
	s.Ready(c, a)
	sito, archivio := s.Workspace(a, "sito"), s.Workspace(a, "archivio")
	s.Ready(sito, archivio)
	heir := s.Tenant("heir", func(t *v1alpha1.Tenant) { t.Spec.Codes, t.Spec.Domains = a.Spec.Codes, a.Spec.Domains })
	s.Await(heir, v1alpha1.ConditionStalled, v1alpha1.ReasonDuplicateCode)
	secrets := vault.NewSecrets(s.Admin, manager.Namespace)
	if _, err := vault.New(secrets, secrets).Key(t.Context(), vault.Stack{Tenant: a.Name}); err != nil {
		t.Fatal(err)
	}
	key := &corev1.Secret{ObjectMeta: stage.In(manager.Namespace, "tenant-key-"+a.Name)}

	s.Remove(a)
	want := "a tenant goes after its workspaces: delete workspaces archivio, sito in namespace " + a.Name
	if diff := cmp.Diff(want, s.Await(a, v1alpha1.ConditionStalled, v1alpha1.ReasonWorkspacesRemain)); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	if len(bindingsIn(s, a.Name)) != 2 {
		t.Error("the administrators have lost the rights by which they delete workspaces")
	}
	s.Remove(sito)
	s.Gone(sito)
	want = "a tenant goes after its workspaces: delete workspaces archivio in namespace " + a.Name
	if diff := cmp.Diff(want, s.Await(a, v1alpha1.ConditionStalled, v1alpha1.ReasonWorkspacesRemain)); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	if !s.Exists(key) {
		t.Error("the key went before the tenant")
	}
	s.Remove(archivio)
	s.Gone(archivio)
	s.Gone(a)
	if s.Exists(key) {
		t.Error("the tenant has gone without its key")
	}
	for _, name := range []string{a.Name, sito.TargetNamespace(), archivio.TargetNamespace()} {
		if s.Exists(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}) {
			t.Errorf("namespace %s is still there", name)
		}
	}
	s.Ready(heir)
	if told := s.Events(); len(told) > 0 {
		t.Errorf("our own deletions were told as drift: %q", told)
	}
}

// TestRightsGoFirst deletes a tenant whose namespace cannot go, and looks at what is left meanwhile.
func TestRightsGoFirst(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "rights")
	c, a := s.Consortium(), s.Tenant("a")
	s.Ready(c, a)
	stuck := &corev1.ConfigMap{ObjectMeta: stage.In(a.Name, "stuck")}
	stuck.Finalizers = []string{"example.org/stuck"}
	s.Create(stuck)
	s.Remove(a)
	want := "namespace " + a.Name + " is being deleted"
	if diff := cmp.Diff(want, s.Await(a, v1alpha1.ConditionReconciling, v1alpha1.ReasonDeleting)); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	if bindings := bindingsIn(s, a.Name); len(bindings) > 0 {
		t.Errorf("there are rights: %v", bindings)
	}
	var order []string
	for _, write := range s.Writes(0) {
		switch write {
		case "delete rolebindings " + a.Name + "/admin", "delete rolebindings " + a.Name + "/view", "delete namespaces " + a.Name + "/" + a.Name, "delete namespaces " + a.Name:
			order = append(order, write)
		}
	}
	if len(order) != 3 || order[2][:len("delete namespaces")] != "delete namespaces" {
		t.Errorf("rights go first, then the namespace: %q", order)
	}
	stage.Edit(s, stuck, func(stuck *corev1.ConfigMap) { stuck.Finalizers = nil })
	s.Gone(a)
}

// TestNamespaceDeleted deletes a home as a platform engineer might by mistake: it is made again.
func TestNamespaceDeleted(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "again")
	c, a := s.Consortium(), s.Tenant("a")
	s.Ready(c, a)
	before := namespaceOf(a)
	s.Read(before)
	s.Remove(namespaceOf(a))
	s.Until("it says that it waits", func() error {
		s.Read(a)
		return stage.Same("namespace "+a.Name+" is being deleted; it is made again when it is gone",
			meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady).Message)
	})
	s.Ready(a)
	after := namespaceOf(a)
	s.Read(after)
	if before.UID == after.UID {
		t.Error("it is the old namespace")
	}
	if diff := cmp.Diff(labelsOf(a), after.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if len(bindingsIn(s, a.Name)) != 2 {
		t.Errorf("bindings: %v", bindingsIn(s, a.Name))
	}
}
