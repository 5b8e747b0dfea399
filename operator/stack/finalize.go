package stack

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/outcome"
	"github.com/broletto/broletto/operator/vault"
)

// finalize takes a stack away: first what it made, unless its owner lets that stay; then the rights of its runs; then all that is kept of it.
func (r *Reconciler) finalize(ctx context.Context, s *v1alpha1.Stack) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(s, Finalizer) {
		return ctrl.Result{}, nil
	}
	before := s.DeepCopy()
	err := r.leave(ctx, s)
	if err == nil {
		controllerutil.RemoveFinalizer(s, Finalizer)
		return ctrl.Result{}, client.IgnoreNotFound(r.Client.Update(ctx, s))
	}
	return outcome.Settle(ctx, r.Client, before, s, "", 0, err)
}

func (r *Reconciler) leave(ctx context.Context, s *v1alpha1.Stack) error {
	all, runs, err := r.runs(ctx, s)
	if err != nil {
		return err
	}
	gone, err := r.nothingLeft(ctx, s)
	if err != nil {
		return err
	}
	if one := unfinished(runs); one != nil {
		err = r.conclude(ctx, s, one, runs, gone)
		tell(s, runs)
	}
	if err := cmp.Or(err, r.observeLock(ctx, s, runs)); err != nil {
		return err
	}
	if gone {
		r.Events.Eventf(s, nil, corev1.EventTypeNormal, "NothingLeft", "Forget", "workspace %s is gone, and with it what the stack made there", s.Spec.Workspace)
		return wrapped(r.Vault.Forget(ctx, of(s)), "forgetting stack %s", s.Name)
	}
	if err := r.destroy(ctx, s, all, runs); err != nil {
		return err
	}
	return r.clear(ctx, s, runs)
}

// nothingLeft tells whether the workspace has gone, with all that was in it.
func (r *Reconciler) nothingLeft(ctx context.Context, s *v1alpha1.Stack) (bool, error) {
	var ns corev1.Namespace
	err := r.Client.Get(ctx, client.ObjectKey{Name: s.TargetNamespace()}, &ns)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("reading namespace %s: %w", s.TargetNamespace(), err)
	}
	if err == nil && !ns.DeletionTimestamp.IsZero() {
		return false, &outcome.Wait{Reason: v1alpha1.ReasonDeleting, Message: "namespace " + ns.Name + " is being deleted"}
	}
	return err != nil, nil
}

// conclude ends the run that is under way when the stack is deleted: one that only looks is stopped, one that changes something comes to its end.
func (r *Reconciler) conclude(ctx context.Context, s *v1alpha1.Stack, one *v1alpha1.StackRun, runs []*v1alpha1.StackRun, gone bool) error {
	begun := one.Status.JobUID != ""
	harmless := one.Spec.Operation == v1alpha1.OperationPlan || one.Spec.Operation == v1alpha1.OperationLook
	if !gone && (one.Spec.Operation == v1alpha1.OperationDestroy || (begun && !harmless)) {
		return r.follow(ctx, s, one, runs)
	}
	job := &batchv1.Job{}
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: one.TargetNamespace(), Name: jobName(one)}, job)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading Job %s: %w", jobName(one), err)
	}
	if err == nil && job.Labels[v1alpha1.LabelRun] == string(one.UID) {
		if err := r.stop(ctx, job); err != nil {
			return err
		}
		return &outcome.Wait{Reason: v1alpha1.ReasonDeleting, Message: "the run that is under way is being ended", After: beatLook}
	}
	pods, err := r.pods(ctx, r.Live, one)
	if err != nil {
		return err
	}
	for i := range pods {
		if !over(&pods[i]) {
			return wait(one, "pod "+pods[i].Name+" of the run has not ended")
		}
	}
	return r.end(ctx, s, one, &v1alpha1.RunFailure{Class: v1alpha1.FailureOutOfDate, Message: "the stack is being deleted"})
}

// destroy takes away what the stack made, by a run; nil: nothing is left of it, or it stays.
func (r *Reconciler) destroy(ctx context.Context, s *v1alpha1.Stack, all, runs []*v1alpha1.StackRun) error {
	if s.Spec.DeletionPolicy == v1alpha1.StackOrphan {
		return nil
	}
	_, _, err := r.Vault.AppliedInputs(ctx, of(s))
	if errors.Is(err, vault.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading what of stack %s was applied last: %w", s.Name, err)
	}
	want := inputs{all: fmt.Sprintf("generation-%d", s.Generation)} // whatever its owner changes is worth another attempt
	if done, err := r.destroyed(s, runs, want); done || err != nil {
		return err
	}
	if err := r.workspace(ctx, s); err != nil {
		return err
	}
	_, err = r.start(ctx, s, all, runs, Step{Operation: v1alpha1.OperationDestroy}, want)
	return err
}

// destroyed tells whether the last run has destroyed all; an error says what holds the next one back.
func (r *Reconciler) destroyed(s *v1alpha1.Stack, runs []*v1alpha1.StackRun, want inputs) (bool, error) {
	last := lastOf(runs)
	if last.Spec.Operation != v1alpha1.OperationDestroy {
		return false, nil
	}
	if last.Status.Phase == v1alpha1.RunSucceeded {
		return true, nil
	}
	if last.Spec.Inputs != want.all || asked(s) {
		return false, nil
	}
	switch class := classOf(last); class {
	case v1alpha1.FailureRefused, v1alpha1.FailureSource, v1alpha1.FailureInput:
		return false, outcome.Stalled(reasonOf(class), "what the stack made stands, and so does the stack: %s; or set spec.deletionPolicy to Orphan to let it stand", last.Status.Failure.Message)
	default:
	}
	n := 0
	for i := len(runs) - 1; i >= 0 && runs[i].Spec.Operation == v1alpha1.OperationDestroy && runs[i].Spec.Inputs == want.all; i-- {
		n++
	}
	if left := last.Status.FinishedAt.Add(backoff(n)).Sub(r.now()); left > 0 {
		return false, retrying(last, left)
	}
	return false, nil
}

// clear deletes the rights of the stack's runs, their Jobs and the Secret with the outputs, and then what is kept. Runs go with the stack,
// which owns them.
func (r *Reconciler) clear(ctx context.Context, s *v1alpha1.Stack, runs []*v1alpha1.StackRun) error {
	for _, o := range Rights(s, Context{}) {
		live, err := r.typed(o)
		if err != nil {
			return err
		}
		if err := r.discard(ctx, s, live); err != nil {
			return err
		}
	}
	for _, one := range runs {
		if one.Status.Job == "" {
			continue
		}
		job, err := r.jobOf(ctx, one)
		if err == nil && job != nil {
			err = r.stop(ctx, job)
		}
		if err != nil {
			return err
		}
	}
	if err := r.unpublish(ctx, s); err != nil {
		return err
	}
	return wrapped(r.Vault.Forget(ctx, of(s)), "forgetting stack %s", s.Name)
}

// discard deletes an object that is the stack's; another one of its name stays.
func (r *Reconciler) discard(ctx context.Context, s *v1alpha1.Stack, o client.Object) error {
	key := client.ObjectKeyFromObject(o)
	err := r.Live.Get(ctx, key, o)
	if apierrors.IsNotFound(err) || (err == nil && o.GetLabels()[v1alpha1.LabelOwner] != string(s.UID)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading %T %s: %w", o, key, err)
	}
	uid := o.GetUID()
	err = r.Client.Delete(ctx, o, client.Preconditions{UID: &uid}, client.DisableReadYourWritesConsistency)
	return wrapped(client.IgnoreNotFound(err), "deleting %T %s", o, key)
}
