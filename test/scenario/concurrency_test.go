package scenario

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
)

// TestManyWorkspacesShareOneQuota has 60 workspaces asked for at once by one who may, of a tenant whose quota fits ten.
func TestManyWorkspacesShareOneQuota(t *testing.T) {
	o := start(t)
	o.awaitReady(t)
	w := newWorld(t, "gara")
	tenant := w.tenant("gara-lavori", func(t *v1alpha1.Tenant) { t.Spec.Quota["requests.cpu"] = "10" })
	w.make(tenant)
	w.awaitReady(tenant)
	ledger := watchLedger(t, tenant.Name)

	requests := open(t)
	for name, err := range w.createAsTenant(tenant.Name, 60) {
		if err != nil {
			t.Errorf("creating workspace %s: %v", name, err)
		}
	}
	ready := w.awaitVerdicts(tenant.Name, 10, 50)
	w.wantVerdictsKept(tenant.Name, ready)

	var gone []client.Object
	for _, name := range ready[:3] {
		gone = append(gone, w.workspace(tenant.Name, name))
		w.discard(gone[len(gone)-1])
	}
	w.awaitGone(gone...)
	again := w.awaitVerdicts(tenant.Name, 10, 47)
	if kept := slices.DeleteFunc(slices.Clone(ready), func(name string) bool { return !slices.Contains(again, name) }); len(kept) != 7 {
		t.Errorf("of the ten that were Ready %v are, want all but the three that were deleted: %v", kept, ready[3:])
	}
	for _, r := range requests.requests(t) {
		if r.Code >= http.StatusInternalServerError {
			t.Errorf("the API server failed: %s, by %s", r, r.User)
		}
	}
	ledger.wantNeverAbove(tenant.Spec.Quota.List())
}

// TestCountsAreNotRaced has 12 workspaces asked for at once of a tenant that may have three.
func TestCountsAreNotRaced(t *testing.T) {
	o := start(t)
	o.awaitReady(t)
	w := newWorld(t, "conta")
	tenant := w.tenant("conta-tre", func(t *v1alpha1.Tenant) { t.Spec.Limits.Workspaces = new(int32(3)) })
	w.make(tenant)
	w.awaitReady(tenant)

	created := 0
	for name, err := range w.createAsTenant(tenant.Name, 12) {
		switch {
		case err == nil:
			created++
		case !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota"):
			t.Errorf("creating workspace %s: %v, want that the quota is exceeded", name, err)
		}
	}
	if there := len(w.workspaces(tenant.Name)); created != 3 || there != 3 {
		t.Errorf("%d workspaces were created and %d are there, want 3", created, there)
	}
	w.awaitVerdicts(tenant.Name, 3, 0)
}

// TestCodesAndDomainsAreNotRaced has 20 tenants claim one code and one domain at once, each the one in front of the other
// or behind it, or a domain around or below it.
func TestCodesAndDomainsAreNotRaced(t *testing.T) {
	o := start(t)
	o.awaitReady(t)
	w := newWorld(t, "corsa")
	claims := watchClaims(t)
	var all []client.Object
	for i := range 20 {
		all = append(all, w.tenant(fmt.Sprintf("corsa-%02d", i), func(t *v1alpha1.Tenant) {
			t.Spec.Codes = v1alpha1.Codes{BFS: "9999"}
			t.Spec.Domains = append(t.Spec.Domains, []v1alpha1.Hostname{"corsa.example", "a.corsa.example", "b.a.corsa.example"}[i%3])
		}))
	}
	for _, err := range parallel(all, func(o client.Object) error { return w.admin.Create(t.Context(), o) }) {
		if err != nil {
			t.Fatal(err)
		}
	}
	first := w.awaitOneHolder(all)
	awaitQuiet(t, settling)
	w.discard(&first)
	w.awaitGone(&first)
	second := w.awaitOneHolder(all)
	if second.Name == first.Name {
		t.Errorf("%s holds what it lost by its deletion", first.Name)
	}
	claims.wantOneHolder(t, "bfs:9999", "domain:corsa.example")
}

// parallel does something to all objects at once and returns the answers by name.
func parallel(objects []client.Object, f func(client.Object) error) map[string]error {
	var (
		lock  sync.Mutex
		wait  sync.WaitGroup
		ready = make(chan struct{})
		out   = map[string]error{}
	)
	for _, o := range objects {
		wait.Go(func() {
			<-ready
			err := f(o)
			lock.Lock()
			defer lock.Unlock()
			out[o.GetName()] = err
		})
	}
	close(ready)
	wait.Wait()
	return out
}

