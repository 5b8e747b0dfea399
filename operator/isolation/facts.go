package isolation

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/guardrail"
)

// facts are what the checks of one tenant rest on.
type facts struct {
	tenant *v1alpha1.Tenant
	places []place // by name
	*cluster
}

// place is a managed namespace in which somebody may do something.
type place struct {
	namespace *corev1.Namespace
	workspace *v1alpha1.Workspace           // nil: a home
	bound     bool                          // somebody has rights by a binding of ours
	quota     *corev1.ResourceQuota         // nil: it has none of ours
	network   []*networkingv1.NetworkPolicy // ours
}

// policy is how an admission policy stands, and since when at least; zero: it, or its binding, is not there.
type policy struct {
	stands bool
	at     time.Time
}

// cluster is what the facts of all tenants are taken from.
type cluster struct {
	tenants    map[string]bool
	workspaces map[string]*v1alpha1.Workspace // by the namespace that they stand for
	classes    map[string]*storagev1.StorageClass
	policies   map[string]policy
}

// lists are the objects that the facts are taken from, as the cache has them.
type lists struct {
	tenants    v1alpha1.TenantList
	workspaces v1alpha1.WorkspaceList
	namespaces corev1.NamespaceList
	quotas     corev1.ResourceQuotaList
	network    networkingv1.NetworkPolicyList
	bindings   rbacv1.RoleBindingList
	classes    storagev1.StorageClassList
}

// read takes from the cache the facts of every tenant that has a namespace in which somebody may do something. They are the cache's own:
// nobody may change them.
func read(ctx context.Context, cache client.Reader, standing map[string]bool) ([]facts, error) {
	var l lists
	for _, list := range []client.ObjectList{&l.tenants, &l.workspaces, &l.namespaces, &l.quotas, &l.network, &l.bindings, &l.classes} {
		if err := cache.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return nil, err
		}
	}
	policies, err := written(ctx, cache, standing)
	if err != nil {
		return nil, err
	}
	shared := &cluster{
		tenants: map[string]bool{}, policies: policies,
		workspaces: by(l.workspaces.Items, func(w *v1alpha1.Workspace) string { return w.TargetNamespace() }),
		classes:    by(l.classes.Items, func(c *storagev1.StorageClass) string { return c.Name }),
	}
	places := l.places(shared)
	var out []facts
	for i := range l.tenants.Items {
		t := &l.tenants.Items[i]
		shared.tenants[t.Name] = true
		f := facts{tenant: t, cluster: shared}
		for _, p := range places[t.Name] {
			if p.bound || made(t, p) {
				f.places = append(f.places, p)
			}
		}
		if len(f.places) > 0 {
			out = append(out, f)
		}
	}
	return out, nil
}

// places are the namespaces that bear a tenant's name, by tenant, each with what is ours in it.
func (l *lists) places(shared *cluster) map[string][]place {
	quota := by(l.quotas.Items, func(q *corev1.ResourceQuota) string { return q.Namespace + "/" + q.Name })
	binding := by(l.bindings.Items, func(b *rbacv1.RoleBinding) string { return b.Namespace })
	network := map[string][]*networkingv1.NetworkPolicy{}
	for i := range l.network.Items {
		policy := &l.network.Items[i]
		network[policy.Namespace] = append(network[policy.Namespace], policy)
	}
	out := map[string][]place{}
	for i := range l.namespaces.Items {
		ns := &l.namespaces.Items[i]
		if !ns.DeletionTimestamp.IsZero() {
			continue
		}
		tenant, _, _ := strings.Cut(ns.Name, "--")
		slices.SortFunc(network[ns.Name], func(a, b *networkingv1.NetworkPolicy) int { return strings.Compare(a.Name, b.Name) })
		out[tenant] = append(out[tenant], place{
			namespace: ns, workspace: shared.workspaces[ns.Name], bound: binding[ns.Name] != nil,
			quota: quota[ns.Name+"/"+guardrail.QuotaName], network: network[ns.Name],
		})
	}
	for _, places := range out {
		slices.SortFunc(places, func(a, b place) int { return strings.Compare(a.namespace.Name, b.namespace.Name) })
	}
	return out
}

// made tells whether a namespace was finished once. Until then the guardrails come one by one, and nobody has rights.
func made(t *v1alpha1.Tenant, p place) bool {
	if p.workspace != nil {
		return p.workspace.Status.Namespace == p.namespace.Name
	}
	return t.Status.Namespace == p.namespace.Name
}

func by[T any](items []T, key func(*T) string) map[string]*T {
	out := make(map[string]*T, len(items))
	for i := range items {
		out[key(&items[i])] = &items[i]
	}
	return out
}

// written finds out when the policies and bindings were written last. What another version of Broletto does not have is not asked for.
func written(ctx context.Context, cache client.Reader, standing map[string]bool) (map[string]policy, error) {
	out := map[string]policy{}
	for name, stands := range standing {
		pair := []client.Object{&admissionv1.ValidatingAdmissionPolicy{}, &admissionv1.ValidatingAdmissionPolicyBinding{}}
		if strings.HasPrefix(name, "broletto-default-") {
			pair = []client.Object{&admissionv1.MutatingAdmissionPolicy{}, &admissionv1.MutatingAdmissionPolicyBinding{}}
			if !stands { // a cluster before Kubernetes 1.36 has no such kinds: to look for them would ask the API server
				out[name] = policy{}
				continue
			}
		}
		at, err := newest(ctx, cache, name, pair)
		if err != nil {
			return nil, err
		}
		out[name] = policy{stands, at}
	}
	return out, nil
}

// newest is when the last of these was written; zero where one is missing.
func newest(ctx context.Context, cache client.Reader, name string, objects []client.Object) (at time.Time, err error) {
	missing := false
	for _, o := range objects {
		found := cache.Get(ctx, client.ObjectKey{Name: name}, o, client.UnsafeDisableDeepCopy)
		missing = missing || apierrors.IsNotFound(found)
		err = errors.Join(err, client.IgnoreNotFound(found))
		if wrote := lastWrite(o); wrote.After(at) {
			at = wrote
		}
	}
	if missing {
		return time.Time{}, err
	}
	return at, err
}
