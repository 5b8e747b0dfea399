package service

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
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
	"github.com/broletto/broletto/operator/acting"
	"github.com/broletto/broletto/operator/concern"
)

// To keep a policy that reads offerings, the operator has to be able to read one itself.
//
// +kubebuilder:rbac:groups=broletto.dev,resources=serviceofferings,verbs=get;list;watch
// +kubebuilder:rbac:groups=broletto.dev,resources=serviceinstances,verbs=list;watch;update
// +kubebuilder:rbac:groups=broletto.dev,resources=serviceofferings/status;serviceinstances/status,verbs=update
// +kubebuilder:rbac:groups=broletto.dev,resources=stacks,verbs=list;watch;create;update;delete
// +kubebuilder:rbac:groups=broletto.dev,resources=consortia;tenants;workspaces,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// gather is how long a change of demand waits for others: a morning's instances are one write, not a hundred.
const gather = 500 * time.Millisecond

// SetupWithManager watches offerings, and instances as far as they are demand.
func (r *Offerings) SetupWithManager(mgr ctrl.Manager) error {
	enqueue := func(o client.Object, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		if i, ok := o.(*v1alpha1.ServiceInstance); ok {
			queue.AddAfter(reconcile.Request{NamespacedName: client.ObjectKey{Name: string(i.Spec.Offering)}}, gather)
		}
	}
	demanded := handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			enqueue(e.Object, q)
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			enqueue(e.Object, q)
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			before, isInstance := e.ObjectOld.(*v1alpha1.ServiceInstance)
			after, isStill := e.ObjectNew.(*v1alpha1.ServiceInstance)
			if isInstance && isStill && counts(before) != counts(after) {
				enqueue(after, q)
			}
		},
	}
	comesOrGoes := predicate.Funcs{UpdateFunc: func(event.UpdateEvent) bool { return false }} // spec.consortium is immutable
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.ServiceOffering{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.ServiceInstance{}, demanded).
		Watches(&v1alpha1.Consortium{}, handler.EnqueueRequestsFromMapFunc(r.ofConsortium), builder.WithPredicates(comesOrGoes)).
		Watches(&v1alpha1.Tenant{}, handler.EnqueueRequestsFromMapFunc(r.ofTenant), builder.WithPredicates(comesOrGoes)).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// counts is what of an instance is demand.
func counts(i *v1alpha1.ServiceInstance) (out struct {
	quantity        int32
	version         v1alpha1.Version
	ready, deleting bool
}) {
	out.quantity, out.version, out.deleting = i.Spec.Quantity, i.Status.Version, !i.DeletionTimestamp.IsZero()
	out.ready = meta.IsStatusConditionTrue(i.Status.Conditions, v1alpha1.ConditionReady)
	return out
}

func (r *Offerings) ofConsortium(ctx context.Context, o client.Object) []reconcile.Request {
	return r.offerings(ctx, o.GetName())
}

func (r *Offerings) ofTenant(ctx context.Context, o client.Object) []reconcile.Request {
	t, ok := o.(*v1alpha1.Tenant)
	if !ok {
		return nil
	}
	return r.offerings(ctx, t.Spec.Consortium)
}

func (r *Offerings) offerings(ctx context.Context, consortium string) []reconcile.Request {
	return concern.Requests(ctx, r.Client, &v1alpha1.ServiceOfferingList{}, "", func(o *v1alpha1.ServiceOffering) bool { return o.Spec.Consortium == consortium })
}

