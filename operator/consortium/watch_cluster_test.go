package consortium_test

import (
	"errors"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
)

// TestWatches runs the whole operator and lets tenants come and go. It does not run beside other tests: the operator would work on
// their consortia too.
func TestWatches(t *testing.T) {
	s := newStage(t, "watch")
	s.operate(time.Now())
	c := s.consortium()
	s.says(c, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	a := s.tenant("a")
	s.has(c, 1, "True") // the coming of a tenant
	edit(s, c, func(c *v1alpha1.Consortium) { c.Spec.Budgets = []v1alpha1.Budget{budget("rete", s.id("b"))} })
	s.has(c, 1, "False") // the consortium itself
	s.says(a, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	s.remove(a)
	s.has(c, 0, "False") // the going of a tenant
	b := s.tenant("b")
	s.has(c, 1, "True")

	s.remove(c)
	s.says(c, v1alpha1.ConditionStalled, v1alpha1.ReasonTenantsRemain)
	s.remove(b)
	cluster.Eventually(t, soon, "the consortium goes after its last tenant", func() error {
		if s.exists(c) {
			return errors.New(told(c))
		}
		return nil
	})
}

// has waits until a consortium counts so many tenants and says so about its budgets.
func (s *stage) has(c *v1alpha1.Consortium, tenants int32, budgets string) {
	s.Helper()
	cluster.Eventually(s, soon, "the consortium looks again", func() error {
		s.read(c)
		got := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionBudgetsValid)
		if got == nil || string(got.Status) != budgets || c.Status.Tenants != tenants || c.Status.ObservedGeneration != c.Generation {
			return errors.New(told(c))
		}
		return nil
	})
}
