package consortium_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/consortium"
	"github.com/broletto/broletto/test/stage"
)

// budget is a credit voted by a tenant.
func budget(name, tenant string) v1alpha1.Budget {
	return v1alpha1.Budget{
		Name: name, Credit: "100.00", Tenant: v1alpha1.TenantName(tenant), From: "2026-01-01",
		Approvals: []v1alpha1.Approval{{Organ: "Council", State: "Approved", Act: "seduta", Date: "2026-01-01"}},
	}
}

// TestConsortium counts the tenants of a consortium and tells which budgets name none of them. Neither holds Ready back.
func TestConsortium(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "count")
	other := s.Consortium(func(c *v1alpha1.Consortium) { c.Name = s.ID("other") })
	c := s.Consortium(func(c *v1alpha1.Consortium) {
		c.Spec.Budgets = []v1alpha1.Budget{budget("rete", s.ID("a")), budget("sito", s.ID("b")), budget("mensa", s.ID("stranger"))}
	})
	strangers := fmt.Sprintf("not a tenant of this consortium: rete names %s, sito names %s, mensa names %s", s.ID("a"), s.ID("b"), s.ID("stranger"))
	counts(s, c, 0, "False BudgetTenantNotFound "+strangers)

	a, b := s.Tenant("a"), s.Tenant("b")
	stranger := s.Tenant("stranger", func(t *v1alpha1.Tenant) { t.Spec.Consortium = other.Name })
	s.Ready(other, a, b, stranger)
	counts(s, c, 2, "False BudgetTenantNotFound not a tenant of this consortium: mensa names "+stranger.Name)
	counts(s, other, 1, "True Succeeded ")

	stage.Edit(s, c, func(c *v1alpha1.Consortium) { c.Spec.Budgets = c.Spec.Budgets[:2] })
	counts(s, c, 2, "True Succeeded ")
	s.Remove(b)
	s.Gone(b)
	counts(s, c, 1, "False BudgetTenantNotFound not a tenant of this consortium: sito names "+b.Name)
}

// counts checks what a consortium that is Ready says.
func counts(s *stage.Stage, c *v1alpha1.Consortium, tenants int32, budgets string) {
	s.Helper()
	if message := s.Await(c, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded); message != "the agreement is in force" {
		s.Errorf("message: %s", message)
	}
	if c.Status.Tenants != tenants {
		s.Fatalf("status: %+v", c.Status)
	}
	if diff := cmp.Diff(budgets, stage.Condition(c, v1alpha1.ConditionBudgetsValid)); diff != "" {
		s.Errorf("budgets (-want +got):\n%s", diff)
	}
}

// TestGoesLast deletes a consortium that has tenants: it names them and goes after the last.
func TestGoesLast(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "last")
	c, b, a := s.Consortium(), s.Tenant("b"), s.Tenant("a")
	s.Ready(c, a, b)
	s.Remove(c)
	remains(s, c, "a consortium goes after its tenants: delete tenants "+a.Name+", "+b.Name)
	s.Ready(a, b) // they work on meanwhile
	s.Remove(a)
	s.Gone(a)
	remains(s, c, "a consortium goes after its tenants: delete tenants "+b.Name)
	s.Remove(b)
	s.Gone(b)
	s.Gone(c)

	empty := s.Consortium()
	s.Ready(empty)
	if diff := cmp.Diff([]string{consortium.Finalizer}, empty.Finalizers); diff != "" {
		t.Errorf("finalizers (-want +got):\n%s", diff)
	}
	s.Remove(empty)
	s.Gone(empty)
}

func remains(s *stage.Stage, c *v1alpha1.Consortium, want string) {
	s.Helper()
	if diff := cmp.Diff(want, s.Await(c, v1alpha1.ConditionStalled, v1alpha1.ReasonTenantsRemain)); diff != "" {
		s.Errorf("message (-want +got):\n%s", diff)
	}
}
