package archive_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/broletto/broletto/operator/archive"
)

// uid is one of a Restore.
func uid(n int) string { return fmt.Sprintf("0f8b1c2d-0000-4000-8000-%012d", n) }

// rehearsed is a drill that passed.
func rehearsed(n int) archive.Drill {
	ended := time.Date(2026, 12, 1, 3, n, 0, 0, time.UTC)
	return archive.Drill{
		Policy: "notturno", Workspace: "sportello", Backup: "notturno-sportello-20261201", Sequence: 1, Manifest: strings.Repeat("ab", 32),
		Restore: fmt.Sprintf("drill-%d", n), UID: uid(n), Began: ended.Add(-time.Minute), Ended: ended, Seconds: 60, BytesRead: 4096, Passed: true,
		Checks: []archive.Check{{Name: "web", Asked: json.RawMessage(`{"name":"web"}`), Passed: true, Seconds: 3}},
	}
}

// TestDrills writes records of drills, changes them in every way that somebody with the store's credentials can, and wants it told by name.
func TestDrills(t *testing.T) {
	t.Parallel()
	one, two := "drills/sportello/"+uid(1), "drills/sportello/"+uid(2)
	put := func(s *archive.Memory, name string, data []byte) { s.Swap(name, data) }
	get := func(s *archive.Memory, name string) []byte { return must(s.Get(context.Background(), name, 1<<20)) }
	tests := map[string]struct {
		reason string
		do     func(s *archive.Memory)
		want   []string // faults
		left   []int    // drills that are believed
	}{
		"nothing": {"what was written is read", func(*archive.Memory) {}, nil, []int{1, 2}},
		"a flip": {"one bit of what it says", func(s *archive.Memory) {
			f := slices.Clone(get(s, "lugano/"+one))
			f[200] ^= 1
			put(s, "lugano/"+one, f)
		}, []string{one}, []int{2}},
		"a header":   {"the number that anybody reads", func(s *archive.Memory) { f := slices.Clone(get(s, "lugano/"+one)); f[8] ^= 1; put(s, "lugano/"+one, f) }, []string{one}, []int{2}},
		"truncated":  {"half a record", func(s *archive.Memory) { f := get(s, "lugano/"+one); put(s, "lugano/"+one, f[:len(f)/2]) }, []string{one}, []int{2}},
		"a copy":     {"the good one under the bad one's name", func(s *archive.Memory) { put(s, "lugano/"+two, get(s, "lugano/"+one)) }, []string{two}, []int{1}},
		"a new name": {"an old one, as of a drill that was not", func(s *archive.Memory) { put(s, "lugano/drills/sportello/"+uid(3), get(s, "lugano/"+one)) }, []string{"drills/sportello/" + uid(3)}, []int{1, 2}},
		"another workspace's": {"", func(s *archive.Memory) { put(s, "lugano/drills/identita/"+uid(1), get(s, "lugano/"+one)) },
			[]string{"drills/identita/" + uid(1)}, []int{1, 2}},
		"another tenant's": {"it has the same names there", func(s *archive.Memory) { put(s, "lugano/"+one, get(s, "bellinzona/"+one)) }, []string{one}, []int{2}},
		"forged": {"signed by another key", func(s *archive.Memory) {
			other := archive.Repository{Store: archive.NewMemory(), Tenant: "lugano", Key: archive.NewKey()}
			d := must(other.Attest(context.Background(), rehearsed(1)))
			put(s, "lugano/"+one, must(other.Store.Get(context.Background(), d.Evidence.Name, 1<<20)))
		}, []string{one}, []int{2}},
		"a manifest": {"what is signed as another thing", func(s *archive.Memory) { put(s, "lugano/"+one, get(s, "lugano/manifests/sportello/0000000001")) }, []string{one}, []int{2}},
		"foreign":    {"", func(s *archive.Memory) { put(s, "lugano/drills/sportello/readme", []byte("?")) }, []string{"drills/sportello/readme"}, []int{1, 2}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			s := archive.NewMemory()
			r := repository(s, "lugano")
			backedUp(t, r, "sportello", "1", few())
			for _, n := range []int{2, 1} {
				must(r.Attest(ctx, rehearsed(n)))
				must(repository(s, "bellinzona").Attest(ctx, rehearsed(n)))
			}
			test.do(s)
			drills, faults, err := r.Drills(ctx)
			if err != nil {
				t.Fatal(err)
			}
			var told []string
			for _, f := range faults {
				if !errors.Is(f.Err, archive.ErrDamaged) && !errors.Is(f.Err, archive.ErrForeign) {
					t.Errorf("%s: %v", f.Name, f.Err)
				}
				told = append(told, strings.TrimPrefix(f.Name, "lugano/"))
			}
			if diff := gocmp.Diff(test.want, told); diff != "" {
				t.Errorf("%s: faults (-want +got):\n%s", test.reason, diff)
			}
			var left []archive.Drill
			for _, n := range test.left {
				d := rehearsed(n)
				d.Format, d.Tenant = 1, "lugano"
				left = append(left, d)
			}
			for i := range drills {
				drills[i].Evidence, drills[i].Written = archive.Evidence{}, time.Time{}
			}
			if diff := gocmp.Diff(left, drills); diff != "" {
				t.Errorf("%s: drills (-want +got):\n%s", test.reason, diff)
			}
			c := chain(t, r, "sportello")
			if places, strange, err := r.Places(ctx); err != nil || len(places) != 1 || strange != nil || len(c.Records) != 1 || c.Faults != nil {
				t.Errorf("records of drills are taken for backups: %v, %v, %v: %v", places, strange, c, err)
			}
		})
	}
}

