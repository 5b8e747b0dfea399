package tenant_test

import (
	"context"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// TestPeople sends real requests as those who have rights in a home and as those who have not.
func TestPeople(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "people")
	c, a, b := s.Consortium(), s.Tenant("a", stage.Flux), s.Tenant("b")
	s.Ready(c, a, b)
	for _, home := range []string{a.Name, b.Name} {
		s.Create(&corev1.Secret{ObjectMeta: stage.In(home, "password")})
	}
	for name, who := range map[string]struct {
		reason string
		cfg    *rest.Config
		may    stage.Attempts
	}{
		"an administrator": {"the group of spec.administrators", cluster.As("anna", stage.Group(a.Name, "ict")), administrator(a.Name)},
		"a tool":           {"the account of spec.administrators acts with a token", cluster.Account(t, a.Name, "flux"), administrator(a.Name)},
		"a viewer":         {"the group of spec.viewers", cluster.As("bruno", stage.Group(a.Name, "revisione")), viewer(a.Name)},
		"a pod":            {"the default account has no rights", cluster.Account(t, a.Name, "default"), nobody(a.Name)},
		"another tenant":   {"administrators of b are strangers in a", cluster.As("carla", stage.Group(b.Name, "ict")), nobody(a.Name)},
		"at another's":     {"administrators of a are strangers in b", cluster.As("anna", stage.Group(a.Name, "ict")), nobody(b.Name)},
		"somebody":         {"who is in no group", cluster.As("dora"), nobody(a.Name)},
	} {
		t.Run(name, func(t *testing.T) { s.On(t).Try(who.reason, who.cfg, who.may) })
	}
	s.Rest()
}

// administrator is what the administrators of a home may do there, and what not.
func administrator(home string) stage.Attempts {
	out := viewer(home)
	out["reads a Secret"] = stage.Passes("they are its own", stage.Reading(&corev1.Secret{ObjectMeta: stage.In(home, "password")}))
	out["makes a Workspace"] = stage.Passes("it is what they are for", stage.Making(&v1alpha1.Workspace{ObjectMeta: metav1.ObjectMeta{Namespace: home, GenerateName: "w"}, Spec: v1alpha1.WorkspaceSpec{
		Environment: v1alpha1.Production, DataClass: v1alpha1.DataClassOrdinary, PersonalData: new(false),
	}}))
	out["makes a ConfigMap"] = stage.Passes("a stack's input", stage.Making(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: home, GenerateName: "c"}}))
	return out
}

// viewer is what the viewers of a home may do there, and what not.
func viewer(home string) stage.Attempts {
	out := nobody(home)
	out["lists Workspaces"] = stage.Passes("the home is theirs to see", stage.Listing(&v1alpha1.WorkspaceList{}, home))
	out["lists ConfigMaps"] = stage.Passes("the home is theirs to see", stage.Listing(&corev1.ConfigMapList{}, home))
	out["reads the quota"] = stage.Passes("the home is theirs to see", stage.Reading(&corev1.ResourceQuota{ObjectMeta: stage.In(home, "broletto")}))
	out["reads the policies"] = stage.Passes("the home is theirs to see", stage.Reading(&networkingv1.NetworkPolicy{ObjectMeta: stage.In(home, "default-deny")}))
	out["reads the bindings"] = stage.Passes("the home is theirs to see", stage.Reading(&rbacv1.RoleBinding{ObjectMeta: stage.In(home, "admin")}))
	return out
}

// nobody is what people without rights must not do; administrators and viewers have some of it.
func nobody(home string) stage.Attempts {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: home}}
	quota := &corev1.ResourceQuota{ObjectMeta: stage.In(home, "broletto")}
	policy := &networkingv1.NetworkPolicy{ObjectMeta: stage.In(home, "default-deny")}
	admins := &rbacv1.RoleBinding{ObjectMeta: stage.In(home, "admin")}
	masters := binding("cluster-admin", toGroup("eve"))
	masters.ObjectMeta = stage.In(home, "eve")
	tenant := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: home}}
	return stage.Attempts{
		"lists Workspaces":      stage.Forbidden("it is not theirs", stage.Listing(&v1alpha1.WorkspaceList{}, home)),
		"lists all Workspaces":  stage.Forbidden("a list over all namespaces shows everybody's", stage.Listing(&v1alpha1.WorkspaceList{}, "")),
		"reads a Secret":        stage.Forbidden("viewers see no Secret", stage.Reading(&corev1.Secret{ObjectMeta: stage.In(home, "password")})),
		"makes a Workspace":     stage.Forbidden("only administrators do", stage.Making(&v1alpha1.Workspace{ObjectMeta: stage.In(home, "eve")})),
		"labels the namespace":  stage.Forbidden("tenants have no right on namespaces", stage.Patching(namespace)),
		"deletes the namespace": stage.Forbidden("tenants have no right on namespaces", stage.Deleting(namespace)),
		"makes a namespace":     stage.Forbidden("tenants have no right on namespaces", stage.Making(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: home + "--eve"}})),
		"changes the quota":     stage.Forbidden("the limits are the consortium's", stage.Patching(quota)),
		"deletes the quota":     stage.Forbidden("the limits are the consortium's", stage.Deleting(quota)),
		"opens the network":     stage.Forbidden("policies are the operator's", stage.Making(&networkingv1.NetworkPolicy{ObjectMeta: stage.In(home, "eve")})),
		"changes default-deny":  stage.Forbidden("policies are the operator's", stage.Patching(policy)),
		"deletes default-deny":  stage.Forbidden("policies are the operator's", stage.Deleting(policy)),
		"makes itself master":   stage.Forbidden("rights are the operator's to give", stage.Making(&masters)),
		"changes the bindings":  stage.Forbidden("rights are the operator's to give", stage.Patching(admins)),
		"deletes the bindings":  stage.Forbidden("rights are the operator's to give", stage.Deleting(admins)),
		"deletes default":       stage.Forbidden("accounts are the operator's to make", stage.Deleting(&corev1.ServiceAccount{ObjectMeta: stage.In(home, "default")})),
		"runs a pod":            stage.Forbidden("no pod runs in a home", stage.Making(&corev1.Pod{ObjectMeta: stage.In(home, "eve")})),
		"reads the tenants":     stage.Forbidden("they are the consortium's", stage.Listing(&v1alpha1.TenantList{}, "")),
		"raises its quota":      stage.Forbidden("they are the consortium's", stage.Patching(tenant)),
		"writes the ledger":     stage.Forbidden("it is the operator's", func(ctx context.Context, c client.Client) error { return c.Status().Update(ctx, tenant.DeepCopy()) }),
		"lists nodes":           stage.Forbidden("they are the consortium's", stage.Listing(&corev1.NodeList{}, "")),
	}
}

// TestRolesGiveNothingElse asks the API server about what needs no object to ask.
func TestRolesGiveNothingElse(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "roles")
	c, a := s.Consortium(), s.Tenant("a")
	s.Ready(c, a)
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
			s := s.On(t)
			for people, want := range map[string]bool{"ict": row.admins, "revisione": row.viewer} {
				got := may(s, stage.Group(a.Name, people), authorizationv1.ResourceAttributes{
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
func may(s *stage.Stage, group string, what authorizationv1.ResourceAttributes) bool {
	s.Helper()
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: "anna", Groups: []string{group, "system:authenticated"}, ResourceAttributes: &what,
	}}
	if err := s.Admin.Create(s.Context(), review); err != nil {
		s.Fatal(err)
	}
	return review.Status.Allowed
}
