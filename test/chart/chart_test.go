// Package chart proves the Helm chart and the kustomizations: what they render, that both install the same, and that a real
// control plane accepts it and lets the operator work with no right but those that it was given.
package chart

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/broletto/broletto/hack/chart/generated"
	"github.com/broletto/broletto/operator/embedded"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	repository = "../.."
	folder     = repository + "/charts/broletto"

	release = "broletto"
	// system is where config/default installs to.
	system = "broletto-system"
)

// kubernetes is the version that we render and lint for.
var kubernetes = func() *common.KubeVersion {
	v, err := common.ParseKubeVersion("v1.36.3")
	if err != nil {
		panic(err)
	}
	return v
}()

// rendered is what a release consists of: text by template.
type rendered map[string]string

// render does what "helm template" does. A value that a template names and nobody gives is an error.
func render(t *testing.T, namespace string, values map[string]any) rendered {
	t.Helper()
	chart, err := loader.Load(folder)
	if err != nil {
		t.Fatal(err)
	}
	capabilities := common.DefaultCapabilities.Copy()
	capabilities.KubeVersion = *kubernetes
	capabilities.APIVersions = append(capabilities.APIVersions, "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy")
	options := common.ReleaseOptions{Name: release, Namespace: namespace, IsInstall: true, Revision: 1}
	all, err := util.ToRenderValues(chart, values, options, capabilities)
	if err != nil {
		t.Fatal(err)
	}
	texts, err := engine.Engine{Strict: true}.RenderWithContext(t.Context(), chart, all)
	if err != nil {
		t.Fatal(err)
	}
	out := rendered{}
	for name, text := range texts {
		out[strings.TrimPrefix(name, release+"/templates/")] = text
	}
	return out
}

// manifest is all objects as one text, in the order of their templates.
func (r rendered) manifest() string {
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(r)) {
		if strings.HasSuffix(name, ".yaml") && strings.TrimSpace(r[name]) != "" {
			out.WriteString("---\n" + strings.TrimPrefix(r[name], "---\n"))
		}
	}
	return out.String()
}

func objects(t *testing.T, manifest string) []*unstructured.Unstructured {
	t.Helper()
	out, err := embedded.Documents([]byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func readValues(t *testing.T, path string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.UnmarshalStrict(text, &values); err != nil {
		t.Fatal(err)
	}
	return values
}

func cases(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob("testdata/*/values.yaml")
	if err != nil || len(found) == 0 {
		t.Fatalf("no golden cases: %v", err)
	}
	return found
}

func TestGenerated(t *testing.T) {
	files, err := generated.Files(os.DirFS(repository))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(repository, name))
		if err != nil {
			t.Error(err)
		}
		if string(got) != want {
			t.Errorf("%s differs from its sources; run 'make generate'", name)
		}
	}
}

func TestLint(t *testing.T) {
	for _, path := range cases(t) {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			result := lint.RunAll(folder, readValues(t, path), system, lint.WithKubeVersion(kubernetes))
			for _, m := range result.Messages {
				if m.Severity >= support.WarningSev {
					t.Error(m.Error())
				}
			}
		})
	}
}

func TestKubernetesVersions(t *testing.T) {
	chart, err := loader.Load(folder)
	if err != nil {
		t.Fatal(err)
	}
	for version, want := range map[string]bool{
		"v1.33.9": false, "v1.34.0": true, "v1.34.1-eks-1234567": true, "v1.36.3+k3s1": true, "v1.37.0-rc.1": true,
	} {
		if got := chartutil.IsCompatibleRange(chart.Metadata.KubeVersion, version); got != want {
			t.Errorf("installs on Kubernetes %s: %t, want %t", version, got, want)
		}
	}
}

func TestGolden(t *testing.T) {
	for _, path := range cases(t) {
		dir := filepath.Dir(path)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			r := render(t, system, readValues(t, path))
			golden(t, filepath.Join(dir, "out.yaml"), abridged(t, r.manifest()))
			golden(t, filepath.Join(dir, "notes.txt"), r["NOTES.txt"])
		})
	}
}

