package archive_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/broletto/broletto/operator/archive"
)

// TestTampered changes manifests in every way that somebody with the store's credentials can, and wants it told by name.
func TestTampered(t *testing.T) {
	t.Parallel()
	const one, two, three, four = "manifests/sportello/0000000001", "manifests/sportello/0000000002", "manifests/sportello/0000000003", "manifests/sportello/0000000004"
	get := func(s *archive.Memory, name string) []byte { return must(s.Get(context.Background(), name, 1<<20)) }
	put := func(s *archive.Memory, name string, data []byte) { s.Swap(name, data) }
	drop := func(s *archive.Memory, name string) { _ = s.Delete(context.Background(), name) }
	tests := map[string]struct {
		reason  string
		do      func(s *archive.Memory)
		want    []string
		records int
	}{
		"nothing":               {"a whole chain is whole", func(*archive.Memory) {}, nil, 3},
		"a gap":                 {"one in the middle is gone", func(s *archive.Memory) { drop(s, "lugano/"+two) }, []string{two + " missing"}, 2},
		"the first is gone":     {"the chain begins with number 1", func(s *archive.Memory) { drop(s, "lugano/"+one) }, []string{one + " missing"}, 2},
		"two are gone":          {"the last of them is named", func(s *archive.Memory) { drop(s, "lugano/"+one); drop(s, "lugano/"+two) }, []string{two + " missing"}, 1},
		"truncated":             {"half a file", func(s *archive.Memory) { f := get(s, "lugano/"+two); put(s, "lugano/"+two, f[:len(f)/2]) }, []string{two + " damaged"}, 2},
		"empty":                 {"none of it", func(s *archive.Memory) { put(s, "lugano/"+two, nil) }, []string{two + " damaged"}, 2},
		"an old one as newest":  {"a copy under a new number", func(s *archive.Memory) { put(s, "lugano/"+four, get(s, "lugano/"+one)) }, []string{four + " replayed"}, 3},
		"an old one in between": {"a copy over another one", func(s *archive.Memory) { put(s, "lugano/"+three, get(s, "lugano/"+one)) }, []string{three + " replayed"}, 2},
		"another workspace's":   {"the same number of another workspace", func(s *archive.Memory) { put(s, "lugano/"+two, get(s, "lugano/manifests/identita/0000000002")) }, []string{two + " damaged"}, 2},
		"another tenant's":      {"the same workspace of another tenant", func(s *archive.Memory) { put(s, "lugano/"+two, get(s, "bellinzona/"+two)) }, []string{two + " damaged"}, 2},
		"swapped": {"two changed places", func(s *archive.Memory) { put(s, "lugano/"+two, s.Swap("lugano/"+three, get(s, "lugano/"+two))) },
			[]string{two + " replayed", three + " replayed"}, 1},
		"strange names": {"what is no number", func(s *archive.Memory) {
			for _, name := range []string{"1", "0000000000", "00000000001", "0000000001/x", "-000000001", "000000000x"} {
				put(s, "lugano/manifests/sportello/"+name, nil)
			}
		}, []string{"manifests/sportello/-000000001 foreign", "manifests/sportello/0000000000 foreign", "manifests/sportello/00000000001 foreign",
			"manifests/sportello/0000000001/x foreign", "manifests/sportello/000000000x foreign", "manifests/sportello/1 foreign"}, 3},
		"a planted removal": {"nobody removed it", func(s *archive.Memory) { put(s, "lugano/removed/sportello/0000000002", []byte("x")) },
			[]string{"removed/sportello/0000000002 damaged"}, 3},
		"a planted removal, and a gap": {"nobody removed it", func(s *archive.Memory) {
			drop(s, "lugano/"+two)
			put(s, "lugano/removed/sportello/0000000002", []byte("x"))
		},
			[]string{two + " missing", "removed/sportello/0000000002 damaged"}, 2},
		"a manifest as removal": {"its own", func(s *archive.Memory) { put(s, "lugano/removed/sportello/0000000002", get(s, "lugano/"+two)) },
			[]string{"removed/sportello/0000000002 damaged"}, 3},
		"numbers used up": {"a planted last number", func(s *archive.Memory) { put(s, "lugano/manifests/sportello/9999999999", []byte("x")) },
			[]string{"manifests/sportello/9999999999 damaged"}, 3},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := archive.NewMemory()
			r := repository(s, "lugano")
			for i := range 3 {
				backedUp(t, r, "sportello", fmt.Sprint(i), few()[i:])
				backedUp(t, r, "identita", fmt.Sprint(i), few()[i:])
				backedUp(t, repository(s, "bellinzona"), "sportello", fmt.Sprint(i), few()[i:])
			}
			test.do(s)
			c := chain(t, r, "sportello")
			if diff := gocmp.Diff(test.want, faultNames(c)); diff != "" || len(c.Records) != test.records {
				t.Errorf("%s: %d backups (-want +got faults):\n%s", test.reason, len(c.Records), diff)
			}
			if c := chain(t, r, "identita"); len(c.Faults) != 0 {
				t.Errorf("the other workspace has faults: %v", c.Faults)
			}
			m, _ := backedUp(t, r, "sportello", "after", few()) // and life goes on
			if got := faultNames(chain(t, r, "sportello")); len(got) > len(test.want) {
				t.Errorf("after another backup, %d: %v", m.Sequence, got)
			}
			holds(t, r, m, few())
		})
	}
}

