package consortium

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/broletto/broletto/api/v1alpha1"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestCollector(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	ready := []metav1.Condition{{Type: "Ready", Status: "True", Reason: "Succeeded", LastTransitionTime: metav1.NewTime(time.Unix(1_700_000_000, 0))}}
	varese := &v1alpha1.Consortium{
		ObjectMeta: metav1.ObjectMeta{Name: "varese"},
		Spec:       v1alpha1.ConsortiumSpec{Country: v1alpha1.Italy},
		Status:     v1alpha1.ConsortiumStatus{Tenants: 15, Conditions: ready},
	}
	ticino := &v1alpha1.Consortium{ObjectMeta: metav1.ObjectMeta{Name: "ticino"}, Spec: v1alpha1.ConsortiumSpec{Country: v1alpha1.Switzerland}}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(varese, ticino).Build()
	golden(t, "testdata/metrics.txt", scrape(t, Collector(c)))
	for _, o := range []*v1alpha1.Consortium{varese, ticino} {
		if err := c.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	if got := scrape(t, Collector(c)); got != "" {
		t.Errorf("series of nothing:\n%s", got)
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

// golden compares with a file, which -update rewrites.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}
