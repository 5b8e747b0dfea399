package run

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/broletto/broletto/api/v1alpha1"
)

const (
	// MaxListed bounds the lists in a summary; its counts are of the whole plan.
	MaxListed = 100
	// maxAddress and maxMessage are what the API takes, in characters.
	maxAddress = 512
	maxMessage = 2048
)

// Summarize is a plan without any value.
func Summarize(changes []Change, outputs map[string]Values, digest v1alpha1.Digest) v1alpha1.PlanSummary {
	s := v1alpha1.PlanSummary{Digest: digest, Outputs: int32(len(outputs))}
	sorted := slices.Clone(changes)
	slices.SortStableFunc(sorted, func(a, b Change) int { return cmp.Compare(a.Address, b.Address) })
	for _, c := range sorted {
		action := c.action()
		switch action {
		case "Create":
			s.Adds++
		case "Update":
			s.Changes++
		case "Delete":
			s.Destroys++
		case "Replace":
			s.Adds++
			s.Destroys++
			if len(s.Replaced) < MaxListed {
				s.Replaced = append(s.Replaced, address(c.Address))
			}
		default:
			continue
		}
		if len(s.Resources) < MaxListed {
			s.Resources = append(s.Resources, v1alpha1.PlannedChange{Address: address(c.Address), Action: action})
		}
	}
	return s
}

// action is what happens on the whole, as the API calls it; empty: nothing that counts.
func (c *Change) action() string {
	create, remove := slices.Contains(c.Actions, ActionCreate), slices.Contains(c.Actions, ActionDelete)
	switch {
	case create && remove:
		return "Replace"
	case create:
		return "Create"
	case remove:
		return "Delete"
	case slices.Contains(c.Actions, ActionUpdate):
		return "Update"
	}
	return ""
}

// address fits one into the API, which refuses a whole status for one that is too long.
func address(a string) v1alpha1.ResourceAddress {
	if a == "" {
		return "(without address)"
	}
	return v1alpha1.ResourceAddress(Shorten(a, maxAddress))
}

// Failure is a failure whose message fits into the API.
func Failure(class v1alpha1.FailureClass, message string) *v1alpha1.RunFailure {
	return &v1alpha1.RunFailure{Class: class, Message: Shorten(message, maxMessage)}
}

// Shorten cuts a text to at most n bytes, says so, and makes it valid UTF-8.
func Shorten(text string, n int) string {
	text = strings.ToValidUTF8(text, "?")
	if len(text) <= n {
		return text
	}
	cut := n - len("…")
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}
