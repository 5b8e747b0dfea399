package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"text/tabwriter"
	"time"

	"filippo.io/age"
)

// report is what came of a run.
type report struct {
	Size    int64
	Small   int
	Latency time.Duration
	Rows    []row
}

// row is one step of one side at one place.
type row struct {
	Place, Step, Side string
	cost
}

// goal is the most that one figure of the mover may be.
type goal struct {
	name     string
	measured float64
	limit    float64
}

func (r *report) find(place, step, side string) cost {
	for _, row := range r.Rows {
		if row.Place == place && row.Step == step && row.Side == side {
			return row.cost
		}
	}
	return cost{}
}

// goals are those of the issue that asked for backups. Times are until everything is on the disk.
func (r *report) goals() (all []goal) {
	const mover, restic, tar = "broletto-mover", "restic", "tar | zstd -1 | age"
	ratio := func(name, place, step, side string, limit float64) {
		if b := r.find(place, step, side).OnDisk; b > 0 {
			all = append(all, goal{name, r.find(place, step, mover).OnDisk / b, limit})
		}
	}
	ratio("first backup by tar, zstd and age, folder", "folder", "first", tar, 0.8)
	ratio("first backup by restic, folder", "folder", "first", restic, 0.6)
	ratio("incremental by restic, folder", "folder", "incremental", restic, 0.3)
	for _, place := range []string{"S3", "S3, " + r.Latency.String()} {
		ratio("first backup by restic, "+place, place, "first", restic, 0.6)
		ratio("incremental by restic, "+place, place, "incremental", restic, 0.3)
		ratio("restore by restic, "+place, place, "restore", restic, 1)
	}
	var gets, peak float64
	for _, row := range r.Rows {
		if row.Side == mover {
			gets, peak = max(gets, float64(row.MaxGets)), max(peak, float64(row.Peak)/(1<<20))
		}
	}
	return append(all, goal{"reads of one pack", gets, 2}, goal{"mover's peak memory in MiB", peak, 300})
}

// print writes the report for people.
func (r *report) print(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\n%d MiB, %d small files, %d cores\t\twall s\ton disk s\tCPU s\tpeak MiB\trepository MiB\trequests\n", r.Size>>20, r.Small, runtime.NumCPU())
	before := ""
	for _, row := range r.Rows {
		head := row.Place + ": " + row.Step
		if head == before {
			head = ""
		} else {
			before = head
		}
		requests := "-"
		if row.Requests > 0 {
			requests = fmt.Sprint(row.Requests)
		}
		fmt.Fprintf(t, "%s\t%s\t%.1f\t%.1f\t%.1f\t%d\t%d\t%s\n", head, row.Side, row.Seconds, row.OnDisk, row.CPU, row.Peak>>20, row.Repository>>20, requests)
	}
	fmt.Fprintln(t)
	for _, g := range r.goals() {
		mark := "met"
		if g.measured > g.limit {
			mark = "NOT MET"
		}
		fmt.Fprintf(t, "%s\t%.2f, at most %.2f: %s\n", g.name, g.measured, g.limit, mark)
	}
	return t.Flush()
}

// newKey makes a key of age's in a file, and says to whom it belongs.
func newKey(path string) (recipient string, err error) {
	k, err := age.GenerateX25519Identity()
	if err != nil {
		return "", err
	}
	return k.Recipient().String(), os.WriteFile(path, []byte(k.String()+"\n"), 0o600)
}
