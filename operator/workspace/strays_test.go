package workspace

import (
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
)

func TestStrays(t *testing.T) {
	t.Parallel()
	w := &v1alpha1.Workspace{ObjectMeta: metav1.ObjectMeta{Namespace: "lugano", Name: "sito"}}
	w.Spec.Access = []v1alpha1.Access{{Role: v1alpha1.RoleView, Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "carla"}}}
	c := Context{Consortium: &v1alpha1.Consortium{}, Tenant: &v1alpha1.Tenant{}, Member: true}
	c.Tenant.Spec.Administrators = []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: "ict"}}
	ended, gone := c, w.DeepCopy()
	ended.Member, gone.DeletionTimestamp = false, &metav1.Time{}
	gone.DeletionTimestamp.Time = gone.DeletionTimestamp.AddDate(2026, 1, 1)
	group := func(name string) rbacv1.Subject { return rbacv1.Subject{Kind: "Group", Name: name} }
	account := func(namespace string) rbacv1.Subject {
		return rbacv1.Subject{Kind: "ServiceAccount", Name: "robot", Namespace: namespace}
	}
	for name, row := range map[string]struct {
		reason              string
		labels              map[string]string
		subjects            []rbacv1.Subject
		now, after, leaving bool // whether it goes: today, when the membership has ended, when the workspace is deleted
	}{
		"of the tenant":    {"an administrator of it", nil, []rbacv1.Subject{group("ict")}, false, true, true},
		"of access":        {"whom the workspace names", nil, []rbacv1.Subject{{Kind: "User", Name: "carla"}}, false, true, true},
		"who left":         {"whom nobody names", nil, []rbacv1.Subject{group("ex")}, true, true, true},
		"second of two":    {"the first stays", nil, []rbacv1.Subject{group("ict"), group("ex")}, true, true, true},
		"a user, as group": {"another kind of the same name", nil, []rbacv1.Subject{group("carla")}, true, true, true},
		"account":          {"the workspace's own", nil, []rbacv1.Subject{account("lugano--sito")}, false, true, true},
		"another account":  {"of another namespace", nil, []rbacv1.Subject{account("lugano")}, true, true, true},
		"nobody":           {"gives nothing", nil, nil, false, false, false},
		"ours":             {"the inventory's to keep", map[string]string{v1alpha1.LabelOwner: "x"}, []rbacv1.Subject{group("ex")}, false, false, false},
		"an exception":     {"the platform's", map[string]string{v1alpha1.LabelException: ""}, []rbacv1.Subject{group("ex")}, false, false, false},
	} {
		b := []rbacv1.RoleBinding{{ObjectMeta: metav1.ObjectMeta{Labels: row.labels}, Subjects: row.subjects}}
		if got := len(strays(b, w, c)) > 0; got != row.now {
			t.Errorf("%s, %s: it goes: %v, want %v", name, row.reason, got, row.now)
		}
		if got := len(strays(b, w, ended)) > 0; got != row.after {
			t.Errorf("%s, %s: it goes after the membership: %v, want %v", name, row.reason, got, row.after)
		}
		if got := len(strays(b, gone, c)) > 0; got != row.leaving {
			t.Errorf("%s, %s: it goes with the workspace: %v, want %v", name, row.reason, got, row.leaving)
		}
	}
}

func TestLeft(t *testing.T) {
	t.Parallel()
	w := &v1alpha1.Workspace{ObjectMeta: metav1.ObjectMeta{Namespace: "lugano", Name: "sito"}}
	c := Context{Consortium: &v1alpha1.Consortium{}, Tenant: &v1alpha1.Tenant{}, Member: true}
	c.Tenant.Spec.Administrators = []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: "ict"}, {Kind: v1alpha1.SubjectServiceAccount, Name: "flux"}}
	ended := c
	ended.Member = false
	for name, row := range map[string]struct {
		reason string
		before []string
		now    Context
		left   bool
		vetted []string // what the namespace says until the bindings were looked through
	}{
		"new":        {"nobody has bound anything yet", nil, c, false, []string{"open", "Group:ict"}},
		"the same":   {"nothing to look through", []string{"open", "Group:ict"}, c, false, []string{"open", "Group:ict"}},
		"came":       {"who comes takes nothing along", []string{"open"}, c, false, []string{"open", "Group:ict"}},
		"gone":       {"what they bound is still there", []string{"open", "Group:ex", "Group:ict"}, c, true, []string{"open", "Group:ex", "Group:ict"}},
		"for ended":  {"the accounts' rights end with the membership", []string{"open", "Group:ict"}, ended, true, []string{"open", "Group:ict"}},
		"all ended":  {"it was looked through", nil, ended, false, nil},
		"only tools": {"accounts are no people, and lose their rights too", []string{"open"}, ended, true, []string{"open"}},
	} {
		row.now.Vetted = row.before
		if got := left(w, row.now); got != row.left {
			t.Errorf("%s, %s: somebody has left: %v, want %v", name, row.reason, got, row.left)
		}
		if got := vetted(w, row.now); !slices.Equal(got, row.vetted) {
			t.Errorf("%s, %s: vetted for %q, want %q", name, row.reason, got, row.vetted)
		}
	}
}
