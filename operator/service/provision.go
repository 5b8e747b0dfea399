package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/outcome"
)

// provisionObjects makes the manifests' objects, and takes away what an earlier version had.
func (r *Instances) provisionObjects(ctx context.Context, s *scope) error {
	wanted, err := objectsOf(s.ServiceInstance, s.offering, s.values)
	if err != nil {
		return outcome.Stalled(v1alpha1.ReasonParametersRefused, "spec.parameters: %w", err)
	}
	old := inventory(s.ServiceInstance)
	if len(wanted)+len(old) > 0 {
		if err := r.account(ctx, s.workspace); err != nil {
			return err
		}
	}
	settled := s.Status.Version == s.offering.Spec.Version && s.Status.ObservedGeneration == s.Generation
	pairs, err := r.compare(ctx, s.ServiceInstance, wanted, settled)
	if err != nil {
		return err
	}
	if err := r.record(ctx, s, s.Status.Stack, texts(slices.Concat(old, refs(wanted))...)); err != nil {
		return err
	}
	deviating, err := r.write(ctx, s, pairs)
	if err != nil {
		return err
	}
	survivors, err := r.prune(ctx, s.ServiceInstance, refs(wanted))
	if err != nil {
		return err
	}
	s.Status.Objects = texts(slices.Concat(refs(wanted), survivors)...)
	if gone, err := r.removeStack(ctx, s.ServiceInstance); err != nil || !gone {
		return errors.Join(err, going("Stack/"+StackName(s.ServiceInstance), gone))
	}
	s.reached()
	s.conforms(deviating)
	if len(survivors) > 0 {
		return going(survivors[0].short(), false)
	}
	return nil
}

// going waits for what an earlier version had.
func going(what string, gone bool) error {
	if gone {
		return nil
	}
	return &outcome.Wait{Reason: v1alpha1.ReasonProvisioning, After: soon, Message: what + ", which an earlier version had, is being taken away"}
}

// write applies what differs. What somebody changed by hand is put right, unless the instance is pinned.
func (r *Instances) write(ctx context.Context, s *scope, pairs []pair) (deviating []string, err error) {
	for _, p := range pairs {
		if p.byHand {
			deviating = append(deviating, refOf(p.want).short())
		}
		if p.same || (p.byHand && s.Spec.Version != "") {
			continue
		}
		if err := r.send(ctx, p); err != nil {
			return deviating, err
		}
		if p.byHand {
			r.Events.Eventf(s.ServiceInstance, &corev1.ObjectReference{
				APIVersion: p.want.GetAPIVersion(), Kind: p.want.GetKind(), Namespace: p.want.GetNamespace(), Name: p.want.GetName(),
			}, corev1.EventTypeWarning, "DriftRepaired", "Repair",
				"%s %s in %s was changed or deleted; it is as it should be again", p.want.GetKind(), p.want.GetName(), p.want.GetNamespace())
		}
	}
	return deviating, nil
}

// conforms reports whether somebody changed by hand what was provisioned.
func (s *scope) conforms(deviating []string) {
	switch {
	case len(deviating) == 0:
		condition.Report(s, v1alpha1.ConditionConforms, true, v1alpha1.ReasonSucceeded, "")
	case s.Spec.Version != "":
		condition.Report(s, v1alpha1.ConditionConforms, false, v1alpha1.ReasonDeviates,
			strings.Join(deviating, ", ")+" changed or deleted by hand, and left so, since spec.version pins the instance: leave spec.version out to have it put right")
	default:
		condition.Report(s, v1alpha1.ConditionConforms, false, v1alpha1.ReasonDeviates, strings.Join(deviating, ", ")+" changed or deleted by hand; put right")
	}
}

// provisionStack makes the Stack and passes on what it says of itself.
func (r *Instances) provisionStack(ctx context.Context, s *scope) error {
	want, err := stackOf(s.ServiceInstance, s.offering, s.values)
	if err != nil {
		return outcome.Stalled(v1alpha1.ReasonParametersRefused, "spec.parameters: %w", err)
	}
	live := &v1alpha1.Stack{}
	err = r.Client.Get(ctx, client.ObjectKeyFromObject(want), live)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading stack %s: %w", want.Name, err)
	}
	missing := err != nil
	if !missing && live.Labels[v1alpha1.LabelOwner] != string(s.UID) {
		return outcome.Stalled(v1alpha1.ReasonObjectConflict, "Stack/%s exists and is not this instance's: delete it, or name the instance differently", want.Name)
	}
	if err := r.record(ctx, s, want.Name, s.Status.Objects); err != nil {
		return err
	}
	if missing {
		err = r.Client.Create(ctx, want)
		live = want
	} else {
		err = r.update(ctx, live, want)
	}
	if err != nil {
		return fmt.Errorf("writing stack %s: %w", want.Name, err)
	}
	if err := verdict(live); err != nil {
		return err
	}
	if err := r.withdraw(ctx, s); err != nil {
		return err
	}
	s.reached()
	var deviating []string
	if meta.IsStatusConditionTrue(live.Status.Conditions, v1alpha1.ConditionDrifted) {
		deviating = []string{"what Stack/" + live.Name + " made"}
	}
	s.conforms(deviating)
	return nil
}

