package tenant_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/stage"
)

// TestHome looks at all that a new tenant gets.
func TestHome(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "home")
	c, a := s.Consortium(), s.Tenant("a", stage.Flux)
	s.Ready(c, a)

	if diff := cmp.Diff(labelsOf(a), labelsIn(s, a.Name)); diff != "" {
		t.Errorf("labels of the home namespace (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(homeQuota(), s.Hard(a.Name)); diff != "" {
		t.Errorf("quota of the home namespace (-want +got):\n%s", diff)
	}
	deny := &networkingv1.NetworkPolicy{ObjectMeta: stage.In(a.Name, "default-deny")}
	s.Read(deny)
	both := networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{"Ingress", "Egress"}}
	if diff := cmp.Diff(both, deny.Spec); diff != "" {
		t.Errorf("default-deny (-want +got):\n%s", diff)
	}
	for _, name := range []string{"default", "flux"} {
		account := &corev1.ServiceAccount{ObjectMeta: stage.In(a.Name, name)}
		s.Read(account)
		if account.AutomountServiceAccountToken == nil || *account.AutomountServiceAccountToken || len(account.Secrets) > 0 {
			t.Errorf("account %s has a token in its pods: %v", name, account)
		}
	}
	if diff := cmp.Diff(map[string]rbacv1.RoleBinding{
		"admin": binding("broletto-tenant-admin", toGroup(a.Name+":ict"), rbacv1.Subject{Kind: "ServiceAccount", Namespace: a.Name, Name: "flux"}),
		"view":  binding("broletto-tenant-view", toGroup(a.Name+":revisione")),
	}, bindingsIn(s, a.Name)); diff != "" {
		t.Errorf("bindings (-want +got):\n%s", diff)
	}
	if a.Status.Namespace != a.Name || len(a.Status.Allocations)+len(a.Status.Allocated) > 0 {
		t.Errorf("status: %+v", a.Status)
	}
	if diff := cmp.Diff([]string{"domain:" + a.Name + ".example", "other:" + a.Spec.Codes.Other}, a.Status.Claims); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	if told := s.Events(); len(told) > 0 {
		t.Errorf("nothing drifted, told: %q", told)
	}
}

// TestHomeFollowsTheTenant changes what a home is made from.
func TestHomeFollowsTheTenant(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "follow")
	c, a := s.Consortium(), s.Tenant("a", stage.Flux)
	s.Ready(c, a)
	stage.Edit(s, a, func(a *v1alpha1.Tenant) {
		a.Spec.Administrators = []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: "anna"}}
		a.Spec.Viewers = nil
		a.Spec.Limits.Workspaces, a.Spec.Limits.ObjectsPerWorkspace = new(int32(3)), new(int32(7))
	})
	s.Ready(a)

	want := map[string]rbacv1.RoleBinding{"admin": binding("broletto-tenant-admin", rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: "anna"})}
	if diff := cmp.Diff(want, bindingsIn(s, a.Name)); diff != "" {
		t.Errorf("bindings (-want +got):\n%s", diff)
	}
	if s.Exists(&corev1.ServiceAccount{ObjectMeta: stage.In(a.Name, "flux")}) {
		t.Error("the account of a subject that was removed is still there")
	}
	hard := homeQuota()
	hard["count/workspaces.broletto.dev"], hard["count/replicasets.apps"] = "3", "77"
	for _, counted := range []string{
		"count/configmaps", "count/cronjobs.batch", "count/jobs.batch", "count/secrets", "count/deployments.apps", "count/statefulsets.apps", "count/ingresses.networking.k8s.io",
		"count/roles.rbac.authorization.k8s.io", "count/horizontalpodautoscalers.autoscaling", "count/poddisruptionbudgets.policy",
		"count/serviceinstances.broletto.dev", "count/backuppolicies.broletto.dev", "count/restores.broletto.dev",
	} {
		hard[counted] = "7"
	}
	if diff := cmp.Diff(hard, s.Hard(a.Name)); diff != "" {
		t.Errorf("quota (-want +got):\n%s", diff)
	}
	if told := s.Events(); len(told) > 0 {
		t.Errorf("a change of mind was told as drift: %q", told)
	}
}

// TestDrift changes and deletes everything in a home; each is repaired and told once.
func TestDrift(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "drift")
	c, a := s.Consortium(), s.Tenant("a", stage.Flux)
	stray := &rbacv1.RoleBinding{ObjectMeta: stage.In(a.Name, "stray"), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}}
	s.Ready(c, a)
	s.Create(stray)

	for name, row := range driftRows(a.Name) {
		t.Run(name, func(t *testing.T) {
			s := s.On(t)
			before := s.Content(row.Object)
			row.Do(s)
			s.CaughtUp(row.Object)
			s.Until("it is repaired", func() error { return stage.Same(before, s.Content(row.Object)) })
			s.Rest()
			want := s.Repaired(row, a.Name)
			told := s.Events()
			if row.Object.GetName() == "default" && len(told) == 0 {
				return // the controller manager may have made it again first: that is a new one
			}
			if diff := cmp.Diff([]string{want}, told); diff != "" {
				t.Errorf("%s: told (-want +got):\n%s", row.Reason, diff)
			}
		})
	}
	if !s.Exists(stray) {
		t.Error("a binding that is not ours was deleted")
	}
	s.Ready(a)
}

