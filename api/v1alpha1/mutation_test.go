package v1alpha1_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/test/cluster"
)

var mutate = flag.Bool("mutate", false, "break every rule of the schemas, one at a time, and see that a row of the tables notices; takes minutes")

// TestEveryRuleHasARow breaks the schemas on the API server, one rule at a time: without it, and where that can be said
// narrower by one. A mutant that no row notices is a rule that somebody can lose.
func TestEveryRuleHasARow(t *testing.T) {
	if !*mutate {
		t.Skip("takes minutes; run with -mutate")
	}
	for kind, k := range kinds {
		t.Run(kind, func(t *testing.T) { k.mutate(t) })
	}
}

// A mutant is a schema with one rule broken.
type mutant struct {
	name   string // where the rule is, and what was done to it
	about  string // the field that it is about
	schema map[string]any
}

func (k kindOf) mutate(t *testing.T) {
	c := cluster.Client(t, cluster.Admin())
	whole := crd(t, c, k.resource)
	t.Cleanup(func() { _ = k.replace(t, c, schemaOf(t, whole), "") })
	rows := k.rows()
	for name, r := range rows { // stores what updates need, while the schema is whole
		if complaint := k.judge(t, r); complaint != "" {
			t.Fatalf("%s: %s", name, complaint)
		}
	}
	all := mutants(schemaOf(t, whole))
	for i, m := range all {
		noticed, err := k.notices(t, c, m, fmt.Sprint("mutant ", i), rows)
		if err != nil {
			t.Fatal(err)
		}
		if !noticed {
			t.Errorf("no row notices %s", m.name)
		}
	}
	t.Logf("%d mutants", len(all))
}

// notices tells whether any row fails on a mutant, or the API server refuses the mutant itself.
func (k kindOf) notices(t *testing.T, c client.Client, m mutant, mark string, rows map[string]row) (bool, error) {
	t.Helper()
	if err := k.replace(t, c, m.schema, mark); errors.IsInvalid(err) {
		return true, nil // such as one whose rules have become too dear
	} else if err != nil {
		return false, err
	}
	names := slices.SortedFunc(maps.Keys(rows), func(a, b string) int {
		return strings.Compare(rank(m, rows[a])+a, rank(m, rows[b])+b)
	})
	// The API server takes a moment to work by the new schema. Its warning is then the new one.
	cluster.Eventually(t, 20*time.Second, mark+" is served", func() error {
		for _, warning := range restClient().Get().Resource(k.resource).Param("limit", "1").Do(t.Context()).Warnings() {
			if warning.Text == mark {
				return nil
			}
		}
		return fmt.Errorf("no warning")
	})
	for _, name := range names {
		if k.judge(t, rows[name]) != "" {
			return true, nil
		}
	}
	return false, nil
}

// rank puts the rows first that edit the field in question.
func rank(m mutant, r row) string {
	if strings.Contains(string(r.edit), "/"+m.about) {
		return "0"
	}
	return "1"
}

func crd(t *testing.T, c client.Client, resource string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	if err := c.Get(context.WithoutCancel(t.Context()), client.ObjectKey{Name: resource + ".broletto.dev"}, o); err != nil {
		t.Fatal(err)
	}
	return o
}

