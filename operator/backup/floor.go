package backup

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/outcome"
)

// effective is what holds for workspaces of a floor's class: of the policy and the floor, the stricter of each.
func effective(p *v1alpha1.BackupPolicySpec, f v1alpha1.BackupFloor) v1alpha1.EffectiveRules {
	out := v1alpha1.EffectiveRules{DataClass: f.DataClass, Retention: p.Retention, RecoveryPointHours: p.RecoveryPointHours, DrillEveryDays: every(p.Drill)}
	if kept := f.Retention; kept != nil {
		out.Retention = v1alpha1.Retention{
			Last: max(p.Retention.Last, kept.Last), Daily: max(p.Retention.Daily, kept.Daily), Weekly: max(p.Retention.Weekly, kept.Weekly),
			Monthly: max(p.Retention.Monthly, kept.Monthly), Yearly: max(p.Retention.Yearly, kept.Yearly),
		}
	}
	out.RecoveryPointHours = least(p.RecoveryPointHours, f.RecoveryPointHours)
	out.DrillEveryDays = least(every(p.Drill), f.DrillEveryDays)
	return out
}

// least is the lower of two bounds; nil is none.
func least(a, b *int32) *int32 {
	if a == nil || b != nil && *b < *a {
		return b
	}
	return a
}

// every is how often drills come; nil: never.
func every(d *v1alpha1.Drill) *int32 {
	if d == nil {
		return nil
	}
	return &d.EveryDays
}

// rulesFor is what holds for workspaces of a class: by the policy alone, where there is no floor.
func rulesFor(p *v1alpha1.BackupPolicy, class v1alpha1.DataClass) v1alpha1.EffectiveRules {
	for _, e := range p.Status.Effective {
		if e.DataClass == class {
			return e
		}
	}
	return effective(&p.Spec, v1alpha1.BackupFloor{DataClass: class})
}

// raised says in which of its rules a policy asks for less than holds.
func raised(p *v1alpha1.BackupPolicySpec, e v1alpha1.EffectiveRules) (out []string) {
	for _, n := range []struct {
		name         string
		policy, here int32
	}{
		{"retention.last", p.Retention.Last, e.Retention.Last},
		{"retention.daily", p.Retention.Daily, e.Retention.Daily},
		{"retention.weekly", p.Retention.Weekly, e.Retention.Weekly},
		{"retention.monthly", p.Retention.Monthly, e.Retention.Monthly},
		{"retention.yearly", p.Retention.Yearly, e.Retention.Yearly},
	} {
		if n.here > n.policy {
			out = append(out, fmt.Sprintf("%s %d instead of %d", n.name, n.here, n.policy))
		}
	}
	most := func(name string, policy, here *int32) {
		switch {
		case here == nil:
		case policy == nil:
			out = append(out, fmt.Sprintf("%s %d", name, *here))
		case *here < *policy:
			out = append(out, fmt.Sprintf("%s %d instead of %d", name, *here, *policy))
		}
	}
	most("recoveryPointHours", p.RecoveryPointHours, e.RecoveryPointHours)
	most("drill.everyDays", every(p.Drill), e.DrillEveryDays)
	return out
}

