package restore

import (
	"context"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/concern"
	"github.com/broletto/broletto/operator/move"
	"github.com/broletto/broletto/operator/volumes"
)

// +kubebuilder:rbac:groups=broletto.dev,resources=restores,verbs=list;watch
// +kubebuilder:rbac:groups=broletto.dev,resources=restores/status,verbs=update
// +kubebuilder:rbac:groups=broletto.dev,resources=backups;backuppolicies,verbs=list;watch
// +kubebuilder:rbac:groups=broletto.dev,resources=workspaces,verbs=list;watch;create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create

const (
	// atOnce is how many restores are done at the same time.
	atOnce = 4
	// longest is how long one pass may take; the next one finds what it has written.
	longest = 30 * time.Minute
)

// SetupWithManager watches restores, and whether what they wait for comes.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	waiting := func(ctx context.Context, o client.Object, fits func(*v1alpha1.Restore) bool) []reconcile.Request {
		return concern.Requests(ctx, r.Client, &v1alpha1.RestoreList{}, o.GetNamespace(), func(one *v1alpha1.Restore) bool { return one.Status.FinishedAt == nil && fits(one) })
	}
	ofMover := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		return append(volumes.For(o, move.Restore), volumes.For(o, move.Check)...)
	})
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.Restore{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.Backup{}, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
			return waiting(ctx, o, func(one *v1alpha1.Restore) bool { return one.Spec.Backup == o.GetName() })
		})).
		Watches(&v1alpha1.Workspace{}, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
			return waiting(ctx, o, func(one *v1alpha1.Restore) bool { return one.Target() == o.GetName() })
		})).
		Watches(&batchv1.Job{}, ofMover).
		Watches(&corev1.Pod{}, ofMover).
		WithOptions(controller.Options{MaxConcurrentReconciles: atOnce, ReconciliationTimeout: longest}).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}
