package archive

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestCut is what holds for the pages of any objects: they are those objects in their order, no page is too large or of two resources, and an
// object that is added or changed costs few pages.
func TestCut(t *testing.T) {
	t.Parallel()
	resources := []Resource{{Version: "v1", Resource: "secrets", Kind: "Secret"}, {Version: "v1", Resource: "services", Kind: "Service"}, {Group: "x.org", Version: "v2", Resource: "x", Kind: "X"}}
	rapid.Check(t, func(t *rapid.T) {
		s := NewMemory()
		r := Repository{Store: s, Tenant: "lugano"}
		size := rapid.SampledFrom([]int{10, 100, 300_000}).Draw(t, "size")
		names := make([][]string, len(resources))
		for i := range resources {
			seed, n := rapid.StringN(0, 12, -1).Draw(t, "seed"), rapid.IntRange(0, 700/(1+size/10_000)).Draw(t, "objects")
			for j := range n {
				names[i] = append(names[i], fmt.Sprint(seed, "-", j))
			}
			slices.Sort(names[i])
		}
		back := func(uid string) *Manifest {
			b, err := r.Begin(context.Background(), "w")
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range resources {
				for _, name := range names[i] {
					if err := b.Add(context.Background(), r, name, fmt.Appendf(nil, "{%q:%q}", name, strings.Repeat("x", size))); err != nil {
						t.Fatal(err)
					}
				}
			}
			m, err := b.Commit(context.Background(), About{UID: uid})
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		first := back("1")
		got := map[Resource][]string{}
		for _, p := range first.Pages {
			got[p.Resource] = append(got[p.Resource], p.Names...)
			if len(p.Names) > maxPageObjects || p.Bytes > maxPageBytes+objectLimit || p.Bytes > maxPageBytes && len(p.Names) > 1 {
				t.Errorf("a page has %d objects of %d bytes", len(p.Names), p.Bytes)
			}
		}
		for i, r := range resources {
			if !slices.Equal(got[r], names[i]) {
				t.Errorf("pages have %d %s of %d", len(got[r]), r, len(names[i]))
			}
		}
		i := rapid.IntRange(0, len(resources)-1).Draw(t, "resource")
		names[i] = slices.Insert(names[i], rapid.IntRange(0, len(names[i])).Draw(t, "at"), "a new one")
		known := map[string]bool{}
		for _, p := range first.Pages {
			known[p.Page] = true
		}
		changed, run := 0, 0
		for _, p := range back("2").Pages {
			if !known[p.Page] {
				changed++
			}
			run = max(run, len(p.Names))
		}
		full := maxPageBytes/max(size, 1) < 8*pageObjects // pages end where they are full: the rest moves up to the next name that ends one
		if limit := 3; changed == 0 || changed > limit && !full {
			t.Errorf("%d pages changed for one object, of %d", changed, len(first.Pages))
		}
	})
}

// FuzzManifest reads any content that a holder of the key may have signed.
func FuzzManifest(f *testing.F) {
	m := &Manifest{Record: Record{Format: 1, Tenant: "lugano", Workspace: "w", Sequence: 1, Objects: 1, Bytes: 3}, Pages: []Page{
		{Resource: Resource{Version: "v1", Resource: "secrets", Kind: "Secret"}, Page: strings.Repeat("a", 64), Bytes: 3, Size: 9, Names: []string{"東京"}},
	}}
	content, err := m.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte(`{"format":1,"pages":[{"page":"../../keys/x","version":"v1","resource":"s","kind":"S","names":["a"],"bytes":-1}]}`))
	r := Repository{Store: NewMemory(), Tenant: "lugano", Key: NewKey()}
	f.Fuzz(func(t *testing.T, content []byte) {
		m, err := decode(content)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("no damage: %v", err)
			}
			return
		}
		for _, p := range m.Pages {
			if strings.ContainsAny(p.Page, "/\\") || len(p.Names) == 0 || p.Size < 0 {
				t.Errorf("page %+v", p)
			}
		}
		if _, err := json.Marshal(m); err != nil {
			t.Error(err)
		}
		m.Tenant, m.Workspace = "lugano", "w"
		lost, err := r.Objects(context.Background(), m, func(Resource, string, []byte) error { return errors.New("there is none") })
		if err != nil || len(lost) != len(m.Pages) {
			t.Errorf("lost %d of %d pages: %v", len(lost), len(m.Pages), err)
		}
	})
}

// FuzzPage unpacks whatever a holder of the key may have sealed.
func FuzzPage(f *testing.F) {
	for _, data := range []string{"", "\n", "{}\n", "{}", "\n\n\n"} {
		f.Add([]byte(data), true)
		f.Add([]byte(data), false)
	}
	k := NewKey()
	f.Fuzz(func(t *testing.T, data []byte, pack bool) {
		aead := k.cipher()
		sealed := append([]byte{format}, aead.Seal(nil, nil, data, []byte("x"))...)
		if pack {
			sealed = seal(aead, []byte("x"), data)
		}
		got, err := open(aead, []byte("x"), sealed, 1<<20)
		if pack && (err != nil || string(got) != string(data)) || err != nil && !errors.Is(err, ErrDamaged) || len(got) > 1<<20 {
			t.Errorf("%d of %d bytes: %v", len(got), len(data), err)
		}
		if n := len(lines(got)); n > len(got) {
			t.Errorf("%d lines of %d bytes", n, len(got))
		}
	})
}

