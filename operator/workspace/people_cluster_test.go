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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
)

// attempt is one real request and whether the API server lets it pass.
type attempt struct {
	reason string
	do     func(context.Context, client.Client) error
	passes bool
}

type attempts map[string]attempt

// TestPeople sends real requests as everybody who has rights in a workspace, and as those who have none.
func TestPeople(t *testing.T) {
	t.Parallel()
	s := newStage(t, "people")
	c, a, b := s.consortium(), s.tenant("a", flux), s.tenant("b")
	s.ready(c, a, b)
	w := s.workspace(a, "sito", func(w *v1alpha1.Workspace) {
		w.Spec.Access = []v1alpha1.Access{
			{Role: v1alpha1.RoleAdmin, Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: s.id("ops")}},
			{Role: v1alpha1.RoleEdit, Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Name: "deployer"}},
			{Role: v1alpha1.RoleView, Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: s.id("carla")}},
		}
	})
	s.ready(w)
	ns := w.TargetNamespace()
	s.create(&corev1.Secret{ObjectMeta: in(ns, "password")})
	for name, who := range map[string]struct {
		reason string
		cfg    *rest.Config
		may    attempts
	}{
		"the tenant's administrator": {"the group of the tenant's administrators", cluster.As("anna", group(a.Name, "ict")), administrator(w)},
		"the tenant's tool":          {"an account in the home", s.token(a.Name, "flux"), administrator(w)},
		"the tenant's viewer":        {"the group of the tenant's viewers", cluster.As("bruno", group(a.Name, "revisione")), viewer(w)},
		"an administrator":           {"a group of spec.access", cluster.As("dario", s.id("ops")), administrator(w)},
		"an editor":                  {"an account of spec.access", s.token(ns, "deployer"), editor(w)},
		"a viewer":                   {"a user of spec.access", cluster.As(s.id("carla")), viewer(w)},
		"a pod":                      {"the default account has no rights", s.token(ns, "default"), stranger(w)},
		"another tenant":             {"an administrator of b", cluster.As("elena", group(b.Name, "ict")), stranger(w)},
		"another tenant's viewer":    {"a viewer of b", cluster.As("fabio", group(b.Name, "revisione")), stranger(w)},
		"somebody":                   {"who is in no group", cluster.As("gina"), stranger(w)},
	} {
		t.Run(name, func(t *testing.T) {
			c := cluster.Client(t, who.cfg)
			for what, attempt := range who.may {
				err := attempt.do(t.Context(), c)
				if attempt.passes && err != nil {
					t.Errorf("%s cannot: %s (%s): %v", who.reason, what, attempt.reason, err)
				}
				if !attempt.passes && !apierrors.IsForbidden(err) {
					t.Errorf("%s, want forbidden: %s (%s): %v", who.reason, what, attempt.reason, err)
				}
			}
		})
	}
	s.rest()
}

// administrator is an editor who may ask for tokens.
func administrator(w *v1alpha1.Workspace) attempts {
	out := editor(w)
	out["asks for a token"] = attempt{"a pipeline acts as an account", token(w), true}
	return out
}

// editor deploys, and reads Secrets.
func editor(w *v1alpha1.Workspace) attempts {
	out, pod := viewer(w), podOf(w)
	pod.Name, pod.GenerateName = "", "pod-"
	out["runs a pod"] = attempt{"it is what a workspace is for", making(pod), true}
	out["makes a deployment"] = attempt{"it is what a workspace is for", making(deploymentOf(w)), true}
	out["makes a ConfigMap"] = attempt{"pods read it", making(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, GenerateName: "c-"}}), true}
	out["reads a Secret"] = attempt{"pods read it", reading(&corev1.Secret{ObjectMeta: in(pod.Namespace, "password")}), true}
	out["lists Secrets"] = attempt{"pods read them", listing(&corev1.SecretList{}, pod.Namespace), true}
	return out
}

// viewer reads all but Secrets.
func viewer(w *v1alpha1.Workspace) attempts {
	out, ns := stranger(w), w.TargetNamespace()
	for what, list := range visible() {
		out[what] = attempt{"the workspace is theirs to see", listing(list, ns), true}
	}
	return out
}