// TestSetBack takes the newest away, which only shows to who knew it.
func TestSetBack(t *testing.T) {
	t.Parallel()
	s := archive.NewMemory()
	r := repository(s, "lugano")
	var heads []archive.Head
	for i := range 3 {
		m, _ := backedUp(t, r, "sportello", fmt.Sprint(i), few())
		heads = append(heads, m.Head())
	}
	c := chain(t, r, "sportello")
	for _, h := range append(heads, archive.Head{}) {
		if err := c.Holds(h); err != nil {
			t.Error(err)
		}
	}
	_ = s.Delete(t.Context(), "lugano/manifests/sportello/0000000003")
	if err := chain(t, r, "sportello").Holds(heads[2]); !errors.Is(err, archive.ErrMissing) {
		t.Errorf("the newest is gone: %v", err)
	}
	m := must(r.Read(t.Context(), "sportello", 1))
	m.Hash[0]++
	if _, _, err := r.Verify(t.Context(), m); !errors.Is(err, archive.ErrDamaged) {
		t.Errorf("verified another one of the same number: %v", err)
	}
	other := heads[0]
	other.Hash[0]++
	if err := c.Holds(other); !errors.Is(err, archive.ErrOutOfChain) {
		t.Errorf("another one of the same number: %v", err)
	}
}

// TestFlips flips bits all over manifests: not one may count.
func TestFlips(t *testing.T) {
	t.Parallel()
	s := archive.NewMemory()
	r := repository(s, "lugano")
	m, _ := backedUp(t, r, "sportello", "1", some(secrets, 3))
	file := must(s.Get(t.Context(), m.File(), 1<<20))
	for i := range len(file) * 8 {
		flipped := slices.Clone(file)
		flipped[i/8] ^= 1 << (i % 8)
		s.Swap(m.File(), flipped)
		if _, err := r.Read(t.Context(), "sportello", 1); !errors.Is(err, archive.ErrDamaged) {
			t.Fatalf("bit %d of the manifest flipped: %v", i, err)
		}
		if _, _, err := r.Verify(t.Context(), m); !errors.Is(err, archive.ErrDamaged) {
			t.Fatalf("bit %d of the manifest flipped, verified: %v", i, err)
		}
	}
	s.Swap(m.File(), file)
	page := files(m)[0]
	file = must(s.Get(t.Context(), page, 1<<20))
	for i := range len(file) * 8 {
		flipped := slices.Clone(file)
		flipped[i/8] ^= 1 << (i % 8)
		s.Swap(page, flipped)
		if got, lost, err := restored(t.Context(), r, m); err != nil || len(got) != 0 || len(lost) != 1 || !errors.Is(lost[0].Err, archive.ErrDamaged) {
			t.Fatalf("bit %d of the page flipped: %d objects, lost %v: %v", i, len(got), lost, err)
		}
	}
}

