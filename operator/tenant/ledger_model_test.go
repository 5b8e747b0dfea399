//go:build rapid

package tenant

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/quota"
)

// municipality is a tenant, its workspaces, and what runs in their namespaces. Workspaces come and go, change their minds, read the
// ledger and are late in following it.
type municipality struct {
	tenant     *v1alpha1.Tenant
	workspaces map[string]*v1alpha1.Workspace
	namespaces map[string]*namespaceModel
	born       int
}

// namespaceModel is one workspace's namespace: what its ResourceQuota allows, and the entry that its reconcile read last.
type namespaceModel struct {
	allowed  corev1.ResourceList
	read     *v1alpha1.Allocation
	followed bool // the quota is at what was read
}

// whole is a ledger with all of its amounts.
func whole(ledger []v1alpha1.Allocation) (out []string) {
	for _, a := range ledger {
		text := fmt.Sprint(a.Workspace, " ", a.Revision, " ", a.Hosts)
		for _, list := range []corev1.ResourceList{a.Quota, a.Releasing} {
			for _, name := range slices.Sorted(maps.Keys(list)) {
				amount := list[name]
				text += fmt.Sprintf(" %s=%s", name, amount.String())
			}
			text += ";"
		}
		out = append(out, text)
	}
	return out
}

func (m *municipality) list() []v1alpha1.Workspace {
	var out []v1alpha1.Workspace
	for _, name := range slices.Sorted(maps.Keys(m.workspaces)) {
		out = append(out, *m.workspaces[name])
	}
	return out
}

var (
	workspaceNames = rapid.SampledFrom([]string{"a", "b", "c", "d", "e"})
	cpuAmounts     = rapid.SampledFrom([]v1alpha1.Amount{"0", "500m", "1", "1.5", "2", "3", "4", "7", "11"})
	hostNames      = rapid.SampledFrom([]v1alpha1.Hostname{"x.example", "y.example", "z.example"})
	storageSizes   = rapid.SampledFrom([]v1alpha1.Amount{"1Gi", "1.5Gi", "2Gi", "5Gi"})
)

func (m *municipality) edit(t *rapid.T, w *v1alpha1.Workspace) {
	w.Spec.Quota = v1alpha1.Quota{"requests.cpu": cpuAmounts.Draw(t, "cpu"), "requests.storage": storageSizes.Draw(t, "storage")}
	w.Spec.Network.Hosts = rapid.SliceOfNDistinct(hostNames, 0, 2, rapid.ID).Draw(t, "hosts")
	w.Spec.Storage = nil
	if rapid.Bool().Draw(t, "volume") {
		w.Spec.Storage = &v1alpha1.WorkspaceStorage{Volumes: []v1alpha1.Volume{{Name: "v", Size: storageSizes.Draw(t, "size"), Class: "encrypted"}}}
	}
}

func (m *municipality) come(t *rapid.T) {
	name := workspaceNames.Draw(t, "name")
	if m.workspaces[name] != nil {
		t.Skip("there is one")
	}
	m.born++
	w := asking(name, m.born/2, "1") // two in the same minute
	w.UID = types.UID(fmt.Sprintf("uid-%s-%d", name, m.born))
	m.edit(t, &w)
	m.workspaces[name], m.namespaces[name] = &w, &namespaceModel{}
}

func (m *municipality) any(t *rapid.T) (*v1alpha1.Workspace, *namespaceModel) {
	name := workspaceNames.Draw(t, "name")
	if m.workspaces[name] == nil {
		t.Skip("there is none")
	}
	return m.workspaces[name], m.namespaces[name]
}

// goAway begins a deletion; a second one ends it, when the namespace is gone.
func (m *municipality) goAway(t *rapid.T) {
	w, _ := m.any(t)
	if w.DeletionTimestamp.IsZero() {
		*w = deleted(*w)
		return
	}
	delete(m.workspaces, w.Name)
	delete(m.namespaces, w.Name)
}

// read is the first half of a workspace's reconcile, follow the second: in between the ledger may move on.
func (m *municipality) read(t *rapid.T) {
	w, ns := m.any(t)
	for _, a := range m.tenant.Status.Allocations {
		if a.UID == w.UID {
			ns.read, ns.followed = a.DeepCopy(), false
		}
	}
}

func (m *municipality) follow(t *rapid.T) {
	_, ns := m.any(t)
	if ns.read == nil {
		t.Skip("nothing was read")
	}
	ns.allowed, ns.followed = ns.read.Quota, true
}

func (m *municipality) confirm(t *rapid.T) {
	w, ns := m.any(t)
	if ns.read == nil || !ns.followed {
		t.Skip("nothing was followed")
	}
	w.Status.AllocationRevision = ns.read.Revision
}

