package archive_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/broletto/broletto/operator/archive"
	"github.com/broletto/broletto/operator/archive/archivetest"
)

var (
	configMaps = archive.Resource{Version: "v1", Resource: "configmaps", Kind: "ConfigMap"}
	secrets    = archive.Resource{Version: "v1", Resource: "secrets", Kind: "Secret"}
	sensors    = archive.Resource{Group: "iot.example.org", Version: "v1beta1", Resource: "sensors", Kind: "Sensor"}
)

func TestMemory(t *testing.T) {
	t.Parallel()
	archivetest.Store(t, archive.NewMemory(), true)
}

// object is one of a backup.
type object struct {
	resource archive.Resource
	name     string
	data     string
}

// some are n objects of a resource.
func some(r archive.Resource, n int) (all []object) {
	for i := range n {
		name := fmt.Sprintf("o-%05d", i)
		all = append(all, object{r, name, fmt.Sprintf(`{"metadata":{"name":%q},"data":"%s-%d"}`, name, r.Resource, i)})
	}
	return all
}

// few are of several resources, with names in several scripts.
func few() []object {
	all := append(some(configMaps, 300), object{configMaps, "città-è-già", `{"n":"città"}`}, object{configMaps, "東京", `{"n":"東京"}`})
	return append(append(all, some(secrets, 200)...), object{sensors, "датчик:1", `{"n":"датчик"}`}, object{sensors, "حساس\u202e", `{"n":"حساس"}`})
}

func repository(s archive.Store, tenant string) archive.Repository {
	key, err := archive.ParseKey(bytes.Repeat([]byte{byte(len(tenant))}, 32))
	if err != nil {
		panic(err)
	}
	return archive.Repository{Store: s, Tenant: tenant, Key: key}
}

// backUp makes a whole backup.
func backUp(ctx context.Context, r archive.Repository, workspace, uid string, objects []object, distrust ...string) (*archive.Manifest, int, error) {
	b, err := r.Begin(ctx, workspace)
	if err != nil {
		return nil, 0, err
	}
	defer b.Stop()
	b.Distrust(distrust...)
	for _, o := range objects {
		if err := b.Add(ctx, o.resource, o.name, []byte(o.data)); err != nil {
			return nil, 0, err
		}
	}
	m, err := b.Commit(ctx, archive.About{UID: uid, Name: "notturno-" + uid})
	return m, b.Written(), err
}

func backedUp(t *testing.T, r archive.Repository, workspace, uid string, objects []object, distrust ...string) (*archive.Manifest, int) {
	t.Helper()
	m, written, err := backUp(t.Context(), r, workspace, uid, objects, distrust...)
	if err != nil {
		t.Fatal(err)
	}
	return m, written
}

// restored reads all objects of a backup.
func restored(ctx context.Context, r archive.Repository, m *archive.Manifest) (all []object, lost []archive.Lost, err error) {
	lost, err = r.Objects(ctx, m, func(r archive.Resource, name string, data []byte) error {
		all = append(all, object{r, name, string(data)})
		return nil
	})
	return all, lost, err
}

func holds(t *testing.T, r archive.Repository, m *archive.Manifest, want []object) {
	t.Helper()
	got, lost, err := restored(t.Context(), r, m)
	if err != nil || len(lost) != 0 || !slices.Equal(got, want) {
		t.Errorf("%s holds %d objects, want %d, lost %v: %v", m.File(), len(got), len(want), lost, err)
	}
	v, lost, err := r.Verify(t.Context(), m)
	if err != nil || len(lost) != 0 || v.Objects != len(want) || v.Pages != len(m.Pages) || (v.Bytes == 0) != (len(want) == 0) {
		t.Errorf("%s: verified %+v, lost %v: %v", m.File(), v, lost, err)
	}
}

