package workspace_test

import (
	"context"
	"maps"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// TestPeople sends real requests as everybody who has rights in a workspace, and as those who have none.
func TestPeople(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "people")
	c, a, b := s.Consortium(), s.Tenant("a", stage.Flux), s.Tenant("b")
	s.Ready(c, a, b)
	w := s.Workspace(a, "sito", func(w *v1alpha1.Workspace) {
		w.Spec.Access = []v1alpha1.Access{
			{Role: v1alpha1.RoleAdmin, Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: s.ID("ops")}},
			{Role: v1alpha1.RoleEdit, Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Name: "deployer"}},
			{Role: v1alpha1.RoleView, Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: s.ID("carla")}},
		}
	})
	s.Ready(w)
	ns := w.TargetNamespace()
	s.Create(&corev1.Secret{ObjectMeta: stage.In(ns, "password")})
	for name, who := range map[string]struct {
		reason string
		cfg    *rest.Config
		may    stage.Attempts
	}{
		"the tenant's administrator": {"the group of the tenant's administrators", cluster.As("anna", stage.Group(a.Name, "ict")), administrator(w)},
		"the tenant's tool":          {"an account in the home", cluster.Account(t, a.Name, "flux"), administrator(w)},
		"the tenant's viewer":        {"the group of the tenant's viewers", cluster.As("bruno", stage.Group(a.Name, "revisione")), viewer(w)},
		"an administrator":           {"a group of spec.access", cluster.As("dario", s.ID("ops")), administrator(w)},
		"an editor":                  {"an account of spec.access", cluster.Account(t, ns, "deployer"), editor(w)},
		"a viewer":                   {"a user of spec.access", cluster.As(s.ID("carla")), viewer(w)},
		"a pod":                      {"the default account has no rights", cluster.Account(t, ns, "default"), stranger(w)},
		"another tenant":             {"an administrator of b", cluster.As("elena", stage.Group(b.Name, "ict")), stranger(w)},
		"another tenant's viewer":    {"a viewer of b", cluster.As("fabio", stage.Group(b.Name, "revisione")), stranger(w)},
		"somebody":                   {"who is in no group", cluster.As("gina"), stranger(w)},
	} {
		t.Run(name, func(t *testing.T) { s.On(t).Try(who.reason, who.cfg, who.may) })
	}
	s.Rest()
}

// administrator is an editor who makes accounts, asks for their tokens, and gives rights and opens the network within the tenant. What
// of that is refused all the same, test/security tells.
func administrator(w *v1alpha1.Workspace) stage.Attempts {
	out, anew := editor(w), metav1.ObjectMeta{Namespace: w.TargetNamespace(), GenerateName: "own-"}
	out["asks for a token"] = stage.Passes("a pipeline acts as an account", token(w))
	out["makes a role"] = stage.Passes("rights in a workspace are its administrators' to give", stage.Making(&rbacv1.Role{ObjectMeta: anew}))
	out["makes an account"] = stage.Passes("pipelines and applications have accounts", stage.Making(&corev1.ServiceAccount{ObjectMeta: anew}))
	out["opens the network"] = stage.Passes("within the tenant", stage.Making(&networkingv1.NetworkPolicy{ObjectMeta: anew}))
	return out
}

// editor deploys, and reads Secrets.
func editor(w *v1alpha1.Workspace) stage.Attempts {
	out, pod := viewer(w), podOf(w)
	pod.Name, pod.GenerateName = "", "pod-"
	out["runs a pod"] = stage.Passes("it is what a workspace is for", stage.Making(pod))
	out["makes a deployment"] = stage.Passes("it is what a workspace is for", stage.Making(deploymentOf(w)))
	out["makes a ConfigMap"] = stage.Passes("pods read it", stage.Making(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, GenerateName: "c-"}}))
	out["reads a Secret"] = stage.Passes("pods read it", stage.Reading(&corev1.Secret{ObjectMeta: stage.In(pod.Namespace, "password")}))
	out["lists Secrets"] = stage.Passes("pods read them", stage.Listing(&corev1.SecretList{}, pod.Namespace))
	return out
}

// viewer reads all but Secrets.
func viewer(w *v1alpha1.Workspace) stage.Attempts {
	out, ns := stranger(w), w.TargetNamespace()
	for what, list := range visible() {
		out[what] = stage.Passes("the workspace is theirs to see", stage.Listing(list, ns))
	}
	return out
}

