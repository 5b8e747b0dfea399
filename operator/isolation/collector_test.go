package isolation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
)

// TestCollector scrapes a tenant with a storage class that keeps volumes, and again when it was made anew and when the tenant has gone.
func TestCollector(t *testing.T) {
	c, s := stand(t, "testdata/broken/in.yaml")
	var failure error
	collector := Collector(c, func(context.Context) (map[string]bool, error) { return inForce(s.Fallen...), failure }, func() time.Time { return at(300) })
	golden(t, "testdata/metrics.txt", scrape(t, collector))

	failure = errors.New("not synced")
	if got := scrape(t, collector); got != "" {
		t.Errorf("series of nothing:\n%s", got)
	}
	failure = nil
	if err := c.Delete(t.Context(), &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "lugano"}}); err != nil {
		t.Fatal(err)
	}
	if got := scrape(t, collector); got != "" {
		t.Errorf("series of a tenant that has gone:\n%s", got)
	}
}

// TestTurn sees a check turn and turn back, each time with the time of the change.
func TestTurn(t *testing.T) {
	c, _ := stand(t, "testdata/whole/in.yaml")
	now := at(300)
	collector := Collector(c, func(context.Context) (map[string]bool, error) { return inForce(), nil }, func() time.Time { return now })
	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "encrypted", CreationTimestamp: metav1.NewTime(at(350))}, Provisioner: "example.com/disk"}
	keep := class.DeepCopy()
	keep.ReclaimPolicy = new(corev1.PersistentVolumeReclaimRetain)
	for _, step := range []struct {
		what string
		do   func() error
		want string
	}{
		{"at first", func() error { return nil }, "1 since 300"},
		{"a class that keeps", func() error { return c.Create(t.Context(), keep) }, "0 since 350"},
		{"still", func() error { return nil }, "0 since 350"},
		{"deleted", func() error { return c.Delete(t.Context(), keep) }, "1 since 600"},
		{"one that does not", func() error { return c.Create(t.Context(), class) }, "1 since 600"},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		text := scrape(t, collector)
		got := fmt.Sprintf("%v since %v", value(t, text, "broletto_isolation_check"),
			value(t, text, "broletto_isolation_check_last_transition_timestamp_seconds")-float64(at(1).Unix()-1))
		if got != step.want {
			t.Errorf("%s: %s, want %s", step.what, got, step.want)
		}
		now = now.Add(100 * time.Second)
	}
}

// value is that of reclaim-delete in a scrape.
func value(t *testing.T, text, family string) (v float64) {
	t.Helper()
	for line := range strings.Lines(text) {
		if rest, found := strings.CutPrefix(line, family+`{check="reclaim-delete",tenant="lugano"} `); found {
			if _, err := fmt.Sscan(rest, &v); err != nil {
				t.Fatal(err)
			}
		}
	}
	return v
}

// TestBenchmark holds the table of checks to what the documents say of it.
func TestBenchmark(t *testing.T) {
	text, err := os.ReadFile("../../docs/isolation.md")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for i, c := range Benchmark() {
		if c.Number != i+1 || names[c.Name] {
			t.Errorf("number %d is %+v", i+1, c)
		}
		names[c.Name] = true
		row := fmt.Sprintf("| %d | `%s` | %s |", c.Number, c.Name, strings.Replace(c.Upstream, "#", "issue ", 1))
		live := map[bool]string{true: "| yes |", false: "| no |"}[c.Live()]
		found := false
		for line := range strings.Lines(string(text)) {
			found = found || strings.HasPrefix(line, row) && strings.Contains(line, live)
		}
		if !found {
			t.Errorf("docs/isolation.md has no line that begins with %q and says %q", row, live)
		}
	}
	if len(names) != 24 {
		t.Errorf("%d checks", len(names))
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
