package backup

import (
	"context"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/broletto/broletto/api/v1alpha1"
)

// +kubebuilder:rbac:groups=broletto.dev,resources=backups,verbs=list;watch;create;update;delete
// +kubebuilder:rbac:groups=broletto.dev,resources=backups/status;backuppolicies/status,verbs=update
// +kubebuilder:rbac:groups=broletto.dev,resources=backuppolicies,verbs=list;watch
// +kubebuilder:rbac:groups=broletto.dev,resources=restores,verbs=list;watch;create;delete
// +kubebuilder:rbac:groups=broletto.dev,resources=consortia;workspaces,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=list;watch

const (
	// atOnce is how many backups are made at the same time: the store and the API server have others to serve.
	atOnce = 4
	// longest is how long one pass may take. What it has written then is found by the next one.
	longest = 30 * time.Minute
)

// SetupWithManager watches backups, and whether what they wait for comes.
func (r *Backups) SetupWithManager(mgr ctrl.Manager) error {
	waiting := func(ctx context.Context, namespace string, fits func(*v1alpha1.Backup) bool) (out []reconcile.Request) {
		var all v1alpha1.BackupList
		if err := r.Client.List(ctx, &all, client.InNamespace(namespace), client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "listing backups", "namespace", namespace)
			return nil
		}
		for i := range all.Items {
			if b := &all.Items[i]; b.Status.VerifiedAt == nil && fits(b) {
				out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(b)})
			}
		}
		return out
	}
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.Backup{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.BackupRepository{}, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
			return waiting(ctx, "", func(b *v1alpha1.Backup) bool { return string(b.Spec.Repository) == o.GetName() })
		})).
		Watches(&v1alpha1.Workspace{}, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
			return waiting(ctx, o.GetNamespace(), func(b *v1alpha1.Backup) bool { return string(b.Spec.Workspace) == o.GetName() })
		})).
		WithOptions(controller.Options{MaxConcurrentReconciles: atOnce, ReconciliationTimeout: longest}).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// SetupWithManager watches policies, what becomes of their backups and drills, and the workspaces that they select.
func (r *Policies) SetupWithManager(mgr ctrl.Manager) error {
	policies := func(ctx context.Context, namespace string, fits func(*v1alpha1.BackupPolicy) bool) (out []reconcile.Request) {
		var all v1alpha1.BackupPolicyList
		if err := r.Client.List(ctx, &all, client.InNamespace(namespace), client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "listing policies", "namespace", namespace)
			return nil
		}
		for i := range all.Items {
			if p := &all.Items[i]; fits(p) {
				out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(p)})
			}
		}
		return out
	}
	inHome := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		return policies(ctx, o.GetNamespace(), func(*v1alpha1.BackupPolicy) bool { return true })
	})
	ofRepository := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		return policies(ctx, "", func(p *v1alpha1.BackupPolicy) bool { return string(p.Spec.Repository) == o.GetName() })
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
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}