// stranger is what people without rights must not do: everything. Others have some of it.
func stranger(w *v1alpha1.Workspace) stage.Attempts {
	ns := w.TargetNamespace()
	out := stage.Attempts{
		"runs a pod":         stage.Forbidden("it is not theirs", stage.Making(podOf(w))),
		"makes a deployment": stage.Forbidden("it is not theirs", stage.Making(deploymentOf(w))),
		"makes a ConfigMap":  stage.Forbidden("it is not theirs", stage.Making(&corev1.ConfigMap{ObjectMeta: stage.In(ns, "eve")})),
		"asks for a token":   stage.Forbidden("it is not theirs", token(w)),
		"reads a Secret":     stage.Forbidden("it is not theirs", stage.Reading(&corev1.Secret{ObjectMeta: stage.In(ns, "password")})),
		"lists Secrets":      stage.Forbidden("it is not theirs", stage.Listing(&corev1.SecretList{}, ns)),
	}
	for what, list := range visible() {
		out[what] = stage.Forbidden("it is not theirs", stage.Listing(list, ns))
	}
	maps.Copy(out, guardrails(ns))
	return out
}

// visible is what everybody sees who has any right.
func visible() map[string]client.ObjectList {
	return map[string]client.ObjectList{
		"lists pods": &corev1.PodList{}, "lists deployments": &appsv1.DeploymentList{}, "lists ConfigMaps": &corev1.ConfigMapList{},
		"lists claims": &corev1.PersistentVolumeClaimList{}, "lists quotas": &corev1.ResourceQuotaList{}, "lists limits": &corev1.LimitRangeList{},
		"lists policies": &networkingv1.NetworkPolicyList{}, "lists bindings": &rbacv1.RoleBindingList{}, "lists accounts": &corev1.ServiceAccountList{},
		"lists jobs": &batchv1.JobList{}, "lists services": &corev1.ServiceList{}, "lists ingresses": &networkingv1.IngressList{},
	}
}

// guardrails are what nobody but the operator may do, whatever rights they have.
func guardrails(ns string) stage.Attempts {
	out := stage.Attempts{
		"makes itself master":   stage.Forbidden("rights are in the manifest", stage.Making(&rbacv1.RoleBinding{ObjectMeta: stage.In(ns, "eve"), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"}})),
		"makes a role":          stage.Forbidden("it is the administrators'", stage.Making(&rbacv1.Role{ObjectMeta: stage.In(ns, "eve")})),
		"makes an account":      stage.Forbidden("it is the administrators'", stage.Making(&corev1.ServiceAccount{ObjectMeta: stage.In(ns, "eve")})),
		"opens the network":     stage.Forbidden("it is the administrators'", stage.Making(&networkingv1.NetworkPolicy{ObjectMeta: stage.In(ns, "eve")})),
		"makes a quota":         stage.Forbidden("quotas are the operator's", stage.Making(&corev1.ResourceQuota{ObjectMeta: stage.In(ns, "eve")})),
		"makes a namespace":     stage.Forbidden("tenants have no right on namespaces", stage.Making(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns + "-eve"}})),
		"lists pods everywhere": stage.Forbidden("others' are theirs", stage.Listing(&corev1.PodList{}, "")),
		"lists system Secrets":  stage.Forbidden("the operator's are its own", stage.Listing(&corev1.SecretList{}, "broletto-system")),
	}
	for what, o := range map[string]client.Object{
		"the namespace": &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, "the quota": &corev1.ResourceQuota{ObjectMeta: stage.In(ns, "broletto")},
		"default-deny": &networkingv1.NetworkPolicy{ObjectMeta: stage.In(ns, "default-deny")}, "granted": &networkingv1.NetworkPolicy{ObjectMeta: stage.In(ns, "granted")},
		"the limits": &corev1.LimitRange{ObjectMeta: stage.In(ns, "broletto")}, "the administrators": &rbacv1.RoleBinding{ObjectMeta: stage.In(ns, "tenant-admin")},
		"the default account": &corev1.ServiceAccount{ObjectMeta: stage.In(ns, "default")},
	} {
		out["deletes "+what] = stage.Forbidden("it is the operator's", stage.Deleting(o))
		out["changes "+what] = stage.Forbidden("it is the operator's", stage.Patching(o))
	}
	return out
}

func deploymentOf(w *v1alpha1.Workspace) *appsv1.Deployment {
	labels := map[string]string{"app": "app"}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: w.TargetNamespace(), GenerateName: "app-"}, Spec: appsv1.DeploymentSpec{
		Replicas: new(int32(0)), Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podOf(w).Spec},
	}}
}

func token(w *v1alpha1.Workspace) stage.Request {
	return func(ctx context.Context, c client.Client) error {
		return c.SubResource("token").Create(ctx, &corev1.ServiceAccount{ObjectMeta: stage.In(w.TargetNamespace(), "deployer")}, &authenticationv1.TokenRequest{})
	}
}
