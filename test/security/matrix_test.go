package security

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/embedded"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// matrixFile is the table that the API server's answers must agree with.
const matrixFile = "testdata/matrix.txt"

// scope is where something is done: a namespace, or the cluster.
type scope struct {
	name, namespace string
	title           string
	whose           party
}

// party is to whom a scope belongs.
type party int

const (
	ours party = iota
	theirs
	nobodys
)

func (w *town) scopes() []scope {
	return []scope{
		{"the site", w.site.TargetNamespace(), "own workspace: the one that member, viewer and account are of; the auditor is of the tenant's viewers", ours},
		{"the annex", w.annex.TargetNamespace(), "another workspace of the own tenant", ours},
		{"the home", w.own.Name, "own home", ours},
		{"the target", w.target.TargetNamespace(), "another tenant's workspace: the neighbour's", theirs},
		{"their home", w.other.Name, "another tenant's home: the neighbour's", theirs},
		{"kube-system", "kube-system", "kube-system", nobodys},
		{"broletto-system", embedded.Namespace, "broletto-system", nobodys},
		{"the cluster", "", "the cluster: all namespaces, what is in none, paths", nobodys},
	}
}

// TestMatrix asks the API server whether somebody may do something: for everybody, everything, everywhere. It compares the answers with a
// table that people have read, and with laws, so that nobody blesses a hole by rewriting the table unread.
//
// It is not parallel: what other tests install would be in discovery.
func TestMatrix(t *testing.T) {
	withRoutes(t)
	w := newTown(t, "matrix")
	w.remove()
	who := w.everybody()
	var people []string
	for _, i := range who {
		if i.name != "stranger" {
			people = append(people, i.name)
		}
	}
	things := w.everything()
	var questions []question
	for _, s := range w.scopes() {
		for _, x := range things {
			for _, verb := range x.verbs {
				for _, i := range who {
					if x.in(s.namespace) {
						questions = append(questions, question{i, s, x, verb})
					}
				}
			}
		}
	}
	begin := time.Now()
	granted := w.granted(questions)
	t.Logf("%d questions of %d identities about %d resources and paths in %d scopes in %s; %d times yes",
		len(questions), len(who), len(things), len(w.scopes()), time.Since(begin).Round(time.Millisecond), len(granted))
	w.lawful(granted)
	w.nameless(who)
	w.refusedAtTheDoor(granted)
	w.asTold(newTable(w.scopes(), people, things, granted))
}

// everybody are all identities, in the order of the table, and a stranger, who has never been anything.
func (w *town) everybody() []identity {
	w.Helper()
	anonymous := w.asking("anonymous", cluster.Admin()) // may not ask, so is asked about
	anonymous.user, anonymous.groups = "system:anonymous", []string{"system:unauthenticated"}
	return []identity{
		w.asking("administrator", w.administrator()), w.asking("auditor", cluster.As("carla", stage.Group(w.own.Name, "revisione"))),
		w.asking("member", w.member()), w.asking("viewer", w.viewer()), w.asking("account", w.account()),
		w.asking("removed", w.removed()), anonymous, w.asking("neighbour", w.neighbour()), w.asking("stranger", cluster.As("nessuno")),
	}
}

// nameless proves that nobody has a right to one object by its name, since the questions name none.
func (w *town) nameless(who []identity) {
	w.Helper()
	for _, i := range who {
		for _, s := range append(w.scopes(), scope{name: "default", namespace: metav1.NamespaceDefault}) {
			if i.user != "" || s.namespace == "" { // who is asked about has no list; the rights in the cluster are in every list
				continue
			}
			for _, rule := range w.rules(i, s).ResourceRules {
				if len(rule.ResourceNames) > 0 {
					w.Errorf("%s may %v %v named %v in %s, and the table cannot show it: let the questions ask for it by its name", i.name, rule.Verbs, rule.Resources, rule.ResourceNames, s.name)
				}
			}
		}
	}
}

