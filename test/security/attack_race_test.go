package security

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// rounds is how often each race is run.
const rounds = 40

// race has all do something at the same moment, and returns their answers.
func race(all ...func() error) []error {
	var wait sync.WaitGroup
	start, answers := make(chan struct{}), make([]error, len(all))
	for i, do := range all {
		wait.Go(func() {
			<-start
			answers[i] = do()
		})
	}
	close(start)
	wait.Wait()
	return answers
}

// patched writes a merge patch as somebody.
func (w *town) patched(c client.Client, o client.Object, patch string, values ...any) func() error {
	return func() error {
		return c.Patch(w.Context(), o.DeepCopyObject().(client.Object), client.RawPatch(types.MergePatchType, fmt.Appendf(nil, patch, values...)))
	}
}

// looks has the operator look at objects at the same time, as its workers do.
func (w *town) looks(objects ...client.Object) {
	w.Helper()
	var all []func() error
	for _, o := range objects {
		all = append(all, func() error {
			_, err := w.Reconcile(o)
			return err
		})
	}
	for _, err := range race(all...) {
		if err != nil && !apierrors.IsConflict(err) {
			w.Error(err)
		}
	}
}

// until has the operator look at objects until a tenant is as wanted.
func (w *town) until(what string, tenant *v1alpha1.Tenant, done func(*v1alpha1.Tenant) error, objects ...client.Object) {
	w.Helper()
	cluster.Eventually(w, stage.Patience, what, func() error {
		w.looks(objects...)
		w.Read(tenant)
		return done(tenant)
	})
}

// revisions are all revisions of tenants, as they are written.
func (w *town) revisions(see func(*v1alpha1.Tenant)) {
	w.Helper()
	c, err := client.NewWithWatch(cluster.Admin(), client.Options{Scheme: cluster.Scheme()})
	if err != nil {
		w.Fatal(err)
	}
	stream, err := c.Watch(w.Context(), &v1alpha1.TenantList{})
	if err != nil {
		w.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for e := range stream.ResultChan() {
			if t, ok := e.Object.(*v1alpha1.Tenant); ok && e.Type != watch.Deleted {
				see(t)
			}
		}
	}()
	w.Cleanup(func() {
		stream.Stop()
		<-ended
	})
}

// TestHostRace has two workspaces of a tenant ask for one host at the same moment, again and again: one gets it, at every revision.
func TestHostRace(t *testing.T) {
	t.Parallel()
	w := newTown(t, "hostrace")
	w.revisions(func(tenant *v1alpha1.Tenant) {
		held := map[v1alpha1.Hostname]int{}
		for _, a := range tenant.Status.Allocations {
			for _, host := range a.Hosts {
				if held[host]++; held[host] > 1 {
					t.Errorf("at revision %s %s is held twice", tenant.ResourceVersion, host)
				}
			}
		}
	})
	c, wins := cluster.Client(t, w.administrator()), map[v1alpha1.WorkspaceName]int{}
	for round := range rounds {
		host := fmt.Sprintf("h%d.%s.example", round, w.own.Name)
		const patch = `{"spec":{"network":{"hosts":[%q]}}}`
		for _, err := range race(w.patched(c, w.site, patch, host), w.patched(c, w.annex, patch, host)) {
			if err != nil {
				t.Fatal(err)
			}
		}
		w.until("somebody holds "+host, w.own, func(own *v1alpha1.Tenant) error {
			for _, a := range own.Status.Allocations {
				if slices.Contains(a.Hosts, v1alpha1.Hostname(host)) {
					wins[a.Workspace]++
					return nil
				}
			}
			return errNotYet
		}, append([]client.Object{w.own}, []client.Object{w.site, w.annex}[:2*(round%10/9)]...)...) // the ledger decides alone; what follows is slower
	}
	w.Ready(w.own)
	t.Logf("wins: %v", wins)
}

