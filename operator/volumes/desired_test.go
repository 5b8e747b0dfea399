package volumes

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden is a case: what goes in.
type golden struct {
	Claims  []corev1.PersistentVolumeClaim
	Pods    []corev1.Pod
	Task    Task
	Context Context
	// Driver and Classes choose the class of a snapshot of the first claim, which is Taken.
	Driver  string
	Classes []unstructured.Unstructured
	Taken   unstructured.Unstructured
}

// TestDesired compares what is made for a mover, and what was found of the claims, with the files of its case.
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
			var got bytes.Buffer
			show := func(what any) {
				text, err := yaml.Marshal(what)
				if err != nil {
					t.Fatal(err)
				}
				got.WriteString("---\n")
				got.Write(text)
			}
			if g.Driver != "" {
				show(snapshotOf(g.Task, classFor(g.Driver, g.Classes)))
				show(copyOf(g.Task, &g.Claims[0], &g.Taken))
			} else if g.Claims != nil {
				show(claimsOf(g.Claims, g.Pods))
			}
			if g.Task.Claim != "" {
				for _, o := range append(Rights(g.Task, g.Context), Job(g.Task, g.Context)) {
					show(o)
				}
			}
			golden := filepath.Join(filepath.Dir(file), "out.yaml")
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", golden, diff)
			}
		})
	}
}
