package tenant

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/quota"
)

// allocate decides anew what each workspace holds. It is pure; the decision counts once it stands in the tenant's status,
// written with the resource version that was read.
//
//   - A workspace that is gone holds nothing. One made again under the same name begins anew.
//   - A workspace gives back only what its status.allocationRevision proves that it no longer uses; until then it counts as releasing.
//   - Growth is granted whole or not at all, to the oldest first; a shrinking is always granted.
//   - A host stays with the workspace that holds it.
func allocate(t *v1alpha1.Tenant, defaults v1alpha1.Quota, workspaces []v1alpha1.Workspace, grant bool) []v1alpha1.Allocation {
	ordered := slices.Clone(workspaces)
	slices.SortFunc(ordered, older)
	ledger := settled(t.Status.Allocations, ordered)
	for i := 0; i < len(ordered); i++ {
		w := &ordered[i]
		if !w.DeletionTimestamp.IsZero() || !grant {
			continue
		}
		var freed bool
		if ledger, freed = decide(t, ledger, w, quota.Request(defaults, t, w)); freed {
			i = -1 // an older one may wait for the host
		}
	}
	slices.SortFunc(ledger, func(a, b v1alpha1.Allocation) int { return strings.Compare(string(a.Workspace), string(b.Workspace)) })
	return ledger
}

func older(a, b v1alpha1.Workspace) int {
	if order := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); order != 0 {
		return order
	}
	return strings.Compare(a.Name, b.Name)
}

// settled drops the entries of workspaces that are gone and what the others have given back.
func settled(ledger []v1alpha1.Allocation, workspaces []v1alpha1.Workspace) []v1alpha1.Allocation {
	var out []v1alpha1.Allocation
	for _, entry := range ledger {
		at := slices.IndexFunc(workspaces, func(w v1alpha1.Workspace) bool { return w.UID == entry.UID })
		if at < 0 {
			continue
		}
		if workspaces[at].Status.AllocationRevision == entry.Revision {
			entry.Releasing = nil
		}
		out = append(out, entry)
	}
	return out
}

// decide gives one workspace what it asks for, if that fits beside what the others hold, and tells whether a host became free.
func decide(t *v1alpha1.Tenant, ledger []v1alpha1.Allocation, w *v1alpha1.Workspace, asked corev1.ResourceList) (_ []v1alpha1.Allocation, freed bool) {
	at := slices.IndexFunc(ledger, func(a v1alpha1.Allocation) bool { return a.UID == w.UID })
	hosts := slices.Sorted(slices.Values(w.Spec.Network.Hosts))
	if at >= 0 && quota.Equal(ledger[at].Quota, asked) && slices.Equal(ledger[at].Hosts, hosts) {
		return ledger, false
	}
	if len(quota.Lacks(t, ledger, w.Name, asked)) > 0 || taken(ledger, w, hosts) {
		return ledger, false
	}
	entry := v1alpha1.Allocation{Workspace: v1alpha1.WorkspaceName(w.Name), UID: w.UID, Revision: 1, Quota: asked, Hosts: hosts}
	if at < 0 {
		return append(ledger, entry), false
	}
	entry.Revision = ledger[at].Revision + 1
	if held := quota.Held(ledger[at]); !quota.AtMost(held, asked) {
		entry.Releasing = held
	}
	freed = slices.ContainsFunc(ledger[at].Hosts, func(h v1alpha1.Hostname) bool { return !slices.Contains(hosts, h) })
	ledger[at] = entry
	return ledger, freed
}

func taken(ledger []v1alpha1.Allocation, w *v1alpha1.Workspace, hosts []v1alpha1.Hostname) bool {
	return slices.ContainsFunc(ledger, func(a v1alpha1.Allocation) bool {
		return a.UID != w.UID && slices.ContainsFunc(hosts, func(h v1alpha1.Hostname) bool { return slices.Contains(a.Hosts, h) })
	})
}

// total is the sum of what all workspaces hold.
func total(ledger []v1alpha1.Allocation) corev1.ResourceList {
	lists := make([]corev1.ResourceList, 0, len(ledger))
	for _, entry := range ledger {
		lists = append(lists, quota.Held(entry))
	}
	return quota.Sum(lists...)
}
