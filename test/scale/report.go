package main

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/broletto/broletto/hack/kube"
)

// report is what -json writes; docs/benchmark.md explains its fields.
type report struct {
	Tenants    int      `json:"tenants"`
	Workspaces int      `json:"workspaces"` // of all tenants
	Writers    int      `json:"writers"`
	Order      string   `json:"order"`
	Env        []string `json:"env,omitempty"`
	Cores      int      `json:"cores"`

	Plain    []plainReport  `json:"plain"`
	Broletto brolettoReport `json:"broletto"`
	Ratio    float64        `json:"ratio"`    // Broletto's seconds by the median of the plain client's
	CPURatio float64        `json:"cpuRatio"` // the same of the processor seconds of all processes

	Requests requestReport `json:"requests"`
	Rest     restReport    `json:"rest"`
	Restart  restartReport `json:"restart"`
	Memory   memoryReport  `json:"memory"`

	Latency map[string]latencyReport `json:"latency,omitempty"` // by what is created
	Goals   []goal                   `json:"goals"`
}

// plainReport is one run of the plain client.
type plainReport struct {
	Seconds  float64        `json:"seconds"`
	Objects  int            `json:"objects"`
	Patched  int64          `json:"patched"` // default service accounts that were there first
	CPU      cpu            `json:"cpuSeconds"`
	Requests map[string]int `json:"requests"` // by who asked
}

// brolettoReport is Broletto's work, from the first manifest written to the last object Ready.
type brolettoReport struct {
	Seconds        float64            `json:"seconds"`
	TenantsSeconds float64            `json:"tenantsSeconds"` // until the last tenant was Ready
	WaitMedian     float64            `json:"waitMedianSeconds"`
	WaitP95        float64            `json:"waitP95Seconds"`
	Objects        int                `json:"objects"` // manifests included
	CPU            cpu                `json:"cpuSeconds"`
	Requests       map[string]int     `json:"requests"` // by who asked
	Reconciles     map[string]float64 `json:"reconciles"`
	CacheWaits     float64            `json:"cacheWaits"` // reads of the cache that looked whether it has the operator's own writes
	CacheSeconds   float64            `json:"cacheWaitSeconds"`
}

// requestReport is what the operator asked for until it had nothing left to do.
type requestReport struct {
	traffic
	PerWorkspace    float64 `json:"perWorkspace"`    // all requests, by the number of workspaces
	Objects         float64 `json:"objects"`         // of a workspace, on average, its namespace included
	Own             float64 `json:"own"`             // mutating requests for a workspace, on average
	Ledger          float64 `json:"ledger"`          // a workspace's share of the writes of its tenant's ledger, on average
	Each            float64 `json:"mutatingEach"`    // own and share
	WorstExtra      int     `json:"worstExtra"`      // most that one workspace's own exceed its objects
	TenantMutating  float64 `json:"tenantMutating"`  // for a tenant, ledger apart, on average
	TenantObjects   float64 `json:"tenantObjects"`   // of a home, on average
	PerNamespace    float64 `json:"perNamespace"`    // all requests, by the number of namespaces
	LedgerPerTenant float64 `json:"ledgerPerTenant"` // writes of a ledger, on average
}

type restReport struct {
	Seconds float64 `json:"seconds"`
	traffic
}

type restartReport struct {
	StopSeconds  float64 `json:"stopSeconds"`
	QuietSeconds float64 `json:"quietSeconds"` // from the start of the process to its last request
	traffic
}

// memoryReport is the operator's resident memory in bytes; 0: this system does not tell.
type memoryReport struct {
	Peak        int64 `json:"peak"`
	AtRest      int64 `json:"atRest"`
	RestartPeak int64 `json:"restartPeak"`
}

// goal is a figure that we want, and whether it came out.
type goal struct {
	Name     string  `json:"name"`
	Limit    float64 `json:"limit"`
	Measured float64 `json:"measured"`
	Met      bool    `json:"met"`
}

func newReport(o options) *report {
	return &report{
		Tenants: o.tenants, Workspaces: o.tenants * o.workspaces, Writers: o.writers, Order: o.order, Env: o.env, Cores: runtime.NumCPU(),
	}
}

func (r *report) addPlain(run plainRun, used cpu, events []kube.AuditEvent) {
	r.Plain = append(r.Plain, plainReport{
		Seconds: run.total.Seconds(), Objects: run.objects, Patched: run.patched, CPU: used, Requests: who(events),
	})
}

