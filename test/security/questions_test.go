package security

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/broletto/broletto/test/cluster"
)

// verbs are all that can be asked about, in the order of the table, and the letters that stand for them there.
var verbs = []struct{ letter, verb string }{
	{"g", "get"}, {"l", "list"}, {"w", "watch"}, {"c", "create"}, {"u", "update"}, {"p", "patch"}, {"d", "delete"}, {"x", "deletecollection"},
	{"o", "post"}, {"t", "put"},
	{"e", "escalate"}, {"b", "bind"},
	{"i", "impersonate"}, {"U", "impersonate:user-info"}, {"S", "impersonate:serviceaccount"}, {"N", "impersonate:arbitrary-node"},
	{"a", "approve"}, {"s", "sign"}, {"T", "attest"}, {"A", "arbitrary-node:update"}, {"*", "*"},
}

func letter(verb string) string {
	for _, v := range verbs {
		if v.verb == verb {
			return v.letter
		}
	}
	return ""
}

// thing is a resource, with a subresource perhaps, or a path that is no resource's.
type thing struct {
	group, resource, sub string
	path                 string
	namespaced           bool
	verbs                []string
}

func (x thing) String() string {
	if x.path != "" {
		return x.path
	}
	return strings.TrimSuffix(strings.TrimSuffix(x.resource+"."+x.group, ".")+"/"+x.sub, "/")
}

// in tells whether requests for a thing may be about a namespace, or about none. A request for one Namespace is about it.
func (x thing) in(namespace string) bool {
	if x.path != "" || namespace == "" {
		return namespace == ""
	}
	return x.namespaced || x.group == "" && x.resource == "namespaces"
}

// unlisted is what Kubernetes asks about and discovery does not list: rights that are no requests, and what the kubelet serves.
var unlisted = []thing{
	{group: "rbac.authorization.k8s.io", resource: "roles", namespaced: true, verbs: []string{"escalate", "bind"}},
	{group: "rbac.authorization.k8s.io", resource: "clusterroles", verbs: []string{"escalate", "bind"}},
	{group: "broletto.dev", resource: "stacks", namespaced: true, verbs: []string{"approve"}},
	{resource: "users", verbs: []string{"impersonate"}},
	{resource: "groups", verbs: []string{"impersonate"}},
	{resource: "serviceaccounts", namespaced: true, verbs: []string{"impersonate"}},
	{group: "authentication.k8s.io", resource: "uids", verbs: []string{"impersonate", "impersonate:user-info"}},
	{group: "authentication.k8s.io", resource: "userextras", sub: "scopes", verbs: []string{"impersonate", "impersonate:user-info"}},
	{group: "authentication.k8s.io", resource: "users", verbs: []string{"impersonate:user-info"}},
	{group: "authentication.k8s.io", resource: "groups", verbs: []string{"impersonate:user-info"}},
	{group: "authentication.k8s.io", resource: "serviceaccounts", namespaced: true, verbs: []string{"impersonate:serviceaccount"}},
	{group: "authentication.k8s.io", resource: "nodes", verbs: []string{"impersonate:arbitrary-node"}},
	{group: "certificates.k8s.io", resource: "signers", verbs: []string{"approve", "sign", "attest"}},
	{group: "resource.k8s.io", resource: "resourceclaims", sub: "driver", namespaced: true, verbs: []string{"arbitrary-node:update"}},
	{resource: "nodes", sub: "checkpoint", verbs: []string{"create"}},
	{resource: "nodes", sub: "configz", verbs: []string{"get"}},
	{resource: "nodes", sub: "healthz", verbs: []string{"get"}},
	{resource: "nodes", sub: "log", verbs: []string{"get"}},
	{resource: "nodes", sub: "metrics", verbs: []string{"get"}},
	{resource: "nodes", sub: "pods", verbs: []string{"get"}},
	{resource: "nodes", sub: "stats", verbs: []string{"get"}},
	{group: "*", resource: "*", namespaced: true, verbs: []string{"*"}},
	{path: "*", verbs: []string{"*"}},
}