// TestQuotaRace has two workspaces ask for one more of what one more is left of, while the platform grants it, again and again: the sum is
// never above the quota of its time.
func TestQuotaRace(t *testing.T) {
	t.Parallel()
	w := newTown(t, "quotarace", func(t *v1alpha1.Tenant) { t.Spec.Quota["limits.cpu"], t.Spec.Quota["requests.cpu"] = "1000", "4" })
	w.Read(w.own)
	cpu := func(l corev1.ResourceList) int64 {
		q := l["requests.cpu"]
		return q.Value()
	}
	w.revisions(func(tenant *v1alpha1.Tenant) {
		var sum int64
		for _, a := range tenant.Status.Allocations {
			sum += max(cpu(a.Quota), cpu(a.Releasing))
		}
		if limit := cpu(tenant.Spec.Quota.List()); sum > limit {
			t.Errorf("at revision %s %d of requests.cpu are held, more than %d", tenant.ResourceVersion, sum, limit)
		}
	})
	admin, platform := cluster.Client(t, w.administrator()), cluster.Client(t, cluster.ClusterAdmin())
	wins := map[v1alpha1.WorkspaceName]int{}
	for range rounds {
		held, sum := map[string]int64{}, int64(0)
		for _, a := range w.own.Status.Allocations {
			held[string(a.Workspace)] = cpu(a.Quota)
			sum += cpu(a.Quota)
		}
		const patch = `{"spec":{"quota":{"requests.cpu":"%d","limits.cpu":"400"}}}`
		for _, err := range race(
			w.patched(admin, w.site, patch, held["sito"]+1), w.patched(admin, w.annex, patch, held["annesso"]+1),
			w.patched(platform, w.own, `{"spec":{"quota":{"requests.cpu":"%d"}}}`, sum+1),
		) {
			if err != nil {
				t.Fatal(err)
			}
		}
		w.until("one of two holds one more", w.own, func(own *v1alpha1.Tenant) error {
			if got := cpu(own.Status.Allocated); got != sum+1 {
				return fmt.Errorf("%d are held", got)
			}
			for _, a := range own.Status.Allocations {
				wins[a.Workspace] += int(cpu(a.Quota) - held[string(a.Workspace)])
			}
			return nil
		}, w.own)
	}
	t.Logf("wins: %v", wins)
	if wins["sito"]+wins["annesso"] != rounds {
		t.Errorf("wins: %v", wins)
	}
	stage.Edit(w.Stage, w.own, func(own *v1alpha1.Tenant) { own.Spec.Quota["requests.cpu"] = "500" })
	w.Ready(w.own, w.site, w.annex)
}

// TestCodeAndDomainRace has two tenants claim one code and one domain, or one below the other, again and again.
func TestCodeAndDomainRace(t *testing.T) {
	t.Parallel()
	w := newTown(t, "coderace")
	held := map[string][]string{}
	w.revisions(func(tenant *v1alpha1.Tenant) {
		held[tenant.Name] = tenant.Status.Claims
		for _, claim := range tenant.Status.Claims {
			for rival, claims := range held {
				if rival != tenant.Name && slices.Contains(claims, claim) {
					t.Errorf("at revision %s %s is held by %s and by %s", tenant.ResourceVersion, claim, tenant.Name, rival)
				}
			}
		}
	})
	c := cluster.Client(t, cluster.ClusterAdmin())
	for round := range rounds {
		code, domain := fmt.Sprintf("%s-%d", "X-"+fmt.Sprint(len(w.Prefix)), round), fmt.Sprintf("d%d.%s.example", round, w.Prefix)
		const patch = `{"spec":{"codes":{"other":%q},"domains":[%q,%q]}}`
		for _, err := range race(
			w.patched(c, w.own, patch, code, w.own.Name+".example", domain),
			w.patched(c, w.other, patch, code, w.other.Name+".example", []string{domain, "x." + domain}[round%2]),
		) {
			if err != nil {
				t.Fatal(err)
			}
		}
		w.until("one of two holds "+code, w.own, func(own *v1alpha1.Tenant) error {
			w.Read(w.other)
			mine, theirs := slices.Contains(own.Status.Claims, "other:"+code), slices.Contains(w.other.Status.Claims, "other:"+code)
			if mine == theirs {
				return fmt.Errorf("held by own %v, by other %v", mine, theirs)
			}
			return nil
		}, w.own, w.other)
	}
}

// TestNameRace has a hundred requests for one name at the same moment: one makes it, and all others hear that it is there.
func TestNameRace(t *testing.T) {
	t.Parallel()
	w := newTown(t, "namerace")
	var all []func() error
	for _, c := range []client.Client{cluster.Client(t, w.administrator()), cluster.Client(t, cluster.Account(t, w.own.Name, "flux"))} {
		for range 50 {
			all = append(all, func() error {
				o := &v1alpha1.Workspace{ObjectMeta: stage.In(w.own.Name, "gara"), Spec: w.annex.DeepCopy().Spec}
				o.Spec.Network = v1alpha1.WorkspaceNetwork{}
				return c.Create(context.Background(), o)
			})
		}
	}
	made := 0
	for _, err := range race(all...) {
		if err == nil {
			made++
		} else if !apierrors.IsAlreadyExists(err) && !strings.Contains(err.Error(), "exceeded quota") { // which is charged before a name is looked at
			t.Error(err)
		}
	}
	if made != 1 {
		t.Errorf("%d made it", made)
	}
	w.Ready(&v1alpha1.Workspace{ObjectMeta: stage.In(w.own.Name, "gara")})
}