// TestAttestTwice: a record is written once, and what is there stays, unless somebody else has put it there.
func TestAttestTwice(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := archive.NewMemory()
	r := repository(s, "lugano")
	r.LockDays = 14
	first := must(r.Attest(ctx, rehearsed(1)))
	file := must(s.Get(ctx, first.Evidence.Name, 1<<20))
	if _, err := archive.CheckSignature(r.Key.Public(), first.Evidence.Name, file); err != nil || !strings.HasSuffix(string(file), string(first.Evidence.Signature)) {
		t.Errorf("whoever has the public key does not verify it: %v", err)
	}
	if s.Until(first.Evidence.Name).IsZero() {
		t.Error("it is not locked")
	}
	if strings.Contains(string(file), "notturno") {
		t.Error("the store reads what it says")
	}
	again := rehearsed(1)
	again.Passed, again.Message = false, "what a second pass would say"
	if got := must(r.Attest(ctx, again)); !gocmp.Equal(got.Evidence, first.Evidence) || !got.Passed {
		t.Errorf("the second time it is %+v", got)
	}
	s.Swap("lugano/drills/sportello/"+uid(2), []byte("planted"))
	other := must(r.Attest(ctx, rehearsed(2)))
	if want := "lugano/drills/sportello/" + uid(2) + ".1"; other.Evidence.Name != want {
		t.Errorf("beside what was planted it is %s, want %s", other.Evidence.Name, want)
	}
	if drills, faults, err := r.Drills(ctx); err != nil || len(drills) != 2 || len(faults) != 1 {
		t.Errorf("%d drills and faults %v: %v", len(drills), faults, err)
	}
	for _, bad := range []archive.Drill{{Workspace: "../bellinzona", UID: uid(1)}, {Workspace: "sportello", UID: "../x"}, {Workspace: "sportello"}} {
		if d, err := r.Attest(ctx, bad); err == nil {
			t.Errorf("%q was written as %s", bad.UID, d.Evidence.Name)
		}
	}
}

// TestDrillsAreSwept after 400 days, and nothing else of their folder.
func TestDrillsAreSwept(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, later := calendar()
	r := repository(s, "lugano")
	backedUp(t, r, "sportello", "1", few())
	must(r.Attest(ctx, rehearsed(1)))
	s.Swap("lugano/drills/sportello/readme", []byte("?"))
	for _, c := range []struct {
		days, want int
	}{{399, 2}, {2, 1}} {
		later(time.Duration(c.days) * 24 * time.Hour)
		must(r.Sweep(ctx, 100))
		if left := must(s.List(ctx, "lugano/drills/")); len(left) != c.want {
			t.Errorf("after %d days more there are %v", c.days, left)
		}
	}
	if c := chain(t, r, "sportello"); len(c.Records) != 1 || c.Faults != nil {
		t.Errorf("the backup: %+v", c)
	}
}
