package main

import (
	"bytes"
	"flag"
	"strings"
	"testing"
	"time"
)

var beside = flag.Bool("beside", false, "measure restic and tar beside the mover; builds them where they are not in the cache, which takes minutes")

// TestVolumes runs a small benchmark and holds the counts. Times are for people to read: no test depends on them.
func TestVolumes(t *testing.T) {
	var table, progress bytes.Buffer
	r, err := measure(t.Context(), options{alone: !*beside, size: 24 << 20, small: 300, latency: 2 * time.Millisecond, dir: t.TempDir(), profile: "General", progress: &progress})
	if err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	if err := r.print(&table); err != nil {
		t.Fatal(err)
	}
	t.Log(table.String())
	want := 3*3 + 2 // steps of days at three places, and those of small files
	if *beside {
		want = 3*3 + 2*3*2 + 3*2 // tar is in no S3
	}
	if len(r.Rows) != want {
		t.Errorf("%d steps were measured of %d", len(r.Rows), want)
	}
	for _, row := range r.Rows {
		if row.CPU <= 0 || row.Peak == 0 || row.Repository == 0 || (row.Requests == 0) == strings.HasPrefix(row.Place, "S3") {
			t.Errorf("something was not measured: %+v", row)
		}
	}
	for _, g := range r.goals() {
		if g.name == "reads of one pack" && (g.measured == 0 || g.measured > g.limit) {
			t.Errorf("a pack was read %.0f times", g.measured)
		}
	}
}