func driftRows(home string) map[string]stage.Harm {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: home}}
	quota := &corev1.ResourceQuota{ObjectMeta: stage.In(home, "broletto")}
	deny := &networkingv1.NetworkPolicy{ObjectMeta: stage.In(home, "default-deny")}
	account := &corev1.ServiceAccount{ObjectMeta: stage.In(home, "default")}
	admins := &rbacv1.RoleBinding{ObjectMeta: stage.In(home, "admin")}
	viewers := &rbacv1.RoleBinding{ObjectMeta: stage.In(home, "view")}
	tool := &corev1.ServiceAccount{ObjectMeta: stage.In(home, "flux")}
	return map[string]stage.Harm{
		"Pod Security lowered":    stage.Changed("nobody may loosen it", namespace, `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged"}}}`),
		"tenant label gone":       stage.Changed("costs and policies go by it", namespace, `{"metadata":{"labels":{"broletto.dev/tenant":null}}}`),
		"inventory emptied":       stage.Changed("pruning goes by it", namespace, `{"metadata":{"annotations":{"broletto.dev/inventory":""}}}`),
		"quota raised":            stage.Changed("the limit is the tenant's", quota, `{"spec":{"hard":{"count/workspaces.broletto.dev":"999"}}}`),
		"quota of more things":    stage.Changed("what is exact has nothing beside", quota, `{"spec":{"hard":{"count/leases.coordination.k8s.io":"1"}}}`),
		"quota deleted":           stage.Deleted("without it nothing is bounded", quota),
		"policy opened":           stage.Changed("it denies everything", deny, `{"spec":{"egress":[{}]}}`),
		"policy deleted":          stage.Deleted("it denies everything", deny),
		"default account's token": stage.Changed("pods have none", account, `{"automountServiceAccountToken":true}`),
		"default account deleted": stage.Deleted("the controller manager makes it again, with a token", account),
		"account of a tool gone":  stage.Deleted("the tool cannot act", tool),
		"somebody more is admin":  stage.Changed("rights are those of the manifest", admins, `{"subjects":[{"kind":"User","name":"eve","apiGroup":"rbac.authorization.k8s.io"}]}`),
		"nobody is admin":         stage.Changed("rights are those of the manifest", admins, `{"subjects":null}`),
		"binding deleted":         stage.Deleted("rights are those of the manifest", viewers),
	}
}

// labelsOf are all labels of a tenant's home namespace.
func labelsOf(t *v1alpha1.Tenant) map[string]string {
	return map[string]string{
		"broletto.dev/any-node": "true", "broletto.dev/any-registry": "true", "broletto.dev/pull-always": "true",
		"broletto.dev/owner": string(t.UID), "broletto.dev/consortium": t.Spec.Consortium, "broletto.dev/tenant": t.Name, "broletto.dev/cost-carrier": t.Name,
		"kubernetes.io/metadata.name":        t.Name,
		"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "v1.34",
		"pod-security.kubernetes.io/audit": "restricted", "pod-security.kubernetes.io/audit-version": "v1.34",
		"pod-security.kubernetes.io/warn": "restricted", "pod-security.kubernetes.io/warn-version": "v1.34",
	}
}

func homeQuota() map[string]string {
	return map[string]string{
		"count/workspaces.broletto.dev": "20", "count/stacks.broletto.dev": "20", "count/serviceinstances.broletto.dev": "200",
		"count/backups.broletto.dev": "500", "count/backuppolicies.broletto.dev": "200", "count/restores.broletto.dev": "200", "pods": "0", "persistentvolumeclaims": "0", "services.loadbalancers": "0", "services.nodeports": "0",
		"count/configmaps": "200", "count/secrets": "200", "count/services": "0", "count/jobs.batch": "200", "count/cronjobs.batch": "200",
		"count/deployments.apps": "200", "count/statefulsets.apps": "200", "count/ingresses.networking.k8s.io": "200", "count/replicasets.apps": "2200",
		"count/roles.rbac.authorization.k8s.io": "200", "count/horizontalpodautoscalers.autoscaling": "200", "count/poddisruptionbudgets.policy": "200",
	}
}

func toGroup(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: "Group", APIGroup: rbacv1.GroupName, Name: name}
}

func binding(role string, subjects ...rbacv1.Subject) rbacv1.RoleBinding {
	return rbacv1.RoleBinding{RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}, Subjects: subjects}
}

// bindingsIn are all role bindings of a namespace, by name, without metadata.
func bindingsIn(s *stage.Stage, namespace string) map[string]rbacv1.RoleBinding {
	s.Helper()
	var list rbacv1.RoleBindingList
	s.List(&list, namespace)
	out := map[string]rbacv1.RoleBinding{}
	for _, b := range list.Items {
		out[b.Name] = rbacv1.RoleBinding{RoleRef: b.RoleRef, Subjects: b.Subjects}
	}
	return out
}

func labelsIn(s *stage.Stage, name string) map[string]string {
	s.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	s.Read(ns)
	return ns.Labels
}
