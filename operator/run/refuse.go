package run

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/broletto/broletto/api/v1alpha1"
)

// named bounds how many addresses a refusal names: enough to act on.
const named = 5

// Refuse says why a plan may not be applied; nil: it may. It judges the plan, not the code: what a plan takes away is what counts.
func Refuse(o Order, changes []Change) *v1alpha1.RunFailure {
	sorted := slices.Clone(changes)
	slices.SortStableFunc(sorted, func(a, b Change) int { return cmp.Compare(a.Address, b.Address) })
	for _, rule := range []func(Order, []Change) string{protected, forbidden, tooMany} {
		if message := rule(o, sorted); message != "" {
			return Failure(v1alpha1.FailureRefused, message)
		}
	}
	return nil
}

func protected(o Order, changes []Change) string {
	var hit []string
	for _, c := range changes {
		if slices.Contains(c.Actions, ActionDelete) && slices.ContainsFunc(o.Protected, func(p string) bool { return covers(p, c.Address) }) {
			hit = append(hit, c.Address)
		}
	}
	if len(hit) == 0 {
		return ""
	}
	way := "take the address out of spec.protected"
	if o.Operation == v1alpha1.OperationDestroy {
		way += ", or set spec.deletionPolicy to Orphan to leave everything in place"
	}
	return fmt.Sprintf("the plan destroys or replaces what spec.protected names: %s; change the code so that it stays, or %s", list(hit), way)
}

func forbidden(o Order, changes []Change) string {
	var hit []string
	for _, c := range changes {
		// What was made before its type was ruled out may go.
		if Forbidden(o.Forbidden, c.Type) && (slices.Contains(c.Actions, ActionCreate) || slices.Contains(c.Actions, ActionUpdate)) {
			hit = append(hit, c.Address)
		}
	}
	if len(hit) == 0 {
		return ""
	}
	return fmt.Sprintf("the plan holds resources of types that the platform rules out: %s; take them out of the code", list(hit))
}

func tooMany(o Order, changes []Change) string {
	if o.MaxDestroy == nil {
		return ""
	}
	var hit []string
	for _, c := range changes {
		if slices.Contains(c.Actions, ActionDelete) {
			hit = append(hit, c.Address)
		}
	}
	// A Destroy is asked for by deleting the stack: the bound is there for surprises.
	if o.Operation == v1alpha1.OperationDestroy || len(hit) <= int(*o.MaxDestroy) {
		return ""
	}
	return fmt.Sprintf("the plan destroys or replaces %d resources, and spec.maxDestroy is %d: %s; change the code so that they stay, or raise spec.maxDestroy",
		len(hit), *o.MaxDestroy, list(hit))
}

// Forbidden tells whether a type of resource or data source is among those ruled out; * at the end of one stands for any rest.
func Forbidden(rules []string, kind string) bool {
	return slices.ContainsFunc(rules, func(rule string) bool {
		if prefix, ok := strings.CutSuffix(rule, "*"); ok {
			return strings.HasPrefix(kind, prefix)
		}
		return kind == rule
	})
}

// covers tells whether a protected address speaks of a resource: it is that resource, all instances of it, or the module it is in.
func covers(protected, address string) bool {
	rest, ok := strings.CutPrefix(address, protected)
	return ok && protected != "" && (rest == "" || strings.ContainsRune(".[ ", rune(rest[0])))
}

func list(addresses []string) string {
	short := make([]string, 0, named)
	for _, a := range addresses[:min(named, len(addresses))] {
		short = append(short, Shorten(a, 200))
	}
	text := strings.Join(short, ", ")
	if more := len(addresses) - named; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
