package service

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/config"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// cases are the folders of testdata: an offering and an instance in, all that is made of them out.
func cases(t *testing.T, test func(t *testing.T, o *v1alpha1.ServiceOffering, i *v1alpha1.ServiceInstance, folder string)) {
	t.Helper()
	files, err := filepath.Glob("testdata/*/in.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		offering, instance, found := strings.Cut(string(text), "\n---\n")
		o, i := &v1alpha1.ServiceOffering{}, &v1alpha1.ServiceInstance{}
		if !found || yaml.UnmarshalStrict([]byte(offering), o) != nil {
			t.Fatalf("%s: write an offering, ---, and an instance", file)
		}
		if err := yaml.UnmarshalStrict([]byte(instance), i); err != nil {
			t.Fatal(err)
		}
		i.UID = "11111111-2222-3333-4444-555555555555"
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) { test(t, o, i, filepath.Dir(file)) })
	}
}

// all is what an offering makes of an instance, as YAML, or why it does not.
func all(t *testing.T, o *v1alpha1.ServiceOffering, i *v1alpha1.ServiceInstance) string {
	t.Helper()
	seen, err := check(o)
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	values, wrong := seen.schema.Complete(i.Spec.Parameters)
	if len(wrong) > 0 {
		return "error: " + strings.Join(wrong, "; ") + "\n"
	}
	var made []any
	if o.Spec.Provisions.Stack != nil {
		s, err := stackOf(i, seen, values)
		if err != nil {
			t.Fatal(err)
		}
		s.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Stack"}
		made = append(made, s)
	}
	objects, err := objectsOf(i, seen, values)
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	for _, object := range objects {
		made = append(made, object.Object)
	}
	var out []string
	for _, m := range made {
		text, err := yaml.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(text))
	}
	return strings.Join(out, "---\n")
}

func TestGolden(t *testing.T) {
	cases(t, func(t *testing.T, o *v1alpha1.ServiceOffering, i *v1alpha1.ServiceInstance, folder string) {
		got := all(t, o, i)
		file := filepath.Join(folder, "out.yaml")
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
			t.Errorf("(-want +got):\n%s", diff)
		}
		if all(t, o, i) != got {
			t.Error("the same input makes something else the second time")
		}
	})
}

// TestWritable: what an offering may make is what an editor of a workspace may write, no more and no less.
func TestWritable(t *testing.T) {
	text, err := config.RBAC.ReadFile("rbac/audiences.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		var role rbacv1.ClusterRole
		if err := yaml.Unmarshal([]byte(document), &role); err != nil {
			t.Fatal(err)
		}
		for _, rule := range role.Rules {
			for _, resource := range rule.Resources {
				if role.Name == "broletto-workspace-edit" && slices.Contains(rule.Verbs, "patch") && slices.Contains(rule.Verbs, "create") {
					want = append(want, rule.APIGroups[0]+"/"+resource)
				}
			}
		}
	}
	var got []string
	for kind, resource := range writable {
		got = append(got, kind.Group+"/"+resource)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-editor +offering):\n%s", diff)
	}
}

// TestRefuse: what no offering makes, and what the message says.
func TestRefuse(t *testing.T) {
	for text, want := range map[string]string{
		`{apiVersion: v1, kind: Namespace, metadata: {name: x}}`:                                         "v1 Namespace is not what a workspace's editor may write",
		`{apiVersion: v1, kind: ServiceAccount, metadata: {name: x}}`:                                    "v1 ServiceAccount is not what",
		`{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: x}}`:             "ClusterRole is not what",
		`{apiVersion: extensions/v1, kind: Deployment, metadata: {name: x}}`:                             "extensions/v1 Deployment is not what",
		`{apiVersion: v1, kind: ConfigMap}`:                                                              "has no metadata",
		`{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: kube-system}}`:                 "metadata.namespace",
		`{apiVersion: v1, kind: ConfigMap, metadata: {name: x, finalizers: [a/b]}}`:                      "metadata.finalizers",
		`{apiVersion: v1, kind: ConfigMap, metadata: {name: X}}`:                                         `has the name "X"`,
		`{apiVersion: v1, kind: ConfigMap, metadata: {name: "${b}"}}`:                                    `has the name ""`,
		`{apiVersion: v1, kind: ConfigMap, metadata: {name: x, labels: {broletto.dev/owner: x}}}`:        "broletto.dev/owner in its labels",
		`{apiVersion: v1, kind: ConfigMap, metadata: {name: x, annotations: {x.broletto.dev/y: x}}}`:     "x.broletto.dev/y in its annotations",
		`{apiVersion: v1, kind: Pod, metadata: {name: x}, status: {phase: Running}}`:                     "has a status",
		`{apiVersion: v1, kind: Secret, metadata: {name: x}, type: kubernetes.io/service-account-token}`: "would hold the token of an account",
		`{apiVersion: v1, kind: Secret, metadata: {name: x}, type: "${a}/service-account-token"}`:        "would hold the token of an account",
		`{apiVersion: v1, kind: "${a}", metadata: {name: x}}`:                                            "kind is no plain text",
		`{apiVersion: v1, kind: ConfigMap, metadata: {name: x}, data: {x: "${c}"}}`:                      `"${c}" is no parameter: the service has a, b; write $${`,
		`{apiVersion: v1, kind: ConfigMap, metadata: {name: x}, data: {x: "${a"}}`:                       `"${a" is no parameter`,
		`text`: "no object",
		`{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: {template: {metadata: {labels: {broletto.dev/run: x}}}}}`: "broletto.dev/run in its labels",
	} {
		raw, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		s := &Schema{Rules: []v1alpha1.ParameterRule{{Name: "a", Type: "string"}, {Name: "b", Type: "string"}}}
		_, err = Render([]apiextensionsv1.JSON{{Raw: raw}}, s, Values{"a": "kubernetes.io"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// FuzzRender: whatever a parameter holds, it changes neither what an object is nor where it is.
func FuzzRender(f *testing.F) {
	for _, seed := range []string{"albo", "${a}", "\"}}", "a\nkind: Secret", "$${", "../x", "kube-system"} {
		f.Add(seed)
	}
	template := []apiextensionsv1.JSON{{Raw: []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","labels":{"a":"${a}"}},"data":{"x":"${a}","y":"<${a}> $${a}"}}`)}}
	s := &Schema{Rules: []v1alpha1.ParameterRule{{Name: "a", Type: "string"}}}
	f.Fuzz(func(t *testing.T, a string) {
		out, err := Render(template, s, Values{"a": a})
		if err != nil {
			t.Fatal(err)
		}
		data := out[0].Object["data"].(map[string]any)
		if refOf(out[0]).String() != "v1 ConfigMap/x" || out[0].GetNamespace() != "" || data["x"] != a || data["y"] != "<"+a+"> ${a}" || len(out[0].Object) != 4 {
			t.Errorf("%q made %v", a, out[0].Object)
		}
	})
}
