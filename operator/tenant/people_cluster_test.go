package tenant_test

import (
	"context"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
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

// TestPeople sends real requests as those who have rights in a home and as those who have not.
func TestPeople(t *testing.T) {
	t.Parallel()
	s := newStage(t, "people")
	c, a, b := s.consortium(), s.tenant("a", flux), s.tenant("b")
	s.ready(c, a, b)
	for _, home := range []string{a.Name, b.Name} {
		s.create(&corev1.Secret{ObjectMeta: in(home, "password")})
	}
	for name, who := range map[string]struct {
		reason string
		cfg    *rest.Config
		may    attempts
	}{
		"an administrator": {"the group of spec.administrators", cluster.As("anna", group(a.Name, "ict")), administrator(a.Name)},
		"a tool":           {"the account of spec.administrators acts with a token", s.token(a.Name, "flux"), administrator(a.Name)},
		"a viewer":         {"the group of spec.viewers", cluster.As("bruno", group(a.Name, "revisione")), viewer(a.Name)},
		"a pod":            {"the default account has no rights", s.token(a.Name, "default"), nobody(a.Name)},
		"another tenant":   {"administrators of b are strangers in a", cluster.As("carla", group(b.Name, "ict")), nobody(a.Name)},
		"at another's":     {"administrators of a are strangers in b", cluster.As("anna", group(a.Name, "ict")), nobody(b.Name)},
		"somebody":         {"who is in no group", cluster.As("dora"), nobody(a.Name)},
	} {
		t.Run(name, func(t *testing.T) {
			c := cluster.Client(t, who.cfg)
			for what, attempt := range who.may {
				err := attempt.do(t.Context(), c)
				if attempt.passes && err != nil {
					t.Errorf("%s (%s) cannot: %s (%s): %v", name, who.reason, what, attempt.reason, err)
				}
				if !attempt.passes && !apierrors.IsForbidden(err) {
					t.Errorf("%s (%s), want forbidden: %s (%s): %v", name, who.reason, what, attempt.reason, err)
				}
			}
		})
	}
	s.rest()
}

type attempts map[string]attempt

// administrator is what the administrators of a home may do there, and what not.
func administrator(home string) attempts {
	out := viewer(home)
	out["reads a Secret"] = attempt{"they are its own", reading(&corev1.Secret{ObjectMeta: in(home, "password")}), true}
	out["makes a Workspace"] = attempt{"it is what they are for", making(&v1alpha1.Workspace{ObjectMeta: metav1.ObjectMeta{Namespace: home, GenerateName: "w"}, Spec: v1alpha1.WorkspaceSpec{
		Environment: v1alpha1.Production, DataClass: v1alpha1.DataClassOrdinary, PersonalData: new(false),
	}}), true}
	out["makes a ConfigMap"] = attempt{"a stack's input", making(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: home, GenerateName: "c"}}), true}
	return out
}

// viewer is what the viewers of a home may do there, and what not.
func viewer(home string) attempts {
	out := nobody(home)
	out["lists Workspaces"] = attempt{"the home is theirs to see", listing(&v1alpha1.WorkspaceList{}, home), true}
	out["lists ConfigMaps"] = attempt{"the home is theirs to see", listing(&corev1.ConfigMapList{}, home), true}
	out["reads the quota"] = attempt{"the home is theirs to see", reading(&corev1.ResourceQuota{ObjectMeta: in(home, "broletto")}), true}
	out["reads the policies"] = attempt{"the home is theirs to see", reading(&networkingv1.NetworkPolicy{ObjectMeta: in(home, "default-deny")}), true}
	out["reads the bindings"] = attempt{"the home is theirs to see", reading(&rbacv1.RoleBinding{ObjectMeta: in(home, "admin")}), true}
	return out
}