// TestDamagedPages cost what is in them and nothing else, are told by name, and are written anew by the next backup.
func TestDamagedPages(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reason string
		do     func(s *archive.Memory, page, other, foreign string)
		want   error
	}{
		"gone":      {"somebody deleted it", func(s *archive.Memory, page, _, _ string) { _ = s.Delete(context.Background(), page) }, archive.ErrNotFound},
		"truncated": {"half of it", func(s *archive.Memory, page, _, _ string) { f := s.Swap(page, nil); s.Swap(page, f[:len(f)/2]) }, archive.ErrDamaged},
		"longer":    {"more than all of it", func(s *archive.Memory, page, _, _ string) { s.Swap(page, append(s.Swap(page, nil), 0)) }, archive.ErrDamaged},
		"flipped":   {"one bit", func(s *archive.Memory, page, _, _ string) { f := s.Swap(page, nil); f[len(f)/2] ^= 4; s.Swap(page, f) }, archive.ErrDamaged},
		"another": {"a page of the same backup", func(s *archive.Memory, page, other, _ string) {
			s.Swap(page, must(s.Get(context.Background(), other, 1<<20)))
		}, archive.ErrDamaged},
		"foreign": {"of another tenant", func(s *archive.Memory, page, _, foreign string) {
			s.Swap(page, must(s.Get(context.Background(), foreign, 1<<20)))
		}, archive.ErrDamaged},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := archive.NewMemory()
			r := repository(s, "lugano")
			objects := some(secrets, 1000)
			m, _ := backedUp(t, r, "sportello", "1", objects)
			foreign, _ := backedUp(t, repository(s, "bellinzona"), "sportello", "1", objects)
			i := len(m.Pages) / 2
			test.do(s, files(m)[i], files(m)[i+1], files(foreign)[i])
			got, lost, err := restored(t.Context(), r, m)
			if err != nil || len(lost) != 1 || lost[0].Page.Page != m.Pages[i].Page || !errors.Is(lost[0].Err, test.want) || len(got)+len(m.Pages[i].Names) != len(objects) {
				t.Fatalf("%s: %d objects, lost %v: %v", test.reason, len(got), lost, err)
			}
			v, lost, err := r.Verify(t.Context(), m)
			if err != nil || len(lost) != 1 || v.Pages != len(m.Pages)-1 || gocmp.Diff(lost[0].Names, m.Pages[i].Names) != "" {
				t.Errorf("%s: verified %+v, lost %v: %v", test.reason, v, lost, err)
			}
			healed, written := backedUp(t, r, "sportello", "2", objects, lost[0].Page.Page)
			if written != 1 {
				t.Errorf("%d pages were written anew for one that was damaged", written)
			}
			holds(t, r, healed, objects)
		})
	}
}

// TestWrongKey opens nothing and says so.
func TestWrongKey(t *testing.T) {
	t.Parallel()
	r := repository(archive.NewMemory(), "lugano")
	m, _ := backedUp(t, r, "sportello", "1", few())
	r.Key = archive.NewKey()
	c := chain(t, r, "sportello")
	if diff := gocmp.Diff([]string{"manifests/sportello/0000000001 damaged"}, faultNames(c)); diff != "" || len(c.Records) != 0 {
		t.Errorf("with another key: %d backups\n%s", len(c.Records), diff)
	}
	got, lost, err := restored(t.Context(), r, m)
	if err != nil || len(got) != 0 || len(lost) != len(m.Pages) {
		t.Errorf("with another key: %d objects, lost %d: %v", len(got), len(lost), err)
	}
	if _, err := r.Sweep(t.Context(), 100); !errors.Is(err, archive.ErrDamaged) {
		t.Errorf("swept with another key: %v", err)
	}
}

// weak is a store that fails: before a request, or after it, so that its answer alone is lost; down: from then on.
type weak struct {
	archive.Store
	fails func(n int, name string) (before, after bool)
	n     chan int
}