// refusedAtTheDoor proves by real requests that the answers about who shows no credential are true.
func (w *town) refusedAtTheDoor(granted []question) {
	w.Helper()
	api := w.asking("anonymous", w.anonymous()).api
	for _, request := range []struct{ method, path, question string }{
		{"GET", "/version", "get /version in the cluster"},
		{"GET", "/healthz", "get /healthz in the cluster"},
		{"GET", "/api", "get /api in the cluster"},
		{"GET", "/metrics", "get /metrics in the cluster"},
		{"GET", "/openapi/v3", "get /openapi/v3 in the cluster"},
		{"GET", "/openid/v1/jwks", "get /openid/v1/jwks in the cluster"},
		{"GET", "/api/v1/namespaces", "list namespaces in the cluster"},
		{"GET", "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication", "get configmaps in kube-system"},
		{"GET", "/api/v1/namespaces/" + w.site.TargetNamespace() + "/pods", "list pods in the site"},
		{"GET", "/api/v1/namespaces/" + w.site.TargetNamespace() + "/secrets?watch=true", "watch secrets in the site"},
		{"POST", "/api/v1/namespaces/" + w.site.TargetNamespace() + "/configmaps", "create configmaps in the site"},
		{"DELETE", "/apis/apps/v1/namespaces/" + w.target.TargetNamespace() + "/deployments", "deletecollection deployments.apps in the target"},
		{"GET", "/apis/broletto.dev/v1alpha1/namespaces/" + w.own.Name + "/workspaces", "list workspaces.broletto.dev in the home"},
		{"POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "create selfsubjectaccessreviews.authorization.k8s.io in the cluster"},
	} {
		told := slices.ContainsFunc(granted, func(q question) bool { return q.String() == "anonymous may "+request.question })
		err := api.Discovery().RESTClient().Verb(request.method).RequestURI(request.path).Do(w.Context()).Error()
		if told && err != nil || !told && !apierrors.IsForbidden(err) {
			w.Errorf("%s %s without a credential: told %v, got %v", request.method, request.path, told, err)
		}
	}
}

// asTold compares with the table in the file.
func (w *town) asTold(got table) {
	w.Helper()
	if *update {
		if err := os.WriteFile(matrixFile, []byte(got.String()), 0o600); err != nil {
			w.Fatal(err)
		}
	}
	text, err := os.ReadFile(matrixFile)
	if err != nil {
		w.Fatal(err)
	}
	has := rowsOf(string(text))
	names, _ := got.rows()
	for _, name := range names {
		if !has[name] {
			w.Errorf("the API server has %s, and %s has no row for it: decide who may do what with it, say so in config/rbac/audiences.yaml if it is somebody, "+
				"ask whether the policies in config/policies have to judge it, and write the rows with -update", name, matrixFile)
		}
	}
	if diff := cmp.Diff(string(text), got.String()); diff != "" {
		w.Errorf("%s (-want +got); if it is meant, rewrite it with -update:\n%s", matrixFile, diff)
	}
}

// remove makes a member, and an administrator, of the one who is removed, and removes her.
func (w *town) remove() {
	w.Helper()
	ex := v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: w.ID("ex")}
	her := cluster.Client(w, w.removed())
	reads := func(namespace string) error {
		return her.List(w.Context(), &corev1.SecretList{}, client.InNamespace(namespace))
	}
	everywhere := []string{w.site.TargetNamespace(), w.annex.TargetNamespace(), w.own.Name}

	stage.Edit(w.Stage, w.site, func(x *v1alpha1.Workspace) {
		x.Spec.Access = append(x.Spec.Access, v1alpha1.Access{Role: v1alpha1.RoleEdit, Subject: ex})
	})
	w.Ready(w.site)
	cluster.Eventually(w, stage.Soon, "a member can read", func() error { return reads(everywhere[0]) })
	stage.Edit(w.Stage, w.own, func(x *v1alpha1.Tenant) { x.Spec.Administrators = append(x.Spec.Administrators, ex) })
	w.Ready(w.own, w.site, w.annex)
	for _, namespace := range everywhere {
		cluster.Eventually(w, stage.Soon, "an administrator can read", func() error { return reads(namespace) })
	}

	stage.Edit(w.Stage, w.own, func(x *v1alpha1.Tenant) { x.Spec.Administrators = slices.DeleteFunc(x.Spec.Administrators, is(ex)) })
	stage.Edit(w.Stage, w.site, func(x *v1alpha1.Workspace) {
		x.Spec.Access = slices.DeleteFunc(x.Spec.Access, func(a v1alpha1.Access) bool { return a.Subject == ex })
	})
	w.Ready(w.own, w.site, w.annex)
	for _, namespace := range everywhere {
		cluster.Eventually(w, stage.Soon, "a removed member cannot read", func() error { return refused(reads(namespace), "cannot list resource") })
	}
}

