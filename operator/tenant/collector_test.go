package tenant

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/broletto/broletto/api/v1alpha1"
)

func TestCollector(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	lugano := &v1alpha1.Tenant{
		ObjectMeta: metav1.ObjectMeta{Name: "lugano"},
		Spec: v1alpha1.TenantSpec{
			Kind: v1alpha1.Municipality, Consortium: "ticino",
			Quota:          v1alpha1.Quota{"requests.cpu": "48", "limits.cpu": "500m", "requests.memory": "1.5Gi", "pods": "800"},
			StorageClasses: []v1alpha1.StorageClass{{Name: "standard", Quota: "3Ti"}, {Name: "encrypted"}},
		},
	}
	lugano.Status.Allocated = corev1.ResourceList{"requests.cpu": resource.MustParse("1500m"), "requests.memory": resource.MustParse("1Gi")}
	lugano.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionNetworkEnforced, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonNotProven}}
	chiasso := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "chiasso"}, Spec: v1alpha1.TenantSpec{Kind: v1alpha1.ExternalBody, Consortium: "ticino"}}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(lugano, chiasso).Build()
	golden(t, "testdata/metrics.txt", scrape(t, Collector(c)))
	if err := c.Delete(t.Context(), lugano); err != nil {
		t.Fatal(err)
	}
	if got := scrape(t, Collector(c)); strings.Contains(got, "lugano") || !strings.Contains(got, "chiasso") {
		t.Errorf("after one of the two has gone:\n%s", got)
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
