package outcome_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/outcome"
)

// writer counts status writes and answers each with the same error. What an API server answers is tested beside it.
type writer struct {
	client.Client
	answer error
	writes int
}

func (w *writer) Status() client.SubResourceWriter { return status{writer: w} }

type status struct {
	client.SubResourceWriter
	writer *writer
}

func (s status) Update(context.Context, client.Object, ...client.SubResourceUpdateOption) error {
	s.writer.writes++
	return s.writer.answer
}

var (
	tenants  = schema.GroupResource{Group: "broletto.dev", Resource: "tenants"}
	conflict = apierrors.NewConflict(tenants, "lugano", errors.New("somebody was quicker"))
	notFound = apierrors.NewNotFound(tenants, "lugano")
	errStore = errors.New("the store is full")
	wait     = &outcome.Wait{Reason: v1alpha1.ReasonQuotaPending, Message: "not yet counted", After: 7 * time.Second}
	stalled  = &outcome.Stall{Reason: v1alpha1.ReasonNamespaceConflict, Err: fmt.Errorf("namespace lugano: %w", errStore)}
)

// seen is a tenant that was looked at before and has been Ready since.
func seen() *v1alpha1.Tenant {
	return &v1alpha1.Tenant{
		ObjectMeta: metav1.ObjectMeta{Name: "lugano", Generation: 2, CreationTimestamp: metav1.Now()},
		Status: v1alpha1.TenantStatus{ObservedGeneration: 1, Conditions: []metav1.Condition{
			{Type: "Ready", Status: "True", Reason: "Succeeded", Message: "ready", ObservedGeneration: 1, LastTransitionTime: metav1.Now()},
		}},
	}
}

func TestSettle(t *testing.T) {
	cases := map[string]struct {
		reason  string
		err     error
		verdict []metav1.Condition // what stands in the status afterwards
		result  ctrl.Result
		retry   error
		writes  int
	}{
		"Success": {
			reason: "looked at again when the reconciler says so", writes: 1,
			verdict: []metav1.Condition{{Type: "Ready", Status: "True", Reason: "Succeeded", Message: "ready"}},
			result:  ctrl.Result{RequeueAfter: time.Hour},
		},
		"Wait": {
			reason: "nothing is wrong, so nothing is logged or backed off from", err: wait, writes: 1,
			verdict: []metav1.Condition{
				{Type: "Ready", Status: "False", Reason: "QuotaPending", Message: "not yet counted"},
				{Type: "Reconciling", Status: "True", Reason: "QuotaPending", Message: "not yet counted"},
			},
			result: ctrl.Result{RequeueAfter: 7 * time.Second},
		},
		"WaitForEvent": {
			reason: "only a change ends it: no timer", err: &outcome.Wait{Reason: "Deleting", Message: "on the way"}, writes: 1,
			verdict: []metav1.Condition{
				{Type: "Ready", Status: "False", Reason: "Deleting", Message: "on the way"},
				{Type: "Reconciling", Status: "True", Reason: "Deleting", Message: "on the way"},
			},
		},
		"Stall": {
			reason: "a person's way out may be one that we do not watch", err: stalled, writes: 1,
			verdict: []metav1.Condition{
				{Type: "Ready", Status: "False", Reason: "NamespaceConflict", Message: "namespace lugano: the store is full"},
				{Type: "Stalled", Status: "True", Reason: "NamespaceConflict", Message: "namespace lugano: the store is full"},
			},
			result: ctrl.Result{RequeueAfter: 5 * time.Minute},
		},
		"Failure": {
			reason: "anything else is retried with backoff, and told", err: errStore, retry: errStore, writes: 1,
			verdict: []metav1.Condition{
				{Type: "Ready", Status: "False", Reason: "Retrying", Message: "the store is full"},
				{Type: "Reconciling", Status: "True", Reason: "Retrying", Message: "the store is full"},
			},
		},
		"Conflict": {
			reason: "somebody was quicker: no log, no verdict, no write", err: conflict,
			verdict: []metav1.Condition{{Type: "Ready", Status: "True", Reason: "Succeeded", Message: "ready"}},
			result:  ctrl.Result{RequeueAfter: 100 * time.Millisecond},
		},
		"WrappedWait": {
			reason: "the class shows through context", err: fmt.Errorf("making the home: %w", wait), writes: 1,
			verdict: []metav1.Condition{
				{Type: "Ready", Status: "False", Reason: "QuotaPending", Message: "not yet counted"},
				{Type: "Reconciling", Status: "True", Reason: "QuotaPending", Message: "not yet counted"},
			},
			result: ctrl.Result{RequeueAfter: 7 * time.Second},
		},
		"WrappedStall": {
			reason: "the class shows through context", err: fmt.Errorf("a: %w", fmt.Errorf("b: %w", stalled)), writes: 1,
			verdict: []metav1.Condition{
				{Type: "Ready", Status: "False", Reason: "NamespaceConflict", Message: "namespace lugano: the store is full"},
				{Type: "Stalled", Status: "True", Reason: "NamespaceConflict", Message: "namespace lugano: the store is full"},
			},
			result: ctrl.Result{RequeueAfter: 5 * time.Minute},
		},
		"WrappedConflict": {
			reason: "a conflict deep inside is silent too", err: fmt.Errorf("applying: %w", conflict),
			verdict: []metav1.Condition{{Type: "Ready", Status: "True", Reason: "Succeeded", Message: "ready"}},
			result:  ctrl.Result{RequeueAfter: 100 * time.Millisecond},
		},
		"JoinedFailures": {
			reason: "both are told", err: errors.Join(errStore, errors.New("and the disk")), retry: errStore, writes: 1,
			verdict: []metav1.Condition{
				{Type: "Ready", Status: "False", Reason: "Retrying", Message: "the store is full and the disk"},
				{Type: "Reconciling", Status: "True", Reason: "Retrying", Message: "the store is full and the disk"},
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			before := seen()
			o, c := before.DeepCopy(), &writer{}
			got, err := outcome.Settle(t.Context(), c, before, o, "ready", time.Hour, tc.err)
			if diff := cmp.Diff(tc.verdict, o.Status.Conditions, cmpopts.IgnoreFields(metav1.Condition{}, "LastTransitionTime", "ObservedGeneration")); diff != "" {
				t.Errorf("%s: conditions (-want +got):\n%s", tc.reason, diff)
			}
			if got != tc.result || !errors.Is(err, tc.retry) || c.writes != tc.writes {
				t.Errorf("%s: got %+v, %v and %d writes; want %+v, %v and %d", tc.reason, got, err, c.writes, tc.result, tc.retry, tc.writes)
			}
		})
	}
}

