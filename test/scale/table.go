package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// print writes the report for people.
func (r *report) print(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, values ...any) {
		fmt.Fprintf(t, "%s\t"+format+"\n", append([]any{name}, values...)...)
	}
	row("\n"+fmt.Sprintf("%d tenants, %d workspaces, %d writers, %d cores", r.Tenants, r.Workspaces, r.Writers, r.Cores), "order %s %s", r.Order, strings.Join(r.Env, " "))
	for _, p := range r.Plain {
		row("plain client", "%.2f s for %d objects", p.Seconds, p.Objects)
		row("  processor seconds", "%.2f: %s", p.CPU.ours(), list(p.CPU, "%.2f"))
		row("  requests of", "%s", list(p.Requests, "%d"))
	}
	b := r.Broletto
	row("Broletto", "%.2f s for %d objects, to all Ready; tenants %.2f s", b.Seconds, b.Objects, b.TenantsSeconds)
	row("  processor seconds", "%.2f: %s; ratio %.2f", b.CPU.ours(), list(b.CPU, "%.2f"), r.CPURatio)
	row("  requests of", "%s", list(b.Requests, "%d"))
	row("  a workspace, apply to Ready", "median %.2f s, 95%% within %.2f s", b.WaitMedian, b.WaitP95)
	row("  reconciles", "%s", list(b.Reconciles, "%.0f"))
	row("  waits for own writes in the cache", "%.2f s in %.0f reads", b.CacheSeconds, b.CacheWaits)
	q := r.Requests
	row("requests", "%d, of them mutating %d; %.1f per workspace, %.1f per namespace", q.Requests, q.Mutating, q.PerWorkspace, q.PerNamespace)
	row("  mutating per workspace", "%.2f: own %.2f, share of the ledger %.2f; objects %.2f; worst own beyond them %d", q.Each, q.Own, q.Ledger, q.Objects, q.WorstExtra)
	row("  mutating per tenant", "%.2f beside %.2f of its ledger; objects %.2f", q.TenantMutating, q.LedgerPerTenant, q.TenantObjects)
	row("at rest for "+fmt.Sprintf("%.0f s", r.Rest.Seconds), "%d requests, %d mutating; %d for the lease", r.Rest.Requests, r.Rest.Mutating, r.Rest.Lease)
	row("restart", "%d requests, %d mutating; quiet after %.2f s (stop: %.2f s)", r.Restart.Requests, r.Restart.Mutating, r.Restart.QuietSeconds, r.Restart.StopSeconds)
	row("memory", "peak %.1f MiB, at rest %.1f MiB, peak of the restart %.1f MiB", mebibytes(r.Memory.Peak), mebibytes(r.Memory.AtRest), mebibytes(r.Memory.RestartPeak))
	for _, kind := range slices.Sorted(maps.Keys(r.Latency)) {
		l := r.Latency[kind]
		row("creating a "+kind, "guarded %.2f ms, alike %.2f, bare %.2f; guarded by alike %.2f, by bare %.2f", l.Guarded, l.Alike, l.Bare, l.Ratio, l.BareRatio)
	}
	fmt.Fprintln(t)
	for _, g := range r.Goals {
		mark := "met"
		if !g.Met {
			mark = "NOT MET"
		}
		row(g.Name, "%.2f, at most %.2f: %s", g.Measured, g.Limit, mark)
	}
	if r.noisy() {
		fmt.Fprintln(t, "\nOther programs kept this machine busy: the counts hold, the times do not.")
	}
	return t.Flush()
}

// noisy tells whether others used more than a tenth of the machine while something was timed.
func (r *report) noisy() bool {
	busy := func(used cpu, seconds float64) bool { return used[others] > seconds*float64(r.Cores)/10 }
	return busy(r.Broletto.CPU, r.Broletto.Seconds) ||
		slices.ContainsFunc(r.Plain, func(p plainReport) bool { return busy(p.CPU, p.Seconds) })
}

// list writes what is not zero, sorted by name.
func list[M ~map[string]N, N int | float64](values M, format string) string {
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if values[name] != 0 {
			texts = append(texts, name+" "+fmt.Sprintf(format, values[name]))
		}
	}
	return strings.Join(texts, ", ")
}