func schemaOf(t *testing.T, crd *unstructured.Unstructured) map[string]any {
	t.Helper()
	versions, _, err := unstructured.NestedSlice(crd.Object, "spec", "versions")
	if err != nil || len(versions) != 1 {
		t.Fatalf("one version expected: %v %v", versions, err)
	}
	root, _, err := unstructured.NestedMap(versions[0].(map[string]any), "schema", "openAPIV3Schema")
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// replace gives the kind another schema, and marks it by the warning that comes with every answer.
func (k kindOf) replace(t *testing.T, c client.Client, root map[string]any, mark string) error {
	t.Helper()
	o := crd(t, c, k.resource)
	versions, _, _ := unstructured.NestedSlice(o.Object, "spec", "versions")
	version := versions[0].(map[string]any)
	delete(version, "deprecationWarning")
	if version["deprecated"] = mark != ""; mark != "" {
		version["deprecationWarning"] = mark
	}
	if err := unstructured.SetNestedMap(versions[0].(map[string]any), root, "schema", "openAPIV3Schema"); err != nil {
		t.Fatal(err)
	}
	if err := unstructured.SetNestedSlice(o.Object, versions, "spec", "versions"); err != nil {
		t.Fatal(err)
	}
	return c.Update(context.WithoutCancel(t.Context()), o)
}

// mutants are all schemas with one rule broken.
func mutants(root map[string]any) []mutant {
	var out []mutant
	walk("", root, func(at string, node map[string]any) {
		breakRule := func(what string, broken func(node map[string]any)) {
			copied := runtime.DeepCopyJSON(root)
			walk("", copied, func(there string, node map[string]any) {
				if there == at {
					broken(node)
				}
			})
			out = append(out, mutant{name: at + " " + what, about: strings.TrimSuffix(path.Base(at), "[]"), schema: copied})
		}
		bounds(node, breakRule)
		lists(node, breakRule)
	})
	return out
}

// bounds breaks what stands alone: it is dropped and, if it is a number, narrowed.
func bounds(node map[string]any, breakRule func(string, func(map[string]any))) {
	for keyword, narrower := range map[string]float64{
		"maxLength": -1, "minLength": 1, "maximum": -1, "minimum": 1, "maxItems": -1, "minItems": 1, "maxProperties": -1, "minProperties": 1,
		"pattern": 0, "format": 0, "default": 0,
	} {
		value, has := node[keyword]
		if !has || value == "int32" || value == "int64" { // those are of Go, whose numbers are bounded anyway
			continue
		}
		breakRule("without "+keyword, func(node map[string]any) { delete(node, keyword) })
		if narrower != 0 {
			breakRule("with narrower "+keyword, func(node map[string]any) {
				var number float64
				text, _ := json.Marshal(value)
				_ = json.Unmarshal(text, &number)
				node[keyword] = number + narrower
			})
		}
	}
	if node["x-kubernetes-list-type"] == "set" {
		breakRule("not as a set", func(node map[string]any) { node["x-kubernetes-list-type"] = "atomic" })
	}
}

// lists breaks what consists of several rules: each is dropped.
func lists(node map[string]any, breakRule func(string, func(map[string]any))) {
	for _, keyword := range []string{"enum", "required", "x-kubernetes-validations", "x-kubernetes-list-map-keys"} {
		items, _ := node[keyword].([]any)
		for i, item := range items {
			what := fmt.Sprint(item)
			if rule, isRule := item.(map[string]any); isRule {
				what = fmt.Sprint(rule["rule"])
			}
			breakRule("without "+keyword+" "+what, func(node map[string]any) {
				if len(items) > 1 {
					node[keyword] = slices.Delete(slices.Clone(items), i, i+1)
					return
				}
				delete(node, keyword)
				if keyword == "x-kubernetes-list-map-keys" {
					node["x-kubernetes-list-type"] = "atomic"
				}
			})
		}
		if keyword == "enum" && len(items) > 0 {
			breakRule("without enum", func(node map[string]any) { delete(node, "enum") })
		}
	}
}

// walk visits a schema and all below it, but not what Kubernetes itself defines.
func walk(at string, node map[string]any, visit func(at string, node map[string]any)) {
	if upstream(at) {
		return
	}
	visit(at, node)
	properties, _ := node["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if at == "" && (name == "metadata" || name == "apiVersion" || name == "kind") {
			continue
		}
		walk(at+"/"+name, properties[name].(map[string]any), visit)
	}
	if items, has := node["items"].(map[string]any); has {
		walk(at+"[]", items, visit)
	}
	if values, has := node["additionalProperties"].(map[string]any); has {
		walk(at+"{}", values, visit)
	}
}

// upstream names the types of Kubernetes that stand in our schemas: their inner fields are as Kubernetes has them.
func upstream(at string) bool {
	switch at {
	case "/status/conditions[]", // metav1.Condition
		"/spec/controls/matchLabels", "/spec/controls/matchExpressions", // metav1.LabelSelector
		"/spec/selector/matchLabels", "/spec/selector/matchExpressions", "/spec/hooks[]/podSelector/matchLabels", "/spec/hooks[]/podSelector/matchExpressions",
		"/status/allocated{}", "/status/allocations[]/quota{}", "/status/allocations[]/releasing{}", "/status/quota{}": // resource.Quantity
		return true
	}
	return strings.Contains(at, "/checks[]/") && strings.Contains(at, "/podSelector/") // metav1.LabelSelector
}