// stranger is what people without rights must not do: everything. Others have some of it.
func stranger(w *v1alpha1.Workspace) attempts {
	ns := w.TargetNamespace()
	out := attempts{
		"runs a pod":         {"it is not theirs", making(podOf(w)), false},
		"makes a deployment": {"it is not theirs", making(deploymentOf(w)), false},
		"makes a ConfigMap":  {"it is not theirs", making(&corev1.ConfigMap{ObjectMeta: in(ns, "eve")}), false},
		"asks for a token":   {"it is not theirs", token(w), false},
		"reads a Secret":     {"it is not theirs", reading(&corev1.Secret{ObjectMeta: in(ns, "password")}), false},
		"lists Secrets":      {"it is not theirs", listing(&corev1.SecretList{}, ns), false},
	}
	for what, list := range visible() {
		out[what] = attempt{"it is not theirs", listing(list, ns), false}
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
func guardrails(ns string) attempts {
	out := attempts{
		"makes itself master":   {"rights are in the manifest", making(&rbacv1.RoleBinding{ObjectMeta: in(ns, "eve"), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"}}), false},
		"makes a role":          {"rights are in the manifest", making(&rbacv1.Role{ObjectMeta: in(ns, "eve")}), false},
		"makes an account":      {"accounts are in the manifest", making(&corev1.ServiceAccount{ObjectMeta: in(ns, "eve")}), false},
		"opens the network":     {"policies are the operator's", making(&networkingv1.NetworkPolicy{ObjectMeta: in(ns, "eve")}), false},
		"makes a quota":         {"quotas are the operator's", making(&corev1.ResourceQuota{ObjectMeta: in(ns, "eve")}), false},
		"makes a namespace":     {"tenants have no right on namespaces", making(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns + "-eve"}}), false},
		"lists pods everywhere": {"others' are theirs", listing(&corev1.PodList{}, ""), false},
		"lists system Secrets":  {"the operator's are its own", listing(&corev1.SecretList{}, "broletto-system"), false},
	}
	for what, o := range map[string]client.Object{
		"the namespace": &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, "the quota": &corev1.ResourceQuota{ObjectMeta: in(ns, "broletto")},
		"default-deny": &networkingv1.NetworkPolicy{ObjectMeta: in(ns, "default-deny")}, "granted": &networkingv1.NetworkPolicy{ObjectMeta: in(ns, "granted")},
		"the limits": &corev1.LimitRange{ObjectMeta: in(ns, "broletto")}, "the administrators": &rbacv1.RoleBinding{ObjectMeta: in(ns, "tenant-admin")},
		"the default account": &corev1.ServiceAccount{ObjectMeta: in(ns, "default")},
	} {
		out["deletes "+what] = attempt{"it is the operator's", deleting(o), false}
		out["changes "+what] = attempt{"it is the operator's", patching(o), false}
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

func token(w *v1alpha1.Workspace) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error {
		return c.SubResource("token").Create(ctx, &corev1.ServiceAccount{ObjectMeta: in(w.TargetNamespace(), "deployer")}, &authenticationv1.TokenRequest{})
	}
}

func making(o client.Object) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error {
		return c.Create(ctx, o.DeepCopyObject().(client.Object))
	}
}

func reading(o client.Object) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error {
		return c.Get(ctx, client.ObjectKeyFromObject(o), o.DeepCopyObject().(client.Object))
	}
}

func listing(list client.ObjectList, namespace string) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error {
		return c.List(ctx, list.DeepCopyObject().(client.ObjectList), client.InNamespace(namespace))
	}
}

func patching(o client.Object) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error {
		return c.Patch(ctx, o.DeepCopyObject().(client.Object), client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"eve":"was-here"}}}`)))
	}
}

func deleting(o client.Object) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error {
		return c.Delete(ctx, o.DeepCopyObject().(client.Object))
	}
}

// token acts as an account, by a token of it.
func (s *stage) token(namespace, name string) *rest.Config {
	s.Helper()
	request := &authenticationv1.TokenRequest{}
	if err := s.admin.SubResource("token").Create(s.Context(), &corev1.ServiceAccount{ObjectMeta: in(namespace, name)}, request); err != nil {
		s.Fatal(err)
	}
	cfg := rest.AnonymousClientConfig(cluster.Admin())
	cfg.BearerToken = request.Status.Token
	return cfg
}
