package tenant_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
)

// in names an object in a namespace.
func in(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

// flux adds an account for a tool to the administrators.
func flux(t *v1alpha1.Tenant) {
	t.Spec.Administrators = append(t.Spec.Administrators, v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Name: "flux"})
}

// TestHome looks at all that a new tenant gets.
func TestHome(t *testing.T) {
	t.Parallel()
	s := newStage(t, "home")
	c, a := s.consortium(), s.tenant("a", flux)
	s.ready(c, a)

	if diff := cmp.Diff(labelsOf(a), s.namespaceLabels(a.Name)); diff != "" {
		t.Errorf("labels of the home namespace (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(homeQuota(), s.hard(a.Name)); diff != "" {
		t.Errorf("quota of the home namespace (-want +got):\n%s", diff)
	}
	deny := &networkingv1.NetworkPolicy{ObjectMeta: in(a.Name, "default-deny")}
	s.read(deny)
	both := networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{"Ingress", "Egress"}}
	if diff := cmp.Diff(both, deny.Spec); diff != "" {
		t.Errorf("default-deny (-want +got):\n%s", diff)
	}
	for _, name := range []string{"default", "flux"} {
		account := &corev1.ServiceAccount{ObjectMeta: in(a.Name, name)}
		s.read(account)
		if account.AutomountServiceAccountToken == nil || *account.AutomountServiceAccountToken || len(account.Secrets) > 0 {
			t.Errorf("account %s has a token in its pods: %v", name, account)
		}
	}
	if diff := cmp.Diff(map[string]rbacv1.RoleBinding{
		"admin": binding("broletto-tenant-admin", toGroup(a.Name+":ict"), rbacv1.Subject{Kind: "ServiceAccount", Namespace: a.Name, Name: "flux"}),
		"view":  binding("broletto-tenant-view", toGroup(a.Name+":revisione")),
	}, s.bindings(a.Name)); diff != "" {
		t.Errorf("bindings (-want +got):\n%s", diff)
	}
	if a.Status.Namespace != a.Name || len(a.Status.Allocations)+len(a.Status.Allocated) > 0 {
		t.Errorf("status: %+v", a.Status)
	}
	if diff := cmp.Diff([]string{"domain:" + a.Name + ".example", "other:" + a.Spec.Codes.Other}, a.Status.Claims); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	if told := s.told(); len(told) > 0 {
		t.Errorf("nothing drifted, told: %q", told)
	}
}

// TestHomeFollowsTheTenant changes what a home is made from.
func TestHomeFollowsTheTenant(t *testing.T) {
	t.Parallel()
	s := newStage(t, "follow")
	c, a := s.consortium(), s.tenant("a", flux)
	s.ready(c, a)
	edit(s, a, func(a *v1alpha1.Tenant) {
		a.Spec.Administrators = []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: "anna"}}
		a.Spec.Viewers = nil
		a.Spec.Limits.Workspaces, a.Spec.Limits.ObjectsPerWorkspace = new(int32(3)), new(int32(7))
	})
	s.ready(a)

	want := map[string]rbacv1.RoleBinding{"admin": binding("broletto-tenant-admin", rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: "anna"})}
	if diff := cmp.Diff(want, s.bindings(a.Name)); diff != "" {
		t.Errorf("bindings (-want +got):\n%s", diff)
	}
	if s.exists(&corev1.ServiceAccount{ObjectMeta: in(a.Name, "flux")}) {
		t.Error("the account of a subject that was removed is still there")
	}
	hard := homeQuota()
	hard["count/workspaces.broletto.dev"] = "3"
	for _, counted := range []string{"count/configmaps", "count/cronjobs.batch", "count/jobs.batch", "count/secrets"} {
		hard[counted] = "7"
	}
	if diff := cmp.Diff(hard, s.hard(a.Name)); diff != "" {
		t.Errorf("quota (-want +got):\n%s", diff)
	}
	if told := s.told(); len(told) > 0 {
		t.Errorf("a change of mind was told as drift: %q", told)
	}
}

// TestDrift changes and deletes everything in a home; each is repaired and told once.
func TestDrift(t *testing.T) {
	t.Parallel()
	s := newStage(t, "drift")
	c, a := s.consortium(), s.tenant("a", flux)
	stray := &rbacv1.RoleBinding{ObjectMeta: in(a.Name, "stray"), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}}
	s.ready(c, a)
	s.create(stray)

	for name, row := range driftRows(a.Name) {
		t.Run(name, func(t *testing.T) {
			s := s.on(t)
			before := s.content(row.object)
			row.harm(s)
			s.caughtUp(row.object)
			s.until("it is repaired", func() error { return same(before, s.content(row.object)) })
			s.rest()
			want := "Warning DriftRepaired " + row.object.GetObjectKind().GroupVersionKind().Kind + " " + row.object.GetName() + " in " + a.Name + " was changed or deleted; it is as it should be again"
			told := s.told()
			if row.object.GetName() == "default" && len(told) == 0 {
				return // the controller manager may have made it again first: that is a new one
			}
			if diff := cmp.Diff([]string{want}, told); diff != "" {
				t.Errorf("%s: told (-want +got):\n%s", row.reason, diff)
			}
		})
	}
	if !s.exists(stray) {
		t.Error("a binding that is not ours was deleted")
	}
	s.ready(a)
}

type driftRow struct {
	reason string
	object client.Object
	harm   func(*stage)
}