// TestBomb is a small file that unpacks to much: it is not unpacked.
func TestBomb(t *testing.T) {
	t.Parallel()
	aead := NewKey().cipher()
	bomb := seal(aead, nil, make([]byte, 40<<20))
	if _, err := open(aead, nil, bomb, pageLimit); !errors.Is(err, ErrDamaged) || len(bomb) > 1<<20 {
		t.Errorf("%d bytes that unpack to 40 MiB: %v", len(bomb), err)
	}
}

// TestMoved is a page that a holder of the key sealed for its place, of another workspace's or resource's objects.
func TestMoved(t *testing.T) {
	t.Parallel()
	r := Repository{Store: NewMemory(), Tenant: "lugano", Key: NewKey()}
	roles := Resource{Version: "v1", Resource: "roles", Kind: "Role"}
	plain := []byte("{}\n")
	for of, want := range map[string]int{"w": 0, "v": 1} {
		hash := nameOf(r.Key.derive(forNames), of, roles, plain)
		sealed := seal(r.Key.cipher(), []byte("lugano/"+objectsFolder+hash), plain)
		if err := r.Store.Put(t.Context(), "lugano/"+objectsFolder+hash, sealed, time.Time{}); err != nil {
			t.Fatal(err)
		}
		m := &Manifest{Record: Record{Tenant: "lugano", Workspace: "w"}, Pages: []Page{{Resource: roles, Page: hash, Bytes: 3, Size: int64(len(sealed)), Names: []string{"x"}}}}
		if lost, err := r.Objects(t.Context(), m, func(Resource, string, []byte) error { return nil }); err != nil || len(lost) != want {
			t.Errorf("a page of workspace %s: lost %v: %v", of, lost, err)
		}
	}
}

// TestLate is a backup that took longer than what it relies on is sure to stay.
func TestLate(t *testing.T) {
	t.Parallel()
	b, err := Repository{Store: NewMemory(), Tenant: "lugano"}.Begin(t.Context(), "w")
	if err != nil {
		t.Fatal(err)
	}
	b.begun = b.begun.Add(-longest - 1)
	if _, err := b.Commit(t.Context(), About{}); err == nil || !strings.Contains(err.Error(), "begin again") {
		t.Errorf("committed after more than %s: %v", longest, err)
	}
}

// BenchmarkObjects backs up 31,000 Secrets of about 1 KiB, a second time with one new one, and reads all of it back.
func BenchmarkObjects(b *testing.B) {
	secrets := Resource{Version: "v1", Resource: "secrets", Kind: "Secret"}
	const n = 31_000
	names, objects := make([]string, n), make([][]byte, n)
	for i := range n {
		noise := rand.Text() + rand.Text() + rand.Text()
		names[i] = fmt.Sprintf("secret-%06d", i)
		objects[i] = fmt.Appendf(nil, `{"apiVersion":"v1","kind":"Secret","metadata":{"name":%q,"namespace":"lugano--sportello","labels":{"app":"sportello"}},"data":{"password":%q,"ca":%q}}`,
			names[i], noise, strings.Repeat("Q2VydGlmaWNhdGU", 50))
	}
	back := func(r Repository, uid string, n int) (*Manifest, int) {
		w, err := r.Begin(context.Background(), "sportello")
		if err != nil {
			b.Fatal(err)
		}
		for i := range n {
			if err := w.Add(context.Background(), secrets, names[i], objects[i]); err != nil {
				b.Fatal(err)
			}
		}
		m, err := w.Commit(context.Background(), About{UID: uid})
		if err != nil {
			b.Fatal(err)
		}
		return m, w.Written()
	}
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m, written := back(Repository{Store: NewMemory(), Tenant: "lugano"}, "1", n)
			b.ReportMetric(float64(m.Bytes)/(1<<20), "MiB")
			b.ReportMetric(float64(written), "pages")
		}
	})
	r := Repository{Store: NewMemory(), Tenant: "lugano"}
	back(r, "0", n-1)
	i := 0
	b.Run("second", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			i++
			_, written := back(r, fmt.Sprint(i), n)
			b.ReportMetric(float64(written), "pages")
		}
	})
	m, _ := back(r, "1", n)
	b.Run("verify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			v, lost, err := r.Verify(context.Background(), m)
			if err != nil || len(lost) != 0 || v.Objects != m.Objects {
				b.Fatal(v, lost, err)
			}
			b.ReportMetric(float64(v.Bytes)/(1<<20), "MiB")
		}
	})
}
