package consortium

import (
	"context"

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
		List: func(ctx context.Context) (out []*v1alpha1.Consortium, err error) {
			var list v1alpha1.ConsortiumList
			err = cache.List(ctx, &list, client.UnsafeDisableDeepCopy)
			for i := range list.Items {
				out = append(out, &list.Items[i])
			}
			return out, err
		},
		Each: func(c *v1alpha1.Consortium, emit metrics.Emit) {
			emit(tenantCount, float64(c.Status.Tenants), c.Name, string(c.Spec.Country))
		},
	}
}
