package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/broletto/broletto/api/v1alpha1"
)

const (
	maxParameters = 64
	maxEnum       = 64
	maxPattern    = 512
	maxText       = 256 // of a value of an enum
	maxLength     = 1_000_000_000
	// exact is up to where a double, by which the API server compares, holds every whole number.
	exact = 1 << 53
)

// Schema is what an instance may say: rules as the API server checks them, and what only we know of.
type Schema struct {
	Rules    []v1alpha1.ParameterRule
	Defaults map[string]any
	items    map[string]string // type of the items of an array, by its name
}

// Values are parameters as the schema completes them.
type Values map[string]any

// property is one of a JSON schema's, as far as rules express it.
type property struct {
	Type                 string          `json:"type"`
	Title                string          `json:"title"`
	Description          string          `json:"description"`
	Enum                 []any           `json:"enum"`
	Minimum              json.Number     `json:"minimum"`
	Maximum              json.Number     `json:"maximum"`
	MinLength            *int64          `json:"minLength"`
	MaxLength            *int64          `json:"maxLength"`
	MinItems             *int64          `json:"minItems"`
	MaxItems             *int64          `json:"maxItems"`
	Pattern              string          `json:"pattern"`
	Default              json.RawMessage `json:"default"`
	Items                json.RawMessage `json:"items"`
	AdditionalProperties *bool           `json:"additionalProperties"`
	Schema               string          `json:"$schema"`
	Required             []string        `json:"required"`

	Properties map[string]json.RawMessage `json:"properties"`
}

