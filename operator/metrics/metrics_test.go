package metrics_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/metrics"
)

var width = prometheus.NewDesc("broletto_test_width_meters", "How wide a tenant is.", []string{"tenant"}, nil)

// store is what a cache would hold.
type store struct {
	tenants []*v1alpha1.Tenant
	err     error
}

func (s *store) collector() prometheus.Collector {
	return metrics.Collector[*v1alpha1.Tenant]{
		Kind: "Tenant", Series: []*prometheus.Desc{width},
		List: func(ctx context.Context) ([]*v1alpha1.Tenant, error) {
			if _, bounded := ctx.Deadline(); !bounded {
				return nil, errors.New("a scrape may wait for ever")
			}
			return s.tenants, s.err
		},
		Each: func(t *v1alpha1.Tenant, emit metrics.Emit) { emit(width, 2, t.Name) },
	}
}

func tenant(name string, conditions ...metav1.Condition) *v1alpha1.Tenant {
	for i := range conditions {
		conditions[i].LastTransitionTime = metav1.NewTime(time.Unix(1_700_000_000, 0))
	}
	return &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: v1alpha1.TenantStatus{Conditions: conditions}}
}

const wantTwo = `
# HELP broletto_condition_last_transition_timestamp_seconds When the status of a condition changed last, in seconds since 1970.
# TYPE broletto_condition_last_transition_timestamp_seconds gauge
broletto_condition_last_transition_timestamp_seconds{kind="Tenant",name="lugano",namespace="",type="Ready"} 1.7e+09
broletto_condition_last_transition_timestamp_seconds{kind="Tenant",name="lugano",namespace="",type="Stalled"} 1.7e+09
# HELP broletto_condition_status Whether a condition of an object is True (1) or not (0).
# TYPE broletto_condition_status gauge
broletto_condition_status{kind="Tenant",name="lugano",namespace="",reason="DuplicateCode",type="Ready"} 0
broletto_condition_status{kind="Tenant",name="lugano",namespace="",reason="DuplicateCode",type="Stalled"} 1
# HELP broletto_test_width_meters How wide a tenant is.
# TYPE broletto_test_width_meters gauge
broletto_test_width_meters{tenant="chiasso"} 2
broletto_test_width_meters{tenant="lugano"} 2
`

const wantOne = `
# HELP broletto_test_width_meters How wide a tenant is.
# TYPE broletto_test_width_meters gauge
broletto_test_width_meters{tenant="chiasso"} 2
`

// TestCollector follows two objects, of which one goes, through one registry: its series go with it, at the next scrape.
func TestCollector(t *testing.T) {
	s := &store{tenants: []*v1alpha1.Tenant{
		tenant("lugano",
			metav1.Condition{Type: "Ready", Status: "False", Reason: "DuplicateCode", Message: "never a label"},
			metav1.Condition{Type: "Stalled", Status: "True", Reason: "DuplicateCode"}),
		tenant("chiasso"),
	}}
	c := s.collector()
	if diff := cmp.Diff(wantTwo, "\n"+scrape(t, c)); diff != "" {
		t.Errorf("two (-want +got):\n%s", diff)
	}
	s.tenants = s.tenants[1:]
	if diff := cmp.Diff(wantOne, "\n"+scrape(t, c)); diff != "" {
		t.Errorf("after one has gone (-want +got):\n%s", diff)
	}
}

// TestUnreadableCache emits nothing rather than something wrong, and fails no scrape: the other collectors' series are still told.
func TestUnreadableCache(t *testing.T) {
	log.SetLogger(logr.Discard())
	s := &store{tenants: []*v1alpha1.Tenant{tenant("lugano")}, err: errors.New("not synced")}
	if got := scrape(t, s.collector()); got != "" {
		t.Errorf("series of nothing:\n%s", got)
	}
}

func TestBool(t *testing.T) {
	if metrics.Bool(true) != 1 || metrics.Bool(false) != 0 {
		t.Errorf("true is %v, false is %v", metrics.Bool(true), metrics.Bool(false))
	}
}

// scrape is what Prometheus reads of a collector, after the linter of its conventions has seen it.
func scrape(t *testing.T, c prometheus.Collector) string {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&text, family); err != nil {
			t.Fatal(err)
		}
	}
	problems, err := promlint.New(strings.NewReader(text.String())).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	return text.String()
}
