package v1alpha1_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/broletto/broletto/config"
	"github.com/broletto/broletto/test/cluster"
)

// TestSamplesAreAccepted applies each document of the samples as it stands, any number of times. The first time after the
// creation stores the default of status, which the API server has only added in its answers before; then nothing changes.
func TestSamplesAreAccepted(t *testing.T) {
	files, err := fs.Glob(config.Samples, "samples/*/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	c := cluster.Client(t, cluster.Admin())
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			text, err := config.Samples.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, document := range documents(t, text) {
				sample := apply(t, c, document)
				t.Cleanup(func() { _ = cluster.Discard(context.Background(), c, sample) }) // other tests use the names too
				settled := apply(t, c, document)
				if again := apply(t, c, document); settled.GetResourceVersion() != again.GetResourceVersion() {
					t.Errorf("%s %s: applying it again changes it", again.GetKind(), again.GetName())
				}
			}
		})
	}
}

// TestDocumentationIsAccepted asks the API server about every YAML block of the reference, as a dry run.
func TestDocumentationIsAccepted(t *testing.T) {
	pages, err := filepath.Glob("../../docs/spec/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	block := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")
	c := client.NewDryRunClient(cluster.Client(t, cluster.Admin()))
	for _, page := range pages {
		t.Run(filepath.Base(page), func(t *testing.T) {
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			blocks := block.FindAllSubmatch(text, -1)
			if len(blocks) < 2 {
				t.Errorf("%d examples, want a short one and a full one", len(blocks))
			}
			for _, found := range blocks {
				for _, document := range documents(t, found[1]) {
					apply(t, c, document)
				}
			}
		})
	}
}

// documents splits YAML.
func documents(t *testing.T, text []byte) [][]byte {
	t.Helper()
	all, err := cluster.Documents(text)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// apply applies a document to the home namespace that its tenant would have.
func apply(t *testing.T, c client.Client, document []byte) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(document, o); err != nil {
		t.Fatal(err)
	}
	if name := o.GetNamespace(); name != "" {
		home := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if err := cluster.Client(t, cluster.Admin()).Create(t.Context(), home); err != nil && !errors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	patch := client.RawPatch(types.ApplyYAMLPatchType, document)
	if err := client.WithFieldValidation(c, "Strict").Patch(t.Context(), o, patch, client.FieldOwner("docs")); err != nil {
		t.Errorf("%v\n%s", err, document)
	}
	return o
}
