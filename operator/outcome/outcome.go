// Package outcome judges how a reconcile ended and writes the object's status, once. Inner code returns errors; it
// never logs, requeues or sets a verdict.
//
// There are three classes of error: *Wait (nothing is wrong, look later), *Stall (only a person can help), and
// anything else, which is retried with backoff. A conflict is retried in silence: somebody was quicker, nothing is wrong.
package outcome

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
)

const (
	// Patience is how long a new object may wait before its status says so. Most waits on the way to Ready end within it, and a
	// status that nobody had time to read is a write for nothing. Until then the object's observedGeneration is -1: nobody takes it for ready.
	Patience = 3 * time.Second

	// again is when to look again after a conflict, should no event come first.
	again = 100 * time.Millisecond

	// lookAgain is when to look again at a stalled object whose way out may be something that we do not watch.
	lookAgain = 5 * time.Minute
)

// Wait says that nothing is wrong and nobody is needed: look again after After, or when something watched changes.
type Wait struct {
	Reason  string
	Message string
	After   time.Duration // 0: only a watched change can end the wait
}

// Error is the message that the status shows.
func (w *Wait) Error() string { return w.Message }

// Stall says that only a person can help. Err says which object, why, and the way out.
type Stall struct {
	Reason string
	Err    error
}

// Stalled is a Stall for a reason; the rest is what fmt.Errorf takes.
func Stalled(reason, format string, values ...any) error {
	return &Stall{Reason: reason, Err: fmt.Errorf(format, values...)}
}

// Error is the message that the status shows.
func (s *Stall) Error() string { return s.Err.Error() }

// Unwrap returns the cause.
func (s *Stall) Unwrap() error { return s.Err }

// Settle turns the end of a reconcile into the object's verdict, writes the status if it differs from before, and says
// when to look again. done is the message of success, and next when a settled object wants to be looked at again
// (0: when something changes). The error that it returns is for controller-runtime to log and back off on.
func Settle(ctx context.Context, c client.Client, before, o condition.Object, done string, next time.Duration, err error) (ctrl.Result, error) {
	result, retry := judge(o, done, next, err)
	if rest := patience(before); rest > 0 && isWait(err) {
		if result.RequeueAfter == 0 || result.RequeueAfter > rest {
			result.RequeueAfter = rest
		}
		return result, nil
	}
	if equality.Semantic.DeepEqual(before, o) {
		return result, retry
	}
	switch err := client.IgnoreNotFound(c.Status().Update(ctx, o)); {
	case apierrors.IsConflict(err):
		return ctrl.Result{RequeueAfter: again}, nil
	case err != nil:
		return ctrl.Result{}, errors.Join(retry, err)
	}
	return result, retry
}

func judge(o condition.Object, done string, next time.Duration, err error) (ctrl.Result, error) {
	var wait *Wait
	var stall *Stall
	switch {
	case err == nil:
		condition.Succeed(o, done)
		return ctrl.Result{RequeueAfter: next}, nil
	case errors.As(err, &wait):
		condition.Progress(o, wait.Reason, wait.Message)
		return ctrl.Result{RequeueAfter: wait.After}, nil
	case errors.As(err, &stall):
		condition.Stall(o, stall.Reason, stall.Error())
		return ctrl.Result{RequeueAfter: lookAgain}, nil
	case apierrors.IsConflict(err):
		return ctrl.Result{RequeueAfter: again}, nil
	default:
		condition.Progress(o, v1alpha1.ReasonRetrying, err.Error())
		return ctrl.Result{}, err
	}
}

func isWait(err error) bool {
	var wait *Wait
	return errors.As(err, &wait)
}

// patience is how much longer an object that has not heard from us yet may wait in silence: at most Patience, whatever the
// clocks say, since a creation in the future gets none.
func patience(o condition.Object) time.Duration {
	age := time.Since(o.GetCreationTimestamp().Time)
	if o.GetObservedGeneration() != -1 || age < 0 || !o.GetDeletionTimestamp().IsZero() {
		return 0
	}
	return Patience - age
}
