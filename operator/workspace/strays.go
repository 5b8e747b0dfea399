package workspace

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
)

// strays are role bindings of the tenant's own making that give rights to who has no place in the workspace any more. The admission
// policy broletto-rights refuses them when they are written; who leaves later would keep what a binding of that time gives. Once the
// tenant is no member, or the workspace goes, nobody has a place, not even the workspace's accounts.
//
// What the platform makes an exception of carries a label that nobody else may write, and stays.
func strays(bindings []rbacv1.RoleBinding, w *v1alpha1.Workspace, c Context) (out []rbacv1.RoleBinding) {
	open := c.Member && w.DeletionTimestamp.IsZero()
	people := allowance(w, c).Subjects
	stranger := func(s rbacv1.Subject) bool {
		if s.Kind == rbacv1.ServiceAccountKind {
			return !open || s.Namespace != w.TargetNamespace()
		}
		return !slices.Contains(people, v1alpha1.Subject{Kind: v1alpha1.SubjectKind(s.Kind), Name: s.Name})
	}
	for _, b := range bindings {
		_, exception := b.Labels[v1alpha1.LabelException]
		if b.Labels[v1alpha1.LabelOwner] == "" && !exception && slices.ContainsFunc(b.Subjects, stranger) {
			out = append(out, b)
		}
	}
	return out
}

// disown deletes strays. It reads them from the API server: the cache holds only what is ours, and no read may wait until it sees them go.
func (r *Reconciler) disown(ctx context.Context, w *v1alpha1.Workspace, c Context) error {
	var list rbacv1.RoleBindingList
	if err := r.Apply.Live.List(ctx, &list, client.InNamespace(w.TargetNamespace())); err != nil {
		return fmt.Errorf("listing role bindings in %s: %w", w.TargetNamespace(), err)
	}
	for _, b := range strays(list.Items, w, c) {
		err := r.Client.Delete(ctx, &b, client.Preconditions{UID: &b.UID, ResourceVersion: &b.ResourceVersion}, client.DisableReadYourWritesConsistency)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("deleting role binding %s in %s: %w", b.Name, b.Namespace, err)
		}
		r.Events.Eventf(w, &b, corev1.EventTypeWarning, "RightsWithdrawn", "Withdraw",
			"RoleBinding %s in %s gave rights to somebody who has no place there any more and was deleted; make it again without them", b.Name, b.Namespace)
	}
	return nil
}