// createAsTenant has an administrator of the tenant ask for n workspaces at once.
func (w *world) createAsTenant(tenant string, n int) map[string]error {
	w.t.Helper()
	c := cluster.Client(w.t, cluster.As("anna", tenant+":ict"))
	var all []client.Object
	for i := range n {
		all = append(all, w.workspace(tenant, fmt.Sprintf("w%02d", i)))
	}
	return parallel(all, func(o client.Object) error { return c.Create(w.t.Context(), o) })
}

// awaitVerdicts waits until so many workspaces are Ready, and so many stalled with a message that says what is free and who holds
// the rest. It returns the names of those that are Ready.
func (w *world) awaitVerdicts(tenant string, ready, refused int) (names []string) {
	w.t.Helper()
	cluster.Eventually(w.t, long, fmt.Sprintf("%d workspaces are Ready and %d refused", ready, refused), func() error {
		names = nil
		stalls := 0
		var last error
		for _, o := range w.workspaces(tenant) {
			if err := isReady(&o); err == nil {
				names = append(names, o.Name)
				continue
			}
			last = stalled(&o, v1alpha1.ReasonQuotaExceeded, "requests.cpu: 1 asked, 0 of 10 free (held by w", ", 5 more)")
			if last == nil {
				stalls++
			}
		}
		if len(names) != ready || stalls != refused {
			return fmt.Errorf("%d are Ready and %d refused; one of the others: %w", len(names), stalls, last)
		}
		return nil
	})
	return names
}

// wantVerdictsKept wants that only those are Ready that were, and only they have namespaces, when the operator has nothing more to do.
func (w *world) wantVerdictsKept(tenant string, ready []string) {
	w.t.Helper()
	awaitQuiet(w.t, settling)
	if again := w.awaitVerdicts(tenant, len(ready), len(w.workspaces(tenant))-len(ready)); !slices.Equal(again, ready) {
		w.t.Errorf("Ready are %v, want still %v", again, ready)
	}
	var namespaces corev1.NamespaceList
	if err := w.admin.List(w.t.Context(), &namespaces, client.MatchingLabels{v1alpha1.LabelTenant: tenant}, client.HasLabels{v1alpha1.LabelWorkspace}); err != nil {
		w.t.Fatal(err)
	}
	if len(namespaces.Items) != len(ready) {
		w.t.Errorf("%d namespaces stand, want %d", len(namespaces.Items), len(ready))
	}
}

// history is every revision of some objects, in the order in which they were written.
type history struct {
	t    testing.TB
	list client.ObjectList
	in   client.Client
	lock sync.Mutex
	seen []watch.Event
}

