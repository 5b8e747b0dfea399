package workspace

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/guardrail"
	"github.com/broletto/broletto/operator/outcome"
)

// finalize takes a workspace away: rights first, then, where its owner let the volumes go, the namespace. The namespace
// controller ends pods before it takes network policies and the rest, so nothing opens on the way.
func (r *Reconciler) finalize(ctx context.Context, w *v1alpha1.Workspace) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(w, Finalizer) {
		return ctrl.Result{}, nil
	}
	before := w.DeepCopy()
	err := r.leave(ctx, w)
	if err == nil {
		controllerutil.RemoveFinalizer(w, Finalizer)
		return ctrl.Result{}, client.IgnoreNotFound(r.Client.Update(ctx, w))
	}
	return outcome.Settle(ctx, r.Client, before, w, "", 0, err)
}

func (r *Reconciler) leave(ctx context.Context, w *v1alpha1.Workspace) error {
	var ns corev1.Namespace
	err := r.Client.Get(ctx, client.ObjectKey{Name: w.TargetNamespace()}, &ns)
	if err != nil || ns.Labels[v1alpha1.LabelOwner] != string(w.UID) {
		return client.IgnoreNotFound(err)
	}
	if err := r.withdraw(ctx, w, &ns); err != nil {
		return err
	}
	if w.Spec.DeletionPolicy != v1alpha1.DeletionDelete {
		if err := r.retained(ctx, w); err != nil {
			return err
		}
	}
	if ns.DeletionTimestamp.IsZero() {
		uid := ns.UID
		if err := r.Client.Delete(ctx, &ns, client.Preconditions{UID: &uid}); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("deleting namespace %s: %w", ns.Name, err)
		}
	}
	message := "namespace " + ns.Name + " is being deleted"
	if blocker := guardrail.Blocker(&ns); blocker != "" {
		message += ": " + blocker
	}
	return &outcome.Wait{Reason: v1alpha1.ReasonDeleting, Message: message}
}

// withdraw takes everybody's rights, and keeps the guardrails in order while the namespace stands. Without tenant or
// consortium there is nothing to build the guardrails from; the namespace then goes, or stays, as it is.
func (r *Reconciler) withdraw(ctx context.Context, w *v1alpha1.Workspace, ns *corev1.Namespace) error {
	if !ns.DeletionTimestamp.IsZero() {
		return nil
	}
	seen, err := r.observe(ctx, w)
	if _, orphaned := errors.AsType[*outcome.Stall](err); orphaned {
		return nil
	}
	if err != nil {
		return err
	}
	return r.sync(ctx, w, seen.Context)
}

// retained keeps a namespace with volumes until somebody says that they may go.
func (r *Reconciler) retained(ctx context.Context, w *v1alpha1.Workspace) error {
	var claims corev1.PersistentVolumeClaimList
	if err := r.Apply.Live.List(ctx, &claims, client.InNamespace(w.TargetNamespace()), client.Limit(1)); err != nil {
		return fmt.Errorf("listing claims in %s: %w", w.TargetNamespace(), err)
	}
	if len(claims.Items) == 0 {
		return nil
	}
	return outcome.Stalled(v1alpha1.ReasonVolumesRetained, "namespace %s holds volumes and is kept without rights: set spec.deletionPolicy to Delete to let namespace and data go", w.TargetNamespace())
}