// SetupWithManager watches instances and what a decision about one rests on. Objects in workspaces are not among it: see lookAgain.
func (r *Instances) SetupWithManager(mgr ctrl.Manager) error {
	changed := builder.WithPredicates(predicate.GenerationChangedPredicate{})
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.ServiceInstance{}, changed).
		Watches(&v1alpha1.ServiceInstance{}, r.next()).
		Watches(&v1alpha1.ServiceOffering{}, r.those(func(o client.Object, i *v1alpha1.ServiceInstance) bool { return string(i.Spec.Offering) == o.GetName() }), changed).
		Watches(&v1alpha1.Consortium{}, r.those(func(client.Object, *v1alpha1.ServiceInstance) bool { return true }), changed).
		Watches(&v1alpha1.Tenant{}, r.those(func(o client.Object, i *v1alpha1.ServiceInstance) bool { return i.Namespace == o.GetName() }), changed).
		Watches(&v1alpha1.Workspace{}, r.those(func(o client.Object, i *v1alpha1.ServiceInstance) bool {
			return i.Namespace == o.GetNamespace() && string(i.Spec.Workspace) == o.GetName()
		}), builder.WithPredicates(placeMoved)).
		Watches(&v1alpha1.Stack{}, handler.EnqueueRequestForOwner(mgr.GetScheme(), mgr.GetRESTMapper(), &v1alpha1.ServiceInstance{}, handler.OnlyControllerOwner())).
		Watches(&corev1.ServiceAccount{}, r.those(standsIn), builder.WithPredicates(accountMoved)).
		Watches(&rbacv1.RoleBinding{}, r.those(standsIn), builder.WithPredicates(accountMoved)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 8}).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// standsIn tells whether an instance has objects in the namespace of an account or a binding.
func standsIn(o client.Object, i *v1alpha1.ServiceInstance) bool {
	return i.TargetNamespace() == o.GetNamespace() && len(i.Status.Objects) > 0
}

// accountMoved passes what others did to accounts of ours. What we create is no news.
var accountMoved = predicate.And(
	predicate.Funcs{CreateFunc: func(event.CreateEvent) bool { return false }},
	predicate.NewPredicateFuncs(func(o client.Object) bool { return o.GetName() == acting.Service.Name() }),
)

// placeMoved passes what an instance's place depends on: a workspace's spec, its deletion, and the answers of its conditions.
var placeMoved = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, wasWorkspace := e.ObjectOld.(*v1alpha1.Workspace)
	after, isWorkspace := e.ObjectNew.(*v1alpha1.Workspace)
	return wasWorkspace && isWorkspace && (before.Generation != after.Generation || before.Status.ObservedGeneration != after.Status.ObservedGeneration ||
		before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero() || usable(before) != usable(after))
}}

func usable(w *v1alpha1.Workspace) bool {
	return meta.IsStatusConditionTrue(w.Status.Conditions, v1alpha1.ConditionReady) && !meta.IsStatusConditionTrue(w.Status.Conditions, v1alpha1.ConditionSuspended)
}

// those enqueues the instances that an object concerns.
func (r *Instances) those(concerned func(client.Object, *v1alpha1.ServiceInstance) bool) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		return concern.Requests(ctx, r.Client, &v1alpha1.ServiceInstanceList{}, "", func(i *v1alpha1.ServiceInstance) bool { return concerned(o, i) })
	})
}

func request(i *v1alpha1.ServiceInstance) reconcile.Request {
	return reconcile.Request{NamespacedName: client.ObjectKeyFromObject(i)}
}

// next wakes those whose turn it is when an instance has gone to another version, or all that wait when one has failed to, or has after all.
func (r *Instances) next() handler.EventHandler {
	wake := func(ctx context.Context, before, after *v1alpha1.ServiceInstance, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		all, err := instancesOf(ctx, r.Client, string(after.Spec.Offering))
		offering := &v1alpha1.ServiceOffering{}
		if err == nil {
			err = r.Client.Get(ctx, client.ObjectKey{Name: string(after.Spec.Offering)}, offering, client.UnsafeDisableDeepCopy)
		}
		if err != nil {
			return // there is no offering: nobody goes anywhere
		}
		roll := roll{offering.Spec.Version, all}
		waiting := roll.waiting(nil)
		if roll.failed(before) == roll.failed(after) {
			waiting = waiting[:max(0, min(len(waiting), roll.room()))]
		}
		for _, i := range all {
			for _, name := range waiting {
				if key(i) == name {
					queue.Add(request(i))
				}
			}
		}
	}
	return handler.Funcs{
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			before, isInstance := e.ObjectOld.(*v1alpha1.ServiceInstance)
			after, isStill := e.ObjectNew.(*v1alpha1.ServiceInstance)
			if isInstance && isStill && (before.Spec.Version != after.Spec.Version || !equality.Semantic.DeepEqual(before.Status, after.Status)) {
				wake(ctx, before, after, queue)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			if i, ok := e.Object.(*v1alpha1.ServiceInstance); ok {
				wake(ctx, i, i, queue)
			}
		},
	}
}
