package workspace_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
)

// leaving is a workspace that goes.
type leaving struct {
	reason string
	make   func(*v1alpha1.Workspace)
	own    bool // it holds a claim that people made
	stays  bool // it is kept for its volumes
}

func leavingRows() map[string]leaving {
	none := func(*v1alpha1.Workspace) {}
	return map[string]leaving{
		"empty":   {"no volume, nothing to ask", none, false, false},
		"may":     {"somebody said before that the data may go", with2(volume("1Gi", "dati"), deletable), false, false},
		"kept":    {"nobody said that data may go", volume("1Gi", "dati"), false, true},
		"own":     {"data is data, whoever asked for the volume", none, true, true},
		"own-may": {"somebody said before that the data may go", deletable, true, false},
		"ended":   {"an expired workspace's data is data", with2(volume("1Gi", "dati"), over), false, true},
	}
}

// TestLeave deletes workspaces: each goes with its namespace and gives its share back, or says what keeps it and goes when a person
// follows that.
func TestLeave(t *testing.T) {
	t.Parallel()
	s := newStage(t, "leave")
	c, a := s.consortium(), s.tenant("a", func(t *v1alpha1.Tenant) {
		t.Spec.Quota = v1alpha1.Quota{"requests.cpu": "20", "requests.memory": "64Gi", "limits.cpu": "40", "limits.memory": "64Gi", "requests.storage": "200Gi", "pods": "200"}
		t.Spec.StorageClasses[0].Quota = ""
	})
	s.ready(c, a)
	rows, workspaces := leavingRows(), map[string]*v1alpha1.Workspace{}
	for name, row := range rows {
		workspaces[name] = s.workspace(a, name, row.make)
	}
	for name, row := range rows {
		if s.ready(workspaces[name]); row.own {
			s.claim(workspaces[name], "own", "1Gi")
		}
	}
	from := s.mark()
	for name := range rows {
		s.remove(workspaces[name])
	}
	for name, row := range rows {
		if row.stays {
			t.Run(name+" stays", func(t *testing.T) { s.on(t).retained(a, workspaces[name]) })
		}
	}
	for name, row := range rows {
		if row.stays {
			edit(s, workspaces[name], deletable)
		}
	}
	for name, row := range rows {
		if s.gone(workspaces[name]); s.exists(namespaceOf(workspaces[name])) {
			t.Errorf("%s: the namespace is still there", row.reason)
		}
	}
	for _, w := range workspaces {
		s.rightsFirst(s.writes(from), w)
	}
	s.ready(a)
	if len(a.Status.Allocations)+len(a.Status.Allocated) > 0 {
		t.Errorf("the ledger still holds %v", a.Status.Allocations)
	}
	if told := s.told(); len(told) > 0 {
		t.Errorf("our own deletions were told as drift: %q", told)
	}
}

func deletable(w *v1alpha1.Workspace) { w.Spec.DeletionPolicy = v1alpha1.DeletionDelete }

func over(w *v1alpha1.Workspace) {
	w.Spec.ExpiresAt = &metav1.Time{Time: time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)}
}

func with2(first, second func(*v1alpha1.Workspace)) func(*v1alpha1.Workspace) {
	return func(w *v1alpha1.Workspace) {
		first(w)
		second(w)
	}
}

// retained checks a workspace that is kept for its volumes: nobody has rights, the guardrails stand, and it says what to do.
func (s *stage) retained(a *v1alpha1.Tenant, w *v1alpha1.Workspace) {
	s.Helper()
	want := "namespace " + w.TargetNamespace() + " holds volumes and is kept without rights: set spec.deletionPolicy to Delete to let namespace and data go"
	if diff := cmp.Diff(want, s.await(w, v1alpha1.ConditionStalled, v1alpha1.ReasonVolumesRetained)); diff != "" {
		s.Errorf("message (-want +got):\n%s", diff)
	}
	if len(s.claims(w)) != 1 {
		s.Error("the volume is gone")
	}
	var bindings rbacv1.RoleBindingList
	if err := s.admin.List(s.Context(), &bindings, client.InNamespace(w.TargetNamespace())); err != nil {
		s.Fatal(err)
	}
	if len(bindings.Items) > 0 {
		s.Errorf("there are rights: %v", bindings.Items)
	}
	s.remove(policyOf(w))
	s.rest()
	if !s.exists(policyOf(w)) {
		s.Error("default-deny is not repaired while the namespace stands")
	}
	s.told()
	s.sound(a)
	if !slices.ContainsFunc(a.Status.Allocations, func(e v1alpha1.Allocation) bool { return e.UID == w.UID }) {
		s.Error("a namespace that stands holds its share")
	}
}