// TestRestIsQuiet settles every verdict a second time: a status that says it already is not written.
func TestRestIsQuiet(t *testing.T) {
	for name, err := range map[string]error{"Success": nil, "Wait": wait, "Stall": stalled, "Failure": errStore, "Conflict": conflict} {
		t.Run(name, func(t *testing.T) {
			o := seen()
			_, _ = outcome.Settle(t.Context(), &writer{}, seen(), o, "ready", 0, err)
			before, c := o.DeepCopy(), &writer{}
			if _, again := outcome.Settle(t.Context(), c, before, o, "ready", 0, err); c.writes != 0 {
				t.Errorf("%d writes of what stands there already (%v)", c.writes, again)
			}
		})
	}
}

// TestStatusWrite gives each answer that the one status write can get.
func TestStatusWrite(t *testing.T) {
	cases := map[string]struct {
		reason     string
		answer     error
		err        error
		result     ctrl.Result
		wantErrors []error
	}{
		"Conflict":        {"retried in silence, the failure of before too: it comes again", conflict, errStore, ctrl.Result{RequeueAfter: 100 * time.Millisecond}, nil},
		"Gone":            {"an object that is gone needs no status", notFound, nil, ctrl.Result{RequeueAfter: time.Hour}, nil},
		"GoneAfterError":  {"what failed before is still told", notFound, errStore, ctrl.Result{}, []error{errStore}},
		"Failure":         {"retried with backoff", errors.ErrUnsupported, nil, ctrl.Result{}, []error{errors.ErrUnsupported}},
		"FailureAfterOne": {"both are told", errors.ErrUnsupported, errStore, ctrl.Result{}, []error{errors.ErrUnsupported, errStore}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			before := seen()
			c := &writer{answer: tc.answer}
			got, err := outcome.Settle(t.Context(), c, before, before.DeepCopy(), "other", time.Hour, tc.err)
			if got != tc.result || (err != nil) != (len(tc.wantErrors) > 0) || c.writes != 1 {
				t.Errorf("%s: got %+v, %v and %d writes; want %+v, %v and one", tc.reason, got, err, c.writes, tc.result, tc.wantErrors)
			}
			for _, want := range tc.wantErrors {
				if !errors.Is(err, want) {
					t.Errorf("%s: %v does not hold %v", tc.reason, err, want)
				}
			}
		})
	}
}

