package consortium

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/metrics"
)

var tenantCount = prometheus.NewDesc("broletto_consortium_tenants",
	"How many tenants belong to a consortium.", []string{"consortium", "country"}, nil)

// Collector exports consortia.
func Collector(cache client.Reader) prometheus.Collector {
	return metrics.Collector[*v1alpha1.Consortium]{
		Kind:   "Consortium",
		Series: []*prometheus.Desc{tenantCount},
		List:   metrics.Items(cache, func(l *v1alpha1.ConsortiumList) []v1alpha1.Consortium { return l.Items }),
		Each: func(c *v1alpha1.Consortium, emit metrics.Emit) {
			emit(tenantCount, float64(c.Status.Tenants), c.Name, string(c.Spec.Country))
		},
	}
}
