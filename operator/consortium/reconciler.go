package consortium

import (
	"context"
	"fmt"
	"slices"
	"strings"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/outcome"
)

// +kubebuilder:rbac:groups=broletto.dev,resources=consortia,verbs=list;watch;update
// +kubebuilder:rbac:groups=broletto.dev,resources=consortia/status,verbs=update
// +kubebuilder:rbac:groups=broletto.dev,resources=tenants,verbs=list;watch

// Finalizer keeps a Consortium until no tenant belongs to it.
const Finalizer = "broletto.dev/consortium"

// Reconciler looks after consortia.
type Reconciler struct {
	Client client.Client
}

// Reconcile counts a consortium's tenants, looks at its budgets, and lets it go when nobody is left.
func (r *Reconciler) Reconcile(ctx context.Context, c *v1alpha1.Consortium) (ctrl.Result, error) {
	deleting := !c.DeletionTimestamp.IsZero()
	if deleting && !controllerutil.ContainsFinalizer(c, Finalizer) {
		return ctrl.Result{}, nil
	}
	if !deleting && controllerutil.AddFinalizer(c, Finalizer) {
		if err := r.Client.Update(ctx, c); err != nil {
			return ctrl.Result{}, err
		}
	}
	before := c.DeepCopy()
	tenants, err := r.tenants(ctx, c)
	if err == nil && deleting {
		if len(tenants) == 0 {
			controllerutil.RemoveFinalizer(c, Finalizer)
			return ctrl.Result{}, client.IgnoreNotFound(r.Client.Update(ctx, c))
		}
		err = &outcome.Stall{Reason: v1alpha1.ReasonTenantsRemain, Err: fmt.Errorf(
			"a consortium goes after its tenants: delete tenants %s", strings.Join(tenants, ", "))}
	}
	if err == nil {
		tell(c, tenants)
	}
	return outcome.Settle(ctx, r.Client, before, c, "the agreement is in force", 0, err)
}

// tenants are the names of those that belong to the consortium, sorted.
func (r *Reconciler) tenants(ctx context.Context, c *v1alpha1.Consortium) ([]string, error) {
	var all v1alpha1.TenantList
	if err := r.Client.List(ctx, &all, client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency); err != nil {
		return nil, fmt.Errorf("listing tenants: %w", err)
	}
	var out []string
	for _, t := range all.Items {
		if t.Spec.Consortium == c.Name {
			out = append(out, t.Name)
		}
	}
	slices.Sort(out)
	return out, nil
}

// tell reports how many tenants there are and whether every budget names one of them.
func tell(c *v1alpha1.Consortium, tenants []string) {
	c.Status.Tenants = int32(len(tenants))
	var strangers []string
	for _, b := range c.Spec.Budgets {
		if !slices.Contains(tenants, string(b.Tenant)) {
			strangers = append(strangers, fmt.Sprintf("%s names %s", b.Name, b.Tenant))
		}
	}
	if len(strangers) > 0 {
		condition.Report(c, v1alpha1.ConditionBudgetsValid, false, v1alpha1.ReasonBudgetTenantNotFound,
			"not a tenant of this consortium: "+strings.Join(strangers, ", "))
		return
	}
	condition.Report(c, v1alpha1.ConditionBudgetsValid, true, v1alpha1.ReasonSucceeded, "")
}

// SetupWithManager watches consortia, and the coming and going of tenants.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	ofTenant := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		t, ok := o.(*v1alpha1.Tenant)
		if !ok {
			return nil
		}
		return []reconcile.Request{{NamespacedName: client.ObjectKey{Name: t.Spec.Consortium}}}
	})
	comesOrGoes := predicate.Funcs{UpdateFunc: func(event.UpdateEvent) bool { return false }} // spec.consortium is immutable
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.Consortium{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.Tenant{}, ofTenant, builder.WithPredicates(comesOrGoes)).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}