// withdraw takes away the objects of an earlier version that had manifests.
func (r *Instances) withdraw(ctx context.Context, s *scope) error {
	if len(s.Status.Objects) == 0 {
		return nil
	}
	if err := r.account(ctx, s.workspace); err != nil {
		return err
	}
	survivors, err := r.prune(ctx, s.ServiceInstance, nil)
	if err != nil {
		return err
	}
	s.Status.Objects = texts(survivors...)
	if len(survivors) > 0 {
		return going(survivors[0].short(), false)
	}
	return nil
}

// update writes a Stack if it is not as it is wanted.
func (r *Instances) update(ctx context.Context, live, want *v1alpha1.Stack) error {
	a, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&live.Spec)
	if err != nil {
		return err
	}
	b, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&want.Spec)
	if err != nil {
		return err
	}
	if equality.Semantic.DeepEqual(a, b) && live.Annotations[annotationOffered] == want.Annotations[annotationOffered] {
		return nil
	}
	changed := live.DeepCopy()
	changed.Spec = want.Spec
	changed.Annotations = with(changed.Annotations, annotationOffered, want.Annotations[annotationOffered])
	if err := r.Client.Update(ctx, changed); err != nil {
		return err
	}
	changed.DeepCopyInto(live)
	return nil
}

// verdict is what a Stack says of itself, as the instance's.
func verdict(s *v1alpha1.Stack) error {
	if condition.True(s, v1alpha1.ConditionReady) {
		return nil
	}
	ready := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.ObservedGeneration != s.Generation {
		return &outcome.Wait{Reason: v1alpha1.ReasonProvisioning, Message: "Stack/" + s.Name + " is being made"}
	}
	if meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ConditionStalled) {
		return outcome.Stalled(ready.Reason, "Stack/%s: %s", s.Name, ready.Message)
	}
	return &outcome.Wait{Reason: v1alpha1.ReasonProvisioning, Message: fmt.Sprintf("Stack/%s: %s", s.Name, ready.Message)}
}

// removeStack deletes the instance's Stack, if it has one, and tells whether it is gone.
func (r *Instances) removeStack(ctx context.Context, i *v1alpha1.ServiceInstance) (gone bool, err error) {
	if i.Status.Stack == "" {
		return true, nil
	}
	live := &v1alpha1.Stack{}
	err = r.Client.Get(ctx, client.ObjectKey{Namespace: i.Namespace, Name: i.Status.Stack}, live)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("reading stack %s: %w", i.Status.Stack, err)
	}
	if apierrors.IsNotFound(err) || live.Labels[v1alpha1.LabelOwner] != string(i.UID) {
		i.Status.Stack = ""
		return true, nil
	}
	if live.DeletionTimestamp.IsZero() {
		if err := r.Client.Delete(ctx, live, client.Preconditions{UID: &live.UID}); client.IgnoreNotFound(err) != nil {
			return false, fmt.Errorf("deleting stack %s: %w", live.Name, err)
		}
	}
	return false, nil
}

// finalize takes away what was made for an instance. What lies in a namespace that goes by itself needs no help.
func (r *Instances) finalize(ctx context.Context, i *v1alpha1.ServiceInstance) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(i, Finalizer) {
		return ctrl.Result{}, nil
	}
	before := i.DeepCopy()
	err := r.leave(ctx, i)
	if err == nil {
		controllerutil.RemoveFinalizer(i, Finalizer)
		return ctrl.Result{}, client.IgnoreNotFound(r.Client.Update(ctx, i))
	}
	return outcome.Settle(ctx, r.Client, before, i, "", 0, err)
}

func (r *Instances) leave(ctx context.Context, i *v1alpha1.ServiceInstance) error {
	if gone, err := r.removeStack(ctx, i); err != nil || !gone {
		return errors.Join(err, leaving(gone, "Stack/"+StackName(i)+" is being destroyed: its status says how far that is"))
	}
	if len(i.Status.Objects) == 0 {
		return nil
	}
	w, ns := &v1alpha1.Workspace{}, &corev1.Namespace{}
	err := r.Client.Get(ctx, client.ObjectKey{Name: i.TargetNamespace()}, ns)
	if apierrors.IsNotFound(err) || (err == nil && !ns.DeletionTimestamp.IsZero()) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading namespace %s: %w", i.TargetNamespace(), err)
	}
	err = r.Client.Get(ctx, client.ObjectKey{Namespace: i.Namespace, Name: string(i.Spec.Workspace)}, w)
	if apierrors.IsNotFound(err) || (err == nil && ns.Labels[v1alpha1.LabelOwner] != string(w.UID)) {
		return nil // a namespace of that name that is not the workspace's: nothing of ours is in it
	}
	if err != nil {
		return fmt.Errorf("reading workspace %s: %w", i.Spec.Workspace, err)
	}
	if err := r.account(ctx, w); err != nil {
		return err
	}
	survivors, err := r.prune(ctx, i, nil)
	if err != nil {
		return err
	}
	if len(survivors) > 0 {
		return leaving(false, fmt.Sprintf("%s in %s is being deleted", survivors[0].short(), i.TargetNamespace()))
	}
	return r.dismiss(ctx, i)
}

func leaving(gone bool, message string) error {
	if gone {
		return nil
	}
	return &outcome.Wait{Reason: v1alpha1.ReasonDeleting, After: 2 * soon, Message: message}
}
