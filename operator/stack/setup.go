package stack

import (
	"context"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
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

// +kubebuilder:rbac:groups=broletto.dev,resources=stacks,verbs=list;watch;update
// +kubebuilder:rbac:groups=broletto.dev,resources=stacks/status;stackruns/status,verbs=update
// +kubebuilder:rbac:groups=broletto.dev,resources=stackruns,verbs=list;watch;create;delete
// +kubebuilder:rbac:groups=broletto.dev,resources=consortia;serviceinstances;serviceofferings;workspaces,verbs=list;watch
// +kubebuilder:rbac:groups=batch,resources=jobs,verbs=get;list;watch;create;delete
// +kubebuilder:rbac:groups="",resources=pods,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=nodes,verbs=get
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;create;update;delete
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=serviceaccounts,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=rolebindings,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=clusterroles,verbs=bind,resourceNames=broletto-workspace-edit
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=get,resourceNames=kubernetes
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// SetupWithManager watches stacks, what becomes of their runs, and whether their workspaces are ready.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	byLabel := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request { return byStack(o) })
	asked := builder.WithPredicates(predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.Stack{}, asked).
		Watches(&v1alpha1.StackRun{}, byLabel, builder.WithPredicates(onlyDeleted)).
		Watches(&batchv1.Job{}, byLabel).
		Watches(&corev1.Pod{}, byLabel).
		Watches(&v1alpha1.Workspace{}, handler.EnqueueRequestsFromMapFunc(r.inWorkspace)).
		Watches(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(r.inNamespace), builder.WithPredicates(onlyDeleted)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 8}).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// onlyDeleted passes what is no more: what we write is no news.
var onlyDeleted = predicate.Funcs{
	CreateFunc: func(event.CreateEvent) bool { return false },
	UpdateFunc: func(event.UpdateEvent) bool { return false },
}

// byStack is the stack that a run, its Job or its pod works for; the mapping of namespaces to tenants is injective.
func byStack(o client.Object) []reconcile.Request {
	name := o.GetLabels()[v1alpha1.LabelStack]
	tenant, _, _ := strings.Cut(o.GetNamespace(), "--")
	if name == "" || tenant == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: tenant, Name: name}}}
}

func (r *Reconciler) inWorkspace(ctx context.Context, o client.Object) []reconcile.Request {
	return r.in(ctx, o.GetNamespace(), o.GetName())
}

func (r *Reconciler) inNamespace(ctx context.Context, o client.Object) []reconcile.Request {
	tenant, workspace, found := strings.Cut(o.GetName(), "--")
	if !found {
		return nil
	}
	return r.in(ctx, tenant, workspace)
}

// in are the stacks of a workspace.
func (r *Reconciler) in(ctx context.Context, namespace, workspace string) []reconcile.Request {
	return concern.Requests(ctx, r.Client, &v1alpha1.StackList{}, namespace, func(s *v1alpha1.Stack) bool { return string(s.Spec.Workspace) == workspace })
}
