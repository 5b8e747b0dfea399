package stack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/outcome"
	"github.com/broletto/broletto/operator/vault"
)

// Finalizer keeps a Stack until what it made is gone, or let go.
const Finalizer = "broletto.dev/stack"

const (
	// keptRuns is how many runs that have finished are kept, and keptJobs of how many of them the Job, with its log.
	keptRuns = 10
	keptJobs = 2
)

// Rules are what a platform lets stacks do.
type Rules struct {
	// Forbidden are types of resource and data source that no stack may hold.
	Forbidden []string
	// SourceRanges are those of private addresses that sources may be at.
	SourceRanges []netip.Prefix
}

// Reconciler plans, applies, looks after and destroys stacks. Client reads from the cache and sees its own writes; Live reads from the
// API server.
type Reconciler struct {
	Client client.Client
	Live   client.Reader
	Vault  Vault
	Events events.EventRecorder
	Now    func() time.Time

	Namespace string // of the operator
	Image     string // of the runner
	// BrokerURL and BrokerCA are how runners reach the broker, and by which certificates they know it; BrokerPort is that of the operator's pods.
	BrokerURL  string
	BrokerCA   []byte
	BrokerPort int32
	Rules
}

// now is the time in seconds, as statuses have it.
func (r *Reconciler) now() time.Time { return r.Now().Truncate(time.Second) }

func of(s *v1alpha1.Stack) vault.Stack { return vault.Stack{Tenant: s.Namespace, UID: s.UID} }

// Reconcile brings a stack a step on.
func (r *Reconciler) Reconcile(ctx context.Context, s *v1alpha1.Stack) (ctrl.Result, error) {
	if !s.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, s)
	}
	if controllerutil.AddFinalizer(s, Finalizer) {
		if err := r.Client.Update(ctx, s); err != nil {
			return ctrl.Result{}, err
		}
	}
	before := s.DeepCopy()
	next, err := r.converge(ctx, s)
	return outcome.Settle(ctx, r.Client, before, s, "the workspace is as it was applied last", next, err)
}

// converge follows the run that is under way, or begins the one that is wanted. It returns when to look again though nothing changes.
func (r *Reconciler) converge(ctx context.Context, s *v1alpha1.Stack) (next time.Duration, err error) {
	all, runs, err := r.runs(ctx, s)
	if err != nil {
		return 0, err
	}
	busy, err := r.progress(ctx, s, runs)
	tell(s, runs)
	if err := cmp.Or(err, r.estimate(ctx, s, runs), r.observeLock(ctx, s, runs)); err != nil {
		return 0, err
	}
	if busy != nil && unfinished(runs).Spec.Operation != v1alpha1.OperationLook {
		return 0, busy
	}
	step, in, err := r.decide(ctx, s, runs)
	switch {
	case err != nil:
		return 0, err
	case busy != nil:
		return meanwhile(step, busy)
	case step.Operation != "":
		if s.Status.OutputsTo == "" {
			s.Status.OutputsTo = outputsTo(s) // with a write that is made anyway
		}
		return r.start(ctx, s, all, runs, step, in)
	}
	if err := cmp.Or(r.publish(ctx, s, runs), r.trim(ctx, s, runs)); err != nil {
		return 0, err
	}
	return sooner(step.After, secretsLook, len(s.Spec.VariablesFrom) > 0 || credentialsOf(s) != ""), step.Verdict
}

// progress follows the run that is under way. busy is what is waited for; nil: no run is under way any more.
func (r *Reconciler) progress(ctx context.Context, s *v1alpha1.Stack, runs []*v1alpha1.StackRun) (busy *outcome.Wait, err error) {
	one := unfinished(runs)
	if one == nil {
		return nil, nil
	}
	err = r.follow(ctx, s, one, runs)
	if errors.As(err, &busy) {
		return busy, nil
	}
	return nil, err
}

// decide finds what is to be done next, were no run under way.
func (r *Reconciler) decide(ctx context.Context, s *v1alpha1.Stack, runs []*v1alpha1.StackRun) (Step, inputs, error) {
	if err := r.workspace(ctx, s); err != nil {
		return Step{}, inputs{}, err
	}
	m, err := r.gather(ctx, s, r.Vault.KnownKey)
	if err != nil {
		return Step{}, inputs{}, err
	}
	return next(s, read(s, runs), m.digests, r.now()), m.digests, nil
}

// meanwhile is the verdict while a look is under way, which takes nothing from a stack that is as it should be.
func meanwhile(step Step, busy *outcome.Wait) (time.Duration, error) {
	if step.Operation != "" && step.Operation != v1alpha1.OperationLook {
		return 0, busy
	}
	return busy.After, step.Verdict
}