var errWeak = errors.New("the store is down")

func newWeak(s archive.Store, fails func(n int, name string) (before, after bool)) *weak {
	w := &weak{s, fails, make(chan int, 1)}
	w.n <- 0
	return w
}

func (w *weak) do(name string, f func() error) error {
	n := <-w.n
	w.n <- n + 1
	before, after := w.fails(n, name)
	if before {
		return errWeak
	}
	err := f()
	if after {
		return errWeak
	}
	return err
}

func (w *weak) Put(ctx context.Context, name string, data []byte, until time.Time) error {
	return w.do(name, func() error { return w.Store.Put(ctx, name, data, until) })
}

func (w *weak) Get(ctx context.Context, name string, limit int64) (data []byte, err error) {
	err = w.do(name, func() (err error) { data, err = w.Store.Get(ctx, name, limit); return err })
	return data, err
}

func (w *weak) List(ctx context.Context, prefix string) (found []archive.Entry, err error) {
	err = w.do(prefix, func() (err error) { found, err = w.Store.List(ctx, prefix); return err })
	return found, err
}

func (w *weak) Keep(ctx context.Context, name string, until time.Time) error {
	return w.do(name, func() error { return w.Store.Keep(ctx, name, until) })
}

func (w *weak) Delete(ctx context.Context, name string) error {
	return w.do(name, func() error { return w.Store.Delete(ctx, name) })
}

// TestCrash ends two backups, a removal and a sweep at each request, before and after it: what counts is whole, and another pass puts it right.
func TestCrash(t *testing.T) {
	t.Parallel()
	first, second := some(secrets, 150), append(some(configMaps, 50), some(secrets, 160)...)
	play := func(s archive.Store) error {
		r := repository(s, "lugano")
		r.LockDays = 30
		for uid, objects := range map[string][]object{"1": first, "2": second} {
			if _, err := r.Find(context.Background(), "sportello", uid, time.Time{}); !errors.Is(err, archive.ErrNotFound) {
				if err != nil {
					return err
				}
				continue
			}
			if _, _, err := backUp(context.Background(), r, "sportello", uid, objects); err != nil {
				return err
			}
		}
		m, err := r.Find(context.Background(), "sportello", "1", time.Time{})
		if err == nil {
			err = r.Remove(context.Background(), m)
		}
		if err == nil {
			_, err = r.Sweep(context.Background(), 1000)
		}
		return err
	}
	total := 0
	if err := play(newWeak(archive.NewMemory(), func(n int, _ string) (bool, bool) { total = n; return false, false })); err != nil {
		t.Fatal(err)
	}
	for at := range total + 1 {
		for _, lost := range []bool{false, true} {
			s := archive.NewMemory()
			err := play(newWeak(s, func(n int, _ string) (bool, bool) { return n > at || n == at && !lost, n >= at }))
			if err == nil && at < total {
				t.Fatalf("ended at request %d, and nobody noticed", at)
			}
			r := repository(s, "lugano")
			whole(t, r, map[string][]object{"1": first, "2": second}, fmt.Sprint(at, lost))
			if err := play(s); err != nil {
				t.Fatalf("ended at request %d, and again: %v", at, err)
			}
			if c := whole(t, r, map[string][]object{"1": first, "2": second}, fmt.Sprint(at, lost)); len(c.Records) != 1 || c.Newest.Sequence > 3 { // the removed one may be made again
				t.Errorf("ended at request %d, and again: %d backups, the newest is %d", at, len(c.Records), c.Newest.Sequence)
			}
		}
	}
}

// whole wants every backup that counts to be what it says.
func whole(t *testing.T, r archive.Repository, want map[string][]object, when string) archive.Chain {
	t.Helper()
	c := chain(t, r, "sportello")
	if len(c.Faults) != 0 {
		t.Errorf("%s: %v", when, c.Faults)
	}
	for _, record := range c.Records {
		m, err := r.Read(t.Context(), "sportello", record.Sequence)
		if err != nil {
			t.Fatal(err)
		}
		got, lost, err := restored(t.Context(), r, m)
		if err != nil || len(lost) != 0 || !slices.Equal(got, want[m.UID]) {
			t.Errorf("%s: backup %s has %d objects, lost %v: %v", when, m.UID, len(got), lost, err)
		}
	}
	return c
}

