package service

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

func schemaOf(t *testing.T, text string) (*Schema, error) {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return ParseSchema(&apiextensionsv1.JSON{Raw: raw})
}

// TestSchemaRefusals: what cannot be checked is refused with the property's name and the way out.
func TestSchemaRefusals(t *testing.T) {
	for text, want := range map[string]string{
		`[]`:                            "spec.parameters is no JSON schema: write an object",
		`{}`:                            `spec.parameters.type is "": write type: object`,
		`{type: string}`:                `spec.parameters.type is "string"`,
		`{type: object, oneOf: []}`:     "spec.parameters.oneOf cannot be checked",
		`{type: object, required: [a]}`: "required names a, which is no property",
		`{type: object, additionalProperties: true}`:                                  "spec.parameters.additionalProperties is true",
		`{type: object, properties: {a: {}}}`:                                         "spec.parameters.properties.a.type: write one of",
		`{type: object, properties: {a: {type: [string, "null"]}}}`:                   "spec.parameters.properties.a.type: write one of",
		`{type: object, properties: {a: {type: object}}}`:                             "spec.parameters.properties.a.type: write one of",
		`{type: object, properties: {a: {type: string, format: uri}}}`:                "spec.parameters.properties.a.format cannot be checked when an instance is written: use default",
		`{type: object, properties: {a: {type: string, minimum: 1}}}`:                 "spec.parameters.properties.a.minimum cannot be checked",
		`{type: object, properties: {a: {type: string, pattern: "("}}}`:               "spec.parameters.properties.a.pattern is no regular expression",
		`{type: object, properties: {a: {type: string, minLength: 3, maxLength: 2}}}`: "nothing has at least 3 and at most 2",
		`{type: object, properties: {a: {type: integer, minimum: 3, maximum: 2}}}`:    "nothing is at least 3 and at most 2",
		`{type: object, properties: {a: {type: integer, maximum: 1e17}}}`:             "stay within 2^53",
		`{type: object, properties: {a: {type: integer, enum: [x]}}}`:                 "x is no integer",
		`{type: object, properties: {a: {type: integer, default: 1.5}}}`:              "default does not fit: a is of another type",
		`{type: object, properties: {a: {type: array}}}`:                              "items: say what the items are",
		`{type: object, properties: {a: {type: array, items: {type: object}}}}`:       "items.type: write one of",
		`{type: object, properties: {"a b": {type: string}}}`:                         "a parameter's name has letters",
	} {
		if _, err := schemaOf(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// TestDefaults: what is not said comes from the schema, and what is said wins.
func TestDefaults(t *testing.T) {
	s, err := schemaOf(t, `{type: object, properties: {a: {type: integer, default: 2}, b: {type: array, items: {type: string}, default: [x]}, c: {type: string}}}`)
	if err != nil {
		t.Fatal(err)
	}
	values, wrong := s.Complete(map[string]apiextensionsv1.JSON{"a": {Raw: []byte("3")}})
	if diff := cmp.Diff(Values{"a": int64(3), "b": []any{"x"}}, values); diff != "" || len(wrong) > 0 {
		t.Errorf("%v (-want +got):\n%s", wrong, diff)
	}
}

// FuzzSchema: whatever is written, it is read or refused, and what is read can be sampled and checked.
func FuzzSchema(f *testing.F) {
	for _, seed := range []string{`{"type":"object"}`, `{"type":"object","properties":{"a":{"type":"integer","minimum":1e3,"default":2000}}}`, `null`, `{"type":"object","properties":{"a":null}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := ParseSchema(&apiextensionsv1.JSON{Raw: text})
		if err != nil {
			return
		}
		if len(s.Rules) > maxParameters {
			t.Errorf("%d rules", len(s.Rules))
		}
		s.sample()
		_, _ = s.Complete(map[string]apiextensionsv1.JSON{"a": {Raw: text}})
	})
}
