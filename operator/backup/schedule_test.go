package backup

import (
	"testing"
	"time"

	_ "time/tzdata" // the machine may have none
)

// TestCalendarAcrossClockChanges: one run per local day, also on the two on which the clock changes, at an instant that exists.
func TestCalendarAcrossClockChanges(t *testing.T) {
	for name, c := range map[string]struct {
		reason, schedule, zone, from string
		want                         []string
	}{
		"forward": {"02:30 does not exist on 28 March: the next instant that does", "30 2 * * *", "Europe/Rome", "2027-03-26T12:00:00+01:00",
			[]string{"2027-03-27T02:30:00+01:00", "2027-03-28T03:00:00+02:00", "2027-03-29T02:30:00+02:00"}},
		"back": {"02:30 comes twice on 31 October: the first", "30 2 * * *", "Europe/Rome", "2027-10-29T12:00:00+02:00",
			[]string{"2027-10-30T02:30:00+02:00", "2027-10-31T02:30:00+02:00", "2027-11-01T02:30:00+01:00"}},
		"at the change": {"03:00 exists", "0 3 * * *", "Europe/Rome", "2027-03-27T12:00:00+01:00", []string{"2027-03-28T03:00:00+02:00"}},
		"before it":     {"01:59 exists", "59 1 * * *", "Europe/Rome", "2027-03-27T12:00:00+01:00", []string{"2027-03-28T01:59:00+01:00"}},
		"midnight gone": {"the day begins at one", "0 0 * * *", "America/Santiago", "2026-09-05T12:00:00-04:00", []string{"2026-09-06T01:00:00-03:00"}},
		"a day gone":    {"Samoa had no 30 December 2011", "0 12 * * *", "Pacific/Apia", "2011-12-29T13:00:00-10:00", []string{"2011-12-31T12:00:00+14:00"}},
		"weekdays":      {"Monday to Friday", "0 22 * * 1-5", "Europe/Zurich", "2026-11-27T23:00:00+01:00", []string{"2026-11-30T22:00:00+01:00"}},
		"either day":    {"as cron has it, one of two is enough", "0 1 15 * 1", "UTC", "2026-12-08T00:00:00Z", []string{"2026-12-14T01:00:00Z", "2026-12-15T01:00:00Z", "2026-12-21T01:00:00Z"}},
		"29 February":   {"it comes", "0 1 29 2 *", "UTC", "2026-12-08T00:00:00Z", []string{"2028-02-29T01:00:00Z"}},
		"steps":         {"every second month", "0 1 1 */2 *", "UTC", "2026-11-30T00:00:00Z", []string{"2027-01-01T01:00:00Z", "2027-03-01T01:00:00Z"}},
	} {
		t.Run(name, func(t *testing.T) {
			calendar, err := newCalendar(c.schedule, c.zone)
			if err != nil {
				t.Fatal(err)
			}
			now := instant(t, c.from)
			for _, want := range c.want {
				next := calendar.next(now)
				if !next.Equal(instant(t, want)) {
					t.Fatalf("%s: after %s comes %s, want %s", c.reason, now, next.In(calendar.zone).Format(time.RFC3339), want)
				}
				if last := calendar.last(next); !last.Equal(next) {
					t.Errorf("at %s the last was %s", next, last)
				}
				if last := calendar.last(next.Add(-time.Second)); !last.Before(next) {
					t.Errorf("before %s the last was %s", next, last)
				}
				now = next
			}
		})
	}
}

// TestCalendarHasOneRunADay over a year in zones with every kind of change.
func TestCalendarHasOneRunADay(t *testing.T) {
	for _, zone := range []string{"Europe/Rome", "Europe/Zurich", "Australia/Lord_Howe", "America/Santiago", "Africa/Casablanca", "UTC"} {
		for _, schedule := range []string{"0 0 * * *", "30 2 * * *", "0 3 * * *", "59 23 * * *"} {
			c, err := newCalendar(schedule, zone)
			if err != nil {
				t.Fatal(err)
			}
			now := time.Date(2027, 1, 1, 12, 0, 0, 0, c.zone)
			for range 370 {
				next := c.next(now)
				a, b := c.day(now), c.day(next)
				if a == b && !now.Equal(time.Date(2027, 1, 1, 12, 0, 0, 0, c.zone)) {
					t.Fatalf("%s in %s: %s and %s are on one day", schedule, zone, now, next)
				}
				if next.Sub(now) > 26*time.Hour {
					t.Fatalf("%s in %s: nothing between %s and %s", schedule, zone, now, next)
				}
				now = next
			}
		}
	}
}

func TestCalendarRefuses(t *testing.T) {
	for schedule, zone := range map[string]string{
		"TZ=0 2 * * *": "UTC", "CRON_TZ= 2 * * *": "UTC", "0 0 30 2 *": "UTC", "60 2 * * *": "UTC", "0 24 * * *": "UTC", "* * * * *": "UTC", "0 2 * *": "UTC",
		"0 2 * * 8": "UTC", "0 2 0 * *": "UTC", "0 2 5-1 * *": "UTC", "0 2  * *": "UTC", "0 2 * * MON": "UTC", "@daily": "UTC", "": "UTC", "0 2 */0 * *": "UTC",
		"0 1 * * *": "Europe/Roma", "0 3 * * *": "", "0 4 * * *": "Local", "0 5 * * *": "../../etc/passwd",
	} {
		if _, err := newCalendar(schedule, zone); err == nil {
			t.Errorf("%q in %q passes", schedule, zone)
		}
	}
}

func TestLateIsBoundedAndTheSame(t *testing.T) {
	if a, b := late("lugano", "sportello"), late("lugano", "identita"); a == b || a >= spread || b >= spread || a != late("lugano", "sportello") {
		t.Errorf("%s and %s", a, b)
	}
}

func instant(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}