// TestStoreDown tells a store that is down from a page that it cannot give.
func TestStoreDown(t *testing.T) {
	t.Parallel()
	s := archive.NewMemory()
	objects := some(secrets, 2000)
	m, _ := backedUp(t, repository(s, "lugano"), "sportello", "1", objects)
	bad := files(m)[3]
	r := repository(newWeak(s, func(_ int, name string) (bool, bool) { return name == bad, false }), "lugano")
	got, lost, err := restored(t.Context(), r, m)
	if err != nil || len(lost) != 1 || !errors.Is(lost[0].Err, errWeak) || errors.Is(lost[0].Err, archive.ErrDamaged) || len(got)+len(lost[0].Names) != len(objects) {
		t.Errorf("a page that the store cannot give: %d objects, lost %v: %v", len(got), lost, err)
	}
	r = repository(newWeak(s, func(n int, _ string) (bool, bool) { return n >= 5, false }), "lugano")
	if _, lost, err := restored(t.Context(), r, m); !errors.Is(err, errWeak) || len(lost) != 0 {
		t.Errorf("a store that is down: lost %v: %v", lost, err)
	}
	if _, err := r.Manifests(t.Context(), "sportello"); !errors.Is(err, errWeak) {
		t.Errorf("a store that is down has a chain: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := restored(ctx, repository(s, "lugano"), m); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	stop := errors.New("enough")
	if _, err := repository(s, "lugano").Objects(t.Context(), m, func(archive.Resource, string, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("a visitor who stops: %v", err)
	}
}

// FuzzFile reads whatever lies in a manifest's place, and behind a good signature whatever is in it.
func FuzzFile(f *testing.F) {
	s := archive.NewMemory()
	r := repository(s, "lugano")
	m, _, err := backUp(context.Background(), r, "sportello", "1", some(secrets, 3))
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range []string{m.File(), files(m)[0]} {
		f.Add(must(s.Get(context.Background(), name, 1<<20)))
	}
	original := must(s.Get(context.Background(), m.File(), 1<<20))
	page := must(s.Get(context.Background(), files(m)[0], 1<<20))
	f.Fuzz(func(t *testing.T, data []byte) {
		s.Swap(m.File(), data)
		if got, err := r.Read(t.Context(), "sportello", 1); err == nil && got.Hash != m.Hash || err != nil && !errors.Is(err, archive.ErrDamaged) {
			t.Errorf("a manifest that nobody signed: %v", err)
		}
		s.Swap(m.File(), original)
		s.Swap(files(m)[0], data)
		if got, lost, err := restored(t.Context(), r, m); err != nil || len(lost) == 0 && len(got) != 3 || len(lost) == 1 && len(got) != 0 {
			t.Errorf("a page that nobody sealed: %d objects, lost %v: %v", len(got), lost, err)
		}
		s.Swap(files(m)[0], page)
	})
}

// TestNoise is a little of the fuzzing, each time.
func TestNoise(t *testing.T) {
	t.Parallel()
	s := archive.NewMemory()
	r := repository(s, "lugano")
	m, _ := backedUp(t, r, "sportello", "1", some(secrets, 3))
	file := must(s.Get(t.Context(), m.File(), 1<<20))
	for range 3000 {
		noise := slices.Clone(file)
		for range 1 + rand.IntN(8) {
			noise[rand.IntN(len(noise))] = byte(rand.Uint32())
		}
		if slices.Equal(noise, file) {
			continue
		}
		s.Swap(m.File(), noise[:rand.IntN(len(noise)+1)])
		if _, err := r.Read(t.Context(), "sportello", 1); !errors.Is(err, archive.ErrDamaged) {
			t.Fatalf("noise: %v", err)
		}
	}
}
