package stack

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/metrics"
)

var (
	info = prometheus.NewDesc("broletto_stack_info",
		"A stack: 1 for each, with what runs it.", []string{"tenant", "stack", "workspace", "engine", "approval"}, nil)
	drifted = prometheus.NewDesc("broletto_stack_drifted",
		"Whether the last look found the workspace other than it was applied (1) or not (0).", []string{"tenant", "stack"}, nil)
	lockedSince = prometheus.NewDesc("broletto_stack_lock_timestamp_seconds",
		"Since when a run has held the state of a stack, in seconds since 1970.", []string{"tenant", "stack"}, nil)
	runCount = prometheus.NewDesc("broletto_stack_runs",
		"Runs that are kept, by operation, phase and class of failure.", []string{"operation", "phase", "class"}, nil)
)

// Collector exports stacks.
func Collector(cache client.Reader) prometheus.Collector {
	return metrics.Collector[*v1alpha1.Stack]{
		Kind:   "Stack",
		Series: []*prometheus.Desc{info, drifted, lockedSince},
		List:   metrics.Items(cache, func(l *v1alpha1.StackList) []v1alpha1.Stack { return l.Items }),
		Each: func(s *v1alpha1.Stack, emit metrics.Emit) {
			emit(info, 1, s.Namespace, s.Name, string(s.Spec.Workspace), string(s.Spec.Engine), string(s.Spec.Approval))
			emit(drifted, metrics.Bool(meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ConditionDrifted)), s.Namespace, s.Name)
			if l := s.Status.Lock; l != nil {
				emit(lockedSince, float64(l.Since.Unix()), s.Namespace, s.Name)
			}
		},
	}
}

// RunCollector exports runs, as sums: a series for each would grow without end.
func RunCollector(cache client.Reader) prometheus.Collector { return runCollector{cache} }

type runCollector struct{ cache client.Reader }

// Describe implements [prometheus.Collector].
func (c runCollector) Describe(out chan<- *prometheus.Desc) { out <- runCount }

// Collect implements [prometheus.Collector].
func (c runCollector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var list v1alpha1.StackRunList
	if err := c.cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		log.Log.Error(err, "collecting metrics", "kind", "StackRun")
		return
	}
	counts := map[[3]string]float64{}
	for i := range list.Items {
		one := &list.Items[i]
		phase := one.Status.Phase
		if phase == "" {
			phase = v1alpha1.RunPending
		}
		counts[[3]string{string(one.Spec.Operation), string(phase), string(classOf(one))}]++
	}
	for labels, n := range counts {
		out <- prometheus.MustNewConstMetric(runCount, prometheus.GaugeValue, n, labels[:]...)
	}
}
