package workspace

import (
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/broletto/broletto/config"
	"github.com/broletto/broletto/operator/apply"
	"github.com/broletto/broletto/operator/embedded"
)

var update = flag.Bool("update", false, "rewrite the golden files")

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

// eachCase runs a test over every folder of testdata that has an in.yaml.
func eachCase(t *testing.T, test func(t *testing.T, folder string)) {
	t.Helper()
	files, err := filepath.Glob("testdata/*/in.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		folder := filepath.Dir(file)
		t.Run(filepath.Base(folder), func(t *testing.T) { test(t, folder) })
	}
}

// documents are those of a case. One of kind Context may name a sample, whose documents of our kinds come with it.
func documents(t *testing.T, folder string, context any) (out []*unstructured.Unstructured) {
	t.Helper()
	own := parse(t, os.DirFS(folder), "in.yaml")
	for _, o := range own {
		if o.GetKind() != "Context" {
			out = append(out, o)
			continue
		}
		if sample, _, _ := unstructured.NestedString(o.Object, "sample"); sample != "" {
			files, err := fs.Glob(config.Samples, "samples/"+sample+"/*.yaml")
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				out = append(out, parse(t, config.Samples, file)...)
			}
		}
		decode(t, o.Object, context)
	}
	return out
}

func parse(t *testing.T, files fs.FS, name string) []*unstructured.Unstructured {
	t.Helper()
	text, err := fs.ReadFile(files, name)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := embedded.Documents(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return objects
}

// defaulted is an object as the API server would store it: completed from the schema that users install.
func defaulted[T any](t *testing.T, o *unstructured.Unstructured) *T {
	t.Helper()
	structural := schemas[o.GetKind()]
	if structural == nil {
		structural = schemaOf(t, o.GetKind())
		schemas[o.GetKind()] = structural
	}
	defaulting.Default(o.Object, structural)
	out := new(T)
	decode(t, o.Object, out)
	return out
}

var schemas = map[string]*schema.Structural{}

func schemaOf(t *testing.T, kind string) *schema.Structural {
	t.Helper()
	plural := map[string]string{"Consortium": "consortia", "Tenant": "tenants", "Workspace": "workspaces"}[kind]
	text, err := config.CRDs.ReadFile("crd/broletto.dev_" + plural + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(text, &crd); err != nil {
		t.Fatal(err)
	}
	var internal apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(crd.Spec.Versions[0].Schema.OpenAPIV3Schema, &internal, nil); err != nil {
		t.Fatal(err)
	}
	structural, err := schema.NewStructural(&internal)
	if err != nil {
		t.Fatal(err)
	}
	return structural
}

// decode reads an object strictly: a field that nobody knows is a mistake in the case.
func decode(t *testing.T, from map[string]any, into any) {
	t.Helper()
	text, err := json.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// manifests is a set as YAML, the root first, in the order in which it is made.
func manifests(t *testing.T, set apply.Set) string {
	t.Helper()
	var out []string
	for _, o := range append([]apply.Object{set.Root}, set.Objects...) {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			t.Fatal(err)
		}
		text, err := yaml.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(text))
	}
	return strings.Join(out, "---\n")
}