// abridged leaves out what is generated: other tests compare it with its source, and here it would change with every new kind. So
// all definitions together are one object.
func abridged(t *testing.T, manifest string) string {
	t.Helper()
	var texts []string
	for _, o := range objects(t, manifest) {
		switch o.GetKind() {
		case "CustomResourceDefinition":
			delete(o.Object, "spec")
			o.SetName("*.broletto.dev")
			unstructured.RemoveNestedField(o.Object, "metadata", "annotations", "controller-gen.kubebuilder.io/version")
		case "ClusterRole", "Role":
			delete(o.Object, "rules")
		}
		text, err := yaml.Marshal(o.Object)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, "---\n"+string(text))
	}
	return strings.Join(slices.Compact(texts), "")
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run the test with -update", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got); if this is meant, run the test with -update:\n%s", path, diff)
	}
}

// TestRights holds what no rule that we ship may say; that they are enough is shown on a cluster.
func TestRights(t *testing.T) {
	forbidden := []string{"*", "escalate"}
	for _, o := range objects(t, render(t, system, nil)["rbac.yaml"]) {
		rules, _, err := unstructured.NestedSlice(o.Object, "rules")
		if err != nil {
			t.Fatal(err)
		}
		for _, rule := range rules {
			field := func(name string) []string {
				values, _, _ := unstructured.NestedStringSlice(rule.(map[string]any), name)
				return values
			}
			all := slices.Concat(field("verbs"), field("resources"), field("apiGroups"), field("nonResourceURLs"))
			if slices.ContainsFunc(all, func(s string) bool { return slices.Contains(forbidden, s) }) {
				t.Errorf("%s has a rule that gives too much: %v", identity(o), rule)
			}
			if slices.Contains(field("verbs"), "bind") && len(field("resourceNames")) == 0 {
				t.Errorf("%s may bind any role: %v", identity(o), rule)
			}
			// As the accounts by which a workspace's objects are written, and as nobody else.
			if slices.Contains(field("verbs"), "impersonate") && !slices.Equal(field("resourceNames"), []string{"broletto-backup", "broletto-service"}) {
				t.Errorf("%s may act as anybody: %v", identity(o), rule)
			}
			// It reads what a stack names, and writes outputs: each by its name. It never sees which Secrets there are.
			if identity(o) == "ClusterRole "+account && slices.Contains(field("resources"), "secrets") &&
				slices.ContainsFunc(field("verbs"), func(verb string) bool { return verb == "list" || verb == "watch" || verb == "deletecollection" }) {
				t.Errorf("the operator may list every Secret of the cluster: %v", rule)
			}
		}
		if aggregated := o.Object["aggregationRule"]; aggregated != nil && identity(o) != "ClusterRole broletto-backup" {
			t.Errorf("%s takes rules from elsewhere", identity(o))
		}
		for label := range o.GetLabels() {
			if strings.HasPrefix(label, "rbac.authorization.k8s.io/aggregate-to-") {
				t.Errorf("%s gives its rules to built-in roles by label %s", identity(o), label)
			}
		}
	}
}

func TestEveryCaseIsWellFormed(t *testing.T) {
	for _, path := range cases(t) {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			r := render(t, "42", readValues(t, path)) // all digits: what is not quoted is not text
			for name, text := range r {
				for document := range strings.SplitSeq(text, "\n---\n") {
					var any map[string]any
					if strings.HasSuffix(name, ".yaml") && yaml.UnmarshalStrict([]byte(document), &any) != nil {
						t.Errorf("%s: a key stands twice or the YAML is broken:\n%s", name, document)
					}
				}
			}
			seen := map[string]bool{}
			for _, o := range objects(t, r.manifest()) {
				wellFormed(t, o, seen)
			}
		})
	}
}

func wellFormed(t *testing.T, o *unstructured.Unstructured, seen map[string]bool) {
	t.Helper()
	if id := identity(o); seen[id] {
		t.Errorf("%s is there twice", id)
	} else {
		seen[id] = true
	}
	for label, want := range map[string]string{
		"app.kubernetes.io/name": "broletto", "app.kubernetes.io/instance": release, "app.kubernetes.io/managed-by": "Helm",
	} {
		if got := o.GetLabels()[label]; got != want {
			t.Errorf("%s: label %s is %q, want %q", identity(o), label, got, want)
		}
	}
	if text, _ := yaml.Marshal(o.Object); o.GetKind() != "CustomResourceDefinition" && strings.Contains(string(text), system) {
		t.Errorf("%s names namespace %s, which is not the release's:\n%s", identity(o), system, text)
	}
}

// identity names an object among those of an installation.
func identity(o *unstructured.Unstructured) string {
	return o.GetKind() + " " + strings.TrimPrefix(o.GetNamespace()+"/"+o.GetName(), "/")
}
