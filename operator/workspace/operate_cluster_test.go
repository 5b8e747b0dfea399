package workspace_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/manager"
	"github.com/broletto/broletto/test/cluster"
)

// soon is how long an effect may take that a watch brings about. What nobody watches takes hours.
const soon = 20 * time.Second

// operate runs the operator as a process does, with a clock that begins at some time, until the test ends.
func (s *stage) operate(begin time.Time) {
	s.Helper()
	if operated {
		s.Skip("a process runs one operator: the names of its controllers and metrics are taken")
	}
	operated = true
	started := time.Now()
	mgr, err := manager.New(cluster.Operator(s), manager.Options{
		MetricsAddress: "0", ProbeAddress: "0", Now: func() time.Time { return begin.Add(time.Since(started)) },
	})
	if err != nil {
		s.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	s.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, panics()); err != nil {
			s.Error(err)
		}
	})
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

// says waits until an object's condition is True for a reason, speaking of its present generation.
func (s *stage) says(o condition.Object, kind, reason string) {
	s.Helper()
	cluster.Eventually(s, soon, fmt.Sprintf("%s is %s for %s", o.GetName(), kind, reason), func() error {
		s.read(o)
		c := meta.FindStatusCondition(*o.GetConditions(), kind)
		if c == nil || c.Status != metav1.ConditionTrue || c.Reason != reason || o.GetObservedGeneration() != o.GetGeneration() {
			return errors.New(told(o))
		}
		return nil
	})
}