func chain(t *testing.T, r archive.Repository, workspace string) archive.Chain {
	t.Helper()
	c, err := r.Manifests(t.Context(), workspace)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), archive.NewMemory()
	hour := time.Date(2026, 12, 1, 2, 30, 0, 0, time.UTC)
	s.Now = func() time.Time { return hour }
	r := repository(s, "lugano")
	b, err := r.Begin(ctx, "sportello")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range few() {
		if err := b.Add(ctx, o.resource, o.name, []byte(o.data)); err != nil {
			t.Fatal(err)
		}
	}
	about := archive.About{
		UID: "u1", Name: "prima del rilascio\n前", LeftOut: []archive.LeftOut{{What: "volume dati", Why: "no node has it: start one"}},
		Spec: json.RawMessage(`{"quota":{"cpu":"4"}}`), Volumes: json.RawMessage(`[{"name":"dati"}]`),
	}
	made, err := b.Commit(ctx, about)
	if err != nil {
		t.Fatal(err)
	}
	m, err := r.Read(ctx, "sportello", 1)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(about, m.About); diff != "" || m.Tenant != "lugano" || m.Workspace != "sportello" || m.Objects != len(few()) || !m.Started.Equal(hour) ||
		m.Finished.Before(hour) || m.Finished.After(hour.Add(time.Minute)) || m.Hash != made.Hash || m.Signed.Previous != 0 {
		t.Errorf("the manifest: %+v\n%s", m.Record, diff)
	}
	holds(t, r, m, few())
	backedUp(t, r, "sportello", "u2", few())
	for uid, want := range map[string]int64{"u1": 1, "u2": 2} {
		if m, err := r.Find(ctx, "sportello", uid, hour); err != nil || m.Sequence != want {
			t.Errorf("finding %s: %v", uid, err)
		}
	}
	for uid, since := range map[string]time.Time{"u3": {}, "u1": hour.Add(time.Second)} {
		if _, err := r.Find(ctx, "sportello", uid, since); !errors.Is(err, archive.ErrNotFound) {
			t.Errorf("finding %s since %s: %v", uid, since, err)
		}
	}
	if m, _ := backedUp(t, r, "sportello", "u1", nil); m.Sequence != 1 {
		t.Errorf("the second pass of a backup is number %d, not its first, 1", m.Sequence)
	}
	if found, err := s.List(ctx, "lugano/clock/"); err != nil || len(found) != 0 {
		t.Errorf("what told the time is still there: %v, %v", found, err)
	}
}

// TestRefused is what cannot be kept, or is no name.
func TestRefused(t *testing.T) {
	t.Parallel()
	ctx, r := t.Context(), repository(archive.NewMemory(), "lugano")
	for _, name := range []string{"", "..", "a/b", "A", "à", "-a", strings.Repeat("a", 64)} {
		if _, err := r.Begin(ctx, name); err == nil {
			t.Errorf("workspace %q is one", name)
		}
		if _, err := repository(r.Store, name).Begin(ctx, "sportello"); err == nil {
			t.Errorf("tenant %q is one", name)
		}
	}
	b, err := r.Begin(ctx, "sportello")
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range [][]byte{nil, []byte("{\n}"), make([]byte, 16<<20+1)} {
		if err := b.Add(ctx, secrets, "grande", data); err == nil || !strings.Contains(err.Error(), "secrets grande") {
			t.Errorf("%d bytes: %v", len(data), err)
		}
	}
	large := object{secrets, "grande", strings.Repeat("x", 16<<20)}
	m, _ := backedUp(t, r, "sportello", "u", []object{large})
	holds(t, r, m, []object{large})
	if _, err := repository(r.Store, "bellinzona").Objects(ctx, m, nil); err == nil || !strings.Contains(err.Error(), "lugano") {
		t.Errorf("a manifest of another tenant: %v", err)
	}
}

// TestRace has many commit at once, and some of them be the same backup.
func TestRace(t *testing.T) {
	t.Parallel()
	r := repository(archive.NewMemory(), "lugano")
	var all sync.WaitGroup
	var lock sync.Mutex
	numbers := map[string]map[int64]bool{}
	for i := range 24 {
		all.Go(func() {
			uid := fmt.Sprint(i % 8)
			m, _, err := backUp(context.WithoutCancel(t.Context()), r, "sportello", uid, some(secrets, 200))
			if err != nil {
				t.Errorf("backup %s: %v", uid, err)
				return
			}
			lock.Lock()
			defer lock.Unlock()
			if numbers[uid] == nil {
				numbers[uid] = map[int64]bool{}
			}
			numbers[uid][m.Sequence] = true
		})
	}
	all.Wait()
	c := chain(t, r, "sportello")
	if len(c.Records) != 8 || len(c.Faults) != 0 || c.Newest.Sequence != 8 {
		t.Errorf("%d backups, newest %d, faults %v", len(c.Records), c.Newest.Sequence, c.Faults)
	}
	for uid, n := range numbers {
		if len(n) != 1 {
			t.Errorf("backup %s has numbers %v", uid, n)
		}
	}
}