// apart are paths that the API server does not list, or only if it is told to serve them, or that lie deep.
var apart = []string{
	"/", "/configz", "/debug/api_priority_and_fairness/dump_requests", "/debug/flags/v", "/debug/pprof", "/debug/pprof/profile", "/flagz",
	"/logs", "/logs/kube-apiserver.log", "/metrics", "/metrics/slis", "/openapi", "/openid/v1/jwks", "/statusz", "/swagger.json",
}

// everything is all that there is to ask about: what discovery lists, with the verbs that it is served with; what it does not list; the paths.
func (w *town) everything() []thing {
	w.Helper()
	admin, err := discovery.NewDiscoveryClientForConfig(cluster.Admin())
	if err != nil {
		w.Fatal(err)
	}
	_, lists, err := admin.ServerGroupsAndResources() // of every version: what is served with a verb in one of them counts
	if err != nil {
		w.Fatal(err)
	}
	found := map[string]thing{}
	add := func(x thing) {
		x.verbs = slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(found[x.String()].verbs), x.verbs...))))
		for _, verb := range x.verbs {
			if letter(verb) == "" {
				w.Fatalf("discovery lists %s with the verb %s, which has no letter: add it to verbs in questions_test.go", x, verb)
			}
		}
		found[x.String()] = x
	}
	for _, list := range lists {
		for _, r := range list.APIResources {
			x := thing{namespaced: r.Namespaced, verbs: r.Verbs}
			if group, _, inGroup := strings.Cut(list.GroupVersion, "/"); inGroup {
				x.group = group
			}
			x.resource, x.sub, _ = strings.Cut(r.Name, "/")
			add(x)
		}
	}
	for _, x := range unlisted {
		add(x)
	}
	var root metav1.RootPaths
	answer, err := admin.RESTClient().Get().AbsPath("/").DoRaw(w.Context())
	if err = errors.Join(err, json.Unmarshal(answer, &root)); err != nil {
		w.Fatal(err)
	}
	for _, path := range append(root.Paths, apart...) {
		if strings.Count(path, "/") < 3 || slices.Contains(apart, path) { // what lies deeper is more of the same, by the dozen
			add(thing{path: path, verbs: []string{"get", "post", "put", "patch", "delete"}})
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b thing) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.group, b.group), cmp.Compare(a.resource, b.resource), cmp.Compare(a.sub, b.sub))
	})
}

// identity is somebody who asks the API server, about themselves unless a user is named.
type identity struct {
	name   string
	api    kubernetes.Interface
	user   string
	groups []string
}

func (w *town) asking(name string, cfg *rest.Config) identity {
	w.Helper()
	cfg = rest.CopyConfig(cfg)
	cfg.ContentType = runtime.ContentTypeProtobuf
	api, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		w.Fatal(err)
	}
	return identity{name: name, api: api}
}

// question is whether somebody may do something.
type question struct {
	who   identity
	where scope
	what  thing
	verb  string
}

func (q question) String() string { return q.who.name + " may " + q.act() }

// act is what a question is about, but for who does it.
func (q question) act() string { return fmt.Sprintf("%s %s in %s", q.verb, q.what, q.where.name) }

// granted are the questions that the API server answers with yes. It is asked each that its own list of somebody's rules says yes to, each about
// who may not ask for such a list, and one in sixteen of the others, which shows that the lists are whole: five times the questions would
// not say more.
func (w *town) granted(questions []question) []question {
	w.Helper()
	lists := map[[2]string]*authorizationv1.SubjectRulesReviewStatus{}
	var asked []question
	var listed []bool
	for i, q := range questions {
		yes := q.who.user != ""
		if !yes {
			at := [2]string{q.who.name, q.where.name}
			if lists[at] == nil {
				lists[at] = w.rules(q.who, q.where)
			}
			yes = q.listed(lists[at])
		}
		if yes || i%16 == 0 {
			asked, listed = append(asked, q), append(listed, yes)
		}
	}
	var out []question
	for i, allowed := range w.answers(asked) {
		if allowed && !listed[i] {
			w.Errorf("%s, and the API server's own list of their rules does not say so: ask all questions", asked[i])
		}
		if allowed {
			out = append(out, asked[i])
		}
	}
	w.Logf("%d of %d questions were asked", len(asked), len(questions))
	return out
}

