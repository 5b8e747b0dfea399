package archive_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/broletto/broletto/operator/archive"
)

// calendar is a store whose clock a test moves.
func calendar() (s *archive.Memory, later func(time.Duration)) {
	s = archive.NewMemory()
	start := time.Date(2026, 12, 1, 2, 30, 0, 0, time.UTC)
	var passed atomic.Int64
	s.Now = func() time.Time { return start.Add(time.Duration(passed.Load())) }
	return s, func(d time.Duration) { passed.Add(int64(d)) }
}

// TestRetention removes backups, and sweeps what is left of them when the grace is over, and nothing that another one needs.
func TestRetention(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, later := calendar()
	r := repository(s, "lugano")
	objects := some(secrets, 2000)
	var made []*archive.Manifest
	for i := range 4 {
		objects[i*400].data = fmt.Sprintf(`{"changed":%d}`, i)
		m, _ := backedUp(t, r, "sportello", fmt.Sprint(i), objects)
		made = append(made, m)
		backedUp(t, repository(s, "bellinzona"), "sportello", fmt.Sprint(i), objects)
		later(24 * time.Hour)
	}
	for _, i := range []int{3, 1} { // the newest and one in the middle
		for range 2 {
			if err := r.Remove(ctx, made[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	c := chain(t, r, "sportello")
	if len(c.Records) != 2 || len(c.Faults) != 0 || c.Newest != made[3].Head() {
		t.Errorf("%d backups, newest %d, faults %v", len(c.Records), c.Newest.Sequence, c.Faults)
	}
	if _, err := r.Find(ctx, "sportello", "3", time.Time{}); !errors.Is(err, archive.ErrNotFound) {
		t.Errorf("a removed backup is found: %v", err)
	}
	swept := func(limit int) archive.Swept {
		t.Helper()
		got, err := r.Sweep(ctx, limit)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	later(archive.Grace - time.Minute)
	if got := swept(100); got.Manifests+got.Pages != 0 {
		t.Errorf("within the grace, %+v", got)
	}
	later(2 * time.Minute)
	if got := swept(1); got.Manifests != 1 || got.Pages != 0 || !got.More {
		t.Errorf("one at most: %+v", got)
	}
	if got := swept(100); got.Manifests != 1 || got.Pages == 0 || got.More {
		t.Errorf("the rest: %+v", got)
	}
	if got := swept(100); got.Manifests+got.Pages != 0 {
		t.Errorf("and again: %+v", got)
	}
	for _, i := range []int{0, 2} {
		if _, lost, err := r.Verify(ctx, made[i]); err != nil || len(lost) != 0 {
			t.Errorf("backup %d lost %v: %v", i, lost, err)
		}
	}
	c = chain(t, repository(s, "bellinzona"), "sportello")
	if len(c.Records) != 4 || len(c.Faults) != 0 {
		t.Errorf("the other tenant has %d backups, faults %v", len(c.Records), c.Faults)
	}
	m, _ := backedUp(t, r, "sportello", "next", objects) // what was swept comes again, under another name
	if m.Sequence != 5 {
		t.Errorf("the number of a removed backup was given again: %d", m.Sequence)
	}
	holds(t, r, m, objects)
	if c := chain(t, r, "sportello"); len(c.Records) != 3 || len(c.Faults) != 0 {
		t.Errorf("%d backups, faults %v", len(c.Records), c.Faults)
	}
}

// TestSweptUnderWay sweeps at the worst moment: between a backup's Begin and its Commit, when pages lie about that only it relies on.
func TestSweptUnderWay(t *testing.T) {
	t.Parallel()
	ctx, objects := t.Context(), some(secrets, 1000)
	for name, before := range map[string]func(t *testing.T, r archive.Repository, later func(time.Duration)){
		"of a crash long ago": func(t *testing.T, r archive.Repository, later func(time.Duration)) {
			crash(t, r, objects)
			later(2 * archive.Grace)
		},
		"of a crash that will be long ago": func(t *testing.T, r archive.Repository, later func(time.Duration)) {
			crash(t, r, objects)
			later(23 * time.Hour)
		},
		"of a backup that is removed": func(t *testing.T, r archive.Repository, later func(time.Duration)) {
			backedUp(t, r, "sportello", "old", objects)
			later(2 * archive.Grace)
		},
		"of a backup that was removed": func(t *testing.T, r archive.Repository, later func(time.Duration)) {
			m, _ := backedUp(t, r, "sportello", "old", objects)
			if err := r.Remove(ctx, m); err != nil {
				t.Fatal(err)
			}
			later(archive.Grace - time.Hour)
		},
		"of a backup before the last": func(t *testing.T, r archive.Repository, later func(time.Duration)) {
			m, _ := backedUp(t, r, "sportello", "old", objects)
			backedUp(t, r, "sportello", "other", some(configMaps, 10))
			if err := r.Remove(ctx, m); err != nil {
				t.Fatal(err)
			}
			later(archive.Grace - time.Hour)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, later := calendar()
			r := repository(s, "lugano")
			before(t, r, later)
			b, err := r.Begin(ctx, "sportello")
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range objects[:500] {
				if err := b.Add(ctx, o.resource, o.name, []byte(o.data)); err != nil {
					t.Fatal(err)
				}
			}
			for _, record := range chain(t, r, "sportello").Records {
				m, err := r.Read(ctx, "sportello", record.Sequence)
				if err == nil {
					err = r.Remove(ctx, m)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			for range 23 { // for as long as a backup may take
				later(time.Hour)
				if _, err := r.Sweep(ctx, 1000); err != nil {
					t.Fatal(err)
				}
			}
			for _, o := range objects[500:] {
				if err := b.Add(ctx, o.resource, o.name, []byte(o.data)); err != nil {
					t.Fatal(err)
				}
			}
			m, err := b.Commit(ctx, archive.About{UID: "new"})
			if err != nil {
				t.Fatal(err)
			}
			holds(t, r, m, objects)
			later(3 * archive.Grace)
			if _, err := r.Sweep(ctx, 1000); err != nil {
				t.Fatal(err)
			}
			holds(t, r, m, objects)
			if found := must(s.List(ctx, "lugano/objects/")); len(found) != len(m.Pages) {
				t.Errorf("%d pages are left, of %d", len(found), len(m.Pages))
			}
		})
	}
}

// crash leaves pages without a manifest.
func crash(t *testing.T, r archive.Repository, objects []object) {
	t.Helper()
	b, err := r.Begin(t.Context(), "sportello")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if err := b.Add(t.Context(), o.resource, o.name, []byte(o.data)); err != nil {
			t.Fatal(err)
		}
	}
	b.Stop()
	if b.Written() == 0 {
		t.Fatal("it left nothing")
	}
}

// TestSweepRefuses deletes nothing while it does not know what is needed.
func TestSweepRefuses(t *testing.T) {
	t.Parallel()
	s, later := calendar()
	r := repository(s, "lugano")
	m, _ := backedUp(t, r, "sportello", "1", few())
	backedUp(t, r, "identita", "1", few())
	crash(t, r, some(secrets, 999))
	later(2 * archive.Grace)
	count := len(must(s.List(t.Context(), "")))
	file := s.Swap(m.File(), []byte("x"))
	if _, err := r.Sweep(t.Context(), 100); !errors.Is(err, archive.ErrDamaged) || !strings.Contains(err.Error(), m.File()) {
		t.Errorf("swept with a damaged manifest: %v", err)
	}
	s.Swap(m.File(), file)
	down := repository(newWeak(s, func(_ int, name string) (bool, bool) { return name == m.File(), false }), "lugano")
	if _, err := down.Sweep(t.Context(), 100); !errors.Is(err, errWeak) {
		t.Errorf("swept without a manifest: %v", err)
	}
	if now := len(must(s.List(t.Context(), "lugano/objects/"))) + len(must(s.List(t.Context(), "lugano/manifests/"))); now != count {
		t.Errorf("%d of %d are left", now, count)
	}
	if got, err := r.Sweep(t.Context(), 100); err != nil || got.Pages == 0 {
		t.Errorf("swept %+v: %v", got, err)
	}
}

// TestRebuild finds everything with the bucket and the escrow's identity, as when the cluster is gone.
func TestRebuild(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, later := calendar()
	escrow, own, thief := must(age.GenerateX25519Identity()), must(age.GenerateX25519Identity()), must(age.GenerateX25519Identity())
	recipients := []string{escrow.Recipient().String(), own.Recipient().String()}
	keys := map[string]archive.Key{}
	for _, tenant := range []string{"lugano", "bellinzona"} {
		r := archive.Repository{Store: s, Tenant: tenant, Key: archive.NewKey()}
		keys[tenant] = r.Key
		for range 2 {
			if err := r.SaveKey(ctx, recipients, time.Time{}); err != nil {
				t.Fatal(err)
			}
		}
		for _, w := range []string{"sportello", "identita"} {
			for i := range 3 {
				backedUp(t, r, w, fmt.Sprint(i), few())
			}
		}
		if err := r.Remove(ctx, must(r.Read(ctx, "identita", 1))); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []*age.X25519Identity{escrow, own} {
		found, err := archive.Rebuild(ctx, s, id.String()+"\n")
		if err != nil || len(found) != 2 || found[0].Tenant != "bellinzona" || found[1].Tenant != "lugano" {
			t.Fatalf("found %d tenants: %v", len(found), err)
		}
		for _, f := range found {
			if f.Key != keys[f.Tenant] || len(f.Faults) != 0 || len(f.Chains) != 2 || len(f.Chains["sportello"].Records) != 3 || len(f.Chains["identita"].Records) != 2 {
				t.Errorf("tenant %s: %v", f.Tenant, f.Faults)
			}
			m, err := archive.Repository{Store: s, Tenant: f.Tenant, Key: f.Key}.Read(ctx, "sportello", 3)
			if err != nil {
				t.Fatal(err)
			}
			holds(t, archive.Repository{Store: s, Tenant: f.Tenant, Key: f.Key}, m, few())
		}
	}
	found, err := archive.Rebuild(ctx, s, thief.String())
	if err != nil || len(found) != 2 || len(found[0].Chains) != 0 || len(found[0].Faults) != 2 || found[0].Key != (archive.Key{}) {
		t.Errorf("with a wrong identity: %+v, %v", found, err)
	}
	if _, err := archive.Rebuild(ctx, s, "AGE-SECRET-KEY-1SEGRETO"); err != nil {
		t.Errorf("no identity: %v", err)
	}
	later(time.Hour)
	planted := archive.Repository{Store: s, Tenant: "lugano", Key: archive.NewKey()}
	if err := planted.SaveKey(ctx, recipients[:1], time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(ctx, "lugano/keys/swapped.age", must(s.Get(ctx, must(s.List(ctx, "bellinzona/keys/"))[0].Name, 1<<20)), time.Time{}); err != nil {
		t.Fatal(err)
	}
	found, err = archive.Rebuild(ctx, s, escrow.String())
	if err != nil || found[1].Key != keys["lugano"] || len(found[1].Faults) != 2 || len(found[1].Chains["sportello"].Records) != 3 {
		t.Errorf("with a planted key and another tenant's: %v, %v", found[1].Faults, err)
	}
}

func TestKey(t *testing.T) {
	t.Parallel()
	id := must(age.GenerateX25519Identity())
	k := archive.NewKey()
	wrapped := must(k.Wrap("lugano", []string{id.Recipient().String()}))
	if got, err := archive.Unwrap(wrapped, "lugano", id.String()); err != nil || got != k {
		t.Errorf("unwrapped another key: %v", err)
	}
	if _, err := archive.Unwrap(wrapped, "bellinzona", id.String()); err == nil {
		t.Error("it is the key of another tenant")
	}
	for name, recipients := range map[string][]string{"none": nil, "an identity": {id.String()}, "nonsense": {"age1x"}} {
		if _, err := k.Wrap("lugano", recipients); err == nil || strings.Contains(err.Error(), id.String()) {
			t.Errorf("wrapped for %s: %v", name, err)
		}
	}
	if _, err := archive.Unwrap(wrapped, "lugano", "AGE-SECRET-KEY-1SEGRETO"); err == nil || strings.Contains(err.Error(), "SEGRETO") {
		t.Errorf("an identity that is none: %v", err)
	}
	if _, err := archive.ParseKey(make([]byte, 31)); err == nil {
		t.Error("31 bytes are a key")
	}
	text := fmt.Sprintf("%v %+v %#v %s", k, k, archive.Repository{Key: k}, k)
	if strings.Contains(text, fmt.Sprint(k.Bytes()[0], " ", k.Bytes()[1])) || strings.Contains(text, fmt.Sprintf("0x%x, 0x%x", k.Bytes()[0], k.Bytes()[1])) {
		t.Errorf("a key is printed: %s", text)
	}
	if other := archive.NewKey(); k.Password() == other.Password() || k.Public().Equal(other.Public()) || len(k.Password()) != 64 {
		t.Error("two keys have the same password or signature")
	}
	again := must(archive.ParseKey(k.Bytes()))
	if again.Password() != k.Password() || !again.Public().Equal(k.Public()) {
		t.Error("a key that was read has another password or signature")
	}
	if err := (archive.Repository{Store: archive.NewMemory(), Tenant: "lugano", Key: k}).SaveKey(context.Background(), nil, time.Time{}); err == nil {
		t.Error("a key was kept for nobody")
	}
}