// TestUnchanged writes no page twice, and prolongs its lock.
func TestUnchanged(t *testing.T) {
	t.Parallel()
	s := archive.NewMemory()
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	s.Now = func() time.Time { return now }
	r := repository(s, "lugano")
	r.LockDays = 30
	objects := some(secrets, 2000)
	first, written := backedUp(t, r, "sportello", "1", objects)
	if written != len(first.Pages) || written < 5 {
		t.Errorf("%d of %d pages are new at first", written, len(first.Pages))
	}
	for day := 1; day < 100; day += 7 {
		now = now.AddDate(0, 0, 7)
		m, written := backedUp(t, r, "sportello", fmt.Sprint(day, "-x"), objects)
		if written != 0 || gocmp.Diff(first.Pages, m.Pages) != "" {
			t.Errorf("%d pages are new of what did not change", written)
		}
		for _, name := range append(files(m), m.File()) {
			if until := s.Until(name); !until.Equal(now.AddDate(0, 0, 30)) {
				t.Errorf("%s is locked until %s at %s", name, until, now)
			}
		}
	}
	m, written := backedUp(t, r, "sportello", "changed", slices.Insert(slices.Clone(objects), 1000, object{secrets, "o-00999b", "{}"}))
	if written != 1 || len(m.Pages) != len(first.Pages) {
		t.Errorf("%d pages are new for one object", written)
	}
	if m, _ := backedUp(t, r, "identita", "elsewhere", objects); m.Pages[0].Page == first.Pages[0].Page {
		t.Error("two workspaces share a page")
	}
}

func files(m *archive.Manifest) (names []string) {
	for _, p := range m.Pages {
		names = append(names, m.Tenant+"/objects/"+p.Page)
	}
	return names
}

// TestAuditor verifies the chain with the public key alone.
func TestAuditor(t *testing.T) {
	t.Parallel()
	s := archive.NewMemory()
	r := repository(s, "lugano")
	a, _ := backedUp(t, r, "sportello", "1", few())
	b, _ := backedUp(t, r, "sportello", "2", few())
	file, err := s.Get(t.Context(), b.File(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := archive.CheckSignature(r.Key.Public(), b.File(), file)
	if want := (archive.Signed{Sequence: 2, Previous: 1, PreviousHash: a.Hash}); err != nil || signed != want {
		t.Errorf("signed %+v, want %+v: %v", signed, want, err)
	}
	if _, err := archive.CheckSignature(r.Key.Public(), strings.Replace(b.File(), "sportello", "identita", 1), file); err == nil {
		t.Error("it is signed for another workspace")
	}
	for i := range file {
		file[i] ^= 1 << (i % 8)
		if _, err := archive.CheckSignature(r.Key.Public(), b.File(), file); err == nil {
			t.Fatalf("a flipped bit in byte %d is signed", i)
		}
		file[i] ^= 1 << (i % 8)
	}
	if _, err := archive.CheckSignature(repository(s, "bellinzona").Key.Public(), b.File(), file); err == nil {
		t.Error("another key has signed it")
	}
	for _, clear := range []string{"sportello", "città", "notturno", "o-00001", "secrets"} {
		for _, e := range must(s.List(t.Context(), "")) {
			if data := must(s.Get(t.Context(), e.Name, 1<<20)); bytes.Contains(data, []byte(clear)) {
				t.Errorf("%s has %q in clear", e.Name, clear)
			}
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// faultNames are names and causes of faults, sorted.
func faultNames(c archive.Chain) (all []string) {
	kinds := map[string]error{"missing": archive.ErrMissing, "replayed": archive.ErrReplayed, "order": archive.ErrOutOfChain, "foreign": archive.ErrForeign, "damaged": archive.ErrDamaged}
	for _, f := range c.Faults {
		kind := ""
		for _, name := range []string{"missing", "replayed", "order", "foreign", "damaged"} {
			if kind == "" && errors.Is(f, kinds[name]) {
				kind = name
			}
		}
		all = append(all, f.Name[strings.Index(f.Name, "/")+1:]+" "+cmp.Or(kind, f.Err.Error()))
	}
	slices.Sort(all)
	return all
}
