package backup

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/broletto/broletto/api/v1alpha1"
)

// copyOf is what retention knows of one backup.
type copyOf struct {
	Name     string
	Sequence int64     // the order of backups; 0: it holds nothing yet
	At       time.Time // when its data were read, by the store's clock
	Verified bool
	// Until is until when it is kept whatever the rules say.
	Until time.Time
	// Owned says that the rules are about it: a policy made it.
	Owned bool
}

// expired are the names of the backups of one workspace in one repository that are kept no longer, the oldest first. What is newer than the
// last verified one stays, and that one too, whoever made it.
func expired(all []copyOf, keep v1alpha1.Retention, zone *time.Location, now time.Time) (names []string) {
	all = slices.DeleteFunc(slices.Clone(all), func(c copyOf) bool { return c.Sequence == 0 })
	slices.SortFunc(all, func(a, b copyOf) int { return cmp.Compare(b.Sequence, a.Sequence) })
	newest := slices.IndexFunc(all, func(c copyOf) bool { return c.Verified })
	if newest < 0 {
		return nil
	}
	kept := keptBy(all, keep, zone)
	for _, c := range slices.Backward(all[newest+1:]) {
		due := !c.Until.IsZero() && now.After(c.Until)
		if c.Owned {
			due = !kept[c.Name] && (c.Until.IsZero() || due)
		}
		if due {
			names = append(names, c.Name)
		}
	}
	return names
}

// outlived tells whether the keepDays of a backup that no policy made are over, and else when to look again. The last verified one of its
// workspace in its repository stays, until there is a newer one.
func outlived(b *v1alpha1.Backup, all []v1alpha1.Backup, now time.Time) (over bool, next time.Duration) {
	if b.Spec.KeepDays == nil || b.Status.StartedAt == nil {
		return false, 0
	}
	if left := b.Status.StartedAt.AddDate(0, 0, int(*b.Spec.KeepDays)).Sub(now); left >= 0 {
		return false, left + time.Second
	}
	all = slices.DeleteFunc(slices.Clone(all), func(o v1alpha1.Backup) bool {
		return o.Spec.Workspace != b.Spec.Workspace || o.Spec.Repository != b.Spec.Repository
	})
	const nobody = "/" // no policy is called so
	if slices.Contains(expired(copies(nobody, all), v1alpha1.Retention{}, time.UTC, now), b.Name) {
		return true, 0
	}
	return false, lastStays
}

// lastStays is when to look again at a last verified backup whose time is over.
const lastStays = 24 * time.Hour

// keptBy are the backups that the rules keep: the newest verified one of each period, of as many periods as the rule says.
func keptBy(newestFirst []copyOf, keep v1alpha1.Retention, zone *time.Location) map[string]bool {
	kept := map[string]bool{}
	rules := []struct {
		count  int32
		period func(c copyOf, t time.Time) string
	}{
		{keep.Last, func(c copyOf, _ time.Time) string { return c.Name }},
		{keep.Daily, func(_ copyOf, t time.Time) string { return t.Format(time.DateOnly) }},
		{keep.Weekly, func(_ copyOf, t time.Time) string { y, w := t.ISOWeek(); return fmt.Sprint(y, w) }},
		{keep.Monthly, func(_ copyOf, t time.Time) string { return t.Format("2006-01") }},
		{keep.Yearly, func(_ copyOf, t time.Time) string { return t.Format("2006") }},
	}
	for _, rule := range rules {
		seen := map[string]bool{}
		for _, c := range newestFirst {
			period := rule.period(c, c.At.In(zone))
			if !c.Owned || !c.Verified || seen[period] {
				continue
			}
			if len(seen) >= int(rule.count) {
				break
			}
			seen[period], kept[c.Name] = true, true
		}
	}
	return kept
}