func (r *report) addHosting(h hosting, used cpu, events []kube.AuditEvent) {
	r.Broletto.Seconds, r.Broletto.TenantsSeconds = h.total.Seconds(), h.tenants.Seconds()
	r.Broletto.WaitMedian, r.Broletto.WaitP95 = median(h.waits).Seconds(), h.waits[len(h.waits)*95/100].Seconds()
	r.Broletto.CPU, r.Broletto.Requests = used, who(events)
}

// addSamples takes from the operator's own metrics what they grew by.
func (r *report) addSamples(before, after map[string]float64) {
	r.Broletto.Reconciles = map[string]float64{}
	for name, n := range after {
		if controller, found := strings.CutPrefix(name, "controller_runtime_reconcile_total/"); found {
			r.Broletto.Reconciles[controller] = n - before[name]
		}
	}
	const waits = "controller_runtime_client_consistency_wait_duration_seconds"
	r.Broletto.CacheWaits = after[waits+"_count"] - before[waits+"_count"]
	r.Broletto.CacheSeconds = after[waits+"_sum"] - before[waits+"_sum"]
}

// addRequests attributes the operator's requests; made is the number of objects of each namespace.
func (r *report) addRequests(events []kube.AuditEvent, made map[string]int) {
	w := attribute(events)
	q := requestReport{traffic: count(events)}
	perTenant := r.Workspaces / r.Tenants
	for namespace, objects := range made {
		tenant, _, isWorkspace := strings.Cut(namespace, "--")
		// A tenant's first status is its own; every later one is the ledger's.
		ledger := float64(max(0, w.ledger[tenant]-1))
		if !isWorkspace {
			q.TenantObjects += float64(objects) / float64(r.Tenants)
			q.TenantMutating += (float64(w.tenant[namespace]) - ledger) / float64(r.Tenants)
			q.LedgerPerTenant += ledger / float64(r.Tenants)
			r.Broletto.Objects += 1 + objects
			continue
		}
		q.Objects += float64(objects) / float64(r.Workspaces)
		q.Own += float64(w.workspace[namespace]) / float64(r.Workspaces)
		q.Ledger += ledger / float64(perTenant) / float64(r.Workspaces)
		q.WorstExtra = max(q.WorstExtra, w.workspace[namespace]-objects)
		r.Broletto.Objects += 1 + objects
	}
	r.Broletto.Objects++ // the consortium
	q.Each = q.Own + q.Ledger
	q.PerWorkspace = float64(q.Requests) / float64(r.Workspaces)
	q.PerNamespace = float64(q.Requests) / float64(len(made))
	r.Requests = q
}

// conclude compares the figures with each other and with the goals. It fails when the plain client wrote other objects.
func (r *report) conclude() error {
	var seconds, processor []float64
	for _, p := range r.Plain {
		if p.Objects != r.Broletto.Objects {
			return fmt.Errorf("the plain client wrote %d objects, Broletto %d: they cannot be compared", p.Objects, r.Broletto.Objects)
		}
		seconds, processor = append(seconds, p.Seconds), append(processor, p.CPU.ours())
	}
	r.Ratio = r.Broletto.Seconds / median(seconds)
	if used := median(processor); used > 0 {
		r.CPURatio = r.Broletto.CPU.ours() / used
	}
	r.Goals = []goal{
		atMost("time ratio", 2.0, r.Ratio),
		atMost("time ratio, where we want to be", 1.3, r.Ratio),
		atMost("mutating requests per workspace beyond its objects", 3, r.Requests.Each-r.Requests.Objects),
		atMost("mutating requests at rest", 0, float64(r.Rest.Mutating)),
		atMost("mutating requests at a restart", 0, float64(r.Restart.Mutating)),
		atMost("peak memory, MiB", 64+float64(r.Workspaces)*60/1024, mebibytes(max(r.Memory.Peak, r.Memory.RestartPeak))),
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Latency)) {
		r.Goals = append(r.Goals, atMost("latency ratio, "+kind, 1.3, r.Latency[kind].Ratio))
	}
	return nil
}

func atMost(name string, limit, measured float64) goal {
	return goal{Name: name, Limit: limit, Measured: measured, Met: measured <= limit}
}

func mebibytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// median of at least one value; of two it is the mean.
func median[N float64 | time.Duration](values []N) N {
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}
