package stack

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/broletto/broletto/api/v1alpha1"
)

// Annotations of a StackRun: what its spec does not say, and a decision after a crash rests on.
const (
	// annotationReplan holds the question of people that the run answers.
	annotationReplan = v1alpha1.AnnotationReplan
	// annotationCredentials holds the digest of the source's credentials: new ones are worth another attempt.
	annotationCredentials = "broletto.dev/credentials"
	// annotationRevision holds the commit that a repair of drift is bound to, whatever its branch says today.
	annotationRevision = "broletto.dev/revision"
)

// settled is the moment from which the workspace was as the code says: something was applied, or there was nothing to apply.
type settled struct {
	attempt int32
	inputs  string
	at      time.Time
}

// history is what the runs of a stack say. Every run in it has finished.
type history struct {
	settled  *settled           // nil: never
	plan     *v1alpha1.StackRun // the newest plan that does something, newer than settled
	failed   *v1alpha1.StackRun // the newest run, if it is newer than both and failed
	failures int                // how many runs failed in a row with the inputs of failed
	dirty    bool               // something was begun since settled, and did not come to its end
	look     *v1alpha1.StackRun // the newest look that succeeded, newer than settled
	blind    *v1alpha1.StackRun // the newest look, if it failed and is newer than look and settled
	blinds   int                // how many looks failed in a row
}

// read makes a history of the runs of a stack, the oldest first.
func read(s *v1alpha1.Stack, runs []*v1alpha1.StackRun) history {
	var h history
	if a := s.Status.Applied; a != nil {
		h.settled = &settled{attempt: attemptOf(a.Run), inputs: a.Inputs, at: a.At.Time}
	}
	for _, r := range runs {
		if !r.Finished() || r.Spec.Operation == v1alpha1.OperationDestroy || (h.settled != nil && r.Spec.Attempt < h.settled.attempt) {
			continue
		}
		h.add(r)
	}
	return h
}

func (h *history) add(r *v1alpha1.StackRun) {
	succeeded := r.Status.Phase == v1alpha1.RunSucceeded
	switch {
	case r.Spec.Operation == v1alpha1.OperationLook && succeeded:
		h.look, h.blind, h.blinds = r, nil, 0
	case r.Spec.Operation == v1alpha1.OperationLook:
		h.blind = r
		h.blinds++
	case succeeded && settles(r):
		*h = history{settled: &settled{attempt: r.Spec.Attempt, inputs: r.Spec.Inputs, at: r.Status.FinishedAt.Time}}
	case succeeded:
		h.plan, h.failed, h.failures = r, nil, 0
	default:
		if h.failed != nil && h.failed.Spec.Inputs != r.Spec.Inputs {
			h.failures = 0
		}
		h.failed = r
		h.failures++
		h.dirty = h.dirty || begun(r)
	}
}

// settles tells whether after a run that succeeded all is as its inputs say.
func settles(r *v1alpha1.StackRun) bool {
	return applies(r) || (r.Status.Plan != nil && r.Status.Plan.Empty())
}

func applies(r *v1alpha1.StackRun) bool {
	return r.Spec.Operation == v1alpha1.OperationApply || r.Spec.Operation == v1alpha1.OperationConverge
}

// begun tells whether a run that failed may have changed something.
func begun(r *v1alpha1.StackRun) bool {
	if !applies(r) {
		return false
	}
	switch classOf(r) {
	case v1alpha1.FailureSource, v1alpha1.FailureInput, v1alpha1.FailureRefused, v1alpha1.FailureOutOfDate, v1alpha1.FailureLocked:
		return false
	default:
		return true
	}
}

func classOf(r *v1alpha1.StackRun) v1alpha1.FailureClass {
	if r.Status.Failure == nil {
		return ""
	}
	return r.Status.Failure.Class
}

// unfinished is the run that is under way; nil: none.
func unfinished(runs []*v1alpha1.StackRun) *v1alpha1.StackRun {
	for _, r := range slices.Backward(runs) {
		if !r.Finished() {
			return r
		}
	}
	return nil
}

// runName is the name of a stack's run.
func runName(stack string, attempt int32) string { return stack + "-" + strconv.Itoa(int(attempt)) }

// attemptOf is the number at the end of a run's name.
func attemptOf(name string) int32 {
	n, err := strconv.ParseInt(name[strings.LastIndex(name, "-")+1:], 10, 32)
	if err != nil {
		return 0
	}
	return int32(n)
}
