package tenant

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/concern"
)

// +kubebuilder:rbac:groups=broletto.dev,resources=tenants,verbs=list;watch;update
// +kubebuilder:rbac:groups=broletto.dev,resources=tenants/status,verbs=update
// +kubebuilder:rbac:groups=broletto.dev,resources=consortia;workspaces,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=nodes,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=list;watch,namespace=broletto-system,resourceNames=network-evidence
// +kubebuilder:rbac:groups="",resources=serviceaccounts,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=resourcequotas,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=rolebindings,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=clusterroles,verbs=bind,resourceNames=broletto-tenant-admin;broletto-tenant-view
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// SetupWithManager watches tenants and what a decision about one rests on.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	home := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		if strings.Contains(o.GetNamespace(), "--") {
			return nil
		}
		return request(o.GetNamespace())
	})
	ofNamespace := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		return request(o.GetName())
	})
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.Tenant{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.Tenant{}, handler.EnqueueRequestsFromMapFunc(r.rivals), builder.WithPredicates(freed)).
		Watches(&v1alpha1.Workspace{}, home, builder.WithPredicates(ledgerMoved)).
		Watches(&v1alpha1.Consortium{}, handler.EnqueueRequestsFromMapFunc(r.members), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&corev1.Namespace{}, ofNamespace, builder.WithPredicates(notCreated)).
		Watches(&corev1.ServiceAccount{}, home, builder.WithPredicates(notCreated)).
		Watches(&corev1.ResourceQuota{}, home, builder.WithPredicates(notCreated)).
		Watches(&networkingv1.NetworkPolicy{}, home, builder.WithPredicates(notCreated)).
		Watches(&rbacv1.RoleBinding{}, home, builder.WithPredicates(notCreated)).
		Watches(&corev1.ConfigMap{}, handler.EnqueueRequestsFromMapFunc(r.everybody)).
		WatchesMetadata(&corev1.Node{}, handler.EnqueueRequestsFromMapFunc(r.everybody), builder.WithPredicates(cameOrWent)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 4}).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

func request(tenant string) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Name: tenant}}}
}

// members are the tenants of a consortium, which may have been missing until now.
func (r *Reconciler) members(ctx context.Context, o client.Object) []reconcile.Request {
	return r.tenants(ctx, func(t *v1alpha1.Tenant) bool { return t.Spec.Consortium == o.GetName() })
}

// rivals are the tenants that want a code or domain which they do not hold: the tenant that changed may have freed it.
func (r *Reconciler) rivals(ctx context.Context, o client.Object) []reconcile.Request {
	return r.tenants(ctx, func(t *v1alpha1.Tenant) bool {
		return t.Name != o.GetName() && len(t.Status.Claims) != len(claimsOf(t))
	})
}

// everybody are all tenants: the network is that of all.
func (r *Reconciler) everybody(ctx context.Context, _ client.Object) []reconcile.Request {
	return r.tenants(ctx, func(*v1alpha1.Tenant) bool { return true })
}

func (r *Reconciler) tenants(ctx context.Context, match func(*v1alpha1.Tenant) bool) []reconcile.Request {
	return concern.Requests(ctx, r.Client, &v1alpha1.TenantList{}, "", match)
}

// freed passes what may free a code or domain.
var freed = predicate.Funcs{
	CreateFunc: func(event.CreateEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, wasTenant := e.ObjectOld.(*v1alpha1.Tenant)
		after, isTenant := e.ObjectNew.(*v1alpha1.Tenant)
		return wasTenant && isTenant && !slices.Equal(before.Status.Claims, after.Status.Claims)
	},
}

// notCreated passes what others did to our objects. What we create is no news.
var notCreated = predicate.Funcs{CreateFunc: func(event.CreateEvent) bool { return false }}

// cameOrWent passes objects that come, go, or went and came again unseen. That a node's kubelet reports is no news.
var cameOrWent = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool { return e.ObjectOld.GetUID() != e.ObjectNew.GetUID() }}

// ledgerMoved passes what may move the ledger: a workspace comes, goes, asks for something else, or gives something back.
var ledgerMoved = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, wasWorkspace := e.ObjectOld.(*v1alpha1.Workspace)
	after, isWorkspace := e.ObjectNew.(*v1alpha1.Workspace)
	return wasWorkspace && isWorkspace && (before.Generation != after.Generation ||
		before.Status.AllocationRevision != after.Status.AllocationRevision)
}}
