package consortium_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/consortium"
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
	s := newStage(t, "count")
	other := s.consortium(func(c *v1alpha1.Consortium) { c.Name = s.id("other") })
	c := s.consortium(func(c *v1alpha1.Consortium) {
		c.Spec.Budgets = []v1alpha1.Budget{budget("rete", s.id("a")), budget("sito", s.id("b")), budget("mensa", s.id("stranger"))}
	})
	strangers := fmt.Sprintf("not a tenant of this consortium: rete names %s, sito names %s, mensa names %s", s.id("a"), s.id("b"), s.id("stranger"))
	s.counts(c, 0, "False BudgetTenantNotFound "+strangers)

	a, b := s.tenant("a"), s.tenant("b")
	stranger := s.tenant("stranger", func(t *v1alpha1.Tenant) { t.Spec.Consortium = other.Name })
	s.ready(other, a, b, stranger)
	s.counts(c, 2, "False BudgetTenantNotFound not a tenant of this consortium: mensa names "+stranger.Name)
	s.counts(other, 1, "True Succeeded ")

	edit(s, c, func(c *v1alpha1.Consortium) { c.Spec.Budgets = c.Spec.Budgets[:2] })
	s.counts(c, 2, "True Succeeded ")
	s.remove(b)
	s.gone(b)
	s.counts(c, 1, "False BudgetTenantNotFound not a tenant of this consortium: sito names "+b.Name)
}

// counts checks what a consortium that is Ready says.
func (s *stage) counts(c *v1alpha1.Consortium, tenants int32, budgets string) {
	s.Helper()
	if message := s.await(c, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded); message != "the agreement is in force" {
		s.Errorf("message: %s", message)
	}
	got := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionBudgetsValid)
	if got == nil || c.Status.Tenants != tenants {
		s.Fatalf("status: %+v", c.Status)
	}
	if diff := cmp.Diff(budgets, fmt.Sprintf("%s %s %s", got.Status, got.Reason, got.Message)); diff != "" {
		s.Errorf("budgets (-want +got):\n%s", diff)
	}
}

// TestGoesLast deletes a consortium that has tenants: it names them and goes after the last.
func TestGoesLast(t *testing.T) {
	t.Parallel()
	s := newStage(t, "last")
	c, b, a := s.consortium(), s.tenant("b"), s.tenant("a")
	s.ready(c, a, b)
	s.remove(c)
	s.remains(c, "a consortium goes after its tenants: delete tenants "+a.Name+", "+b.Name)
	s.ready(a, b) // they work on meanwhile
	s.remove(a)
	s.gone(a)
	s.remains(c, "a consortium goes after its tenants: delete tenants "+b.Name)
	s.remove(b)
	s.gone(b)
	s.gone(c)

	empty := s.consortium()
	s.ready(empty)
	if diff := cmp.Diff([]string{consortium.Finalizer}, empty.Finalizers); diff != "" {
		t.Errorf("finalizers (-want +got):\n%s", diff)
	}
	s.remove(empty)
	s.gone(empty)
}

func (s *stage) remains(c *v1alpha1.Consortium, want string) {
	s.Helper()
	if diff := cmp.Diff(want, s.await(c, v1alpha1.ConditionStalled, v1alpha1.ReasonTenantsRemain)); diff != "" {
		s.Errorf("message (-want +got):\n%s", diff)
	}
}
