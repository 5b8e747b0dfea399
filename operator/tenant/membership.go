package tenant

import (
	"fmt"
	"time"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/outcome"
)

// membership is where a day lies among the intervals of a tenant.
type membership struct {
	active bool
	begun  bool      // some interval has begun
	change time.Time // when the answer changes next; zero: never
}

// memberOn tells whether an interval covers the day of now in the zone, and when that changes. Days are whole: entry counts
// from its first instant, exit until its last.
func memberOn(intervals []v1alpha1.Membership, now time.Time, zone *time.Location) membership {
	var m membership
	for _, interval := range intervals {
		begin, ok := day(interval.Entry, zone, 0)
		if !ok {
			continue
		}
		end, ends := day(interval.Exit, zone, 1)
		if !begin.After(now) {
			m.begun = true
			if !ends || end.After(now) {
				m.active = true
			}
		}
		m.change = earliestAfter(now, m.change, begin)
		if ends {
			m.change = earliestAfter(now, m.change, end)
		}
	}
	return m
}

// day is the first instant of a date, plus some days, in a zone.
func day(d v1alpha1.Date, zone *time.Location, plus int) (time.Time, bool) {
	t, err := time.ParseInLocation(time.DateOnly, string(d), zone)
	if err != nil {
		return time.Time{}, false
	}
	return time.Date(t.Year(), t.Month(), t.Day()+plus, 0, 0, 0, 0, zone), true
}

func earliestAfter(now, known, candidate time.Time) time.Time {
	if candidate.After(now) && (known.IsZero() || candidate.Before(known)) {
		return candidate
	}
	return known
}

// verdict turns an inactive membership into what the tenant waits for or needs.
func (m membership) verdict(now time.Time, zone *time.Location) error {
	if m.active {
		return nil
	}
	if !m.begun {
		begins := m.change.In(zone).Format(time.DateOnly)
		return &outcome.Wait{
			Reason: v1alpha1.ReasonMembershipNotBegun, After: m.change.Sub(now),
			Message: fmt.Sprintf("membership begins on %s; until then nothing is made for the tenant", begins),
		}
	}
	return &outcome.Stall{
		Reason: v1alpha1.ReasonMembershipEnded,
		Err: fmt.Errorf("no membership covers today: rights are withdrawn and workspaces suspended, data is kept; " +
			"add an interval to spec.memberships to take the tenant back, or delete its workspaces and then the tenant"),
	}
}