func is(one v1alpha1.Subject) func(v1alpha1.Subject) bool {
	return func(other v1alpha1.Subject) bool { return one == other }
}

// lawful holds what is granted against what no table may say.
func (w *town) lawful(granted []question) {
	w.Helper()
	for _, q := range granted {
		for _, law := range laws {
			if law.broken(q) {
				w.Errorf("%s: but %s", q, law.text)
			}
		}
	}
	acts := func(who string, where func(scope) bool) map[string]bool {
		out := map[string]bool{}
		for _, q := range granted {
			if q.who.name == who && where(q.where) {
				out[q.act()] = true
			}
		}
		return out
	}
	for _, order := range orders {
		less, more := acts(order.less, order.where), acts(order.more, order.where)
		for act := range less {
			if !more[act] {
				w.Errorf("%s may %s, and %s may not: but %s", order.less, act, order.more, order.text)
			}
		}
		for act := range more {
			if order.equal && !less[act] {
				w.Errorf("%s may %s, and %s may not: but %s", order.more, act, order.less, order.text)
			}
		}
	}
}

// orders are who has less than somebody else, or as much, somewhere.
var orders = []struct {
	text       string
	less, more string
	equal      bool
	where      func(scope) bool
}{
	{"one who was removed has what a stranger has", "removed", "stranger", true, anywhere},
	{"a stranger has what anybody has who shows a credential", "stranger", "administrator", false, anywhere},
	{"who shows no credential has less than who shows one", "anonymous", "stranger", false, anywhere},
	{"a member has less than an administrator", "member", "administrator", false, anywhere},
	{"an auditor has less than an administrator", "auditor", "administrator", false, anywhere},
	{"a viewer has less than a member", "viewer", "member", false, anywhere},
	{"an account has what a member of its role has", "account", "member", true, func(s scope) bool { return s.whose == ours }},
	{"a neighbour has in the cluster what a stranger has", "neighbour", "stranger", true, func(s scope) bool { return s.whose != theirs }},
}

func anywhere(scope) bool { return true }

// laws hold whatever the table says.
var laws = []struct {
	text   string
	broken func(question) bool
}{
	{"a tenant's namespaces are its own people's", func(q question) bool {
		return q.where.whose == ours && !slices.Contains([]string{"administrator", "auditor", "member", "viewer", "account"}, q.who.name)
	}},
	{"another tenant's namespaces are that tenant's", func(q question) bool { return q.where.whose == theirs && q.who.name != "neighbour" }},
	{"the system's namespaces and the cluster are nobody's, but for what everybody may ask", func(q question) bool {
		return q.where.whose == nobodys && !everybodys(q)
	}},
	{"rights in one workspace end with it", func(q question) bool {
		return slices.Contains([]string{"member", "viewer", "account"}, q.who.name) && q.where.whose == ours && q.where.name != "the site"
	}},
	{"what limits a tenant is not the tenant's to write", func(q question) bool { return writes(q) && slices.Contains(limits, q.what.group+"/"+q.what.resource) }},
	{"who writes a status says what the controllers saw", func(q question) bool { return writes(q) && q.what.sub == "status" }},
	{"a proxy, a node and a binding are ways around the guard", func(q question) bool {
		return slices.Contains([]string{"proxy", "binding", "approval", "finalize", "driver", "resize"}, q.what.sub) || q.what.group == "" && slices.Contains([]string{"nodes", "bindings"}, q.what.resource)
	}},
	{"nobody rises above what they have, becomes somebody else or signs", func(q question) bool {
		return !slices.Contains(ordinary, q.verb) && q.verb+" "+q.what.String() != "approve stacks.broletto.dev"
	}},
	{"plans are approved by a tenant's administrators, in its home", func(q question) bool {
		return q.verb == "approve" && (!slices.Contains([]string{"administrator", "neighbour"}, q.who.name) || !slices.Contains([]string{"the home", "their home"}, q.where.name))
	}},
	{"an administrator's accounts get their tokens, and nobody else's", func(q question) bool {
		return q.what.sub == "token" && !slices.Contains([]string{"administrator", "neighbour"}, q.who.name)
	}},
	{"who looks on changes nothing and reads no Secret", func(q question) bool {
		return slices.Contains([]string{"viewer", "auditor"}, q.who.name) && !everybodys(q) && (writes(q) || q.what.resource == "secrets" || slices.Contains([]string{"exec", "attach", "portforward"}, q.what.sub))
	}},
	{"of Broletto's kinds, only workspaces, stacks, instances of services, and backups and their like in the home are written", func(q question) bool {
		return writes(q) && q.what.group == v1alpha1.GroupVersion.Group && !slices.Contains([]string{"workspaces.broletto.dev", "stacks.broletto.dev",
			"serviceinstances.broletto.dev", "backuppolicies.broletto.dev", "backups.broletto.dev", "restores.broletto.dev"}, q.what.String())
	}},
	{"where backups lie, and whose key opens them, is the platform's to know", func(q question) bool { return q.what.resource == "backuprepositories" }},
	{"a workspace's namespace has none of Broletto's kinds, and in the cluster there is the catalogue to read", func(q question) bool {
		return q.what.group == v1alpha1.GroupVersion.Group && !slices.Contains([]string{"the home", "their home"}, q.where.name) && !catalogue(q)
	}},
	{"no pod runs in a home", func(q question) bool {
		return slices.Contains([]string{"the home", "their home"}, q.where.name) && slices.Contains([]string{"pods", "deployments", "jobs", "replicasets", "statefulsets", "daemonsets", "cronjobs"}, q.what.resource)
	}},
}

