package workspace

import (
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/broletto/broletto/api/v1alpha1"
)

func TestByNamespace(t *testing.T) {
	cases := map[string]struct {
		reason, namespace string
		want              []reconcile.Request
	}{
		"Workspace": {"a workspace's namespace", "lugano--sportello", []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: "lugano", Name: "sportello"}}}},
		"Hyphens":   {"hyphens on both sides", "lac-lugano--living-lab", []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: "lac-lugano", Name: "living-lab"}}}},
		"Home":      {"a home", "lugano", nil},
		"System":    {"nobody's", "kube-system", nil},
		"Cluster":   {"no namespace at all", "", nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, byNamespace(tc.namespace)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

var validName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// FuzzByNamespace leads from any tenant's workspace to its namespace and back, and from no namespace to two workspaces.
func FuzzByNamespace(f *testing.F) {
	f.Add("lugano", "sportello")
	f.Add("lac-lugano", "living-lab")
	f.Add("a", "b--c")
	f.Add("0", "0")
	f.Fuzz(func(t *testing.T, tenant, name string) {
		if !validName.MatchString(tenant) || !validName.MatchString(name) {
			byNamespace(tenant + "--" + name) // must not panic
			return
		}
		w := &v1alpha1.Workspace{ObjectMeta: metav1.ObjectMeta{Namespace: tenant, Name: name}}
		got := byNamespace(w.TargetNamespace())
		if len(got) != 1 || got[0].Namespace != tenant || got[0].Name != name {
			t.Errorf("%s/%s leads to %s and back to %v", tenant, name, w.TargetNamespace(), got)
		}
	})
}

func TestMovedEntries(t *testing.T) {
	entry := func(name string, uid types.UID, revision int64) v1alpha1.Allocation {
		return v1alpha1.Allocation{Workspace: v1alpha1.WorkspaceName(name), UID: uid, Revision: revision}
	}
	before := []v1alpha1.Allocation{entry("same", "1", 1), entry("grown", "2", 1), entry("reborn", "3", 1), entry("gone", "4", 1)}
	after := []v1alpha1.Allocation{entry("same", "1", 1), entry("grown", "2", 2), entry("reborn", "5", 1), entry("new", "6", 1)}
	if diff := cmp.Diff(map[string]bool{"grown": true, "reborn": true, "new": true}, movedEntries(before, after)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestTenantMoved tells which changes of a tenant concern its workspaces: not what only the ledger or a clock says.
func TestTenantMoved(t *testing.T) {
	conditioned := func(generation int64, status metav1.ConditionStatus, reason, message string) *v1alpha1.Tenant {
		o := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Generation: generation}}
		o.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.Now()}}
		return o
	}
	cases := map[string]struct {
		reason        string
		before, after *v1alpha1.Tenant
		want          bool
	}{
		"Spec":    {"another spec", conditioned(1, "True", "Succeeded", ""), conditioned(2, "True", "Succeeded", ""), true},
		"Answer":  {"another answer", conditioned(1, "True", "Succeeded", ""), conditioned(1, "False", "Succeeded", ""), true},
		"Reason":  {"another reason", conditioned(1, "False", "MembershipEnded", ""), conditioned(1, "False", "DuplicateCode", ""), true},
		"Message": {"other words", conditioned(1, "True", "Succeeded", "a"), conditioned(1, "True", "Succeeded", "b"), false},
		"First":   {"the first answer", &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Generation: 1}}, conditioned(1, "True", "Succeeded", ""), true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := tenantMoved.Update(event.UpdateEvent{ObjectOld: tc.before, ObjectNew: tc.after}); got != tc.want {
				t.Errorf("%s: %v, want %v", tc.reason, got, tc.want)
			}
		})
	}
}

func TestExpired(t *testing.T) {
	end := time.Date(2027, 6, 30, 0, 0, 0, 0, time.UTC)
	w := &v1alpha1.Workspace{Spec: v1alpha1.WorkspaceSpec{ExpiresAt: &metav1.Time{Time: end}}}
	for now, want := range map[time.Time]bool{end.Add(-1): false, end: true, end.Add(time.Hour): true} {
		if got := expired(w, now); got != want {
			t.Errorf("at %s: %v, want %v", now, got, want)
		}
	}
	if expired(&v1alpha1.Workspace{}, end) {
		t.Error("what has no end has ended")
	}
}
