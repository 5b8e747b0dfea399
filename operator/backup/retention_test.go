package backup

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/broletto/broletto/api/v1alpha1"
)

// TestRetention: what goes, of backups of consecutive nights.
func TestRetention(t *testing.T) {
	first := time.Date(2026, 1, 1, 1, 30, 0, 0, time.UTC)
	nights := func(n int, edit func(i int, c *copyOf)) (all []copyOf) {
		for i := range n {
			c := copyOf{Name: fmt.Sprint("n", i), Sequence: int64(i + 1), At: first.AddDate(0, 0, i), Verified: true, Owned: true}
			if edit != nil {
				edit(i, &c)
			}
			all = append(all, c)
		}
		return all
	}
	for name, c := range map[string]struct {
		reason string
		all    []copyOf
		keep   v1alpha1.Retention
		left   int
		stays  []string
	}{
		"the last": {"a rule alone", nights(10, nil), v1alpha1.Retention{Last: 3}, 3, []string{"n7", "n8", "n9"}},
		"all rules": {"a year of nights: 7 last, 14 days, 8 weeks, 12 months and 10 years overlap", nights(365, nil),
			v1alpha1.Retention{Last: 7, Daily: 14, Weekly: 8, Monthly: 12, Yearly: 10}, 30, []string{"n364", "n351", "n30"}},
		"nothing verified":       {"what is not verified is all there is", nights(5, func(_ int, c *copyOf) { c.Verified = false }), v1alpha1.Retention{Last: 1}, 5, nil},
		"the last good":          {"what came after it was not verified", nights(5, func(i int, c *copyOf) { c.Verified = i < 2 }), v1alpha1.Retention{Last: 1}, 4, []string{"n1", "n2", "n3", "n4"}},
		"by sequence":            {"a clock that went back moves none up", nights(5, func(i int, c *copyOf) { c.At = first.AddDate(0, 0, -i) }), v1alpha1.Retention{Last: 2}, 2, []string{"n3", "n4"}},
		"damaged takes no place": {"the rules keep what can be restored", nights(6, func(i int, c *copyOf) { c.Verified = i != 4 }), v1alpha1.Retention{Last: 2}, 2, []string{"n3", "n5"}},
		"of one's own":           {"no rule is about it", nights(4, func(i int, c *copyOf) { c.Owned = i != 0 }), v1alpha1.Retention{Last: 1}, 2, []string{"n0", "n3"}},
		"kept until":             {"its time is not over", nights(4, func(i int, c *copyOf) { c.Owned = i != 0; c.Until = first.AddDate(1, 0, 0) }), v1alpha1.Retention{Last: 1}, 4, nil},
		"kept too long":          {"its time is over", nights(4, func(i int, c *copyOf) { c.Owned = i != 0; c.Until = first }), v1alpha1.Retention{Last: 1}, 1, []string{"n3"}},
		"one of one's own":       {"the last good one stays, whoever made it", nights(1, func(_ int, c *copyOf) { c.Owned = false; c.Until = first }), v1alpha1.Retention{Last: 1}, 1, []string{"n0"}},
		"under way":              {"what holds nothing yet is not touched", append(nights(2, nil), copyOf{Name: "new", Owned: true}), v1alpha1.Retention{Last: 1}, 2, []string{"n1", "new"}},
	} {
		t.Run(name, func(t *testing.T) {
			now := first.AddDate(0, 0, 400)
			if name == "kept until" {
				now = first.AddDate(0, 1, 0)
			}
			gone := expired(c.all, c.keep, time.UTC, now)
			if left := len(c.all) - len(gone); left != c.left {
				t.Errorf("%s: %d are left, want %d: %v go", c.reason, left, c.left, gone)
			}
			for _, name := range c.stays {
				if slices.Contains(gone, name) {
					t.Errorf("%s: %s goes", c.reason, name)
				}
			}
			rest := slices.DeleteFunc(slices.Clone(c.all), func(c copyOf) bool { return slices.Contains(gone, c.Name) })
			if again := expired(rest, c.keep, time.UTC, now); len(again) > 0 {
				t.Errorf("%s: asked again, %v go", c.reason, again)
			}
		})
	}
}
