package isolation

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/embedded"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// setting is what a case says beside its objects.
type setting struct {
	// Made are the cases of other capabilities whose objects stand in the cluster, as these build them.
	Made []string `json:"made"`
	// Missing are objects of theirs that do not, as Kind/namespace/name.
	Missing []string `json:"missing"`
	// Fallen are the admission policies that are not in force.
	Fallen []string `json:"fallen"`
	// Evidence shows what a check rests on that is met, too.
	Evidence bool `json:"evidence"`
}

// TestGolden judges the facts of every case. What a case writes of an object that is made already is a merge patch of it.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*/in.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		folder := filepath.Dir(file)
		t.Run(filepath.Base(folder), func(t *testing.T) {
			c, s := stand(t, file)
			golden(t, folder+"/out.txt", judged(t, c, s))
		})
	}
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

// stand makes the cluster of a case.
func stand(t *testing.T, file string) (c client.Client, s setting) {
	t.Helper()
	objects := map[string]*unstructured.Unstructured{}
	for _, o := range documents(t, file) {
		if o.GetKind() == "Context" {
			if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, &s, false); err != nil {
				t.Fatal(err)
			}
			for _, made := range s.Made {
				for _, o := range documents(t, "../"+strings.Replace(made, "/", "/testdata/", 1)+"/out.yaml") {
					objects[name(o)] = o
				}
			}
			continue
		}
		if of := objects[name(o)]; of != nil {
			o = merged(t, of, o)
		}
		objects[name(o)] = o
	}
	for _, missing := range s.Missing {
		if objects[missing] == nil {
			t.Fatalf("%s is not made", missing)
		}
		delete(objects, missing)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	builder := fake.NewClientBuilder().WithScheme(scheme)
	for _, o := range objects {
		builder.WithObjects(typed(t, scheme, o))
	}
	return builder.Build(), s
}

func documents(t *testing.T, file string) []*unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := embedded.Documents(text)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return objects
}

func name(o *unstructured.Unstructured) string {
	return o.GetKind() + "/" + o.GetNamespace() + "/" + o.GetName()
}

func merged(t *testing.T, o, patch *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	before, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	change, err := json.Marshal(patch.Object)
	if err != nil {
		t.Fatal(err)
	}
	after, err := jsonpatch.MergePatch(before, change)
	if err != nil {
		t.Fatal(err)
	}
	out := &unstructured.Unstructured{}
	if err := json.Unmarshal(after, &out.Object); err != nil {
		t.Fatal(err)
	}
	return out
}

func typed(t *testing.T, scheme *runtime.Scheme, o *unstructured.Unstructured) client.Object {
	t.Helper()
	out, err := scheme.New(o.GroupVersionKind())
	if err != nil {
		t.Fatal(err)
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, out, true); err != nil {
		t.Fatalf("%s: %v", name(o), err)
	}
	return out.(client.Object)
}

// judged is how every tenant stands to every check.
func judged(t *testing.T, c client.Reader, s setting) string {
	t.Helper()
	all, err := read(context.Background(), c, inForce(s.Fallen...))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, f := range all {
		fmt.Fprintf(&out, "tenant %s, %d namespaces\n", f.tenant.Name, len(f.places))
		for _, check := range Benchmark() {
			if !check.Live() {
				continue
			}
			v := check.verdict(f)
			fmt.Fprintf(&out, "%2d %-23s %s\n", check.Number, check.Name, map[bool]string{true: "met", false: "NOT MET"}[v.met])
			if s.Evidence || !v.met {
				fmt.Fprintf(&out, "     %s\n", strings.ReplaceAll(v.evidence, "; ", "\n     "))
			}
		}
	}
	return out.String()
}

// inForce are the policies that the checks ask for, all but some of them in force.
func inForce(fallen ...string) map[string]bool {
	out := map[string]bool{}
	for _, name := range []string{
		"broletto-claims", "broletto-default-pods", "broletto-endpoints", "broletto-guardrails", "broletto-namespaces", "broletto-networkpolicies", "broletto-services", "broletto-workloads",
	} {
		out[name] = !slices.Contains(fallen, name)
	}
	return out
}
