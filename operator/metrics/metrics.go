// Package metrics exports what the cache holds at the moment of a scrape: no series outlives its object, and all are right
// at once after a restart. It knows no kind of ours; capabilities say what to measure.
package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/broletto/broletto/operator/condition"
)

// scrapeTimeout bounds the reading of the cache for one scrape.
const scrapeTimeout = 5 * time.Second

var (
	conditionStatus = prometheus.NewDesc("broletto_condition_status",
		"Whether a condition of an object is True (1) or not (0).", []string{"kind", "namespace", "name", "type", "reason"}, nil)
	conditionSince = prometheus.NewDesc("broletto_condition_last_transition_timestamp_seconds",
		"When the status of a condition changed last, in seconds since 1970.", []string{"kind", "namespace", "name", "type"}, nil)
)

// Emit sends one sample.
type Emit func(desc *prometheus.Desc, value float64, labels ...string)

// Collector lists objects of one kind in the cache and emits series for each.
type Collector[T condition.Object] struct {
	Kind   string
	Series []*prometheus.Desc
	List   func(ctx context.Context) ([]T, error)
	Each   func(object T, emit Emit)
}

// Items lists all objects of a kind in the cache. They are the cache's own: nobody may change them.
func Items[L any, P interface {
	*L
	client.ObjectList
}, T any](cache client.Reader, items func(P) []T) func(context.Context) ([]*T, error) {
	return func(ctx context.Context) ([]*T, error) {
		list := P(new(L))
		if err := cache.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return nil, err
		}
		all := items(list)
		out := make([]*T, len(all))
		for i := range all {
			out[i] = &all[i]
		}
		return out, nil
	}
}

// Describe says which series the collector emits beside those of conditions, which all collectors share.
func (c Collector[T]) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range c.Series {
		out <- desc
	}
}

// Collect reads the cache and emits. A cache that cannot be read emits nothing: absence is told by the scrape's own series.
func (c Collector[T]) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	objects, err := c.List(ctx)
	if err != nil {
		log.Log.Error(err, "collecting metrics", "kind", c.Kind)
		return
	}
	emit := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	for _, o := range objects {
		conditions(c.Kind, o, *o.GetConditions(), emit)
		if c.Each != nil {
			c.Each(o, emit)
		}
	}
}

func conditions(kind string, o client.Object, all []metav1.Condition, emit Emit) {
	for _, c := range all {
		emit(conditionStatus, Bool(c.Status == metav1.ConditionTrue), kind, o.GetNamespace(), o.GetName(), c.Type, c.Reason)
		emit(conditionSince, float64(c.LastTransitionTime.Unix()), kind, o.GetNamespace(), o.GetName(), c.Type)
	}
}

// Bool is 1 for true and 0 for false.
func Bool(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