// unkept finds what of a floor nobody but a person can keep: where copies lie, how long the store locks, and how often the schedule comes.
// The repositories are the policy's, its own first, nil where there is none. Empty: all is kept.
func unkept(f v1alpha1.BackupFloor, c calendar, repositories []*v1alpha1.BackupRepository, now time.Time) (reason, message string) {
	if h := f.RecoveryPointHours; h != nil && c.rarer(time.Duration(*h)*time.Hour, now) {
		return v1alpha1.ReasonScheduleTooRare, fmt.Sprintf(
			"class %s asks for a backup at least every %d hours, and spec.schedule is rarer, if only when the clock is set back: name more days", f.DataClass, *h)
	}
	domains := map[string]bool{}
	for i, r := range repositories {
		locks := r != nil && locksFor(r, f.ObjectLockDays)
		if i == 0 && !locks && f.ObjectLockDays != nil {
			return v1alpha1.ReasonLockTooShort, fmt.Sprintf(
				"class %s asks for a repository that was seen to lock what it is given for %d days, and spec.repository was not: name another one, or ask the platform to set its objectLock", f.DataClass, *f.ObjectLockDays)
		}
		if r != nil && (i == 0 || locks) {
			domains[r.Spec.FailureDomain] = true
		}
	}
	if has := max(len(domains)-1, 0); has < int(f.Copies) {
		message := fmt.Sprintf("class %s asks for copies in %d further failure domains, and spec.copies has repositories in %d", f.DataClass, f.Copies, has)
		if f.ObjectLockDays != nil {
			message += fmt.Sprintf(" that lock for %d days", *f.ObjectLockDays)
		}
		return v1alpha1.ReasonTooFewCopies, message + ": name more of them; the platform knows which there are"
	}
	return "", ""
}

// locksFor tells whether a repository was seen to lock what it is given for so many days; nil asks for none.
func locksFor(r *v1alpha1.BackupRepository, days *int32) bool {
	return days == nil || r.Spec.ObjectLock != nil && r.Spec.ObjectLock.Days >= *days && meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionWormProven)
}

// floors finds what holds for the policy's workspaces, tells whether the floors are kept, and returns what breaks one.
func (r *Policies) floors(ctx context.Context, p *v1alpha1.BackupPolicy, h home, now time.Time) error {
	p.Status.Effective = nil
	repositories, err := r.repositories(ctx, p, h)
	if err != nil {
		return err
	}
	var reason, broken string
	var applied []string
	for _, f := range h.consortium.Spec.BackupFloors {
		if !slices.ContainsFunc(h.workspaces, func(name string) bool { return h.classes[name] == f.DataClass }) {
			continue
		}
		e := effective(&p.Spec, f)
		p.Status.Effective = append(p.Status.Effective, e)
		if more := raised(&p.Spec, e); len(more) > 0 {
			applied = append(applied, fmt.Sprintf("for class %s: %s", f.DataClass, strings.Join(more, ", ")))
		}
		if broken != "" {
			continue
		}
		if h.unreadable != nil {
			reason, broken = v1alpha1.ReasonInvalidSchedule, h.unreadable.Error()
		} else {
			reason, broken = unkept(f, h.calendar, repositories, now)
		}
	}
	switch {
	case len(p.Status.Effective) == 0:
		condition.Withdraw(p, v1alpha1.ConditionFloorKept)
	case broken != "":
		condition.Report(p, v1alpha1.ConditionFloorKept, false, reason, broken)
		return outcome.Stalled(reason, "%s", broken)
	case len(applied) > 0:
		condition.Report(p, v1alpha1.ConditionFloorKept, true, v1alpha1.ReasonFloorApplied,
			fmt.Sprintf("consortium %s asks for more than the policy, and that holds %s", h.consortium.Name, strings.Join(applied, "; ")))
	default:
		condition.Report(p, v1alpha1.ConditionFloorKept, true, v1alpha1.ReasonKept, "")
	}
	return nil
}

// repositories are those of the policy, its own first; nil where the consortium has none of that name.
func (r *Policies) repositories(ctx context.Context, p *v1alpha1.BackupPolicy, h home) (out []*v1alpha1.BackupRepository, err error) {
	for _, name := range slices.Concat([]v1alpha1.RepositoryName{p.Spec.Repository}, p.Spec.Copies) {
		one := &v1alpha1.BackupRepository{}
		err := r.Client.Get(ctx, client.ObjectKey{Name: string(name)}, one)
		switch {
		case apierrors.IsNotFound(err) || err == nil && one.Spec.Consortium != h.consortium.Name:
			one = nil
		case err != nil:
			return nil, fmt.Errorf("reading repository %s: %w", name, err)
		}
		out = append(out, one)
	}
	return out, nil
}