// decide is the tenant's reconcile: it moves the ledger, and every step of it must keep what the ledger promises.
func (m *municipality) decide(t *rapid.T) {
	before := m.tenant.Status.Allocations
	sound := rapid.IntRange(0, 9).Draw(t, "sound") > 0
	after := allocate(m.tenant, nil, m.list(), sound)
	for _, entry := range after {
		at := slices.IndexFunc(before, func(a v1alpha1.Allocation) bool { return a.UID == entry.UID })
		w := m.workspaces[string(entry.Workspace)]
		if w == nil || w.UID != entry.UID {
			t.Fatalf("an entry of nobody: %v", whole(after))
		}
		if at < 0 {
			continue
		}
		old := before[at]
		changed := !quota.Equal(old.Quota, entry.Quota) || !slices.Equal(old.Hosts, entry.Hosts)
		if changed != (entry.Revision == old.Revision+1) || (!changed && entry.Revision != old.Revision) {
			t.Fatalf("revision %d after %d, changed %v", entry.Revision, old.Revision, changed)
		}
		if !quota.AtMost(quota.Held(old), quota.Held(entry)) && w.Status.AllocationRevision != old.Revision {
			t.Fatalf("%s gave back before revision %d was proven, with %d", entry.Workspace, old.Revision, w.Status.AllocationRevision)
		}
		if changed && !quota.Equal(entry.Quota, quota.Request(nil, m.tenant, w)) {
			t.Fatalf("%s holds neither what it had nor what it asks", entry.Workspace)
		}
	}
	m.tenant.Status.Allocations = after
	if diff := cmp.Diff(whole(after), whole(allocate(m.tenant, nil, m.list(), sound))); diff != "" {
		t.Fatalf("decided twice, it moves (-once +twice):\n%s", diff)
	}
	shuffled := rapid.Permutation(m.list()).Draw(t, "order")
	if diff := cmp.Diff(whole(allocate(m.tenant, nil, m.list(), true)), whole(allocate(m.tenant, nil, shuffled, true))); diff != "" {
		t.Fatalf("the order of the list matters:\n%s", diff)
	}
}

// check is what must hold at every moment.
func (m *municipality) check(t *rapid.T) {
	limits := quota.Limits(m.tenant)
	held, allowed, hosts := total(m.tenant.Status.Allocations), corev1.ResourceList{}, map[v1alpha1.Hostname]v1alpha1.WorkspaceName{}
	for _, ns := range m.namespaces {
		allowed = quota.Sum(allowed, ns.allowed)
	}
	for name, limit := range limits {
		if amount := held[name]; amount.Cmp(limit) > 0 {
			t.Fatalf("%s: %s of %s are held: %v", name, amount.String(), limit.String(), whole(m.tenant.Status.Allocations))
		}
		if amount := allowed[name]; amount.Cmp(limit) > 0 {
			t.Fatalf("%s: the namespaces may use %s of %s", name, amount.String(), limit.String())
		}
	}
	for _, entry := range m.tenant.Status.Allocations {
		for _, host := range entry.Hosts {
			if other, taken := hosts[host]; taken {
				t.Fatalf("%s is served by %s and %s", host, other, entry.Workspace)
			}
			hosts[host] = entry.Workspace
		}
	}
}

// TestLedgerModel takes a tenant through random lives.
func TestLedgerModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &municipality{tenant: granting(), workspaces: map[string]*v1alpha1.Workspace{}, namespaces: map[string]*namespaceModel{}}
		m.tenant.Spec.Quota["requests.storage"] = "8Gi"
		m.tenant.Spec.StorageClasses = append(m.tenant.Spec.StorageClasses, v1alpha1.StorageClass{Name: "encrypted", Quota: "4Gi"})
		t.Repeat(map[string]func(*rapid.T){
			"come": m.come, "go": m.goAway, "read": m.read, "follow": m.follow, "confirm": m.confirm, "decide": m.decide, "decide again": m.decide,
			"change": func(t *rapid.T) { w, _ := m.any(t); m.edit(t, w) },
			"":       m.check,
		})
		m.rest(t)
	})
}

// rest lets everybody follow until nothing moves: then what is given back has been given back, and whoever still waits does not fit.
func (m *municipality) rest(t *rapid.T) {
	for rounds := 0; ; rounds++ {
		before := whole(m.tenant.Status.Allocations)
		m.tenant.Status.Allocations = allocate(m.tenant, nil, m.list(), true)
		m.check(t)
		if rounds > 0 && slices.Equal(before, whole(m.tenant.Status.Allocations)) {
			break
		}
		if rounds > 20 {
			t.Fatalf("the ledger does not come to rest: %v", before)
		}
		for _, a := range m.tenant.Status.Allocations {
			w, ns := m.workspaces[string(a.Workspace)], m.namespaces[string(a.Workspace)]
			ns.read, ns.allowed, w.Status.AllocationRevision = a.DeepCopy(), a.Quota, a.Revision
		}
	}
	ledger := m.tenant.Status.Allocations
	for _, w := range m.list() {
		asked, hosts := quota.Request(nil, m.tenant, &w), slices.Sorted(slices.Values(w.Spec.Network.Hosts))
		satisfied := slices.ContainsFunc(ledger, func(a v1alpha1.Allocation) bool {
			return a.UID == w.UID && quota.Equal(a.Quota, asked) && slices.Equal(a.Hosts, hosts)
		})
		fits := len(quota.Lacks(m.tenant, ledger, w.Name, asked)) == 0 && !taken(ledger, &w, hosts)
		if w.DeletionTimestamp.IsZero() && satisfied != fits {
			t.Fatalf("%s: satisfied %v, fits %v: %v", w.Name, satisfied, fits, whole(ledger))
		}
	}
	if slices.ContainsFunc(ledger, func(a v1alpha1.Allocation) bool { return len(a.Releasing) > 0 }) {
		t.Fatalf("something is held for ever: %v", whole(ledger))
	}
}
