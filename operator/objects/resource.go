package objects

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/acting"
)

// inForce bounds the wait until the API server knows the rights of an account that was just made.
const inForce = 10 * time.Second

// Resource is a namespaced resource of the API, in one version.
type Resource struct {
	Group, Version, Resource, Kind string
}

// String is the resource as RBAC and people name it, "deployments.apps".
func (r Resource) String() string { return r.groupResource().String() }

func (r Resource) groupResource() schema.GroupResource {
	return schema.GroupResource{Group: r.Group, Resource: r.Resource}
}

func (r Resource) versioned() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: r.Group, Version: r.Version, Resource: r.Resource}
}

// Wave is when a resource is put back: what others need comes first. Velero orders the same way.
func Wave(r Resource) int {
	if wave, listed := waves[r.String()]; listed {
		return wave
	}
	return last
}

var waves = map[string]int{
	"persistentvolumeclaims": 0, "serviceaccounts": 0, "secrets": 0, "configmaps": 0,
	"networkpolicies.networking.k8s.io": 0, "roles.rbac.authorization.k8s.io": 0,
	"rolebindings.rbac.authorization.k8s.io": 1, "services": 1,
	"pods": 2, "replicationcontrollers": 3, "replicasets.apps": 3,
	"deployments.apps": 4, "statefulsets.apps": 4, "jobs.batch": 4, "cronjobs.batch": 4,
}

const last = 5

// Client reads and writes the objects of workspaces.
type Client struct {
	discovery discovery.DiscoveryInterfaceWithContext
	reviews   authorizationclient.SubjectAccessReviewsGetter
	acting    dynamic.Interface // as a workspace's account
}

// New makes a client of the operator's configuration.
func New(cfg *rest.Config) (*Client, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1 // the API server's own fairness bounds us
	d, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return nil, err
	}
	reviews, err := authorizationclient.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	account, err := dynamic.NewForConfig(acting.Backup.Config(cfg))
	if err != nil {
		return nil, err
	}
	return &Client{discovery: d, reviews: reviews, acting: account}, nil
}

// May answers whether somebody may do something with a resource of a workspace: nil if so, Forbidden if not, another error if it could not
// be asked. A subresource is named as in "pods/exec".
type May func(ctx context.Context, verb string, r Resource) error

// May is what a user may do in a namespace now, by the API server's own word.
func (c *Client) May(namespace string, user authenticationv1.UserInfo) May {
	extra := map[string]authorizationv1.ExtraValue{}
	for key, value := range user.Extra {
		extra[key] = authorizationv1.ExtraValue(value)
	}
	return func(ctx context.Context, verb string, r Resource) error {
		resource, sub, _ := strings.Cut(r.Resource, "/")
		review, err := c.reviews.SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: namespace, Verb: verb, Group: r.Group, Version: r.Version, Resource: resource, Subresource: sub,
			},
		}}, metav1.CreateOptions{})
		switch {
		case err != nil:
			return fmt.Errorf("asking whether %s may %s %s in %s: %w", user.Username, verb, r, namespace, err)
		case !review.Status.Allowed:
			return apierrors.NewForbidden(r.groupResource(), "", fmt.Errorf("%s may not %s %s in %s", cmp.Or(user.Username, strings.Join(user.Groups, ", ")), verb, r, namespace))
		}
		return nil
	}
}

// served is a resource as the cluster serves it.
type served struct {
	Resource                     // in the version that the cluster prefers
	versions     []string        // all of them
	create, list bool            // whether it can be made and listed at all
	status       map[string]bool // versions in which status is the controllers' to write
}

// discover finds the namespaced resources that the cluster serves, by group and resource, and the versions of groups that do not answer.
func (c *Client) discover(ctx context.Context) (map[schema.GroupResource]*served, []LeftOut, error) {
	groups, lists, err := c.discovery.ServerGroupsAndResourcesWithContext(ctx)
	failed, partly := errors.AsType[*discovery.ErrGroupDiscoveryFailed](err)
	if err != nil && !partly {
		return nil, nil, fmt.Errorf("asking the cluster for its resources: %w", err)
	}
	byVersion := map[string]*metav1.APIResourceList{}
	for _, list := range lists {
		byVersion[list.GroupVersion] = list
	}
	all := map[schema.GroupResource]*served{}
	for _, group := range groups {
		versions := append([]metav1.GroupVersionForDiscovery{group.PreferredVersion}, group.Versions...)
		for i, v := range versions {
			if list := byVersion[v.GroupVersion]; list != nil && (i == 0 || v != group.PreferredVersion) {
				add(all, group.Name, v.Version, list.APIResources)
			}
		}
	}
	var silent []LeftOut
	if failed != nil {
		for _, gv := range slices.SortedFunc(maps.Keys(failed.Groups), func(a, b schema.GroupVersion) int { return cmp.Compare(a.String(), b.String()) }) {
			if !excludedGroup(gv.Group) {
				silent = append(silent, LeftOut{gv.String(), fmt.Sprintf("its API does not answer: %v; ask the platform to bring it up, or to remove its APIService", failed.Groups[gv])})
			}
		}
	}
	return all, silent, nil
}

func add(all map[schema.GroupResource]*served, group, version string, resources []metav1.APIResource) {
	for _, r := range resources {
		key := schema.GroupResource{Group: group, Resource: r.Name}
		if !r.Namespaced || strings.Contains(r.Name, "/") {
			continue
		}
		if all[key] == nil {
			all[key] = &served{
				Resource: Resource{group, version, r.Name, r.Kind}, status: map[string]bool{},
				create: slices.Contains(r.Verbs, "create"), list: slices.Contains(r.Verbs, "list"),
			}
		}
		all[key].versions = append(all[key].versions, version)
	}
	for _, r := range resources {
		if name, isStatus := strings.CutSuffix(r.Name, "/status"); isStatus {
			if s := all[schema.GroupResource{Group: group, Resource: name}]; s != nil {
				s.status[version] = true
			}
		}
	}
}

// excluded are resources that the cluster makes itself, anew and from the others.
var excluded = []string{
	"events", "events.events.k8s.io", "leases.coordination.k8s.io", "endpoints", "endpointslices.discovery.k8s.io",
	"controllerrevisions.apps", "resourcequotas", "limitranges",
}

func excludedGroup(group string) bool {
	return group == v1alpha1.GroupVersion.Group || group == "metrics.k8s.io" || strings.HasSuffix(group, ".metrics.k8s.io")
}

// belongs tells whether objects of a resource belong to a backup.
func (s *served) belongs() bool {
	return s.create && s.list && !excludedGroup(s.Group) && !slices.Contains(excluded, s.String())
}

// ready waits until the account's rights in a namespace are in force.
func (c *Client) ready(ctx context.Context, namespace string) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, inForce, true, func(ctx context.Context) (bool, error) {
		_, last = c.acting.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace(namespace).
			List(acting.In(ctx, namespace), metav1.ListOptions{Limit: 1})
		if last != nil && !apierrors.IsForbidden(last) {
			return false, last
		}
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("the rights of account %s in %s are not in force: %w", acting.Backup.Name(), namespace, cmp.Or(last, err))
	}
	return nil
}
