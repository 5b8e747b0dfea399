package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
)

// stackLimit is the most that Broletto's time by the shell's may be.
const stackLimit = 1.2

// total adds up one side's turns.
func (r *stacksReport) total(of func(stackRound) stackSide) (sum stackSide) {
	sum = stackSide{CPU: cpu{}, Requests: map[string]int{}, Writes: map[string]int{}, By: map[string]int{}}
	for _, round := range r.Rounds {
		s := of(round)
		sum.Who = s.Who
		sum.Stacks += s.Stacks
		sum.Seconds += s.Seconds
		for who, used := range s.CPU {
			sum.CPU[who] += used
		}
		for who, n := range s.Requests {
			sum.Requests[who] += n
		}
		for who, n := range s.Writes {
			sum.Writes[who] += n
		}
		for what, n := range s.By {
			sum.By[what] += n
		}
	}
	return sum
}

// ratios are those of the turns, sorted.
func (r *stacksReport) ratios() (out []float64) {
	for _, round := range r.Rounds {
		out = append(out, round.Broletto.Seconds/round.Shell.Seconds)
	}
	slices.Sort(out)
	return out
}

// print writes the report for people.
func (r *stacksReport) print(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, values ...any) {
		fmt.Fprintf(t, "%s\t"+format+"\n", append([]any{name}, values...)...)
	}
	row(fmt.Sprintf("\n%d stacks of %s, %d at a time", r.Stacks, r.Engine, r.Cores), "")
	shell, broletto := r.total(func(s stackRound) stackSide { return s.Shell }), r.total(func(s stackRound) stackSide { return s.Broletto })
	for _, s := range []stackSide{shell, broletto} {
		if s.Stacks == 0 { // Broletto was alone
			continue
		}
		n := float64(s.Stacks)
		row(s.Who, "%.1f s, %.2f s per stack", s.Seconds, s.Seconds/n)
		row("  processor seconds per stack", "%.2f: %s", s.CPU.ours()/n, list(each(s.CPU, n), "%.3f"))
		row("  requests per stack", "%s", list(each(s.Requests, n), "%.1f"))
		row("  of them writes", "%s", list(each(s.Writes, n), "%.1f"))
	}
	by := each(broletto.By, float64(broletto.Stacks))
	often := slices.SortedFunc(maps.Keys(by), func(a, b string) int { return cmp.Or(cmp.Compare(by[b], by[a]), cmp.Compare(a, b)) })
	for _, what := range often {
		if by[what] >= 0.5 {
			row("  "+what, "%.1f", by[what])
		}
	}
	for i, round := range r.Rounds {
		row(fmt.Sprintf("turn %d", i+1), "shell %.1f s, Broletto %.1f s; operator afterwards %.1f MiB, peak %.1f MiB", round.Shell.Seconds, round.Broletto.Seconds, mebibytes(round.Resident), mebibytes(round.Peak))
	}
	row("operator before the first", "%.1f MiB", mebibytes(r.Start))
	row("the vault", "%d Secrets, %.1f KiB per stack", r.Vault.Secrets, float64(r.Vault.Bytes)/1024/float64(r.Stacks+r.Cores))
	if shell.Stacks == 0 {
		return t.Flush()
	}
	fmt.Fprintln(t)
	ratios := r.ratios()
	ratio, mark := broletto.Seconds/shell.Seconds, "met"
	if ratio > stackLimit {
		mark = "NOT MET"
	}
	row("time ratio", "%.2f, at most %.2f: %s; of the turns %.2f to %.2f", ratio, stackLimit, mark, ratios[0], ratios[len(ratios)-1])
	row("processor ratio", "%.2f", broletto.CPU.ours()/shell.CPU.ours())
	if busy := shell.CPU[others] + broletto.CPU[others]; busy > (shell.Seconds+broletto.Seconds)*float64(r.Cores)/10 {
		fmt.Fprintf(t, "\nOther programs kept this machine busy for %.0f processor seconds: trust the processor ratio more than the times.\n", busy)
	}
	return t.Flush()
}

// each divides sums by a number.
func each[M ~map[string]N, N int | float64](sums M, n float64) map[string]float64 {
	out := map[string]float64{}
	for name, sum := range sums {
		out[name] = float64(sum) / n
	}
	return out
}
