package policy

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/client-go/kubernetes/scheme"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden renders the rules of node n1 in every case: testdata/cluster.yaml, changed by in.yaml.
func TestGolden(t *testing.T) {
	for _, folder := range cases(t) {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			got := Rules(state(t, "n1", read(t, "testdata/cluster.yaml"), read(t, folder+"/in.yaml")))
			file := folder + "/out.nft"
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(read(t, file), got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", file, diff)
			}
		})
	}
}

// TestOrderMakesNoDifference holds because rules are written again only when their text differs, and informers list in no order.
func TestOrderMakesNoDifference(t *testing.T) {
	for _, folder := range cases(t) {
		s := state(t, "n1", read(t, "testdata/cluster.yaml"), read(t, folder+"/in.yaml"))
		want := Rules(s)
		slices.Reverse(s.Pods)
		slices.Reverse(s.Namespaces)
		slices.Reverse(s.Policies)
		if diff := cmp.Diff(want, Rules(s)); diff != "" {
			t.Errorf("%s in reverse (-want +got):\n%s", folder, diff)
		}
	}
}

func cases(t *testing.T) (folders []string) {
	t.Helper()
	files, err := filepath.Glob("testdata/*/in.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		folders = append(folders, filepath.Dir(file))
	}
	return folders
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// state is the one that texts of YAML documents describe, for a node. A later document replaces an earlier one of the same name.
func state(t *testing.T, node string, texts ...string) State {
	t.Helper()
	strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme.Scheme, scheme.Scheme, json.SerializerOptions{Yaml: true, Strict: true})
	objects := map[string]metav1.Object{}
	for document := range strings.SplitSeq(strings.Join(texts, "\n---\n"), "\n---\n") {
		if blank(document) {
			continue
		}
		o, kind, err := strict.Decode([]byte(document), nil, nil)
		if err != nil {
			t.Fatalf("%v:\n%s", err, document)
		}
		m := o.(metav1.Object)
		objects[fmt.Sprintf("%s/%s/%s", kind.Kind, m.GetNamespace(), m.GetName())] = m
	}
	s := State{Node: node}
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.Node:
			if o.Name == node {
				s.PodCIDR = podCIDR(o)
			}
		case *corev1.Pod:
			s.Pods = append(s.Pods, o)
		case *corev1.Namespace:
			s.Namespaces = append(s.Namespaces, o)
		case *networkingv1.NetworkPolicy:
			s.Policies = append(s.Policies, o)
		default:
			t.Fatalf("a %T is no part of a state", o)
		}
	}
	return s
}

// blank says whether a document has nothing but comments.
func blank(document string) bool {
	for line := range bytes.Lines([]byte(document)) {
		if text := bytes.TrimSpace(line); len(text) > 0 && text[0] != '#' {
			return false
		}
	}
	return true
}
