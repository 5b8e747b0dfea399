package archive_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/broletto/broletto/operator/archive"
)

// gets counts how often each page is read, and damages one.
type gets struct {
	archive.Store
	lock    sync.Mutex
	pages   map[string]int
	damaged string
}

func (g *gets) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	data, err := g.Store.Get(ctx, name, limit)
	g.lock.Lock()
	defer g.lock.Unlock()
	if strings.Contains(name, "/objects/") {
		g.pages[name]++
	}
	if err == nil && g.damaged != "" && strings.HasSuffix(name, g.damaged) {
		data = bytes.Clone(data)
		data[len(data)/2] ^= 1
	}
	return data, err
}

// TestRound holds that a page that several backups share is read once in a round, counted once, and lost to all of them when it is damaged.
func TestRound(t *testing.T) {
	t.Parallel()
	store := &gets{Store: archive.NewMemory(), pages: map[string]int{}}
	r := repository(store, "lugano")
	first, _ := backedUp(t, r, "sportello", "1", few())
	second, _ := backedUp(t, r, "sportello", "2", append(few(), object{sensors, "new", `{"n":"new"}`}))
	clear(store.pages)
	store.damaged = first.Pages[0].Page
	round := &archive.Round{}
	a, lostA, err := r.VerifyIn(t.Context(), first, round)
	if err != nil {
		t.Fatal(err)
	}
	b, lostB, err := r.VerifyIn(t.Context(), second, round)
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range store.pages {
		if n != 1 {
			t.Errorf("%s was read %d times", name, n)
		}
	}
	if len(lostA) != 1 || len(lostB) != 1 || lostB[0].Page.Page != store.damaged {
		t.Errorf("lost are %v and %v", lostA, lostB)
	}
	if a.Pages != len(first.Pages)-1 || b.Pages == 0 || b.Pages >= a.Pages || b.Bytes >= a.Bytes {
		t.Errorf("read were %+v and then %+v", a, b)
	}
	store.damaged = ""
	if _, lost, err := r.VerifyIn(t.Context(), second, &archive.Round{}); err != nil || len(lost) > 0 {
		t.Errorf("in another round: %v, %v", lost, err)
	}
}

// TestGeneration holds that a generation ends once, for good, and by nobody's word but that of who has the tenant's key.
func TestGeneration(t *testing.T) {
	t.Parallel()
	store := archive.NewMemory()
	r := repository(store, "lugano")
	is := func(want int32) {
		t.Helper()
		if n, err := r.Generation(t.Context()); err != nil || n != want {
			t.Errorf("the generation is %d, %v, want %d", n, err, want)
		}
	}
	is(1)
	for _, name := range []string{"0000000002", "0000000009", "x"} {
		if err := store.Put(t.Context(), "lugano/generations/"+name, []byte("planted"), time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	is(1)
	for range 2 { // to begin it twice is harmless
		if n, err := r.Renew(t.Context(), 1, "a pack is damaged"); err != nil || n != 3 {
			t.Fatalf("renewed to %d, %v: number 2 is taken by what is not signed", n, err)
		}
		is(3)
	}
	if n, err := r.Renew(t.Context(), 3, "another one"); err != nil || n != 4 {
		t.Errorf("renewed to %d, %v", n, err)
	}
	is(4)
	stranger := repository(store, "chiasso")
	stranger.Tenant = "lugano" // another key
	if n, err := stranger.Generation(t.Context()); err != nil || n != 1 {
		t.Errorf("by another's key it is %d, %v", n, err)
	}
}
