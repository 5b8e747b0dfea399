package acting

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	rbacv1ac "k8s.io/client-go/applyconfigurations/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/apply"
)

// Maker makes accounts and takes them away.
type Maker struct {
	Client client.Client // the operator's, with its cache of what is ours
	Live   client.Reader
}

// Make makes an account and its rights in the namespace of a workspace, whose UID it carries. What is right already is not written.
func (m Maker) Make(ctx context.Context, a Account, namespace string, workspace types.UID) error {
	where := client.ObjectKey{Namespace: namespace, Name: a.name}
	account := &corev1.ServiceAccount{}
	err := m.Client.Get(ctx, where, account)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading account %s: %w", where, err)
	}
	if err != nil || account.Labels[v1alpha1.LabelOwner] != string(workspace) {
		if err := m.Client.Apply(ctx, a.account(namespace, workspace), client.FieldOwner(apply.FieldManager), client.ForceOwnership); err != nil {
			return fmt.Errorf("making account %s: %w", where, err)
		}
	}
	for _, b := range a.binds {
		if err := m.bind(ctx, a, b, namespace, workspace); err != nil {
			return err
		}
	}
	return nil
}

func (m Maker) bind(ctx context.Context, a Account, b binding, namespace string, workspace types.UID) error {
	where, live := client.ObjectKey{Namespace: namespace, Name: b.name}, &rbacv1.RoleBinding{}
	err := m.Client.Get(ctx, where, live)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading role binding %s: %w", where, err)
	}
	if err == nil && live.Labels[v1alpha1.LabelOwner] == string(workspace) && a.binding(b, live) {
		return nil
	}
	if err := m.unbind(ctx, a, b, where); err != nil {
		return err
	}
	if err := m.Client.Apply(ctx, a.rights(b, namespace, workspace), client.FieldOwner(apply.FieldManager), client.ForceOwnership); err != nil {
		return fmt.Errorf("making role binding %s: %w", where, err)
	}
	return nil
}

// unbind takes a binding of that name away that gives other rights, or gives them to others: what it refers to cannot change.
func (m Maker) unbind(ctx context.Context, a Account, b binding, where client.ObjectKey) error {
	live := &rbacv1.RoleBinding{}
	err := m.Live.Get(ctx, where, live)
	if err != nil || a.binding(b, live) {
		return client.IgnoreNotFound(err)
	}
	return client.IgnoreNotFound(m.Client.Delete(ctx, live, client.Preconditions{UID: &live.UID}, client.DisableReadYourWritesConsistency))
}

// Dismiss takes an account away, rights first.
func (m Maker) Dismiss(ctx context.Context, a Account, namespace string) error {
	var all []client.Object
	for _, b := range a.binds {
		all = append(all, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: b.name}})
	}
	for _, o := range append(all, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: a.name}}) {
		err := m.Client.Get(ctx, client.ObjectKeyFromObject(o), o)
		if err == nil && o.GetDeletionTimestamp().IsZero() {
			uid := o.GetUID()
			err = m.Client.Delete(ctx, o, client.Preconditions{UID: &uid})
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("taking %s away: %w", client.ObjectKeyFromObject(o), err)
		}
	}
	return nil
}

func (a Account) account(namespace string, workspace types.UID) *corev1ac.ServiceAccountApplyConfiguration {
	return corev1ac.ServiceAccount(a.name, namespace).WithLabels(owner(workspace)).WithAutomountServiceAccountToken(false)
}

func (a Account) rights(b binding, namespace string, workspace types.UID) *rbacv1ac.RoleBindingApplyConfiguration {
	return rbacv1ac.RoleBinding(b.name, namespace).WithLabels(owner(workspace)).
		WithRoleRef(rbacv1ac.RoleRef().WithAPIGroup(rbacv1.GroupName).WithKind("ClusterRole").WithName(b.role)).
		WithSubjects(rbacv1ac.Subject().WithKind(rbacv1.ServiceAccountKind).WithNamespace(namespace).WithName(a.name))
}

// binding tells whether a role binding gives the account what it is to have, and nobody else anything.
func (a Account) binding(b binding, live *rbacv1.RoleBinding) bool {
	return live.RoleRef.Kind == "ClusterRole" && live.RoleRef.Name == b.role &&
		equality.Semantic.DeepEqual(live.Subjects, []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: live.Namespace, Name: a.name}})
}

func owner(workspace types.UID) map[string]string {
	return map[string]string{v1alpha1.LabelOwner: string(workspace)}
}