func driftRows(home string) map[string]driftRow {
	namespace := &corev1.Namespace{TypeMeta: kind("Namespace"), ObjectMeta: metav1.ObjectMeta{Name: home}}
	quota := &corev1.ResourceQuota{TypeMeta: kind("ResourceQuota"), ObjectMeta: in(home, "broletto")}
	deny := &networkingv1.NetworkPolicy{TypeMeta: kind("NetworkPolicy"), ObjectMeta: in(home, "default-deny")}
	account := &corev1.ServiceAccount{TypeMeta: kind("ServiceAccount"), ObjectMeta: in(home, "default")}
	admins := &rbacv1.RoleBinding{TypeMeta: kind("RoleBinding"), ObjectMeta: in(home, "admin")}
	viewers := &rbacv1.RoleBinding{TypeMeta: kind("RoleBinding"), ObjectMeta: in(home, "view")}
	tool := &corev1.ServiceAccount{TypeMeta: kind("ServiceAccount"), ObjectMeta: in(home, "flux")}
	return map[string]driftRow{
		"Pod Security lowered":    {"nobody may loosen it", namespace, merge(namespace, `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged"}}}`)},
		"tenant label gone":       {"costs and policies go by it", namespace, merge(namespace, `{"metadata":{"labels":{"broletto.dev/tenant":null}}}`)},
		"inventory emptied":       {"pruning goes by it", namespace, merge(namespace, `{"metadata":{"annotations":{"broletto.dev/inventory":""}}}`)},
		"quota raised":            {"the limit is the tenant's", quota, merge(quota, `{"spec":{"hard":{"count/workspaces.broletto.dev":"999"}}}`)},
		"quota of more things":    {"what is exact has nothing beside", quota, merge(quota, `{"spec":{"hard":{"count/leases.coordination.k8s.io":"1"}}}`)},
		"quota deleted":           {"without it nothing is bounded", quota, deleted(quota)},
		"policy opened":           {"it denies everything", deny, merge(deny, `{"spec":{"egress":[{}]}}`)},
		"policy deleted":          {"it denies everything", deny, deleted(deny)},
		"default account's token": {"pods have none", account, merge(account, `{"automountServiceAccountToken":true}`)},
		"default account deleted": {"the controller manager makes it again, with a token", account, deleted(account)},
		"account of a tool gone":  {"the tool cannot act", tool, deleted(tool)},
		"somebody more is admin":  {"rights are those of the manifest", admins, merge(admins, `{"subjects":[{"kind":"User","name":"eve","apiGroup":"rbac.authorization.k8s.io"}]}`)},
		"nobody is admin":         {"rights are those of the manifest", admins, merge(admins, `{"subjects":null}`)},
		"binding deleted":         {"rights are those of the manifest", viewers, deleted(viewers)},
	}
}

func kind(name string) metav1.TypeMeta { return metav1.TypeMeta{Kind: name} }

func merge(o client.Object, patch string) func(*stage) {
	return func(s *stage) {
		if err := s.admin.Patch(s.Context(), o.DeepCopyObject().(client.Object), client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
			s.Fatal(err)
		}
	}
}

func deleted(o client.Object) func(*stage) {
	return func(s *stage) { s.remove(o.DeepCopyObject().(client.Object)) }
}

// labelsOf are all labels of a tenant's home namespace.
func labelsOf(t *v1alpha1.Tenant) map[string]string {
	return map[string]string{
		"broletto.dev/owner": string(t.UID), "broletto.dev/consortium": t.Spec.Consortium, "broletto.dev/tenant": t.Name, "broletto.dev/cost-carrier": t.Name,
		"kubernetes.io/metadata.name":        t.Name,
		"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "v1.34",
		"pod-security.kubernetes.io/audit": "restricted", "pod-security.kubernetes.io/audit-version": "v1.34",
		"pod-security.kubernetes.io/warn": "restricted", "pod-security.kubernetes.io/warn-version": "v1.34",
	}
}

func homeQuota() map[string]string {
	return map[string]string{
		"count/workspaces.broletto.dev": "20", "pods": "0", "persistentvolumeclaims": "0", "services.loadbalancers": "0", "services.nodeports": "0",
		"count/configmaps": "200", "count/secrets": "200", "count/services": "0", "count/jobs.batch": "200", "count/cronjobs.batch": "200",
	}
}

func toGroup(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: "Group", APIGroup: rbacv1.GroupName, Name: name}
}

func binding(role string, subjects ...rbacv1.Subject) rbacv1.RoleBinding {
	return rbacv1.RoleBinding{RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}, Subjects: subjects}
}

// bindings are all role bindings of a namespace, by name, without metadata.
func (s *stage) bindings(namespace string) map[string]rbacv1.RoleBinding {
	s.Helper()
	var list rbacv1.RoleBindingList
	if err := s.admin.List(s.Context(), &list, client.InNamespace(namespace)); err != nil {
		s.Fatal(err)
	}
	out := map[string]rbacv1.RoleBinding{}
	for _, b := range list.Items {
		out[b.Name] = rbacv1.RoleBinding{RoleRef: b.RoleRef, Subjects: b.Subjects}
	}
	return out
}

func (s *stage) namespaceLabels(name string) map[string]string {
	s.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	s.read(ns)
	return ns.Labels
}

// hard are the limits of our quota in a namespace.
func (s *stage) hard(namespace string) map[string]string {
	s.Helper()
	q := &corev1.ResourceQuota{ObjectMeta: in(namespace, "broletto")}
	s.read(q)
	return texts(q.Spec.Hard)
}

func texts[K ~string](amounts map[K]resource.Quantity) map[string]string {
	out := map[string]string{}
	for name, amount := range amounts {
		out[string(name)] = amount.String()
	}
	return out
}

// told are the events that the operator sent since the last call.
func (s *stage) told() (out []string) {
	for {
		select {
		case event := <-s.events.Events:
			out = append(out, strings.TrimSpace(event))
		default:
			return out
		}
	}
}
