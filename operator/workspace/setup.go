package workspace

import (
	"context"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
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

// +kubebuilder:rbac:groups=broletto.dev,resources=workspaces,verbs=list;watch;update
// +kubebuilder:rbac:groups=broletto.dev,resources=workspaces/status,verbs=update
// +kubebuilder:rbac:groups=broletto.dev,resources=consortia;tenants,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=serviceaccounts;persistentvolumeclaims,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=resourcequotas;limitranges,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=rolebindings,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=clusterroles,verbs=bind,resourceNames=broletto-workspace-admin;broletto-workspace-edit;broletto-workspace-view
// +kubebuilder:rbac:groups=storage.k8s.io,resources=storageclasses,verbs=list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// SetupWithManager watches workspaces and what a decision about one rests on.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	inside := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request { return byNamespace(o.GetNamespace()) })
	itself := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request { return byNamespace(o.GetName()) })
	changed := builder.WithPredicates(predicate.GenerationChangedPredicate{})
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.Workspace{}, changed).
		Watches(&v1alpha1.Workspace{}, peers, changed).
		Watches(&v1alpha1.Tenant{}, handler.EnqueueRequestsFromMapFunc(r.waiting), builder.WithPredicates(tenantMoved)).
		Watches(&v1alpha1.Tenant{}, r.granted()).
		Watches(&v1alpha1.Consortium{}, handler.EnqueueRequestsFromMapFunc(r.everywhere), changed).
		Watches(&storagev1.StorageClass{}, handler.EnqueueRequestsFromMapFunc(r.unbound)).
		Watches(&corev1.Namespace{}, itself, builder.WithPredicates(notCreated)).
		Watches(&corev1.ServiceAccount{}, inside, builder.WithPredicates(notCreated)).
		Watches(&corev1.ResourceQuota{}, inside, builder.WithPredicates(notCreated)).
		Watches(&corev1.LimitRange{}, inside, builder.WithPredicates(notCreated)).
		Watches(&corev1.PersistentVolumeClaim{}, inside, builder.WithPredicates(notCreated)).
		Watches(&networkingv1.NetworkPolicy{}, inside, builder.WithPredicates(notCreated)).
		Watches(&rbacv1.RoleBinding{}, inside, builder.WithPredicates(notCreated)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 8}).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// byNamespace is the workspace that a namespace belongs to; the mapping of names is injective.
func byNamespace(namespace string) []reconcile.Request {
	tenant, workspace, found := strings.Cut(namespace, "--")
	if !found {
		return nil
	}
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: tenant, Name: workspace}}}
}

// peers are the workspaces that one names: its consent opens or closes their side too.
var peers = handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
	w, ok := o.(*v1alpha1.Workspace)
	if !ok {
		return nil
	}
	var out []reconcile.Request
	for _, p := range slices.Concat(w.Spec.Network.AllowFrom, w.Spec.Network.ConnectTo) {
		peer := peerOf(w, p)
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKey{Namespace: peer.Tenant, Name: peer.Workspace}})
	}
	return out
})

// waiting are all workspaces of a tenant.
func (r *Reconciler) waiting(ctx context.Context, o client.Object) []reconcile.Request {
	return r.workspaces(ctx, o.GetName(), func(*v1alpha1.Workspace) bool { return true })
}

// everywhere are the workspaces of all tenants of a consortium.
func (r *Reconciler) everywhere(ctx context.Context, o client.Object) []reconcile.Request {
	var tenants v1alpha1.TenantList
	if err := r.Client.List(ctx, &tenants, client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "listing the tenants of a consortium that changed", "consortium", o.GetName())
		return nil
	}
	var out []reconcile.Request
	for _, t := range tenants.Items {
		if t.Spec.Consortium == o.GetName() {
			out = append(out, r.waiting(ctx, &t)...)
		}
	}
	return out
}

// unbound are the workspaces with volumes that may have waited for a storage class.
func (r *Reconciler) unbound(ctx context.Context, _ client.Object) []reconcile.Request {
	return r.workspaces(ctx, "", func(w *v1alpha1.Workspace) bool { return len(declared(w)) > 0 })
}

func (r *Reconciler) workspaces(ctx context.Context, namespace string, match func(*v1alpha1.Workspace) bool) []reconcile.Request {
	return concern.Requests(ctx, r.Client, &v1alpha1.WorkspaceList{}, namespace, match)
}

// granted enqueues, of a tenant whose ledger moved, the workspaces whose entry moved, and those that the ledger did not satisfy:
// what one gave back may fit another. A full ledger is not walked for every line in it.
func (r *Reconciler) granted() handler.EventHandler {
	return handler.Funcs{UpdateFunc: func(ctx context.Context, e event.UpdateEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		before, wasTenant := e.ObjectOld.(*v1alpha1.Tenant)
		after, isTenant := e.ObjectNew.(*v1alpha1.Tenant)
		if !wasTenant || !isTenant || equality.Semantic.DeepEqual(before.Status.Allocations, after.Status.Allocations) {
			return
		}
		moved := movedEntries(before.Status.Allocations, after.Status.Allocations)
		for _, request := range r.workspaces(ctx, after.Name, func(w *v1alpha1.Workspace) bool { return moved[w.Name] || !isReady(w) }) {
			queue.Add(request)
		}
	}}
}

func movedEntries(before, after []v1alpha1.Allocation) map[string]bool {
	old := map[v1alpha1.WorkspaceName]v1alpha1.Allocation{}
	for _, a := range before {
		old[a.Workspace] = a
	}
	moved := map[string]bool{}
	for _, a := range after {
		if b := old[a.Workspace]; b.UID != a.UID || b.Revision != a.Revision {
			moved[string(a.Workspace)] = true
		}
	}
	return moved
}

func isReady(w *v1alpha1.Workspace) bool {
	return slices.ContainsFunc(w.Status.Conditions, func(c metav1.Condition) bool { return c.Type == v1alpha1.ConditionReady && c.Status == "True" })
}

// notCreated passes what others did to our objects. What we create is no news.
var notCreated = predicate.Funcs{CreateFunc: func(event.CreateEvent) bool { return false }}

// tenantMoved passes what concerns all workspaces of a tenant: its spec, and the answers of its conditions.
var tenantMoved = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, wasTenant := e.ObjectOld.(*v1alpha1.Tenant)
	after, isTenant := e.ObjectNew.(*v1alpha1.Tenant)
	return wasTenant && isTenant && (before.Generation != after.Generation || !maps.Equal(answers(before), answers(after)))
}}

func answers(t *v1alpha1.Tenant) map[string]string {
	out := map[string]string{}
	for _, c := range t.Status.Conditions {
		out[c.Type] = string(c.Status) + c.Reason
	}
	return out
}
