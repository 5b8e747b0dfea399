package tenant_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/stage"
)

// at sets the operator's clock to a time as RFC 3339 writes it.
func at(s *stage.Stage, text string) {
	s.Helper()
	now, err := time.Parse(time.RFC3339, text)
	if err != nil {
		s.Fatal(err)
	}
	s.At(now)
}

// next is when the operator wants to look at an object again, though nothing changes.
func next(s *stage.Stage, o client.Object) time.Duration {
	s.Helper()
	result, err := s.Reconcile(o)
	if err != nil {
		s.Fatal(err)
	}
	return result.RequeueAfter
}

// TestMembership takes a tenant from the eve of its membership to the day after it, and back. Days are those of
// Zurich: the first one begins in the night in which clocks go forward, the last one ends in winter time.
func TestMembership(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "member")
	at(s, "2027-03-27T22:59:59Z") // a second before midnight
	s.Consortium()
	a := s.Tenant("a", func(t *v1alpha1.Tenant) {
		t.Spec.Memberships = []v1alpha1.Membership{stage.Membership("2027-03-28", "2027-10-31")}
	})
	message := s.Await(a, v1alpha1.ConditionReconciling, v1alpha1.ReasonMembershipNotBegun)
	want := "membership begins on 2027-03-28; until then nothing is made for the tenant"
	if diff := cmp.Diff([]string{want, "Member=False MembershipNotBegun " + want}, append([]string{message}, answers(a)...)); diff != "" {
		t.Errorf("on the eve (-want +got):\n%s", diff)
	}
	nothing(s, a)
	if next := next(s, a); next != time.Second {
		t.Errorf("on the eve: looks again after %s, want 1s", next)
	}

	at(s, "2027-03-27T23:00:00Z")
	s.Ready(a)
	w := s.Workspace(a, "sito")
	s.Ready(w)
	s.Create(&corev1.ConfigMap{ObjectMeta: stage.In(a.Name, "data")})
	s.Create(&corev1.ConfigMap{ObjectMeta: stage.In(w.TargetNamespace(), "data")})

	at(s, "2027-10-31T22:59:59Z") // the last second: the day has 25 hours
	s.Ready(a, w)
	if next := next(s, a); next != time.Second {
		t.Errorf("on the last day: looks again after %s, want 1s", next)
	}
	if !mayWork(s, a, w) {
		t.Error("on the last day: administrators have lost their rights")
	}

	at(s, "2027-10-31T23:00:00Z")
	over(s, a, w)

	stage.Edit(s, a, func(a *v1alpha1.Tenant) {
		a.Spec.Memberships = append(a.Spec.Memberships, stage.Membership("2027-11-01", ""))
	})
	s.Ready(a, w)
	if !mayWork(s, a, w) {
		t.Error("a member again: administrators have no rights")
	}
	if c := meta.FindStatusCondition(w.Status.Conditions, v1alpha1.ConditionSuspended); c == nil || c.Reason != v1alpha1.ReasonActive {
		t.Errorf("a member again: %s", stage.Conditions(w))
	}
}

// over checks that the membership of a tenant with one workspace is over: no rights, no new pods, all data.
func over(s *stage.Stage, a *v1alpha1.Tenant, w *v1alpha1.Workspace) {
	s.Helper()
	if message := s.Await(a, v1alpha1.ConditionStalled, v1alpha1.ReasonMembershipEnded); message != ended {
		s.Errorf("message: %s", message)
	}
	for _, namespace := range []string{a.Name, w.TargetNamespace()} {
		if bindings := bindingsIn(s, namespace); len(bindings) > 0 {
			s.Errorf("there are rights in %s: %v", namespace, bindings)
		}
		if !s.Exists(&corev1.ConfigMap{ObjectMeta: stage.In(namespace, "data")}) {
			s.Errorf("data in %s is gone", namespace)
		}
	}
	if mayWork(s, a, w) {
		s.Error("administrators have rights")
	}
	if pods := s.Hard(w.TargetNamespace())["pods"]; pods != "0" {
		s.Errorf("the workspace may have %s pods", pods)
	}
	s.Read(w)
	c := meta.FindStatusCondition(w.Status.Conditions, v1alpha1.ConditionSuspended)
	if c == nil || c.Status != "True" || c.Reason != v1alpha1.ReasonMembershipEnded || c.Message != "the tenant is no member today: no new pods, no rights, data is kept" {
		s.Errorf("the workspace says: %s", stage.Conditions(w))
	}
}

// mayWork tells whether the tenant's administrators may do anything in their home or in the workspace.
func mayWork(s *stage.Stage, a *v1alpha1.Tenant, w *v1alpha1.Workspace) bool {
	s.Helper()
	people := stage.Group(a.Name, "ict")
	return may(s, people, authorizationv1.ResourceAttributes{Namespace: a.Name, Verb: "list", Resource: "configmaps"}) ||
		may(s, people, authorizationv1.ResourceAttributes{Namespace: w.TargetNamespace(), Verb: "list", Resource: "configmaps"})
}

// TestMembershipEndsWhateverElse ends memberships of tenants that have another problem too: the rights go all the same.
func TestMembershipEndsWhateverElse(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "over")
	at(s, "2027-06-30T10:00:00Z")
	c, rival := s.Consortium(), s.Tenant("rival")
	s.Ready(c, rival)
	for name, row := range map[string]struct {
		reason string
		edit   func(*v1alpha1.Tenant)
		why    string
	}{
		"conflict": {"its own problem must not keep a tenant's rights alive", func(t *v1alpha1.Tenant) {
			t.Spec.Domains = append(t.Spec.Domains, rival.Spec.Domains...)
		}, v1alpha1.ReasonDomainConflict},
		"postponed": {"the only interval is moved into the future", func(t *v1alpha1.Tenant) {
			t.Spec.Memberships = []v1alpha1.Membership{stage.Membership("2028-01-01", "")}
		}, v1alpha1.ReasonMembershipNotBegun},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.On(t)
			a := s.Tenant(name, func(t *v1alpha1.Tenant) {
				t.Spec.Memberships = []v1alpha1.Membership{stage.Membership("2027-01-01", "2027-06-30")}
			})
			s.Ready(a)
			w := s.Workspace(a, "sito")
			s.Ready(w)
			stage.Edit(s, a, row.edit)
			s.Rest()
			at(s, "2027-07-01T10:00:00Z")
			defer at(s, "2027-06-30T10:00:00Z")
			s.Rest()
			if s.Read(a); meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady).Reason != row.why {
				t.Errorf("the tenant says: %s", stage.Conditions(a))
			}
			if mayWork(s, a, w) {
				t.Errorf("%s: administrators have rights", row.reason)
			}
			if pods := s.Hard(w.TargetNamespace())["pods"]; pods != "0" {
				t.Errorf("%s: the workspace may have %s pods", row.reason, pods)
			}
		})
	}
}