// nobody is what people without rights must not do; administrators and viewers have some of it.
func nobody(home string) attempts {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: home}}
	quota := &corev1.ResourceQuota{ObjectMeta: in(home, "broletto")}
	policy := &networkingv1.NetworkPolicy{ObjectMeta: in(home, "default-deny")}
	admins := &rbacv1.RoleBinding{ObjectMeta: in(home, "admin")}
	masters := binding("cluster-admin", toGroup("eve"))
	masters.ObjectMeta = in(home, "eve")
	tenant := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: home}}
	return attempts{
		"lists Workspaces":      {"it is not theirs", listing(&v1alpha1.WorkspaceList{}, home), false},
		"lists all Workspaces":  {"a list over all namespaces shows everybody's", listing(&v1alpha1.WorkspaceList{}, ""), false},
		"reads a Secret":        {"viewers see no Secret", reading(&corev1.Secret{ObjectMeta: in(home, "password")}), false},
		"makes a Workspace":     {"only administrators do", making(&v1alpha1.Workspace{ObjectMeta: in(home, "eve")}), false},
		"labels the namespace":  {"tenants have no right on namespaces", patching(namespace), false},
		"deletes the namespace": {"tenants have no right on namespaces", deleting(namespace), false},
		"makes a namespace":     {"tenants have no right on namespaces", making(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: home + "--eve"}}), false},
		"changes the quota":     {"the limits are the consortium's", patching(quota), false},
		"deletes the quota":     {"the limits are the consortium's", deleting(quota), false},
		"opens the network":     {"policies are the operator's", making(&networkingv1.NetworkPolicy{ObjectMeta: in(home, "eve")}), false},
		"changes default-deny":  {"policies are the operator's", patching(policy), false},
		"deletes default-deny":  {"policies are the operator's", deleting(policy), false},
		"makes itself master":   {"rights are the operator's to give", making(&masters), false},
		"changes the bindings":  {"rights are the operator's to give", patching(admins), false},
		"deletes the bindings":  {"rights are the operator's to give", deleting(admins), false},
		"deletes default":       {"accounts are the operator's to make", deleting(&corev1.ServiceAccount{ObjectMeta: in(home, "default")}), false},
		"runs a pod":            {"no pod runs in a home", making(&corev1.Pod{ObjectMeta: in(home, "eve")}), false},
		"reads the tenants":     {"they are the consortium's", listing(&v1alpha1.TenantList{}, ""), false},
		"raises its quota":      {"they are the consortium's", patching(tenant), false},
		"writes the ledger":     {"it is the operator's", func(ctx context.Context, c client.Client) error { return c.Status().Update(ctx, tenant.DeepCopy()) }, false},
		"lists nodes":           {"they are the consortium's", listing(&corev1.NodeList{}, ""), false},
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

// TestRolesGiveNothingElse asks the API server about what needs no object to ask.
func TestRolesGiveNothingElse(t *testing.T) {
	t.Parallel()
	s := newStage(t, "roles")
	c, a := s.consortium(), s.tenant("a")
	s.ready(c, a)
	for what, row := range map[string]struct {
		reason         string
		verb           string
		resource       schema.GroupResource
		subresource    string
		admins, viewer bool
	}{
		"delete workspaces":    {"they ask for them and give them back", "delete", gr("broletto.dev", "workspaces"), "", true, false},
		"write their status":   {"the operator tells", "update", gr("broletto.dev", "workspaces"), "status", false, false},
		"tokens":               {"a pipeline acts as an account of the home", "create", gr("", "serviceaccounts"), "token", true, false},
		"make accounts":        {"the manifest names them", "create", gr("", "serviceaccounts"), "", false, false},
		"bind":                 {"rights are in the manifest", "create", gr("rbac.authorization.k8s.io", "rolebindings"), "", false, false},
		"roles":                {"rights are in the manifest", "create", gr("rbac.authorization.k8s.io", "roles"), "", false, false},
		"impersonate":          {"nobody is somebody else", "impersonate", gr("", "serviceaccounts"), "", false, false},
		"finalize a namespace": {"a namespace's way out", "update", gr("", "namespaces"), "finalize", false, false},
		"namespace status":     {"labels can be written there", "patch", gr("", "namespaces"), "status", false, false},
		"list secrets":         {"viewers see none", "list", gr("", "secrets"), "", true, false},
		"watch secrets":        {"viewers see none", "watch", gr("", "secrets"), "", true, false},
		"limit ranges":         {"limits are the operator's", "create", gr("", "limitranges"), "", false, false},
		"everything":           {"there is no wildcard", "*", gr("*", "*"), "", false, false},
	} {
		t.Run(what, func(t *testing.T) {
			s := s.on(t)
			for people, want := range map[string]bool{"ict": row.admins, "revisione": row.viewer} {
				got := s.may(group(a.Name, people), authorizationv1.ResourceAttributes{
					Namespace: a.Name, Verb: row.verb, Group: row.resource.Group, Resource: row.resource.Resource, Subresource: row.subresource,
				})
				if got != want {
					t.Errorf("%s (%s) by group %s: got %v", what, row.reason, people, got)
				}
			}
		})
	}
}

func gr(group, resource string) schema.GroupResource {
	return schema.GroupResource{Group: group, Resource: resource}
}

// may asks the API server about somebody who is in a group.
func (s *stage) may(group string, what authorizationv1.ResourceAttributes) bool {
	s.Helper()
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: "anna", Groups: []string{group, "system:authenticated"}, ResourceAttributes: &what,
	}}
	if err := s.admin.Create(s.Context(), review); err != nil {
		s.Fatal(err)
	}
	return review.Status.Allowed
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
