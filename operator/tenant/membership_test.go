package tenant

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/outcome"
)

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func at(t *testing.T, text string) time.Time {
	t.Helper()
	instant, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return instant
}

// interval reads "entry exit"; without exit no end is known.
func interval(entry, exit v1alpha1.Date) v1alpha1.Membership {
	return v1alpha1.Membership{Entry: entry, Exit: exit}
}

func TestMemberOn(t *testing.T) {
	once := []v1alpha1.Membership{interval("2018-06-20", "2023-12-31")}
	open := []v1alpha1.Membership{interval("2024-04-04", "")}
	twice := []v1alpha1.Membership{interval("2027-07-01", ""), interval("2018-06-20", "2023-12-31")} // unsorted
	day := []v1alpha1.Membership{interval("2027-03-28", "2027-03-28")}                               // clocks go forward
	autumn := []v1alpha1.Membership{interval("2027-10-31", "2027-10-31")}                            // clocks go back
	next := []v1alpha1.Membership{interval("2027-01-01", "2027-06-30"), interval("2027-07-01", "")}  // without a gap
	cases := map[string]struct {
		reason        string
		intervals     []v1alpha1.Membership
		now           string
		active, begun bool
		change        string
	}{
		"Before":            {"one nanosecond before the first day in Switzerland", open, "2024-04-03T21:59:59.999999999Z", false, false, "2024-04-03T22:00:00Z"},
		"FirstInstant":      {"the first instant of the first day", open, "2024-04-03T22:00:00Z", true, true, ""},
		"ForEver":           {"no end is known", open, "2124-04-03T22:00:00Z", true, true, ""},
		"LastInstant":       {"the last instant of the last day", once, "2023-12-31T22:59:59.999999999Z", true, true, "2023-12-31T23:00:00Z"},
		"After":             {"the first instant after it", once, "2023-12-31T23:00:00Z", false, true, ""},
		"Gap":               {"between two intervals: gone, and coming back", twice, "2025-01-01T00:00:00Z", false, true, "2027-06-30T22:00:00Z"},
		"Back":              {"in the second one", twice, "2027-06-30T22:00:00Z", true, true, ""},
		"BeforeBoth":        {"the earlier one begins first, wherever it stands", twice, "2018-01-01T00:00:00Z", false, false, "2018-06-19T22:00:00Z"},
		"InFirst":           {"the end comes before the next beginning", twice, "2020-01-01T00:00:00Z", true, true, "2023-12-31T23:00:00Z"},
		"SpringForwardDay":  {"a day of 23 hours begins in winter time", day, "2027-03-27T23:00:00Z", true, true, "2027-03-28T22:00:00Z"},
		"SpringForwardLast": {"and ends in summer time", day, "2027-03-28T21:59:59Z", true, true, "2027-03-28T22:00:00Z"},
		"SpringForwardOver": {"no hour is left of it", day, "2027-03-28T22:00:00Z", false, true, ""},
		"FallBackDay":       {"a day of 25 hours begins in summer time", autumn, "2027-10-30T22:00:00Z", true, true, "2027-10-31T23:00:00Z"},
		"FallBackLast":      {"and ends in winter time", autumn, "2027-10-31T22:59:59Z", true, true, "2027-10-31T23:00:00Z"},
		"FallBackOver":      {"no hour is left of it", autumn, "2027-10-31T23:00:00Z", false, true, ""},
		"NoGap":             {"the next day belongs to the next interval", next, "2027-06-30T22:00:00Z", true, true, ""},
		"NoGapBefore":       {"a change that changes nothing is looked at and no more", next, "2027-06-30T21:59:59Z", true, true, "2027-06-30T22:00:00Z"},
		"NoInterval":        {"what cannot be read is passed over", []v1alpha1.Membership{interval("2027-02-30", "")}, "2030-01-01T00:00:00Z", false, false, ""},
		"UnreadableExit":    {"an end that cannot be read is none", []v1alpha1.Membership{interval("2027-01-01", "soon")}, "2030-01-01T00:00:00Z", true, true, ""},
	}
	for name, tc := range cases {
		for _, place := range []string{"Europe/Zurich", "Europe/Rome"} { // the same clocks since 1981
			t.Run(name+" in "+place, func(t *testing.T) {
				got := memberOn(tc.intervals, at(t, tc.now), zone(t, place))
				want := membership{active: tc.active, begun: tc.begun}
				if tc.change != "" {
					want.change = at(t, tc.change)
				}
				if got.active != want.active || got.begun != want.begun || !got.change.Equal(want.change) {
					t.Errorf("%s: got %+v, want %+v", tc.reason, got, want)
				}
			})
		}
	}
}

