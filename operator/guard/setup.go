package guard

import (
	"context"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=validatingadmissionpolicies;validatingadmissionpolicybindings,verbs=list;watch;create;update
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=mutatingadmissionpolicies;mutatingadmissionpolicybindings,verbs=list;watch;create;update
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// SetupWithManager watches all policies of the cluster. Where there is no kind of mutating policies, there is nothing to watch.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	all := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request { return []reconcile.Request{{}} })
	b := ctrl.NewControllerManagedBy(mgr).Named("guard").
		Watches(&admissionv1.ValidatingAdmissionPolicy{}, all).
		Watches(&admissionv1.ValidatingAdmissionPolicyBinding{}, all)
	gvk := admissionv1.SchemeGroupVersion.WithKind("MutatingAdmissionPolicy")
	switch _, err := mgr.GetRESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version); {
	case err == nil:
		b.Watches(&admissionv1.MutatingAdmissionPolicy{}, all).Watches(&admissionv1.MutatingAdmissionPolicyBinding{}, all)
	case !meta.IsNoMatchError(err):
		return fmt.Errorf("looking for mutating admission policies: %w", err)
	}
	return b.Complete(r)
}
