package service

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/outcome"
)

// Offerings looks after the entries of the catalogue.
type Offerings struct {
	Client client.Client
}

// Reconcile makes the rules by which instances are checked and sums up the demand.
func (r *Offerings) Reconcile(ctx context.Context, o *v1alpha1.ServiceOffering) (ctrl.Result, error) {
	if !o.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	before := o.DeepCopy()
	err := r.converge(ctx, o)
	return outcome.Settle(ctx, r.Client, before, o, fmt.Sprintf("%s is in the catalogue", o.Spec.Version), 0, err)
}

func (r *Offerings) converge(ctx context.Context, o *v1alpha1.ServiceOffering) error {
	members, err := r.members(ctx, o)
	if err != nil {
		return err
	}
	instances, err := instancesOf(ctx, r.Client, o.Name)
	if err != nil {
		return err
	}
	o.Status.Demand = demand(o.Spec.Version, instances, members)
	seen, err := check(o) // rules that are wrong do not replace those that hold
	if err != nil {
		return err
	}
	o.Status.Rules = seen.schema.Rules
	err = r.Client.Get(ctx, client.ObjectKey{Name: o.Spec.Consortium}, &v1alpha1.Consortium{})
	if apierrors.IsNotFound(err) {
		return outcome.Stalled(v1alpha1.ReasonConsortiumNotFound, "spec.consortium: there is no consortium %s; create it, or make the offering in another", o.Spec.Consortium)
	}
	if err != nil {
		return fmt.Errorf("reading consortium %s: %w", o.Spec.Consortium, err)
	}
	return nil
}

// members are the names of the consortium's tenants.
func (r *Offerings) members(ctx context.Context, o *v1alpha1.ServiceOffering) (map[string]bool, error) {
	var all v1alpha1.TenantList
	if err := r.Client.List(ctx, &all, client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency); err != nil {
		return nil, fmt.Errorf("listing tenants: %w", err)
	}
	out := map[string]bool{}
	for _, t := range all.Items {
		if t.Spec.Consortium == o.Spec.Consortium {
			out[t.Name] = true
		}
	}
	return out, nil
}

// demand sums up what the members ask for.
func demand(version v1alpha1.Version, instances []*v1alpha1.ServiceInstance, members map[string]bool) *v1alpha1.Demand {
	out, tenants := &v1alpha1.Demand{}, map[string]bool{}
	for _, i := range instances {
		if !members[i.Namespace] || !i.DeletionTimestamp.IsZero() {
			continue
		}
		tenants[i.Namespace] = true
		out.Instances++
		out.Quantity += int64(i.Spec.Quantity)
		if meta.IsStatusConditionTrue(i.Status.Conditions, v1alpha1.ConditionReady) {
			out.Provisioned++
		}
		if i.Status.Version != "" && i.Status.Version != version {
			out.Outdated++
		}
	}
	out.Tenants = int64(len(tenants))
	return out
}