var (
	ordinary = []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}
	// limits are the resources, by their groups, that bound what a tenant has and whom its traffic reaches.
	limits = []string{
		"/namespaces", "/resourcequotas", "/limitranges", "/endpoints", "/events", "/persistentvolumes", "/nodes", "/podtemplates",
		"discovery.k8s.io/endpointslices", "events.k8s.io/events", "coordination.k8s.io/leases", "storage.k8s.io/csistoragecapacities", "storage.k8s.io/volumeattachments",
		"gateway.networking.k8s.io/gateways", "gateway.networking.k8s.io/listenersets", "gateway.networking.k8s.io/referencegrants",
		"gateway.networking.k8s.io/tcproutes", "gateway.networking.k8s.io/udproutes", "gateway.networking.k8s.io/backendtlspolicies",
		"rbac.authorization.k8s.io/clusterroles", "rbac.authorization.k8s.io/clusterrolebindings", "apps/daemonsets", "resource.k8s.io/resourceclaims",
	}
)

// writes tells whether it is more than looking.
func writes(q question) bool { return !slices.Contains([]string{"get", "list", "watch"}, q.verb) }

// catalogue tells whether it is looking at what is offered, which everybody may who shows a credential.
func catalogue(q question) bool {
	return !writes(q) && q.where.namespace == "" && q.what.String() == "serviceofferings.broletto.dev"
}

// everybodys tells whether Kubernetes lets everybody do it who shows a credential, or whoever it is.
func everybodys(q question) bool {
	if q.where.namespace != "" {
		return false
	}
	what := q.what.String()
	switch {
	case q.verb == "create" && strings.HasPrefix(q.what.resource, "selfsubject"):
		return q.who.name != "anonymous" && slices.Contains([]string{
			"selfsubjectreviews.authentication.k8s.io", "selfsubjectaccessreviews.authorization.k8s.io", "selfsubjectrulesreviews.authorization.k8s.io",
		}, what)
	case catalogue(q):
		return q.who.name != "anonymous"
	case q.verb != "get" || q.what.path == "":
		return false
	case slices.Contains([]string{"/healthz", "/livez", "/readyz", "/version"}, what):
		return true
	case slices.Contains([]string{"/.well-known/openid-configuration", "/openid/v1/jwks"}, what):
		return q.who.name == "account"
	}
	return q.who.name != "anonymous" && slices.Contains([]string{"api", "apis", "openapi"}, strings.Split(what, "/")[1])
}
