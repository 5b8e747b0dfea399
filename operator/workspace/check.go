package workspace

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/outcome"
	"github.com/broletto/broletto/operator/quota"
)

// check finds what in the spec the tenant may not have. What is wrong gets nothing new; the rest of the workspace is kept in order.
func check(w *v1alpha1.Workspace, c Context) error {
	t := c.Tenant
	if !slices.Contains(t.Spec.DataClasses, w.Spec.DataClass) {
		return outcome.Stalled(v1alpha1.ReasonDataClassNotAllowed, "spec.dataClass: tenant %s may host %s, not %s; ask the platform to add the class to the tenant",
			t.Name, join(t.Spec.DataClasses), w.Spec.DataClass)
	}
	for _, host := range w.Spec.Network.Hosts {
		if !hostWithin(host, t.Spec.Domains) {
			return outcome.Stalled(v1alpha1.ReasonHostNotAllowed, "spec.network.hosts: %s lies outside the domains of tenant %s (%s)", host, t.Name, join(t.Spec.Domains))
		}
	}
	for _, e := range w.Spec.Network.Egress {
		if outer, shut := inside(e.CIDR, c.Consortium); shut {
			return outcome.Stalled(v1alpha1.ReasonEgressProtected, "spec.network.egress: %s lies inside %s, which no workspace may open by address; "+
				"reach another workspace by connectTo, or ask the platform for an exception", e.CIDR, outer)
		}
	}
	return checkStorage(w, t, quota.Request(c.Consortium.Spec.Defaults.Workspace.Quota, t, w))
}

func checkStorage(w *v1alpha1.Workspace, t *v1alpha1.Tenant, asked corev1.ResourceList) error {
	var sum resource.Quantity
	for _, v := range declared(w) {
		if !classAllowed(t, v) {
			var allowed []string
			for _, class := range t.Spec.StorageClasses {
				allowed = append(allowed, class.Name)
			}
			return outcome.Stalled(v1alpha1.ReasonStorageClassNotAllowed, "spec.storage.volumes: %s wants class %s; tenant %s may use %s",
				v.Name, v.Class, t.Name, strings.Join(allowed, ", "))
		}
		sum.Add(v.Size.Quantity())
	}
	if limit := asked[corev1.ResourceRequestsStorage]; sum.Cmp(limit) > 0 {
		return outcome.Stalled(v1alpha1.ReasonVolumesExceedQuota, "spec.storage.volumes: together %s, more than the workspace's requests.storage of %s; "+
			"raise spec.quota", sum.String(), limit.String())
	}
	return nil
}

// unanswerable explains why the ledger does not hold what the workspace asks for: it never will, or it has not decided yet.
func unanswerable(w *v1alpha1.Workspace, t *v1alpha1.Tenant, asked corev1.ResourceList) error {
	ledger := t.Status.Allocations
	if lacks := quota.Lacks(t, ledger, w.Name, asked); len(lacks) > 0 {
		return outcome.Stalled(v1alpha1.ReasonQuotaExceeded, "tenant %s has too little left: %s; ask for less, shrink another workspace, or ask the platform for more",
			t.Name, quota.Explain(lacks, ledger, w.Name))
	}
	for _, a := range ledger {
		for _, host := range w.Spec.Network.Hosts {
			if a.UID != w.UID && slices.Contains(a.Hosts, host) {
				return outcome.Stalled(v1alpha1.ReasonHostConflict, "spec.network.hosts: %s is served by workspace %s; take it out of one of the two", host, a.Workspace)
			}
		}
	}
	return &outcome.Wait{Reason: v1alpha1.ReasonAwaitingAllocation, Message: "the ledger of tenant " + t.Name + " has not answered yet"}
}

func join[T ~string](values []T) string {
	texts := make([]string, 0, len(values))
	for _, v := range values {
		texts = append(texts, string(v))
	}
	return strings.Join(texts, ", ")
}