// rules are what somebody may do somewhere, as the API server lists it; of the cluster, it is in every list.
func (w *town) rules(who identity, where scope) *authorizationv1.SubjectRulesReviewStatus {
	w.Helper()
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: cmp.Or(where.namespace, "no-such-namespace")}}
	answer, err := who.api.AuthorizationV1().SelfSubjectRulesReviews().Create(w.Context(), review, metav1.CreateOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return &answer.Status
}

// listed tells whether a list of rules says yes to a question. Rules for objects by their names are none: the questions name no object.
func (q question) listed(rules *authorizationv1.SubjectRulesReviewStatus) bool {
	has := func(list []string, values ...string) bool {
		return slices.ContainsFunc(list, func(x string) bool { return x == "*" || slices.Contains(values, x) })
	}
	if q.what.path != "" {
		return slices.ContainsFunc(rules.NonResourceRules, func(r authorizationv1.NonResourceRule) bool {
			return has(r.Verbs, q.verb) && slices.ContainsFunc(r.NonResourceURLs, func(url string) bool {
				prefix, open := strings.CutSuffix(url, "*")
				return url == q.what.path || open && strings.HasPrefix(q.what.path, prefix)
			})
		})
	}
	resources := []string{q.what.resource}
	if q.what.sub != "" {
		resources = []string{q.what.resource + "/" + q.what.sub, "*/" + q.what.sub}
	}
	return slices.ContainsFunc(rules.ResourceRules, func(r authorizationv1.ResourceRule) bool {
		return len(r.ResourceNames) == 0 && has(r.Verbs, q.verb) && has(r.APIGroups, q.what.group) && has(r.Resources, resources...)
	})
}

// answers are what the API server says to each question.
func (w *town) answers(questions []question) []bool {
	w.Helper()
	const askers = 24
	yes, next := make([]bool, len(questions)), atomic.Int64{}
	failures := make(chan error, askers)
	var group sync.WaitGroup
	for range askers {
		group.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(questions); i = next.Add(1) - 1 {
				status, err := questions[i].ask(w.Context())
				if err != nil || status.EvaluationError != "" {
					failures <- fmt.Errorf("asking whether %s: %w %s", questions[i], err, status.EvaluationError)
					return
				}
				yes[i] = status.Allowed
			}
		})
	}
	group.Wait()
	close(failures)
	for err := range failures {
		w.Fatal(err)
	}
	return yes
}

func (q question) ask(ctx context.Context) (authorizationv1.SubjectAccessReviewStatus, error) {
	self := authorizationv1.SelfSubjectAccessReviewSpec{}
	if q.what.path != "" {
		self.NonResourceAttributes = &authorizationv1.NonResourceAttributes{Path: q.what.path, Verb: q.verb}
	} else {
		self.ResourceAttributes = &authorizationv1.ResourceAttributes{
			Namespace: q.where.namespace, Verb: q.verb, Group: q.what.group, Resource: q.what.resource, Subresource: q.what.sub,
		}
	}
	if q.who.user == "" {
		answer, err := q.who.api.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{Spec: self}, metav1.CreateOptions{})
		if err != nil {
			return authorizationv1.SubjectAccessReviewStatus{}, err
		}
		return answer.Status, nil
	}
	answer, err := q.who.api.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: q.who.user, Groups: q.who.groups, ResourceAttributes: self.ResourceAttributes, NonResourceAttributes: self.NonResourceAttributes,
	}}, metav1.CreateOptions{})
	if err != nil {
		return authorizationv1.SubjectAccessReviewStatus{}, err
	}
	return answer.Status, nil
}
