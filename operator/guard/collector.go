package guard

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/broletto/broletto/operator/metrics"
)

var policyInForce = prometheus.NewDesc("broletto_guard_policy_in_force",
	"Whether an admission policy of Broletto and its binding stand in the cluster as this version wants them (1) or not (0).", []string{"policy"}, nil)

// scrapeTimeout bounds the reading of the cache for one scrape.
const scrapeTimeout = 5 * time.Second

// Collector exports whether each policy is in force, as the cache has it at the moment of the scrape.
func (r *Reconciler) Collector(cache client.Reader) prometheus.Collector { return collector{r, cache} }

type collector struct {
	*Reconciler
	cache client.Reader
}

// Describe names the one family.
func (c collector) Describe(out chan<- *prometheus.Desc) { out <- policyInForce }

// Collect looks at every policy.
func (c collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	standing, err := Standing(ctx, c.cache, c.Policies, c.Revision)
	if err != nil {
		log.Log.Error(err, "collecting metrics", "kind", "policy")
		return
	}
	for policy, stands := range standing {
		out <- prometheus.MustNewConstMetric(policyInForce, prometheus.GaugeValue, metrics.Bool(stands), policy)
	}
}

// Standing tells of each policy whether it and its binding, which has its name, are in force.
func Standing(ctx context.Context, c client.Reader, policies []client.Object, revision string) (map[string]bool, error) {
	out := map[string]bool{}
	for _, want := range policies {
		state, _, err := look(ctx, c, want, revision)
		if err != nil {
			return nil, err
		}
		before, seen := out[want.GetName()]
		out[want.GetName()] = state == inForce && (before || !seen)
	}
	return out, nil
}
