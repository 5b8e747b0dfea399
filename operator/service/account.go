package service

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/acting"
)

// account makes the account of a workspace and its rights: as it, instances write there. It goes with the last of them.
func (r *Instances) account(ctx context.Context, w *v1alpha1.Workspace) error {
	return acting.Maker{Client: r.Client, Live: r.Live}.Make(ctx, acting.Service, w.TargetNamespace(), w.UID)
}

// dismiss takes the account away when no other instance in the workspace has objects there.
func (r *Instances) dismiss(ctx context.Context, i *v1alpha1.ServiceInstance) error {
	var all v1alpha1.ServiceInstanceList
	if err := r.Client.List(ctx, &all, client.InNamespace(i.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("listing the instances of %s: %w", i.Namespace, err)
	}
	for _, other := range all.Items {
		if other.UID != i.UID && other.Spec.Workspace == i.Spec.Workspace && len(other.Status.Objects) > 0 {
			return nil
		}
	}
	return acting.Maker{Client: r.Client, Live: r.Live}.Dismiss(ctx, acting.Service, i.TargetNamespace())
}
