package stack

import (
	"errors"
	"regexp"
	"time"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/outcome"
)

// Step is what is to be done next: a run, or nothing but what the verdict says.
type Step struct {
	Operation v1alpha1.Operation // empty: no run
	Plan      *v1alpha1.StackRun // whose plan an Apply applies
	Revision  string             // the commit that the run is bound to; empty: what the source says today

	Verdict error         // *outcome.Wait, *outcome.Stall, or nil: all is as the code says
	After   time.Duration // when to look again though nothing changes; 0: never
}

// inputs say what a run would be made of now, as digests.
type inputs struct{ all, credentials string }

// next decides what is to be done for a stack of which no run is under way.
func next(s *v1alpha1.Stack, h history, in inputs, now time.Time) Step {
	if asked(s) {
		return Step{Operation: changing(s)}
	}
	if f := h.failed; f != nil && f.Spec.Inputs == in.all {
		return afterFailure(s, h, in, now)
	}
	if p := h.plan; p != nil && p.Spec.Inputs == in.all {
		return planned(s, p, now)
	}
	if h.settled == nil || h.settled.inputs != in.all || h.dirty {
		return Step{Operation: changing(s)}
	}
	return rest(s, h, now)
}

// asked tells whether people asked for a plan that nobody has made yet.
func asked(s *v1alpha1.Stack) bool {
	question := question(s)
	return question != "" && question != s.Status.Replanned
}

// question is what people ask by annotation, as far as the status can hold it.
func question(s *v1alpha1.Stack) string {
	return condition.Cut(s.Annotations[v1alpha1.AnnotationReplan], 256)
}

// changing is the operation that brings a change about, or at least on its way.
func changing(s *v1alpha1.Stack) v1alpha1.Operation {
	if s.Spec.Approval == v1alpha1.ApprovalAutomatic {
		return v1alpha1.OperationConverge
	}
	return v1alpha1.OperationPlan
}

// afterFailure decides whether to try again, when, and what.
func afterFailure(s *v1alpha1.Stack, h history, in inputs, now time.Time) Step {
	f := h.failed
	again := Step{Operation: changing(s)}
	switch class := classOf(f); class {
	case v1alpha1.FailureSource, v1alpha1.FailureInput, v1alpha1.FailureRefused:
		if f.Annotations[annotationCredentials] != in.credentials || (moving(s) && !now.Before(f.Status.FinishedAt.Add(branchRetry))) {
			return again
		}
		return Step{Verdict: &outcome.Stall{Reason: reasonOf(class), Err: errors.New(f.Status.Failure.Message)}}
	case v1alpha1.FailureOutOfDate:
		if h.failures == 1 {
			return again
		}
	case v1alpha1.FailureLocked, v1alpha1.FailureInfrastructure: // if its plan was used all the same, the broker says so, and a new one follows
		if p := h.plan; f.Spec.Operation == v1alpha1.OperationApply && p != nil && p.Name == f.Spec.PlanRun &&
			p.Status.Plan.Digest == s.Spec.ApprovedPlan && now.Before(expiry(p)) {
			again = Step{Operation: v1alpha1.OperationApply, Plan: p}
		}
	default:
	}
	if at := f.Status.FinishedAt.Add(backoff(h.failures)); now.Before(at) {
		return Step{After: at.Sub(now), Verdict: retrying(f, at.Sub(now))}
	}
	return again
}

func retrying(f *v1alpha1.StackRun, after time.Duration) error {
	message := "it failed"
	if f.Status.Failure != nil {
		message = f.Status.Failure.Message
	}
	return &outcome.Wait{Reason: reasonOf(classOf(f)), Message: message + "; it is tried again by itself, ever later", After: after}
}

// reasonOf is the reason by which a status shows a class of failure.
func reasonOf(class v1alpha1.FailureClass) string {
	switch class {
	case v1alpha1.FailureSource:
		return v1alpha1.ReasonInvalidSource
	case v1alpha1.FailureRefused:
		return v1alpha1.ReasonNotAllowed
	case v1alpha1.FailureLocked:
		return v1alpha1.ReasonStateLocked
	case v1alpha1.FailureLost:
		return v1alpha1.ReasonRunLost
	default:
		return v1alpha1.ReasonRunFailed
	}
}

var commit = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)

// moving tells whether the source may be another one tomorrow though its text stays.
func moving(s *v1alpha1.Stack) bool {
	return s.Spec.Source.Git != nil && !commit.MatchString(s.Spec.Source.Git.Revision)
}

func expiry(p *v1alpha1.StackRun) time.Time { return p.Status.FinishedAt.Add(planLife) }

// planned decides about a plan that does something and was made of what is there now.
func planned(s *v1alpha1.Stack, p *v1alpha1.StackRun, now time.Time) Step {
	digest := p.Status.Plan.Digest
	left := expiry(p).Sub(now)
	used := s.Spec.ApprovedPlan != "" && s.Status.Approved == s.Spec.ApprovedPlan
	switch {
	case s.Spec.Approval == v1alpha1.ApprovalAutomatic:
		return Step{Operation: v1alpha1.OperationConverge}
	case left <= 0:
		return Step{Operation: v1alpha1.OperationPlan}
	case digest != "" && s.Spec.ApprovedPlan == digest && !used:
		return Step{Operation: v1alpha1.OperationApply, Plan: p}
	case s.Spec.ApprovedPlan == digest:
		return waiting("spec.approvedPlan approved an earlier plan that does just what status.plan does: to approve that too, clear it and write it again", left)
	}
	return waiting("status.plan shows what would be done: to let it be applied, set spec.approvedPlan to status.plan.digest", left)
}

func waiting(message string, left time.Duration) Step {
	return Step{After: left, Verdict: &outcome.Wait{Reason: v1alpha1.ReasonAwaitingApproval, Message: message, After: left}}
}

// rest decides about a stack that is as its code says, or was when somebody last looked.
func rest(s *v1alpha1.Stack, h history, now time.Time) Step {
	d := s.Spec.Drift
	if d == nil || s.Status.Applied == nil || s.Status.Applied.Digest == "" { // of what was never applied there is nothing to look at
		return Step{}
	}
	last := h.settled.at
	if h.look != nil {
		last = h.look.Status.FinishedAt.Time
		if drifted := h.look.Status.Plan; drifted != nil && !drifted.Empty() {
			switch d.Action {
			case v1alpha1.DriftReplan:
				return Step{Operation: changing(s)}
			case v1alpha1.DriftApply:
				return Step{Operation: v1alpha1.OperationConverge, Revision: pinned(s)}
			case v1alpha1.DriftReport:
			}
		}
	}
	at := due(d, s.UID, last)
	if h.blind != nil {
		at = h.blind.Status.FinishedAt.Add(backoff(h.blinds))
	}
	if !now.Before(at) {
		return Step{Operation: v1alpha1.OperationLook}
	}
	return Step{After: at.Sub(now)}
}

// pinned is the commit that was applied last, where the source is a branch or tag: nobody has approved what it is today.
func pinned(s *v1alpha1.Stack) string {
	if moving(s) && commit.MatchString(s.Status.Applied.Revision) {
		return s.Status.Applied.Revision
	}
	return ""
}