// start makes a run and brings it as far as it gets.
func (r *Reconciler) start(ctx context.Context, s *v1alpha1.Stack, all, runs []*v1alpha1.StackRun, step Step, in inputs) (time.Duration, error) {
	one, err := r.create(ctx, s, all, step, in)
	if err != nil {
		return 0, err
	}
	runs = append(runs, one)
	err = r.follow(ctx, s, one, runs)
	tell(s, runs)
	var busy *outcome.Wait
	switch {
	case err == nil: // it ended before it began
		return 0, &outcome.Wait{Reason: v1alpha1.ReasonPlanning, Message: "the stack changed; it is looked at again", After: time.Second}
	case errors.As(err, &busy) && step.Operation == v1alpha1.OperationLook:
		return meanwhile(Step{}, busy)
	}
	return 0, err
}

// runs are those of the stack, the oldest first, and all that bear its name: an earlier stack of that name may have left some.
func (r *Reconciler) runs(ctx context.Context, s *v1alpha1.Stack) (all, own []*v1alpha1.StackRun, err error) {
	var list v1alpha1.StackRunList
	if err := r.Client.List(ctx, &list, client.InNamespace(s.Namespace), client.MatchingLabels{v1alpha1.LabelStack: s.Name}); err != nil {
		return nil, nil, fmt.Errorf("listing the runs of stack %s: %w", s.Name, err)
	}
	for i := range list.Items {
		one := &list.Items[i]
		all = append(all, one)
		if one.Spec.StackUID == s.UID {
			own = append(own, one)
		}
	}
	slices.SortFunc(own, func(a, b *v1alpha1.StackRun) int { return int(a.Spec.Attempt - b.Spec.Attempt) })
	return all, own, nil
}

// workspace waits until the workspace is ready and may run something.
func (r *Reconciler) workspace(ctx context.Context, s *v1alpha1.Stack) error {
	w := &v1alpha1.Workspace{}
	name := string(s.Spec.Workspace)
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: name}, w)
	switch {
	case apierrors.IsNotFound(err):
		return &outcome.Wait{Reason: v1alpha1.ReasonWorkspaceNotReady, Message: "there is no workspace " + name + " in " + s.Namespace}
	case err != nil:
		return fmt.Errorf("reading workspace %s: %w", name, err)
	}
	if suspended := meta.FindStatusCondition(w.Status.Conditions, v1alpha1.ConditionSuspended); suspended != nil && suspended.Status == "True" {
		return &outcome.Wait{Reason: v1alpha1.ReasonWorkspaceNotReady, Message: "workspace " + name + " is suspended: " + suspended.Message}
	}
	if !w.DeletionTimestamp.IsZero() || !meta.IsStatusConditionTrue(w.Status.Conditions, v1alpha1.ConditionReady) {
		return &outcome.Wait{Reason: v1alpha1.ReasonWorkspaceNotReady, Message: "workspace " + name + " is not ready"}
	}
	return nil
}

// trim deletes what is kept no longer: Jobs, and runs with all that the vault has of them. The last that applied stays, for its outputs,
// and so does the plan that waits.
func (r *Reconciler) trim(ctx context.Context, s *v1alpha1.Stack, runs []*v1alpha1.StackRun) error {
	applied := newest(runs, func(r *v1alpha1.StackRun) bool { return r.Status.Phase == v1alpha1.RunSucceeded && applies(r) })
	plan := read(s, runs).plan
	for i, one := range runs {
		age := len(runs) - i
		if age > keptJobs && one.Status.Job != "" {
			job, err := r.jobOf(ctx, one)
			if err == nil && job != nil {
				err = r.stop(ctx, job)
			}
			if err != nil {
				return err
			}
		}
		if age <= keptRuns || one == applied || one == plan {
			continue
		}
		if err := r.Vault.ForgetRun(ctx, of(s), one.UID); err != nil {
			return fmt.Errorf("forgetting run %s: %w", one.Name, err)
		}
		if err := client.IgnoreNotFound(r.Client.Delete(ctx, one)); err != nil {
			return fmt.Errorf("deleting run %s: %w", one.Name, err)
		}
	}
	return nil
}

// sooner is the earlier of two times to look again, of which the second holds only if a condition does; 0 is never.
func sooner(after, bound time.Duration, holds bool) time.Duration {
	if holds && (after == 0 || bound < after) {
		return bound
	}
	return after
}
