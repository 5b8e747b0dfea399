package service

import (
	"errors"
	"testing"
	"time"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/outcome"
)

func TestAwarded(t *testing.T) {
	rome, err := time.LoadLocation("Europe/Rome")
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		state v1alpha1.ProcurementState
		on    v1alpha1.Date
		now   string
		want  string // reason; empty: awarded
		after time.Duration
	}{
		"planned":               {state: v1alpha1.ProcurementPlanned, now: "2027-01-01T00:00:00Z", want: v1alpha1.ReasonAwaitingAward},
		"tendering, with a day": {state: v1alpha1.ProcurementTendering, on: "2018-10-01", now: "2027-01-01T00:00:00Z", want: v1alpha1.ReasonAwaitingAward},
		"long ago":              {state: v1alpha1.ProcurementAwarded, on: "2018-10-01", now: "2027-01-01T00:00:00Z"},
		"a minute before":       {state: v1alpha1.ProcurementAwarded, on: "2027-01-02", now: "2027-01-01T22:59:00Z", want: v1alpha1.ReasonAwaitingAward, after: time.Minute},
		"at midnight in Rome":   {state: v1alpha1.ProcurementAwarded, on: "2027-01-02", now: "2027-01-01T23:00:00Z"},
		"summer time begins":    {state: v1alpha1.ProcurementAwarded, on: "2027-03-29", now: "2027-03-28T21:59:30Z", want: v1alpha1.ReasonAwaitingAward, after: 30 * time.Second},
		"months ahead":          {state: v1alpha1.ProcurementAwarded, on: "2028-01-01", now: "2027-01-01T00:00:00Z", want: v1alpha1.ReasonAwaitingAward, after: longest},
		"expired":               {state: v1alpha1.ProcurementExpired, on: "2018-10-01", now: "2027-01-01T00:00:00Z", want: v1alpha1.ReasonProcurementExpired},
		"no day":                {state: v1alpha1.ProcurementAwarded, on: "2027-13-01", now: "2027-01-01T00:00:00Z", want: v1alpha1.ReasonAwaitingAward},
	} {
		now, err := time.Parse(time.RFC3339, row.now)
		if err != nil {
			t.Fatal(err)
		}
		verdict := awarded("albo", v1alpha1.Procurement{Authority: "provincia", State: row.state, AwardedOn: row.on}, now, rome)
		var reason string
		var after time.Duration
		if wait, isWait := errors.AsType[*outcome.Wait](verdict); isWait {
			reason, after = wait.Reason, wait.After
		} else if stalled, isStall := errors.AsType[*outcome.Stall](verdict); isStall {
			reason = stalled.Reason
		}
		if reason != row.want || after != row.after {
			t.Errorf("%s: %q after %s, want %q after %s", name, reason, after, row.want, row.after)
		}
	}
}
