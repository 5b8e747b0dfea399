package backup

import (
	"context"
	"slices"
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

// +kubebuilder:rbac:groups=broletto.dev,resources=backups,verbs=list;watch;create;update;delete
// +kubebuilder:rbac:groups=broletto.dev,resources=backups/status;backuppolicies/status,verbs=update
// +kubebuilder:rbac:groups=broletto.dev,resources=backuppolicies,verbs=list;watch
// +kubebuilder:rbac:groups=broletto.dev,resources=restores,verbs=list;watch;create;delete
// +kubebuilder:rbac:groups=broletto.dev,resources=consortia;tenants;workspaces,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=list;watch

const (
	// atOnce is how many backups are looked at or made at the same time, in all repositories: the API server has others to serve. It is more
	// than a repository takes by default, so that one whose store is slow holds up no other.
	atOnce = 8
	// longest is how long one pass may take. What it has written then is found by the next one.
	longest = 30 * time.Minute
)

// SetupWithManager watches backups, and whether what they wait for comes.
func (r *Backups) SetupWithManager(mgr ctrl.Manager) error {
	waiting := func(ctx context.Context, namespace string, fits func(*v1alpha1.Backup) bool) []reconcile.Request {
		return concern.Requests(ctx, r.Client, &v1alpha1.BackupList{}, namespace, func(b *v1alpha1.Backup) bool { return b.Status.VerifiedAt == nil && fits(b) })
	}
	ofMover := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request { return volumes.For(o, move.Backup) })
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.Backup{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.BackupRepository{}, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
			return waiting(ctx, "", func(b *v1alpha1.Backup) bool { return string(b.Spec.Repository) == o.GetName() })
		})).
		Watches(&v1alpha1.Workspace{}, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
			return waiting(ctx, o.GetNamespace(), func(b *v1alpha1.Backup) bool { return string(b.Spec.Workspace) == o.GetName() })
		})).
		Watches(&v1alpha1.Backup{}, handler.EnqueueRequestsFromMapFunc(r.next), builder.WithPredicates(ends)).
		Watches(&batchv1.Job{}, ofMover).
		Watches(&corev1.Pod{}, ofMover).
		WithOptions(controller.Options{MaxConcurrentReconciles: atOnce, ReconciliationTimeout: longest}).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// SetupWithManager watches policies, what becomes of their backups and drills, the workspaces that they select, and floors.
func (r *Policies) SetupWithManager(mgr ctrl.Manager) error {
	inHome := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		return concern.Requests(ctx, r.Client, &v1alpha1.BackupPolicyList{}, o.GetNamespace(), func(*v1alpha1.BackupPolicy) bool { return true })
	})
	ofRepository := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		return concern.Requests(ctx, r.Client, &v1alpha1.BackupPolicyList{}, "", func(p *v1alpha1.BackupPolicy) bool {
			return string(p.Spec.Repository) == o.GetName() || slices.Contains(p.Spec.Copies, v1alpha1.RepositoryName(o.GetName()))
		})
	})
	everywhere := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, _ client.Object) []reconcile.Request {
		return concern.Requests(ctx, r.Client, &v1alpha1.BackupPolicyList{}, "", func(*v1alpha1.BackupPolicy) bool { return true })
	})
	ofPolicy := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		name := o.GetLabels()[v1alpha1.LabelPolicy]
		if name == "" {
			return nil
		}
		return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: o.GetNamespace(), Name: name}}}
	})
	comesGoesOrChanges := builder.WithPredicates(predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, predicate.LabelChangedPredicate{}))
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.BackupPolicy{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.Backup{}, inHome).
		Watches(&v1alpha1.Restore{}, ofPolicy).
		Watches(&v1alpha1.Workspace{}, inHome, comesGoesOrChanges).
		Watches(&v1alpha1.BackupRepository{}, ofRepository).
		Watches(&v1alpha1.Consortium{}, everywhere, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}
