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
	"github.com/broletto/broletto/operator/guardrail"
)

// strays are role bindings of the tenant's own making that give rights to who has no place in the workspace any more. The admission
// policy broletto-rights refuses them when they are written; who leaves later would keep what a binding of that time gives. Once the
// tenant is no member, or the workspace goes, nobody has a place, not even the workspace's accounts.
//
// What the platform makes an exception of carries a label that nobody else may write, and stays.
//
// They are looked for when somebody has left: the namespace says for whom they were looked for last, and goes on saying so until they are gone.
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

// placed is who has a place in the workspace: "open" while anybody may have rights there, and its groups and users.
func placed(w *v1alpha1.Workspace, c Context) []string {
	if !c.Member || !w.DeletionTimestamp.IsZero() {
		return nil
	}
	return append([]string{"open"}, guardrail.People(allowance(w, c).Subjects)...)
}

// left tells whether somebody has left since the bindings were looked through.
func left(w *v1alpha1.Workspace, c Context) bool {
	now := placed(w, c)
	return slices.ContainsFunc(c.Vetted, func(who string) bool { return !slices.Contains(now, who) })
}

// vetted is for whom the bindings are looked through when nobody has left: who only came changes nothing.
func vetted(w *v1alpha1.Workspace, c Context) []string {
	if left(w, c) {
		return c.Vetted
	}
	return placed(w, c)
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
