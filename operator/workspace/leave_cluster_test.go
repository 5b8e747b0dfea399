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

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
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
	s := stage.New(t, "leave")
	c, a := s.Consortium(), s.Tenant("a", func(t *v1alpha1.Tenant) {
		t.Spec.Quota = v1alpha1.Quota{"requests.cpu": "20", "requests.memory": "64Gi", "limits.cpu": "40", "limits.memory": "64Gi", "requests.storage": "200Gi", "pods": "200"}
		t.Spec.StorageClasses[0].Quota = ""
	})
	s.Ready(c, a)
	rows, workspaces := leavingRows(), map[string]*v1alpha1.Workspace{}
	for name, row := range rows {
		workspaces[name] = s.Workspace(a, name, row.make)
	}
	for name, row := range rows {
		if s.Ready(workspaces[name]); row.own {
			claim(s, workspaces[name], "own", "1Gi")
		}
	}
	from := cluster.Mark(s)
	for name := range rows {
		s.Remove(workspaces[name])
	}
	for name, row := range rows {
		if row.stays {
			t.Run(name+" stays", func(t *testing.T) { retained(s.On(t), a, workspaces[name]) })
		}
	}
	for name, row := range rows {
		if row.stays {
			stage.Edit(s, workspaces[name], deletable)
		}
	}
	for name, row := range rows {
		if s.Gone(workspaces[name]); s.Exists(namespaceOf(workspaces[name])) {
			t.Errorf("%s: the namespace is still there", row.reason)
		}
	}
	for _, w := range workspaces {
		rightsFirst(s, s.Writes(from), w)
	}
	s.Ready(a)
	if len(a.Status.Allocations)+len(a.Status.Allocated) > 0 {
		t.Errorf("the ledger still holds %v", a.Status.Allocations)
	}
	if told := s.Events(); len(told) > 0 {
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
func retained(s *stage.Stage, a *v1alpha1.Tenant, w *v1alpha1.Workspace) {
	s.Helper()
	want := "namespace " + w.TargetNamespace() + " holds volumes and is kept without rights: set spec.deletionPolicy to Delete to let namespace and data go"
	if diff := cmp.Diff(want, s.Await(w, v1alpha1.ConditionStalled, v1alpha1.ReasonVolumesRetained)); diff != "" {
		s.Errorf("message (-want +got):\n%s", diff)
	}
	if len(claims(s, w)) != 1 {
		s.Error("the volume is gone")
	}
	if bindings := s.List(&rbacv1.RoleBindingList{}, w.TargetNamespace()); len(bindings) > 0 {
		s.Errorf("there are rights: %v", bindings)
	}
	s.Remove(policyOf(w))
	s.Rest()
	if !s.Exists(policyOf(w)) {
		s.Error("default-deny is not repaired while the namespace stands")
	}
	s.Events()
	sound(s, a)
	if !slices.ContainsFunc(a.Status.Allocations, func(e v1alpha1.Allocation) bool { return e.UID == w.UID }) {
		s.Error("a namespace that stands holds its share")
	}
}

// rightsFirst checks the order of deletions: every binding before the namespace, and nothing after it.
func rightsFirst(s *stage.Stage, writes []string, w *v1alpha1.Workspace) {
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
	s := stage.New(t, "early")
	c, a := s.Consortium(), s.Tenant("a")
	s.Ready(c, a)
	w := s.Workspace(a, "sito")
	s.Ready(w)
	own := claim(s, w, "own", "15Gi")
	stage.Edit(s, w, volume("10Gi", "documenti"))
	s.Until("it waits for room", func() error {
		s.Read(w)
		if c := meta.FindStatusCondition(w.Status.Conditions, v1alpha1.ConditionReconciling); c == nil || c.Reason != v1alpha1.ReasonQuotaPending {
			return errors.New(stage.Conditions(w))
		}
		return nil
	})
	s.Remove(w)
	s.Await(w, v1alpha1.ConditionStalled, v1alpha1.ReasonVolumesRetained)
	s.Remove(own)
	cluster.Eventually(t, stage.Patience, "the claim is gone", func() error {
		if s.Exists(own) {
			return errors.New("it is there")
		}
		return nil
	})
	s.Gone(w)
}

// TestNamespaceDeleted deletes a workspace's namespace as a platform engineer might by mistake: it is made again.
func TestNamespaceDeleted(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "again")
	c, a := s.Consortium(), s.Tenant("a")
	s.Ready(c, a)
	w := s.Workspace(a, "sito")
	s.Ready(w)
	before := objects(s, w.TargetNamespace())
	old := namespaceOf(w)
	s.Read(old)
	s.Remove(namespaceOf(w))
	s.Until("it says that it waits", func() error {
		s.Read(w)
		c := meta.FindStatusCondition(w.Status.Conditions, v1alpha1.ConditionReconciling)
		if c == nil || c.Message != "namespace "+w.TargetNamespace()+" is being deleted; it is made again when it is gone" {
			return errors.New(stage.Conditions(w))
		}
		return nil
	})
	s.Ready(w)
	made := namespaceOf(w)
	if s.Read(made); made.UID == old.UID {
		t.Error("it is the old namespace")
	}
	if diff := cmp.Diff(before, objects(s, w.TargetNamespace())); diff != "" {
		t.Errorf("what was made again (-before +after):\n%s", diff)
	}
	sound(s, a)
}

// TestStuckNamespace deletes a workspace whose namespace cannot go, and reads what blocks it.
func TestStuckNamespace(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "stuck")
	c, a := s.Consortium(), s.Tenant("a")
	s.Ready(c, a)
	w := s.Workspace(a, "sito")
	s.Ready(w)
	stuck := &corev1.ConfigMap{ObjectMeta: stage.In(w.TargetNamespace(), "stuck")}
	stuck.Finalizers = []string{"example.org/stuck"}
	s.Create(stuck)
	s.Remove(w)
	s.Until("it names what blocks it", func() error {
		s.Read(w)
		c := meta.FindStatusCondition(w.Status.Conditions, v1alpha1.ConditionReconciling)
		if c == nil || c.Reason != v1alpha1.ReasonDeleting || !strings.Contains(c.Message, "example.org/stuck in 1 resource instances") {
			return errors.New(stage.Conditions(w))
		}
		return nil
	})
	s.Rest()
	stage.Edit(s, stuck, func(stuck *corev1.ConfigMap) { stuck.Finalizers = nil })
	s.Gone(w)
}
