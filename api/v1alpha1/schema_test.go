package v1alpha1_test

import (
	"io/fs"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/broletto/broletto/config"
)

// TestSchemaIsTheManual holds of every field below spec and status: "kubectl explain" says what it is, and it is bounded, so
// that neither a stored object nor the work on it can grow without end.
func TestSchemaIsTheManual(t *testing.T) {
	files, err := fs.Glob(config.CRDs, "crd/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no CRDs: %v", err)
	}
	for _, file := range files {
		text, err := config.CRDs.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var crd struct {
			Spec struct {
				Names    struct{ Kind string }
				Versions []struct {
					Schema struct {
						OpenAPIV3Schema map[string]any `json:"openAPIV3Schema"`
					}
				}
			}
		}
		if err := yaml.Unmarshal(text, &crd); err != nil {
			t.Fatal(err)
		}
		t.Run(crd.Spec.Names.Kind, func(t *testing.T) {
			for _, version := range crd.Spec.Versions {
				walk("", version.Schema.OpenAPIV3Schema, func(at string, node map[string]any) {
					for _, complaint := range lacks(at, node) {
						t.Errorf("%s has no %s", at, complaint)
					}
				})
			}
		})
	}
}

// unbounded names the numbers that the API server bounds itself.
var unbounded = map[string]bool{"/status/observedGeneration": true}

// open names the values that are any JSON, which their maps and lists bound in number and the API server in size.
var open = map[string]bool{"/spec/variables{}": true, "/spec/parameters": true, "/spec/parameters{}": true, "/spec/provisions/manifests[]": true}

// lacks says what a field must have and has not.
func lacks(at string, node map[string]any) (complaints []string) {
	has := func(keyword string) bool { _, found := node[keyword]; return found }
	need := func(bound bool, what string) {
		if !bound {
			complaints = append(complaints, what)
		}
	}
	if open[at] {
		return nil
	}
	// An item or value that is a plain text or number is described by its list or map.
	item := strings.HasSuffix(at, "[]") || strings.HasSuffix(at, "{}")
	description, _ := node["description"].(string)
	need(description != "" || (item && node["type"] != "object"), "description")
	if name := at[strings.LastIndex(at, "/")+1:]; at != "" && !item {
		need(strings.HasPrefix(description, name+" "), "description that begins with its name")
	}
	switch node["type"] {
	case "string":
		need(has("maxLength") || has("enum") || has("format"), "maxLength, enum or format")
	case "array":
		need(has("maxItems"), "maxItems")
		need(has("x-kubernetes-list-type"), "x-kubernetes-list-type")
	case "object":
		need(has("properties") || has("maxProperties"), "maxProperties")
		need(!has("x-kubernetes-preserve-unknown-fields"), "closed set of fields")
	case "integer":
		need((has("minimum") && has("maximum")) || unbounded[at], "minimum and maximum")
	case "boolean":
	default:
		need(has("x-kubernetes-int-or-string"), "type")
	}
	return complaints
}
