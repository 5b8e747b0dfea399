package service

import (
	"fmt"
	"time"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/outcome"
)

// awarded tells whether a service may be provisioned anew at a time, in the consortium's zone: nil, or what it waits for. A day begins
// at the first instant that the zone has of it.
func awarded(offering string, p v1alpha1.Procurement, now time.Time, zone *time.Location) error {
	if p.State == v1alpha1.ProcurementExpired {
		return outcome.Stalled(v1alpha1.ReasonProcurementExpired, "the award of %s has expired: nothing new is provisioned, what runs goes on; "+
			"ask %s for a new tender, or delete the instance", offering, p.Authority)
	}
	if p.State != v1alpha1.ProcurementAwarded {
		return &outcome.Wait{Reason: v1alpha1.ReasonAwaitingAward, Message: fmt.Sprintf(
			"%s is not awarded yet: %s has it in state %s; the instance is counted as demand", offering, p.Authority, p.State)}
	}
	day, err := time.ParseInLocation(time.DateOnly, string(p.AwardedOn), zone)
	if err != nil {
		return outcome.Stalled(v1alpha1.ReasonAwaitingAward, "%s is awarded on %q, which is no day: ask the platform to correct it", offering, p.AwardedOn)
	}
	if !day.After(now) {
		return nil
	}
	return &outcome.Wait{Reason: v1alpha1.ReasonAwaitingAward, After: min(day.Sub(now), longest), Message: fmt.Sprintf(
		"%s is awarded from %s on, and provisioned then; until then the instance is counted as demand", offering, p.AwardedOn)}
}
