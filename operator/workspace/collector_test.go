package workspace

import (
	"errors"
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

func amounts(pairs ...string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return out
}

func TestCollector(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	sportello := &v1alpha1.Workspace{
		ObjectMeta: metav1.ObjectMeta{Namespace: "lugano", Name: "sportello"},
		Spec:       v1alpha1.WorkspaceSpec{Environment: v1alpha1.Production, DataClass: v1alpha1.DataClassCritical, PersonalData: new(true)},
		Status:     v1alpha1.WorkspaceStatus{Namespace: "lugano--sportello", Quota: amounts("requests.cpu", "8", "requests.memory", "1.5Gi")},
	}
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: "lugano--sportello", Name: "broletto"},
		Status:     corev1.ResourceQuotaStatus{Used: amounts("requests.cpu", "250m", "count/secrets", "3")},
	}
	// A namespace that has no quota any more, and a workspace that has no namespace yet.
	gis := sportello.DeepCopy()
	gis.Name, gis.Status.Namespace, gis.Spec.PersonalData = "gis", "lugano--gis", nil
	sito := &v1alpha1.Workspace{ObjectMeta: metav1.ObjectMeta{Namespace: "chiasso", Name: "sito"}, Spec: v1alpha1.WorkspaceSpec{PersonalData: new(false)}}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(sportello, gis, sito, quota).Build()
	golden(t, "testdata/metrics.txt", scrape(t, Collector(c)))
	for _, o := range []*v1alpha1.Workspace{sportello, gis, sito} {
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
