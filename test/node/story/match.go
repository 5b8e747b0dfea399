package story

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// match tells in which field an object is not as expected. What is not expected may be anything. Of a list, each expected item must be
// among the items that are there; a text between two asterisks must be contained.
func match(path string, want, got any) error {
	switch want := want.(type) {
	case map[string]any:
		return matchFields(path, want, got)
	case []any:
		return matchItems(path, want, got)
	case string:
		if part, open := contained(want); open {
			if text, isText := got.(string); !isText || !strings.Contains(text, part) {
				return fmt.Errorf("%s is %s, which does not contain %q", path, inline(got), part)
			}
			return nil
		}
	}
	if inline(want) != inline(got) {
		return fmt.Errorf("%s is %s, want %s", path, inline(got), inline(want))
	}
	return nil
}

func contained(want string) (part string, open bool) {
	if len(want) > 2 && strings.HasPrefix(want, "*") && strings.HasSuffix(want, "*") {
		return want[1 : len(want)-1], true
	}
	return "", false
}

func matchFields(path string, want map[string]any, got any) error {
	fields, isMap := got.(map[string]any)
	if !isMap {
		return fmt.Errorf("%s is %s, want fields", path, inline(got))
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if err := match(strings.TrimPrefix(path+"."+name, "."), want[name], fields[name]); err != nil {
			return err
		}
	}
	return nil
}

func matchItems(path string, want []any, got any) error {
	items, _ := got.([]any)
	for _, item := range want {
		if !slices.ContainsFunc(items, func(i any) bool { return match(path, item, i) == nil }) {
			return fmt.Errorf("%s has no item %s; it has %s", path, inline(item), inline(got))
		}
	}
	return nil
}

// current leaves out what an object's conditions say of a generation that is past.
func current(object map[string]any) map[string]any {
	status, _ := object["status"].(map[string]any)
	conditions, _ := status["conditions"].([]any)
	if len(conditions) == 0 {
		return object
	}
	metadata, _ := object["metadata"].(map[string]any)
	object, status = maps.Clone(object), maps.Clone(status)
	status["conditions"] = slices.DeleteFunc(slices.Clone(conditions), func(c any) bool {
		fields, _ := c.(map[string]any)
		seen, says := fields["observedGeneration"]
		return says && inline(seen) != inline(metadata["generation"])
	})
	object["status"] = status
	return object
}

// inline is a value as YAML on one line, so that 3 and 3.0, from JSON and from YAML, are the same.
func inline(value any) string {
	if value == nil {
		return "missing"
	}
	text, err := yaml.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return strings.Join(strings.Fields(string(text)), " ")
}
