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
)

// at sets the operator's clock to a time as RFC 3339 writes it.
func (s *stage) at(text string) {
	s.Helper()
	now, err := time.Parse(time.RFC3339, text)
	if err != nil {
		s.Fatal(err)
	}
	*s.now = now
}

// next is when the operator wants to look at an object again, though nothing changes.
func (s *stage) next(o client.Object) time.Duration {
	s.Helper()
	result, err := s.reconcile(o)
	if err != nil {
		s.Fatal(err)
	}
	return result.RequeueAfter
}

// TestMembership takes a tenant from the eve of its membership to the day after it, and back. Days are those of
// Zurich: the first one begins in the night in which clocks go forward, the last one ends in winter time.
func TestMembership(t *testing.T) {
	t.Parallel()
	s := newStage(t, "member")
	s.at("2027-03-27T22:59:59Z") // a second before midnight
	s.consortium()
	a := s.tenant("a", func(t *v1alpha1.Tenant) {
		t.Spec.Memberships = []v1alpha1.Membership{membership("2027-03-28", "2027-10-31")}
	})
	message := s.await(a, v1alpha1.ConditionReconciling, v1alpha1.ReasonMembershipNotBegun)
	want := "membership begins on 2027-03-28; until then nothing is made for the tenant"
	if diff := cmp.Diff([]string{want, "Member=False MembershipNotBegun " + want}, append([]string{message}, answers(a)...)); diff != "" {
		t.Errorf("on the eve (-want +got):\n%s", diff)
	}
	s.nothing(a)
	if next := s.next(a); next != time.Second {
		t.Errorf("on the eve: looks again after %s, want 1s", next)
	}

	s.at("2027-03-27T23:00:00Z")
	s.ready(a)
	w := s.workspace(a, "sito")
	s.ready(w)
	s.create(&corev1.ConfigMap{ObjectMeta: in(a.Name, "data")})
	s.create(&corev1.ConfigMap{ObjectMeta: in(w.TargetNamespace(), "data")})

	s.at("2027-10-31T22:59:59Z") // the last second: the day has 25 hours
	s.ready(a, w)
	if next := s.next(a); next != time.Second {
		t.Errorf("on the last day: looks again after %s, want 1s", next)
	}
	if !s.mayWork(a, w) {
		t.Error("on the last day: administrators have lost their rights")
	}

	s.at("2027-10-31T23:00:00Z")
	s.over(a, w)

	edit(s, a, func(a *v1alpha1.Tenant) {
		a.Spec.Memberships = append(a.Spec.Memberships, membership("2027-11-01", ""))
	})
	s.ready(a, w)
	if !s.mayWork(a, w) {
		t.Error("a member again: administrators have no rights")
	}
	if c := meta.FindStatusCondition(w.Status.Conditions, v1alpha1.ConditionSuspended); c == nil || c.Reason != v1alpha1.ReasonActive {
		t.Errorf("a member again: %s", told(w))
	}
}

// over checks that the membership of a tenant with one workspace is over: no rights, no new pods, all data.
func (s *stage) over(a *v1alpha1.Tenant, w *v1alpha1.Workspace) {
	s.Helper()
	if message := s.await(a, v1alpha1.ConditionStalled, v1alpha1.ReasonMembershipEnded); message != ended {
		s.Errorf("message: %s", message)
	}
	for _, namespace := range []string{a.Name, w.TargetNamespace()} {
		if bindings := s.bindings(namespace); len(bindings) > 0 {
			s.Errorf("there are rights in %s: %v", namespace, bindings)
		}
		if !s.exists(&corev1.ConfigMap{ObjectMeta: in(namespace, "data")}) {
			s.Errorf("data in %s is gone", namespace)
		}
	}
	if s.mayWork(a, w) {
		s.Error("administrators have rights")
	}
	if pods := s.hard(w.TargetNamespace())["pods"]; pods != "0" {
		s.Errorf("the workspace may have %s pods", pods)
	}
	s.read(w)
	c := meta.FindStatusCondition(w.Status.Conditions, v1alpha1.ConditionSuspended)
	if c == nil || c.Status != "True" || c.Reason != v1alpha1.ReasonMembershipEnded || c.Message != "the tenant is no member today: no new pods, no rights, data is kept" {
		s.Errorf("the workspace says: %s", told(w))
	}
}

// mayWork tells whether the tenant's administrators may do anything in their home or in the workspace.
func (s *stage) mayWork(a *v1alpha1.Tenant, w *v1alpha1.Workspace) bool {
	s.Helper()
	people := group(a.Name, "ict")
	return s.may(people, authorizationv1.ResourceAttributes{Namespace: a.Name, Verb: "list", Resource: "configmaps"}) ||
		s.may(people, authorizationv1.ResourceAttributes{Namespace: w.TargetNamespace(), Verb: "list", Resource: "configmaps"})
}

// TestMembershipEndsWhateverElse ends memberships of tenants that have another problem too: the rights go all the same.
func TestMembershipEndsWhateverElse(t *testing.T) {
	t.Parallel()
	s := newStage(t, "over")
	s.at("2027-06-30T10:00:00Z")
	c, rival := s.consortium(), s.tenant("rival")
	s.ready(c, rival)
	for name, row := range map[string]struct {
		reason string
		edit   func(*v1alpha1.Tenant)
		why    string
	}{
		"conflict": {"its own problem must not keep a tenant's rights alive", func(t *v1alpha1.Tenant) {
			t.Spec.Domains = append(t.Spec.Domains, rival.Spec.Domains...)
		}, v1alpha1.ReasonDomainConflict},
		"postponed": {"the only interval is moved into the future", func(t *v1alpha1.Tenant) {
			t.Spec.Memberships = []v1alpha1.Membership{membership("2028-01-01", "")}
		}, v1alpha1.ReasonMembershipNotBegun},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.on(t)
			a := s.tenant(name, func(t *v1alpha1.Tenant) {
				t.Spec.Memberships = []v1alpha1.Membership{membership("2027-01-01", "2027-06-30")}
			})
			s.ready(a)
			w := s.workspace(a, "sito")
			s.ready(w)
			edit(s, a, row.edit)
			s.rest()
			s.at("2027-07-01T10:00:00Z")
			defer s.at("2027-06-30T10:00:00Z")
			s.rest()
			if s.read(a); meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady).Reason != row.why {
				t.Errorf("the tenant says: %s", told(a))
			}
			if s.mayWork(a, w) {
				t.Errorf("%s: administrators have rights", row.reason)
			}
			if pods := s.hard(w.TargetNamespace())["pods"]; pods != "0" {
				t.Errorf("%s: the workspace may have %s pods", row.reason, pods)
			}
		})
	}
}
