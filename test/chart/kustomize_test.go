package chart

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

func build(t *testing.T, folder string) string {
	t.Helper()
	return kustomize(t, repository+"/config/"+folder)
}

func kustomize(t *testing.T, path string) string {
	t.Helper()
	objects, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := objects.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What only one of the two ways to install has, and should.
var (
	// Helm makes the namespace, or somebody did before.
	onlyKustomize = []string{"Namespace " + system}
	// Helm finds its objects by the one, and people by the other.
	onlyChartLabels = []string{"app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart"}
	// Nothing but Helm deletes a definition because it is no longer in a release.
	onlyChartAnnotations = []string{"helm.sh/resource-policy"}
)

func TestKustomizeAndChartInstallTheSame(t *testing.T) {
	for name, test := range map[string]struct {
		folders []string
		values  map[string]any
	}{
		"Default": {folders: []string{"default"}},
		"Monitored": {folders: []string{"default", "prometheus"}, values: map[string]any{"metrics": map[string]any{
			"serviceMonitor": map[string]any{"enabled": true}, "prometheusRule": map[string]any{"enabled": true},
		}}},
		"Definition": {folders: []string{"default"}, values: map[string]any{"crd": map[string]any{"keep": false}}},
	} {
		t.Run(name, func(t *testing.T) {
			want := map[string]map[string]any{}
			for _, folder := range test.folders {
				for _, o := range objects(t, build(t, folder)) {
					want[identity(o)] = o.Object
				}
			}
			for _, id := range onlyKustomize {
				delete(want, id)
			}
			got := map[string]map[string]any{}
			for _, o := range objects(t, render(t, system, test.values).manifest()) {
				strip(o)
				got[identity(o)] = o.Object
			}
			if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
				t.Fatalf("kustomize (-) and chart (+) install other objects:\n%s", diff)
			}
			for id := range want {
				diff := cmp.Diff(want[id], got[id])
				if strings.HasPrefix(id, "CustomResourceDefinition ") && diff != "" {
					diff = "run 'make generate'" // the whole would be thousands of lines
				}
				if diff != "" {
					t.Errorf("%s: kustomize (-) and chart (+) differ:\n%s", id, diff)
				}
			}
		})
	}
}

// kubectl apply -k sends objects in the order in which they come, and stops for none that is too early.
func TestNamespaceComesFirst(t *testing.T) {
	there := false
	for _, o := range objects(t, build(t, "default")) {
		if o.GetKind() == "Namespace" {
			there = true
		}
		if o.GetNamespace() != "" && !there {
			t.Errorf("%s comes before its namespace", identity(o))
		}
	}
}

func strip(o *unstructured.Unstructured) {
	for _, label := range onlyChartLabels {
		unstructured.RemoveNestedField(o.Object, "metadata", "labels", label)
	}
	for _, annotation := range onlyChartAnnotations {
		unstructured.RemoveNestedField(o.Object, "metadata", "annotations", annotation)
	}
}

// An overlay says where the operator is to be, in one line, and which image it is to run.
func TestOverlay(t *testing.T) {
	image := ""
	for _, o := range objects(t, kustomize(t, "testdata/overlay")) {
		text, err := yaml.Marshal(o.Object)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(o.GetKind(), "ValidatingAdmissionPolicy") {
			continue // they name the operator's account in their expressions, and an operator that has another name puts it there
		}
		if o.GetKind() != "CustomResourceDefinition" && strings.Contains(string(text), system) {
			t.Errorf("%s still names namespace %s:\n%s", identity(o), system, text)
		}
		if o.GetKind() == "Deployment" {
			image = template(t, []*unstructured.Unstructured{o}).Spec.Containers[0].Image
		}
	}
	if want := "registry.example/broletto:1.2.3"; image != want {
		t.Errorf("the image is %q, want %q", image, want)
	}
}

// The samples are applied by folder, too.
func TestSamplesBuild(t *testing.T) {
	kinds := map[string]int{}
	for _, o := range objects(t, build(t, "samples")) {
		kinds[o.GetKind()]++
	}
	if kinds["Consortium"] != 2 || kinds["Tenant"] < 2 || kinds["Workspace"] < 2 {
		t.Errorf("config/samples builds to %v, want two consortia with tenants and workspaces", kinds)
	}
}
