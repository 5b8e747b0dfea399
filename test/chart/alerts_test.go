package chart

import (
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"sigs.k8s.io/yaml"
)

// alerts is what is between the PrometheusRule's kind and Prometheus' own files.
func alerts(t *testing.T) monitoringv1.PrometheusRuleSpec {
	t.Helper()
	text, err := os.ReadFile(repository + "/config/prometheus/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rule monitoringv1.PrometheusRule
	if err := yaml.UnmarshalStrict(text, &rule); err != nil {
		t.Fatal(err)
	}
	return rule.Spec
}

// TestAlerts has Prometheus' own tool read the rules and play series to them.
func TestAlerts(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("no promtool here: hack/packages installs it")
	}
	rules, err := yaml.Marshal(alerts(t))
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("testdata/alerts/tests.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string][]byte{"rules.yaml": rules, "tests.yaml": tests} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"check", "rules", "rules.yaml"}, {"test", "rules", "tests.yaml"}} {
		command := exec.CommandContext(t.Context(), promtool, args...)
		command.Dir = dir
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	for _, a := range alerts(t).Groups[0].Rules {
		if !strings.Contains(string(tests), `alertname="`+a.Alert+`"`) {
			t.Errorf("no test sees %s fire", a.Alert)
		}
	}
}

var (
	family = regexp.MustCompile(`\bbroletto_[a-z_]+`)
	label  = regexp.MustCompile(`\$labels\.(\w+)`)
	row    = regexp.MustCompile("(?m)^\\| `(broletto_[a-z_]+)` \\| ([a-z_, ]*) \\|")
)

// TestAlertsCanBeActedOn holds that an alert says how bad it is, what it is, and where the runbook is; that it asks for series that there are,
// and speaks of labels that they have.
func TestAlertsCanBeActedOn(t *testing.T) {
	page := read(t, "docs/metrics.md")
	labels := map[string]string{}
	for _, r := range row.FindAllStringSubmatch(page, -1) {
		labels[r[1]] = r[2]
	}
	var runbooks []string
	for _, a := range alerts(t).Groups[0].Rules {
		if severity := a.Labels["severity"]; severity != "critical" && severity != "warning" {
			t.Errorf("%s: its severity is %q", a.Alert, severity)
		}
		summary, url := a.Annotations["summary"], a.Annotations["runbook_url"]
		if summary == "" || a.Annotations["description"] == "" || !strings.HasSuffix(url, "/docs/runbooks/"+a.Alert+".md") {
			t.Errorf("%s: lacks a summary, a description or its runbook: %v", a.Alert, a.Annotations)
		}
		runbooks = append(runbooks, a.Alert+".md")
		if text := read(t, "docs/runbooks/"+a.Alert+".md"); !strings.HasPrefix(text, "# "+a.Alert+"\n") {
			t.Errorf("%s: its runbook is another's", a.Alert)
		}
		if !strings.Contains(page, "["+a.Alert+"](runbooks/"+a.Alert+".md) | "+a.Labels["severity"]+" |") {
			t.Errorf("%s: docs/metrics.md does not list it", a.Alert)
		}
		for _, f := range family.FindAllString(a.Expr.String(), -1) {
			has, found := labels[f]
			if !found {
				t.Errorf("%s: docs/metrics.md does not know %s", a.Alert, f)
			}
			for _, l := range label.FindAllStringSubmatch(summary+a.Annotations["description"], -1) {
				if !slices.Contains(strings.Split(has, ", "), l[1]) {
					t.Errorf("%s: %s has no label %s", a.Alert, f, l[1])
				}
			}
		}
	}
	found, err := filepath.Glob(repository + "/docs/runbooks/Broletto*") // the others are of no alert
	if err != nil {
		t.Fatal(err)
	}
	for i := range found {
		found[i] = filepath.Base(found[i])
	}
	slices.Sort(runbooks)
	if diff := cmp.Diff(runbooks, found); diff != "" {
		t.Errorf("alerts (-) and runbooks (+):\n%s", diff)
	}
}

// TestSeries holds that docs/metrics.md lists what the operator's code names, and nothing else.
func TestSeries(t *testing.T) {
	named := map[string]bool{}
	literal := regexp.MustCompile(`"(broletto_[a-z_]+)"`)
	if err := filepath.WalkDir(repository+"/operator", func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, l := range literal.FindAllStringSubmatch(string(text), -1) {
			named[l[1]] = true
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, r := range row.FindAllStringSubmatch(read(t, "docs/metrics.md"), -1) {
		listed = append(listed, r[1])
	}
	slices.Sort(listed)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(named)), listed); diff != "" {
		t.Errorf("series of the code (-) and of docs/metrics.md (+):\n%s", diff)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
