package stage

import (
	"fmt"
	"time"

	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/manager"
	"github.com/broletto/broletto/test/cluster"
)

// Operate runs the operator as a process does, with a clock that begins at some time, until the test ends.
func (s *Stage) Operate(begin time.Time) {
	s.Helper()
	s.OperateStacks(begin, nil)
}

// OperateStacks is Operate with what runs stacks.
func (s *Stage) OperateStacks(begin time.Time, stacks *manager.Stacks) {
	s.Helper()
	s.OperateOn(cluster.Operator(s), begin, stacks)
}

// OperateOn is OperateStacks on whatever cluster, with the operator's account of that. It returns what runs there.
func (s *Stage) OperateOn(cfg *rest.Config, begin time.Time, stacks *manager.Stacks) ctrl.Manager {
	s.Helper()
	if operated {
		s.Skip("a process runs one operator: the names of its controllers and metrics are taken")
	}
	operated = true
	started := time.Now()
	mgr, err := manager.New(cfg, manager.Options{
		MetricsAddress: "0", ProbeAddress: "0", Stacks: stacks, Now: func() time.Time { return begin.Add(time.Since(started)) },
	})
	if err != nil {
		s.Fatal(err)
	}
	s.start(mgr, panics)
	return mgr
}

var operated bool

// panics tells whether a reconcile panicked: controller-runtime recovers and goes on.
func panics() error {
	families, err := metrics.Registry.Gather()
	if err != nil {
		return err
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if n := metric.GetCounter().GetValue(); family.GetName() == "controller_runtime_reconcile_panics_total" && n > 0 {
				return fmt.Errorf("%v reconciles panicked", n)
			}
		}
	}
	return nil
}

// Says waits until an object's condition is True for a reason, speaking of its present generation.
func (s *Stage) Says(o condition.Object, kind, reason string) {
	s.Helper()
	cluster.Eventually(s, Soon, fmt.Sprintf("%s is %s for %s", o.GetName(), kind, reason), func() error {
		s.Read(o)
		_, err := holds(o, kind, reason)
		return err
	})
}
