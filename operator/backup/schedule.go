package backup

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

const (
	// star is the bit by which a field of cron says that it names every day.
	star = 1 << 63
	// horizon bounds the search for a day, in days: 29 February of a leap year that falls on one day of the week comes every 40 years at the latest.
	horizon = 366 * 41
	// spread is how much later than the schedule a workspace may run, so that not all run at once.
	spread = 10 * time.Minute
)

// calendar is a schedule: one time of the local day, on the days that it names.
type calendar struct {
	hour, minute int
	days         *cron.SpecSchedule
	zone         *time.Location
}

// newCalendar reads "minute hour day-of-month month day-of-week", of which minute and hour are numbers, in an IANA time zone.
func newCalendar(schedule, zone string) (c calendar, err error) {
	if c.zone, err = time.LoadLocation(zone); err != nil || zone == "" || zone == "Local" {
		return calendar{}, fmt.Errorf("there is no time zone %q: write a name of the IANA database, for example Europe/Rome", zone)
	}
	wrong := func(why any) (calendar, error) {
		return calendar{}, fmt.Errorf("the schedule %q cannot be read: %v: write it as \"30 2 * * *\", for half past two on every day", schedule, why)
	}
	fields := strings.Split(schedule, " ")
	if len(fields) != 5 {
		return wrong("it has not five fields")
	}
	if c.minute, err = strconv.Atoi(fields[0]); err != nil || c.minute < 0 || c.minute > 59 {
		return wrong("minute is a number from 0 to 59")
	}
	if c.hour, err = strconv.Atoi(fields[1]); err != nil || c.hour < 0 || c.hour > 23 {
		return wrong("hour is a number from 0 to 23")
	}
	for _, field := range fields[2:] {
		if strings.Trim(field, "0123456789*,/-") != "" || field == "" { // else the parser takes names of zones and descriptors
			return wrong("days and months are numbers, lists, ranges and *")
		}
	}
	days, err := cron.NewParser(cron.Dom | cron.Month | cron.Dow).Parse(strings.Join(fields[2:], " "))
	if err != nil {
		return wrong(err)
	}
	c.days, _ = days.(*cron.SpecSchedule)
	if c.next(time.Date(2000, 1, 1, 0, 0, 0, 0, c.zone)).IsZero() {
		return wrong("no day is like that")
	}
	return c, nil
}

// last is the latest instant of the schedule that is not after now; zero: there is none.
func (c calendar) last(now time.Time) time.Time {
	return c.seek(now, -1, func(t time.Time) bool { return !t.After(now) })
}

// next is the first instant of the schedule after now; zero: there is none.
func (c calendar) next(now time.Time) time.Time {
	return c.seek(now, 1, func(t time.Time) bool { return t.After(now) })
}

// seek walks from the local day of an instant, day by day, to the first instant that fits.
func (c calendar) seek(from time.Time, step int, fits func(time.Time) bool) time.Time {
	year, month, day := from.In(c.zone).Date()
	for i := range horizon {
		noon := time.Date(year, month, day+i*step, 12, 0, 0, 0, time.UTC) // a name of a day, of no zone
		if !c.names(noon) {
			continue
		}
		if t := c.on(noon); t.Day() == noon.Day() && fits(t) { // some zones have once left out a day
			return t
		}
	}
	return time.Time{}
}

// names tells whether the schedule names a day. As cron has it, day of month and day of week both count only where neither is *: then one is enough.
func (c calendar) names(day time.Time) bool {
	month := c.days.Month&(1<<uint(day.Month())) != 0
	dom := c.days.Dom&(1<<uint(day.Day())) != 0
	dow := c.days.Dow&(1<<uint(day.Weekday())) != 0
	if c.days.Dom&star != 0 || c.days.Dow&star != 0 {
		return month && dom && dow
	}
	return month && (dom || dow)
}

// on is the instant of the schedule on a local day: the first of two where the clock is set back, and the next that exists where it is set forward.
func (c calendar) on(day time.Time) time.Time {
	t := time.Date(day.Year(), day.Month(), day.Day(), c.hour, c.minute, 0, 0, c.zone)
	begin, end := t.ZoneBounds()
	wanted := time.Date(day.Year(), day.Month(), day.Day(), c.hour, c.minute, 0, 0, time.UTC)
	clock := time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), 0, 0, time.UTC) // what the clock on the wall says
	switch {
	case clock.After(wanted):
		return begin
	case clock.Before(wanted):
		return end
	case begin.IsZero():
		return t
	}
	_, offset := t.Zone()
	_, before := begin.Add(-time.Second).Zone()
	if first := t.Add(time.Duration(offset-before) * time.Second); first.Before(begin) && first.Day() == t.Day() && first.Hour() == t.Hour() {
		return first
	}
	return t
}

// day is the local day of an instant of the schedule, as "20061102".
func (c calendar) day(t time.Time) string { return t.In(c.zone).Format("20060102") }

// late is how much later than the schedule a workspace of a tenant runs, always the same.
func late(tenant, workspace string) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(tenant + "/" + workspace)) // never fails
	return time.Duration(h.Sum64() % uint64(spread))
}

// rarer tells whether a gap of the schedule, the present one or one that begins within a year, is longer than that.
func (c calendar) rarer(than time.Duration, now time.Time) bool {
	for t := c.last(now); t.Before(now.AddDate(1, 0, 0)); {
		next := c.next(t)
		if t.IsZero() || next.IsZero() || next.Sub(t) > than {
			return true
		}
		t = next
	}
	return false
}
