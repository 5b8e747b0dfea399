package tenant_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
)

// TestLeave deletes a tenant with workspaces: it names them, goes after them, takes its home along, and frees what it claimed.
func TestLeave(t *testing.T) {
	t.Parallel()
	s := newStage(t, "leave")
	c, a := s.consortium(), s.tenant("a")
	s.ready(c, a)
	sito, archivio := s.workspace(a, "sito"), s.workspace(a, "archivio")
	s.ready(sito, archivio)
	heir := s.tenant("heir", func(t *v1alpha1.Tenant) { t.Spec.Codes, t.Spec.Domains = a.Spec.Codes, a.Spec.Domains })
	s.await(heir, v1alpha1.ConditionStalled, v1alpha1.ReasonDuplicateCode)

	s.remove(a)
	want := "a tenant goes after its workspaces: delete workspaces archivio, sito in namespace " + a.Name
	if diff := cmp.Diff(want, s.await(a, v1alpha1.ConditionStalled, v1alpha1.ReasonWorkspacesRemain)); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	if len(s.bindings(a.Name)) != 2 {
		t.Error("the administrators have lost the rights by which they delete workspaces")
	}
	s.remove(sito)
	s.gone(sito)
	want = "a tenant goes after its workspaces: delete workspaces archivio in namespace " + a.Name
	if diff := cmp.Diff(want, s.await(a, v1alpha1.ConditionStalled, v1alpha1.ReasonWorkspacesRemain)); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	s.remove(archivio)
	s.gone(archivio)
	s.gone(a)
	for _, name := range []string{a.Name, sito.TargetNamespace(), archivio.TargetNamespace()} {
		if s.exists(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}) {
			t.Errorf("namespace %s is still there", name)
		}
	}
	s.ready(heir)
	if told := s.told(); len(told) > 0 {
		t.Errorf("our own deletions were told as drift: %q", told)
	}
}

// TestRightsGoFirst deletes a tenant whose namespace cannot go, and looks at what is left meanwhile.
func TestRightsGoFirst(t *testing.T) {
	t.Parallel()
	s := newStage(t, "rights")
	c, a := s.consortium(), s.tenant("a")
	s.ready(c, a)
	stuck := &corev1.ConfigMap{ObjectMeta: in(a.Name, "stuck")}
	stuck.Finalizers = []string{"example.org/stuck"}
	s.create(stuck)
	s.remove(a)
	want := "namespace " + a.Name + " is being deleted"
	if diff := cmp.Diff(want, s.await(a, v1alpha1.ConditionReconciling, v1alpha1.ReasonDeleting)); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	if bindings := s.bindings(a.Name); len(bindings) > 0 {
		t.Errorf("there are rights: %v", bindings)
	}
	var order []string
	for _, write := range s.writes(0) {
		switch write {
		case "delete rolebindings " + a.Name + "/admin", "delete rolebindings " + a.Name + "/view", "delete namespaces " + a.Name + "/" + a.Name, "delete namespaces " + a.Name:
			order = append(order, write)
		}
	}
	if len(order) != 3 || order[2][:len("delete namespaces")] != "delete namespaces" {
		t.Errorf("rights go first, then the namespace: %q", order)
	}
	edit(s, stuck, func(stuck *corev1.ConfigMap) { stuck.Finalizers = nil })
	s.gone(a)
}

// TestNamespaceDeleted deletes a home as a platform engineer might by mistake: it is made again.
func TestNamespaceDeleted(t *testing.T) {
	t.Parallel()
	s := newStage(t, "again")
	c, a := s.consortium(), s.tenant("a")
	s.ready(c, a)
	before := namespaceOf(a)
	s.read(before)
	s.remove(namespaceOf(a))
	s.until("it says that it waits", func() error {
		s.read(a)
		return same(map[string]any{"told": "namespace " + a.Name + " is being deleted; it is made again when it is gone"},
			map[string]any{"told": meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady).Message})
	})
	s.ready(a)
	after := namespaceOf(a)
	s.read(after)
	if before.UID == after.UID {
		t.Error("it is the old namespace")
	}
	if diff := cmp.Diff(labelsOf(a), after.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if len(s.bindings(a.Name)) != 2 {
		t.Errorf("bindings: %v", s.bindings(a.Name))
	}
}
