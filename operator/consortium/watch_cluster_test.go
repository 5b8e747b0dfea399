package consortium_test

import (
	"errors"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// TestWatches runs the whole operator and lets tenants come and go. It does not run beside other tests: the operator would work on
// their consortia too.
func TestWatches(t *testing.T) {
	s := stage.New(t, "watch")
	s.Operate(time.Now())
	c := s.Consortium()
	s.Says(c, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	a := s.Tenant("a")
	has(s, c, 1, "True") // the coming of a tenant
	stage.Edit(s, c, func(c *v1alpha1.Consortium) { c.Spec.Budgets = []v1alpha1.Budget{budget("rete", s.ID("b"))} })
	has(s, c, 1, "False") // the consortium itself
	s.Says(a, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	s.Remove(a)
	has(s, c, 0, "False") // the going of a tenant
	b := s.Tenant("b")
	has(s, c, 1, "True")

	s.Remove(c)
	s.Says(c, v1alpha1.ConditionStalled, v1alpha1.ReasonTenantsRemain)
	s.Remove(b)
	cluster.Eventually(t, stage.Soon, "the consortium goes after its last tenant", func() error {
		if s.Exists(c) {
			return errors.New(stage.Conditions(c))
		}
		return nil
	})
}

// has waits until a consortium counts so many tenants and says so about its budgets.
func has(s *stage.Stage, c *v1alpha1.Consortium, tenants int32, budgets string) {
	s.Helper()
	cluster.Eventually(s, stage.Soon, "the consortium looks again", func() error {
		s.Read(c)
		got := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionBudgetsValid)
		if got == nil || string(got.Status) != budgets || c.Status.Tenants != tenants || c.Status.ObservedGeneration != c.Generation {
			return errors.New(stage.Conditions(c))
		}
		return nil
	})
}
