package stack

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/broletto/broletto/api/v1alpha1"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden is a case: what goes in.
type golden struct {
	Stack       *v1alpha1.Stack
	Run         *v1alpha1.StackRun
	Plan        *v1alpha1.StackRun
	Inputs      map[string]string
	Secret      []string
	Credentials map[string]string
	Context     Context
	Rules       Rules
}

func (g golden) material() material {
	m := material{secret: g.Secret, inputs: map[string]json.RawMessage{}, credentials: map[string][]byte{}}
	for name, value := range g.Inputs {
		m.inputs[name] = json.RawMessage(value)
	}
	for name, value := range g.Credentials {
		m.credentials[name] = []byte(value)
	}
	return m
}

// TestDesired compares what is made for a run with the files of its case. Every object carries our label, and the order goes to nobody else.
func TestDesired(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*/in.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			in, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var g golden
			if err := yaml.UnmarshalStrict(in, &g); err != nil {
				t.Fatal(err)
			}
			got := manifests(t, g)
			if !bytes.Equal([]byte(got), []byte(manifests(t, g))) {
				t.Error("the same input gives other bytes")
			}
			out := filepath.Join(filepath.Dir(file), "out.yaml")
			if *update {
				if err := os.WriteFile(out, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", out, diff)
			}
		})
	}
}

func manifests(t *testing.T, g golden) string {
	t.Helper()
	var out []string
	for _, o := range append(Rights(g.Stack, g.Context), Job(g.Stack, g.Run, g.Context)) {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			t.Fatal(err)
		}
		u := unstructured.Unstructured{Object: content}
		if u.GetLabels()[v1alpha1.LabelOwner] != string(g.Stack.UID) || u.GetNamespace() != g.Stack.TargetNamespace() {
			t.Errorf("%s %s is not the stack's", u.GetKind(), u.GetName())
		}
		text, err := yaml.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(text))
	}
	order, err := yaml.Marshal(Order(g.Stack, g.Run, g.Plan, g.material(), g.Rules))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(append(out, "# the order\n"+string(order)), "---\n")
}