// rightsFirst checks the order of deletions: every binding before the namespace, and nothing after it.
func (s *stage) rightsFirst(writes []string, w *v1alpha1.Workspace) {
	s.Helper()
	var order []string
	for _, write := range writes {
		if fields := strings.FieldsFunc(write, func(r rune) bool { return r == ' ' || r == '/' }); fields[0] == "delete" && fields[2] == w.TargetNamespace() {
			order = append(order, fields[1])
		}
	}
	if diff := cmp.Diff([]string{"rolebindings", "namespaces"}, slices.Compact(order)); diff != "" {
		s.Errorf("deletions in %s (-want +got):\n%s", w.TargetNamespace(), diff)
	}
}

// TestLeaveEarly deletes a workspace whose volumes were never made, under Retain: there is nothing to retain, and none is made on the way
// out.
func TestLeaveEarly(t *testing.T) {
	t.Parallel()
	s := newStage(t, "early")
	c, a := s.consortium(), s.tenant("a")
	s.ready(c, a)
	w := s.workspace(a, "sito")
	s.ready(w)
	own := s.claim(w, "own", "15Gi")
	edit(s, w, volume("10Gi", "documenti"))
	s.until("it waits for room", func() error {
		s.read(w)
		if c := meta.FindStatusCondition(w.Status.Conditions, v1alpha1.ConditionReconciling); c == nil || c.Reason != v1alpha1.ReasonQuotaPending {
			return errors.New(told(w))
		}
		return nil
	})
	s.remove(w)
	s.await(w, v1alpha1.ConditionStalled, v1alpha1.ReasonVolumesRetained)
	s.remove(own)
	cluster.Eventually(t, patience, "the claim is gone", func() error {
		if s.exists(own) {
			return errors.New("it is there")
		}
		return nil
	})
	s.gone(w)
}

// TestNamespaceDeleted deletes a workspace's namespace as a platform engineer might by mistake: it is made again.
func TestNamespaceDeleted(t *testing.T) {
	t.Parallel()
	s := newStage(t, "again")
	c, a := s.consortium(), s.tenant("a")
	s.ready(c, a)
	w := s.workspace(a, "sito")
	s.ready(w)
	before := s.objects(w.TargetNamespace())
	old := namespaceOf(w)
	s.read(old)
	s.remove(namespaceOf(w))
	s.until("it says that it waits", func() error {
		s.read(w)
		c := meta.FindStatusCondition(w.Status.Conditions, v1alpha1.ConditionReconciling)
		if c == nil || c.Message != "namespace "+w.TargetNamespace()+" is being deleted; it is made again when it is gone" {
			return errors.New(told(w))
		}
		return nil
	})
	s.ready(w)
	made := namespaceOf(w)
	if s.read(made); made.UID == old.UID {
		t.Error("it is the old namespace")
	}
	if diff := cmp.Diff(before, s.objects(w.TargetNamespace())); diff != "" {
		t.Errorf("what was made again (-before +after):\n%s", diff)
	}
	s.sound(a)
}

// TestStuckNamespace deletes a workspace whose namespace cannot go, and reads what blocks it.
func TestStuckNamespace(t *testing.T) {
	t.Parallel()
	s := newStage(t, "stuck")
	c, a := s.consortium(), s.tenant("a")
	s.ready(c, a)
	w := s.workspace(a, "sito")
	s.ready(w)
	stuck := &corev1.ConfigMap{ObjectMeta: in(w.TargetNamespace(), "stuck")}
	stuck.Finalizers = []string{"example.org/stuck"}
	s.create(stuck)
	s.remove(w)
	s.until("it names what blocks it", func() error {
		s.read(w)
		c := meta.FindStatusCondition(w.Status.Conditions, v1alpha1.ConditionReconciling)
		if c == nil || c.Reason != v1alpha1.ReasonDeleting || !strings.Contains(c.Message, "example.org/stuck in 1 resource instances") {
			return errors.New(told(w))
		}
		return nil
	})
	s.rest()
	edit(s, stuck, func(stuck *corev1.ConfigMap) { stuck.Finalizers = nil })
	s.gone(w)
}