// TestDayIsLocal has one instant be two days: the zone decides, not the machine.
func TestDayIsLocal(t *testing.T) {
	intervals, instant := []v1alpha1.Membership{interval("2027-01-01", "")}, at(t, "2026-12-31T23:30:00Z")
	if !memberOn(intervals, instant, zone(t, "Europe/Zurich")).active {
		t.Error("half past midnight in Zurich is the new year")
	}
	if memberOn(intervals, instant, time.UTC).active {
		t.Error("half past eleven in Greenwich is the old year")
	}
}

// TestEveryChangeIsAnnounced walks through a membership from announcement to announcement: the answer never changes in between,
// so that who looks at the announced times misses nothing.
func TestEveryChangeIsAnnounced(t *testing.T) {
	intervals := []v1alpha1.Membership{
		interval("2027-07-01", "2027-10-31"), interval("2026-03-29", "2026-03-29"), interval("2028-02-29", ""), interval("2026-10-25", "2027-03-28"),
	}
	for _, place := range []string{"Europe/Zurich", "Europe/Rome"} {
		z := zone(t, place)
		next := at(t, "2026-01-01T00:00:00Z")
		state, turns := memberOn(intervals, next, z).active, 0
		for hour := next; hour.Year() < 2029; hour = hour.Add(30 * time.Minute) {
			m := memberOn(intervals, hour, z)
			if m.active != state && !hour.Equal(next) {
				t.Fatalf("%s: from %v to %v at %s, announced for %s", place, state, m.active, hour, next)
			}
			if m.active != state {
				turns++
			}
			if state = m.active; !hour.Before(next) && !m.change.IsZero() {
				next = m.change
			}
		}
		if turns != 7 {
			t.Errorf("%s: %d turns, want 7", place, turns)
		}
	}
}

func TestVerdict(t *testing.T) {
	z := zone(t, "Europe/Zurich")
	cases := map[string]struct {
		reason    string
		intervals []v1alpha1.Membership
		want      error
	}{
		"Active": {"nothing to say", []v1alpha1.Membership{interval("2024-04-04", "")}, nil},
		"NotBegun": {"only the clock can help", []v1alpha1.Membership{interval("2027-07-01", ""), interval("2030-01-01", "")}, &outcome.Wait{
			Reason: "MembershipNotBegun", After: 24*time.Hour - 30*time.Minute,
			Message: "membership begins on 2027-07-01; until then nothing is made for the tenant",
		}},
		"Ended": {"only a person can help", []v1alpha1.Membership{interval("2018-06-20", "2023-12-31")}, &outcome.Stall{Reason: "MembershipEnded"}},
		"Gap":   {"whoever is coming back is gone today", []v1alpha1.Membership{interval("2018-06-20", "2023-12-31"), interval("2030-01-01", "")}, &outcome.Stall{Reason: "MembershipEnded"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			now := at(t, "2027-06-29T22:30:00Z")
			got := memberOn(tc.intervals, now, z).verdict(now, z)
			if stall, ok := errors.AsType[*outcome.Stall](got); ok {
				stall.Err = nil // its words are people's
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}
