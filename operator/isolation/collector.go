package isolation

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/broletto/broletto/operator/metrics"
)

var (
	isMet = prometheus.NewDesc("broletto_isolation_check",
		"Whether a tenant meets a check of the multi-tenancy benchmark (1) or not (0), by what the cluster holds.", []string{"tenant", "check"}, nil)
	metSince = prometheus.NewDesc("broletto_isolation_check_last_transition_timestamp_seconds",
		"Since when a check of a tenant is at least as it is, in seconds since 1970.", []string{"tenant", "check"}, nil)
)

// scrapeTimeout bounds the reading of the cache for one scrape.
const scrapeTimeout = 5 * time.Second

// Standing tells of each admission policy of ours whether it is in force, by what the cache holds.
type Standing func(context.Context) (map[string]bool, error)

// Collector exports how every tenant stands to every check that can be judged from the cache.
func Collector(cache client.Reader, standing Standing, now func() time.Time) prometheus.Collector {
	return &collector{cache: cache, standing: standing, now: now}
}

type collector struct {
	cache    client.Reader
	standing Standing
	now      func() time.Time

	scrape sync.Mutex
	looked time.Time
	seen   map[subject]verdict
}

// subject is a check of a tenant.
type subject struct{ tenant, check string }

// Describe names the two families.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	out <- isMet
	out <- metSince
}

// Collect judges every check of every tenant. A cache that cannot be read emits nothing.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	c.scrape.Lock()
	defer c.scrape.Unlock()
	verdicts, err := c.verdicts()
	if err != nil {
		log.Log.Error(err, "collecting metrics", "kind", "isolation")
		return
	}
	for of, v := range verdicts {
		out <- prometheus.MustNewConstMetric(isMet, prometheus.GaugeValue, metrics.Bool(v.met), of.tenant, of.check)
		out <- prometheus.MustNewConstMetric(metSince, prometheus.GaugeValue, float64(v.since.Unix()), of.tenant, of.check)
	}
}

// verdicts are those of now, each with the time since when it stands.
func (c *collector) verdicts() (map[subject]verdict, error) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	standing, err := c.standing(ctx)
	if err != nil {
		return nil, err
	}
	tenants, err := read(ctx, c.cache, standing)
	if err != nil {
		return nil, err
	}
	now, out, checks := c.now(), map[subject]verdict{}, Benchmark()
	for _, f := range tenants {
		for _, check := range checks {
			if !check.Live() {
				continue
			}
			of, v := subject{f.tenant.Name, check.Name}, check.verdict(f)
			before, known := c.seen[of]
			v.since = since(before, known, v, c.looked, now)
			if known && before.met != v.met || !known && !v.met {
				log.Log.Info("isolation check", "tenant", of.tenant, "check", of.check, "met", v.met, "evidence", v.evidence, "since", v.since)
			}
			out[of] = v
		}
	}
	c.seen, c.looked = out, now
	return out, nil
}

// since is since when a verdict stands. While it stays, its time stays. When it turned, that was after the last look, if need be just
// now: what was deleted leaves no time. At the first look, what the verdict rests on tells; where it does not, it stands since now.
func since(before verdict, known bool, v verdict, looked, now time.Time) time.Time {
	switch {
	case known && before.met == v.met:
		return before.since
	case v.since.IsZero(), v.since.After(now), known && v.since.Before(looked.Truncate(time.Second)):
		return now
	default:
		return v.since
	}
}
