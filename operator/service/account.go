package service

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	rbacv1ac "k8s.io/client-go/applyconfigurations/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/apply"
	"github.com/broletto/broletto/operator/guardrail"
)

// account makes the account of a workspace and its rights: as it, instances write there. It goes with the last of them.
func (r *Instances) account(ctx context.Context, w *v1alpha1.Workspace) error {
	where := client.ObjectKey{Namespace: w.TargetNamespace(), Name: AccountName}
	owner := map[string]string{v1alpha1.LabelOwner: string(w.UID)}
	write := []client.ApplyOption{client.FieldOwner(apply.FieldManager), client.ForceOwnership}

	account := &corev1.ServiceAccount{}
	err := r.Client.Get(ctx, where, account)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading account %s: %w", where, err)
	}
	if err != nil || account.Labels[v1alpha1.LabelOwner] != string(w.UID) {
		wanted := corev1ac.ServiceAccount(where.Name, where.Namespace).WithLabels(owner).WithAutomountServiceAccountToken(false)
		if err := r.Client.Apply(ctx, wanted, write...); err != nil {
			return fmt.Errorf("making account %s: %w", where, err)
		}
	}
	binding := &rbacv1.RoleBinding{}
	err = r.Client.Get(ctx, where, binding)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading role binding %s: %w", where, err)
	}
	if err == nil && binding.Labels[v1alpha1.LabelOwner] == string(w.UID) && binds(binding) {
		return nil
	}
	if err := r.rebind(ctx, where); err != nil {
		return err
	}
	wanted := rbacv1ac.RoleBinding(where.Name, where.Namespace).WithLabels(owner).
		WithRoleRef(rbacv1ac.RoleRef().WithAPIGroup(rbacv1.GroupName).WithKind("ClusterRole").WithName(guardrail.RoleWorkspaceEdit)).
		WithSubjects(rbacv1ac.Subject().WithKind(rbacv1.ServiceAccountKind).WithNamespace(where.Namespace).WithName(AccountName))
	if err := r.Client.Apply(ctx, wanted, write...); err != nil {
		return fmt.Errorf("making role binding %s: %w", where, err)
	}
	return nil
}

// rebind takes a binding of the account's name away that gives other rights, or gives them to others: what it refers to cannot change.
func (r *Instances) rebind(ctx context.Context, where client.ObjectKey) error {
	live := &rbacv1.RoleBinding{}
	err := r.Live.Get(ctx, where, live)
	if err != nil || binds(live) {
		return client.IgnoreNotFound(err)
	}
	return client.IgnoreNotFound(r.Client.Delete(ctx, live, client.Preconditions{UID: &live.UID}, client.DisableReadYourWritesConsistency))
}

func binds(b *rbacv1.RoleBinding) bool {
	return b.RoleRef.Kind == "ClusterRole" && b.RoleRef.Name == guardrail.RoleWorkspaceEdit &&
		equality.Semantic.DeepEqual(b.Subjects, []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: b.Namespace, Name: AccountName}})
}

// dismiss takes the account away, rights first, when no other instance in the workspace has objects there.
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
	where := metav1.ObjectMeta{Namespace: i.TargetNamespace(), Name: AccountName}
	for _, o := range []client.Object{&rbacv1.RoleBinding{ObjectMeta: where}, &corev1.ServiceAccount{ObjectMeta: where}} {
		err := r.Client.Get(ctx, client.ObjectKeyFromObject(o), o)
		if err == nil && o.GetDeletionTimestamp().IsZero() {
			uid := o.GetUID()
			err = r.Client.Delete(ctx, o, client.Preconditions{UID: &uid})
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("taking %s away: %w", client.ObjectKeyFromObject(o), err)
		}
	}
	return nil
}