// TestPatience ages an object that has not heard from us, in virtual time, and settles it.
func TestPatience(t *testing.T) {
	cases := map[string]struct {
		reason  string
		age     time.Duration
		change  func(o *v1alpha1.Tenant)
		err     error
		silent  bool
		requeue time.Duration
	}{
		"New":           {reason: "a wait soon over is not told", err: wait, silent: true, requeue: 3 * time.Second},
		"Young":         {reason: "looked at when patience ends, which is before After", age: 2 * time.Second, err: wait, silent: true, requeue: time.Second},
		"ShortWait":     {reason: "After is before the end of patience", err: &outcome.Wait{After: time.Second}, silent: true, requeue: time.Second},
		"WaitForEvent":  {reason: "patience ends though no event comes", err: &outcome.Wait{Reason: "Deleting"}, silent: true, requeue: 3 * time.Second},
		"JustInTime":    {reason: "one nanosecond is left", age: 3*time.Second - 1, err: wait, silent: true, requeue: 1},
		"Over":          {reason: "now people may want to know", age: 3 * time.Second, err: wait, requeue: 7 * time.Second},
		"Old":           {reason: "a new operator tells about old objects at once", age: time.Hour, err: wait, requeue: 7 * time.Second},
		"Future":        {reason: "the API server's clock is ahead: told at once, not after the difference", age: -time.Hour, err: wait, requeue: 7 * time.Second},
		"Wrapped":       {reason: "the class shows through context", err: fmt.Errorf("home: %w", wait), silent: true, requeue: 3 * time.Second},
		"Stall":         {reason: "only a person can help: told at once", err: stalled, requeue: 5 * time.Minute},
		"Success":       {reason: "good news is told at once", requeue: time.Hour},
		"AlreadyHeard":  {reason: "who has a status gets a new one", change: func(o *v1alpha1.Tenant) { o.Status.ObservedGeneration = 1 }, err: wait, requeue: 7 * time.Second},
		"BeingDeleted":  {reason: "who deletes wants to know", change: func(o *v1alpha1.Tenant) { now := metav1.Now(); o.DeletionTimestamp = &now }, err: wait, requeue: 7 * time.Second},
		"WithNewStatus": {reason: "what else the status says can wait as well", change: func(o *v1alpha1.Tenant) { o.Status.Namespace = "lugano" }, err: wait, silent: true, requeue: 3 * time.Second},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				before := &v1alpha1.Tenant{
					ObjectMeta: metav1.ObjectMeta{Generation: 1, CreationTimestamp: metav1.NewTime(time.Now().Add(-tc.age))},
					Status:     v1alpha1.TenantStatus{ObservedGeneration: -1},
				}
				if tc.change != nil {
					tc.change(before)
				}
				c := &writer{}
				got, err := outcome.Settle(t.Context(), c, before, before.DeepCopy(), "ready", time.Hour, tc.err)
				if err != nil || got.RequeueAfter != tc.requeue || (c.writes == 0) != tc.silent || c.writes > 1 {
					t.Errorf("%s: got %+v, %v and %d writes; want a look in %s, silent %v", tc.reason, got, err, c.writes, tc.requeue, tc.silent)
				}
			})
		})
	}
}

// TestPatienceEnds follows one object through virtual time: silence, then exactly one write that says it is not ready.
func TestPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stored := &v1alpha1.Tenant{
			ObjectMeta: metav1.ObjectMeta{Generation: 1, CreationTimestamp: metav1.Now()},
			Status:     v1alpha1.TenantStatus{ObservedGeneration: -1},
		}
		c := &writer{}
		for looks := 0; c.writes == 0; looks++ {
			if looks > 10 {
				t.Fatal("never told")
			}
			o := stored.DeepCopy()
			result, err := outcome.Settle(t.Context(), c, stored, o, "", 0, &outcome.Wait{Reason: "QuotaPending", Message: "m", After: time.Second})
			if err != nil || result.RequeueAfter <= 0 {
				t.Fatalf("got %+v, %v: a wait that nobody comes back to", result, err)
			}
			if c.writes > 0 {
				stored = o
				break
			}
			time.Sleep(result.RequeueAfter)
		}
		if age := time.Since(stored.CreationTimestamp.Time); age != outcome.Patience {
			t.Errorf("told after %s, want %s", age, outcome.Patience)
		}
		if !meta.IsStatusConditionTrue(stored.Status.Conditions, "Reconciling") || stored.Status.ObservedGeneration != 1 {
			t.Errorf("told %+v", stored.Status)
		}
	})
}

func TestStallUnwraps(t *testing.T) {
	if err := fmt.Errorf("x: %w", stalled); !errors.Is(err, errStore) {
		t.Errorf("%v hides its cause", err)
	}
}