// record watches all objects of a kind from now on.
func record(t testing.TB, list client.ObjectList) *history {
	t.Helper()
	c, err := client.NewWithWatch(cluster.Admin(), client.Options{Scheme: cluster.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	w, err := c.Watch(t.Context(), list)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	h := &history{t: t, list: list, in: c}
	go func() {
		for e := range w.ResultChan() {
			h.lock.Lock()
			h.seen = append(h.seen, e)
			h.lock.Unlock()
		}
	}()
	return h
}

// revisions are those until now: it waits until the watch has told what a list holds.
func (h *history) revisions() (out []watch.Event) {
	h.t.Helper()
	if err := h.in.List(h.t.Context(), h.list); err != nil {
		h.t.Fatal(err)
	}
	now := map[string]bool{}
	_ = meta.EachListItem(h.list, func(o runtime.Object) error { // the function never fails
		now[o.(client.Object).GetResourceVersion()] = true
		return nil
	})
	cluster.Eventually(h.t, soon, "the watch has caught up", func() error {
		h.lock.Lock()
		defer h.lock.Unlock()
		out = slices.Clone(h.seen)
		for _, e := range out {
			if e.Type == watch.Error {
				h.t.Fatalf("the watch failed: %v", e.Object)
			}
			delete(now, e.Object.(client.Object).GetResourceVersion())
		}
		if len(now) > 0 {
			return fmt.Errorf("%d revisions are missing", len(now))
		}
		return nil
	})
	return out
}

// ledger watches what a tenant's workspaces hold: by the tenant's own account, and by the quotas that the API server enforces.
type ledger struct {
	t                testing.TB
	tenant           string
	accounts, quotas *history
}

func watchLedger(t testing.TB, tenant string) ledger {
	t.Helper()
	return ledger{t, tenant, record(t, &v1alpha1.TenantList{}), record(t, &corev1.ResourceQuotaList{})}
}

// wantNeverAbove wants that at no revision more was held than the limits allow.
func (l ledger) wantNeverAbove(limits corev1.ResourceList) {
	l.t.Helper()
	decisions := 0
	for _, e := range l.accounts.revisions() {
		tenant := e.Object.(*v1alpha1.Tenant)
		if tenant.Name != l.tenant {
			continue
		}
		sum := corev1.ResourceList{}
		for _, a := range tenant.Status.Allocations {
			addTo(sum, larger(a.Quota, a.Releasing))
		}
		wantWithin(l.t, "allocations of "+tenant.Name+" at revision "+tenant.ResourceVersion, sum, limits)
		decisions = max(decisions, len(tenant.Status.Allocations))
	}
	if decisions != 10 {
		l.t.Errorf("the ledger had %d entries at most, want 10", decisions)
	}
	seen, hard := 0, map[string]corev1.ResourceList{}
	for _, e := range l.quotas.revisions() {
		q := e.Object.(*corev1.ResourceQuota)
		if !strings.HasPrefix(q.Namespace, l.tenant+"--") {
			continue
		}
		hard[q.Namespace] = q.Spec.Hard
		if e.Type == watch.Deleted {
			delete(hard, q.Namespace)
		}
		sum := corev1.ResourceList{}
		for _, one := range hard {
			addTo(sum, one)
		}
		wantWithin(l.t, "quotas in force at revision "+q.ResourceVersion, sum, limits)
		seen++
	}
	if seen < 13 { // ten at first, three later
		l.t.Errorf("quotas had %d revisions, want 13 at least", seen)
	}
}

func larger(a, b corev1.ResourceList) corev1.ResourceList {
	out := maps.Clone(a)
	for name, amount := range b {
		if held := out[name]; amount.Cmp(held) > 0 {
			out[name] = amount
		}
	}
	return out
}

func addTo(sum, list corev1.ResourceList) {
	for name, amount := range list {
		total := sum[name].DeepCopy()
		total.Add(amount)
		sum[name] = total
	}
}

func wantWithin(t testing.TB, what string, sum, limits corev1.ResourceList) {
	t.Helper()
	for name, limit := range limits {
		if amount := sum[name]; amount.Cmp(limit) > 0 {
			t.Errorf("%s: %s of %s, want %s at most", what, amount.String(), name, limit.String())
		}
	}
}

// claims are every revision of all tenants.
type claims struct{ tenants *history }

func watchClaims(t testing.TB) claims {
	t.Helper()
	return claims{record(t, &v1alpha1.TenantList{})}
}

// wantOneHolder wants that two tenants held the code, one after the other, and that at every revision at most one tenant held the
// code, and at most one the domain or one around or below it.
func (c claims) wantOneHolder(t testing.TB, code, domain string) {
	t.Helper()
	held, holders := map[string][]string{}, map[string]bool{}
	for _, e := range c.tenants.revisions() {
		tenant := e.Object.(*v1alpha1.Tenant)
		held[tenant.Name] = tenant.Status.Claims
		if e.Type == watch.Deleted {
			delete(held, tenant.Name)
		}
		var ofCode, ofDomain []string
		for name, claims := range held {
			if slices.Contains(claims, code) {
				ofCode = append(ofCode, name)
				holders[name] = true
			}
			if slices.ContainsFunc(claims, func(c string) bool { return strings.HasSuffix(c, strings.TrimPrefix(domain, "domain:")) }) {
				ofDomain = append(ofDomain, name)
			}
		}
		if len(ofCode) > 1 || len(ofDomain) > 1 {
			t.Errorf("at revision %s %s is held by %v and %s by %v, want one each", tenant.ResourceVersion, code, ofCode, domain, ofDomain)
		}
	}
	if len(holders) != 2 {
		t.Errorf("%s was held by %v, want two in turn", code, slices.Sorted(maps.Keys(holders)))
	}
}

// awaitOneHolder waits until one tenant is Ready and every other is stalled since it holds what they claim, and returns it.
func (w *world) awaitOneHolder(all []client.Object) (holder v1alpha1.Tenant) {
	w.t.Helper()
	cluster.Eventually(w.t, long, "one tenant holds the code and the others say who", func() error {
		tenants := w.tenants()
		at := slices.IndexFunc(tenants, func(t v1alpha1.Tenant) bool { return isReady(&t) == nil })
		if at < 0 {
			return fmt.Errorf("of %d tenants none is Ready", len(tenants))
		}
		holder = tenants[at]
		for i, tenant := range tenants {
			if i == at {
				continue
			}
			if err := stalled(&tenant, v1alpha1.ReasonDuplicateCode, "bfs:9999 is held by tenant "+holder.Name); err != nil {
				return err
			}
		}
		return nil
	})
	return holder
}
