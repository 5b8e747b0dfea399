package tenant

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/metrics"
	"github.com/broletto/broletto/operator/quota"
)

var (
	info = prometheus.NewDesc("broletto_tenant_info",
		"A tenant: what it is, and the consortium that hosts it.", []string{"tenant", "consortium", "kind"}, nil)
	quotaTotal = prometheus.NewDesc("broletto_tenant_quota",
		"What the workspaces of a tenant may hold together, in the base unit of the resource.", []string{"tenant", "resource"}, nil)
	quotaGranted = prometheus.NewDesc("broletto_tenant_quota_granted",
		"What the workspaces of a tenant hold together, in the base unit of the resource.", []string{"tenant", "resource"}, nil)
	networkEnforced = prometheus.NewDesc("broletto_tenant_network_enforced",
		"Whether the cluster's network was seen to cut what network policies forbid: 1 for the status that holds, else 0.", []string{"tenant", "status"}, nil)
)

// Collector exports tenants.
func Collector(cache client.Reader) prometheus.Collector {
	return metrics.Collector[*v1alpha1.Tenant]{
		Kind:   "Tenant",
		Series: []*prometheus.Desc{info, quotaTotal, quotaGranted, networkEnforced},
		List:   metrics.Items(cache, func(l *v1alpha1.TenantList) []v1alpha1.Tenant { return l.Items }),
		Each: func(t *v1alpha1.Tenant, emit metrics.Emit) {
			emit(info, 1, t.Name, t.Spec.Consortium, string(t.Spec.Kind))
			for resource, amount := range quota.Limits(t) {
				emit(quotaTotal, amount.AsApproximateFloat64(), t.Name, string(resource))
			}
			for resource, amount := range t.Status.Allocated {
				emit(quotaGranted, amount.AsApproximateFloat64(), t.Name, string(resource))
			}
			if c := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionNetworkEnforced); c != nil {
				for _, status := range []metav1.ConditionStatus{metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown} {
					emit(networkEnforced, metrics.Bool(c.Status == status), t.Name, string(status))
				}
			}
		},
	}
}