// keywords that a schema and a property may have.
var (
	rootKeywords = []string{"$schema", "additionalProperties", "description", "properties", "required", "title", "type"}
	anyKeywords  = []string{"default", "description", "title", "type"}
	typeKeywords = map[string][]string{
		"string":  {"enum", "minLength", "maxLength", "pattern"},
		"integer": {"enum", "minimum", "maximum"},
		"number":  {"minimum", "maximum"},
		"boolean": nil,
		"array":   {"items", "minItems", "maxItems"},
	}
	parameterName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,62}$`)
)

// ParseSchema reads an offering's parameters. The error names the property that cannot be checked, and the way out.
func ParseSchema(text *apiextensionsv1.JSON) (*Schema, error) {
	out := &Schema{Defaults: map[string]any{}, items: map[string]string{}}
	if text == nil {
		return out, nil
	}
	root, err := read(text.Raw, "spec.parameters", rootKeywords)
	if err != nil {
		return nil, err
	}
	switch {
	case root.Type != "object":
		return nil, fmt.Errorf("spec.parameters.type is %q: write type: object, with properties", root.Type)
	case root.AdditionalProperties != nil && *root.AdditionalProperties:
		return nil, errors.New("spec.parameters.additionalProperties is true: what no property names cannot be checked; leave it out, and name every parameter")
	case len(root.Properties) > maxParameters:
		return nil, fmt.Errorf("spec.parameters.properties has %d entries: at most %d", len(root.Properties), maxParameters)
	}
	for _, name := range slices.Sorted(maps.Keys(root.Properties)) {
		if err := out.add(name, root.Properties[name], slices.Contains(root.Required, name)); err != nil {
			return nil, err
		}
	}
	for _, name := range root.Required {
		if _, known := root.Properties[name]; !known {
			return nil, fmt.Errorf("spec.parameters.required names %s, which is no property: add it to properties, or take it out", name)
		}
	}
	return out, nil
}

// read reads a schema and refuses keywords that are not checked: to let them pass would be to promise what nobody holds.
func read(text []byte, path string, allowed []string) (p property, err error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil || all == nil {
		return p, fmt.Errorf("%s is no JSON schema: write an object", path)
	}
	for _, keyword := range slices.Sorted(maps.Keys(all)) {
		if !slices.Contains(allowed, keyword) {
			return p, fmt.Errorf("%s.%s cannot be checked when an instance is written: use %s", path, keyword, strings.Join(allowed, ", "))
		}
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return p, fmt.Errorf("%s is no JSON schema: %w", path, err)
	}
	return p, nil
}

func (s *Schema) add(name string, text []byte, required bool) error {
	path := "spec.parameters.properties." + name
	if !parameterName.MatchString(name) {
		return fmt.Errorf("%s: a parameter's name has letters, digits, _ and -, begins with a letter or _, and has at most 63 characters", path)
	}
	var kind struct{ Type any }
	if err := json.Unmarshal(text, &kind); err != nil {
		return fmt.Errorf("%s is no JSON schema: write an object with a type", path)
	}
	typeName, _ := kind.Type.(string)
	keywords, known := typeKeywords[typeName]
	if !known {
		return fmt.Errorf("%s.type: write one of string, integer, number, boolean and array", path)
	}
	p, err := read(text, path, slices.Concat(anyKeywords, keywords))
	if err != nil {
		return err
	}
	rule := v1alpha1.ParameterRule{Name: name, Type: typeName, Required: required, MinLength: p.MinLength, MaxLength: p.MaxLength, Pattern: p.Pattern}
	if typeName == "array" {
		rule.MinLength, rule.MaxLength = p.MinItems, p.MaxItems
		if s.items[name], err = itemType(p.Items, path); err != nil {
			return err
		}
	}
	if err := errors.Join(lengths(rule, path), bounds(&rule, p, path), pattern(p, path), enum(&rule, p, path)); err != nil {
		return err
	}
	s.Rules = append(s.Rules, rule)
	return s.setDefault(rule, p.Default, path)
}

func itemType(text json.RawMessage, path string) (string, error) {
	if text == nil {
		return "", fmt.Errorf("%s.items: say what the items are, for example items: {type: string}", path)
	}
	p, err := read(text, path+".items", []string{"type"})
	if err == nil && !slices.Contains([]string{"string", "integer", "number", "boolean"}, p.Type) {
		err = fmt.Errorf("%s.items.type: write one of string, integer, number and boolean", path)
	}
	return p.Type, err
}

func lengths(r v1alpha1.ParameterRule, path string) error {
	for _, n := range []*int64{r.MinLength, r.MaxLength} {
		if n != nil && (*n < 0 || *n > maxLength) {
			return fmt.Errorf("%s: a length is neither negative nor above %d", path, maxLength)
		}
	}
	if r.MinLength != nil && r.MaxLength != nil && *r.MinLength > *r.MaxLength {
		return fmt.Errorf("%s: nothing has at least %d and at most %d", path, *r.MinLength, *r.MaxLength)
	}
	return nil
}

func bounds(r *v1alpha1.ParameterRule, p property, path string) error {
	for _, n := range []json.Number{p.Minimum, p.Maximum} {
		value, err := n.Float64()
		if n != "" && (err != nil || math.Abs(value) > exact || len(n) > 40) {
			return fmt.Errorf("%s: %s is no bound that can be compared: stay within 2^53", path, n)
		}
	}
	r.Minimum, r.Maximum = p.Minimum.String(), p.Maximum.String()
	if r.Minimum != "" && r.Maximum != "" && rational(r.Minimum).Cmp(rational(r.Maximum)) > 0 {
		return fmt.Errorf("%s: nothing is at least %s and at most %s", path, r.Minimum, r.Maximum)
	}
	return nil
}

func pattern(p property, path string) error {
	if utf8.RuneCountInString(p.Pattern) > maxPattern {
		return fmt.Errorf("%s.pattern is longer than %d characters", path, maxPattern)
	}
	if _, err := regexp.Compile(p.Pattern); err != nil {
		return fmt.Errorf("%s.pattern is no regular expression of RE2: %w", path, err)
	}
	return nil
}

func enum(r *v1alpha1.ParameterRule, p property, path string) error {
	if len(p.Enum) > maxEnum {
		return fmt.Errorf("%s.enum has %d values: at most %d", path, len(p.Enum), maxEnum)
	}
	for _, value := range p.Enum {
		if !is(r.Type, value) {
			return fmt.Errorf("%s.enum: %v is no %s", path, value, r.Type)
		}
		if utf8.RuneCountInString(plain(value)) > maxText {
			return fmt.Errorf("%s.enum has a value of more than %d characters", path, maxText)
		}
		r.Enum = append(r.Enum, plain(value))
	}
	return nil
}

func (s *Schema) setDefault(r v1alpha1.ParameterRule, text json.RawMessage, path string) error {
	if text == nil {
		return nil
	}
	value, err := decode(text)
	if err != nil {
		return fmt.Errorf("%s.default: %w", path, err)
	}
	if wrong := s.wrong(r, value); wrong != "" {
		return fmt.Errorf("%s.default does not fit: %s", path, wrong)
	}
	s.Defaults[r.Name] = value
	return nil
}

// decode reads JSON as the API server does: whole numbers are int64, others float64.
func decode(text []byte) (out any, err error) {
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	if err := decoder.Decode(&out); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	return numbers(out), nil
}

func numbers(value any) any {
	switch value := value.(type) {
	case json.Number:
		if n, err := value.Int64(); err == nil {
			return n
		}
		f, err := value.Float64()
		if err != nil {
			return value.String()
		}
		return f
	case []any:
		for i := range value {
			value[i] = numbers(value[i])
		}
	case map[string]any:
		for k := range value {
			value[k] = numbers(value[k])
		}
	}
	return value
}

// is tells whether a value is of a type of the schema.
func is(kind string, value any) bool {
	switch value := value.(type) {
	case string:
		return kind == "string"
	case bool:
		return kind == "boolean"
	case int64:
		return kind == "integer" || kind == "number"
	case float64:
		return kind == "number" || (kind == "integer" && value == math.Trunc(value) && math.Abs(value) <= exact)
	case []any:
		return kind == "array"
	default:
		return false
	}
}

// plain is a value as text: what stands inside a longer text for a parameter.
func plain(value any) string {
	switch value := value.(type) {
	case nil:
		return ""
	case string:
		return value
	default:
		text, err := json.Marshal(value)
		if err != nil {
			return ""
		}
		return string(text)
	}
}

func rational(text string) *big.Rat {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return new(big.Rat)
	}
	return r
}

// Complete reads parameters, adds defaults, and says everything that is wrong with them, sorted: nothing when they are right.
func (s *Schema) Complete(given map[string]apiextensionsv1.JSON) (Values, []string) {
	out := Values{}
	maps.Copy(out, s.Defaults)
	var wrong, unknown []string
	said := maps.Clone(given)
	maps.DeleteFunc(said, func(_ string, v apiextensionsv1.JSON) bool { return len(v.Raw) == 0 || string(v.Raw) == "null" }) // the API server drops null
	for _, name := range slices.Sorted(maps.Keys(said)) {
		at := slices.IndexFunc(s.Rules, func(r v1alpha1.ParameterRule) bool { return r.Name == name })
		if at < 0 {
			unknown = append(unknown, name)
			continue
		}
		value, err := decode(said[name].Raw)
		if err != nil {
			wrong = append(wrong, name+" is "+err.Error())
			continue
		}
		if problem := s.wrong(s.Rules[at], value); problem != "" {
			wrong = append(wrong, problem)
		}
		out[name] = value
	}
	for _, r := range s.Rules {
		if _, is := said[r.Name]; r.Required && !is {
			wrong = append(wrong, r.Name+" is missing, "+nature(r))
		}
	}
	if len(unknown) > 0 {
		wrong = append(wrong, strings.Join(unknown, ", ")+" is not known, "+s.known())
	}
	return out, wrong
}

func (s *Schema) known() string {
	if len(s.Rules) == 0 {
		return "the service has no parameters"
	}
	names := make([]string, 0, len(s.Rules))
	for _, r := range s.Rules {
		names = append(names, r.Name)
	}
	return "the service has " + strings.Join(names, ", ")
}

// nature says what a parameter is.
func nature(r v1alpha1.ParameterRule) string {
	switch r.Type {
	case "integer":
		return "it is a whole number"
	case "array":
		return "it is a list"
	case "boolean":
		return "it is true or false"
	case "number":
		return "it is a number"
	default:
		return "it is a text"
	}
}

// wrong says what is wrong with a value, and what is allowed; empty when it is right. config/policies/parameters.yaml says the same.
func (s *Schema) wrong(r v1alpha1.ParameterRule, value any) string {
	if !is(r.Type, value) {
		return r.Name + " is of another type, " + nature(r)
	}
	if len(r.Enum) > 0 && !slices.Contains(r.Enum, plain(value)) {
		return r.Name + " is one of " + strings.Join(r.Enum, ", ")
	}
	switch value := value.(type) {
	case string:
		return first(length(r, utf8.RuneCountInString(value), "characters"), mismatch(r, value))
	case []any:
		return first(length(r, len(value), "items"), s.stranger(r, value))
	case int64, float64:
		return bounded(r, rational(plain(value)))
	}
	return ""
}

func length(r v1alpha1.ParameterRule, n int, unit string) string {
	if r.MinLength != nil && int64(n) < *r.MinLength {
		return fmt.Sprintf("%s has at least %d %s", r.Name, *r.MinLength, unit)
	}
	if r.MaxLength != nil && int64(n) > *r.MaxLength {
		return fmt.Sprintf("%s has at most %d %s", r.Name, *r.MaxLength, unit)
	}
	return ""
}

func mismatch(r v1alpha1.ParameterRule, text string) string {
	if r.Pattern == "" {
		return ""
	}
	if matched, err := regexp.MatchString(r.Pattern, text); err != nil || !matched {
		return r.Name + " matches " + r.Pattern
	}
	return ""
}

// stranger finds an item of another type: the API server does not know what the items are.
func (s *Schema) stranger(r v1alpha1.ParameterRule, list []any) string {
	for i, item := range list {
		if !is(s.items[r.Name], item) {
			return fmt.Sprintf("%s[%d] is of another type, %s", r.Name, i, nature(v1alpha1.ParameterRule{Type: s.items[r.Name]}))
		}
	}
	return ""
}

func bounded(r v1alpha1.ParameterRule, n *big.Rat) string {
	if r.Minimum != "" && n.Cmp(rational(r.Minimum)) < 0 {
		return r.Name + " is at least " + r.Minimum
	}
	if r.Maximum != "" && n.Cmp(rational(r.Maximum)) > 0 {
		return r.Name + " is at most " + r.Maximum
	}
	return ""
}

func first(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}
