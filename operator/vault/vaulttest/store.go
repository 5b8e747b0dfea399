// Package vaulttest is what every store of the vault promises, and what the vault makes of it, as tests.
package vaulttest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/broletto/broletto/operator/vault"
)

// Store tests a store. Each call of open is another empty one, or another corner of the same: names begin with what open says.
func Store(t *testing.T, open func(*testing.T) (s vault.Store, prefix string)) {
	tests := map[string]func(*testing.T, vault.Store, string){
		"what was never written is not there": nothing,
		"what is written is read":             written,
		"a write wants the version read":      versions,
		"names with a prefix":                 names,
		"one of many wins":                    race,
		"nobody reads a mixture":              mixture,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, prefix := open(t)
			test(t, s, prefix)
		})
	}
}

// Corners is for Store: corners of one store, also of one that was tested before.
func Corners(s vault.Store) func(*testing.T) (vault.Store, string) {
	return func(*testing.T) (vault.Store, string) { return s, "corner-" + strings.ToLower(rand.Text()) + "." }
}

func nothing(t *testing.T, s vault.Store, prefix string) {
	if _, _, err := s.Read(t.Context(), prefix+"never"); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("reading what was never written: %v", err)
	}
	if err := s.Delete(t.Context(), prefix+"never"); err != nil {
		t.Errorf("deleting what was never written: %v", err)
	}
	if _, err := s.Write(t.Context(), prefix+"never", "17", []byte("x")); !errors.Is(err, vault.ErrConflict) {
		t.Errorf("replacing what was never written: %v", err)
	}
	if names, err := s.List(t.Context(), prefix); err != nil || len(names) != 0 {
		t.Errorf("listing nothing: %v, %v", names, err)
	}
}

func written(t *testing.T, s vault.Store, prefix string) {
	for _, size := range []int{0, 1, 700 << 10, 700<<10 + 1, 3 << 20} { // from one chunk to several, and the edge between
		name := prefix + fmt.Sprint("of-", size)
		data := make([]byte, size)
		_, _ = rand.Read(data)
		version := write(t, s, name, "", data)
		is(t, s, name, data)
		write(t, s, name, version, data[:size/2])
		is(t, s, name, data[:size/2])
		if err := s.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Read(t.Context(), name); !errors.Is(err, vault.ErrNotFound) {
			t.Errorf("%s is there after it was deleted: %v", name, err)
		}
		write(t, s, name, "", data)
		is(t, s, name, data)
	}
}

func versions(t *testing.T, s vault.Store, prefix string) {
	name := prefix + "one"
	first := write(t, s, name, "", []byte("first"))
	second := write(t, s, name, first, []byte("second"))
	if first == second {
		t.Errorf("two writes are both version %q", first)
	}
	for what, version := range map[string]string{"what exists": "", "an old version": first} {
		if _, err := s.Write(t.Context(), name, version, []byte("third")); !errors.Is(err, vault.ErrConflict) {
			t.Errorf("writing over %s: %v", what, err)
		}
	}
	is(t, s, name, []byte("second"))
	if _, version, err := s.Read(t.Context(), name); err != nil || version != second {
		t.Errorf("read version %q, wrote %q: %v", version, second, err)
	}
}

func names(t *testing.T, s vault.Store, prefix string) {
	for _, name := range []string{"b.2", "b.1", "a.1", "b2.1"} {
		write(t, s, prefix+name, "", make([]byte, 800<<10))
	}
	got, err := s.List(t.Context(), prefix+"b.")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{prefix + "b.1", prefix + "b.2"}, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func race(t *testing.T, s vault.Store, prefix string) {
	for name, version := range map[string]string{prefix + "new": "", prefix + "old": write(t, s, prefix+"old", "", []byte("old"))} {
		var won atomic.Int32
		together(16, func(i int) {
			_, err := s.Write(context.WithoutCancel(t.Context()), name, version, bytes.Repeat([]byte{byte(i)}, 701<<10))
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, vault.ErrConflict):
				t.Errorf("writing %s at once: %v", name, err)
			}
		})
		if won.Load() != 1 {
			t.Errorf("%d of 16 wrote %s at once", won.Load(), name)
		}
	}
}

func mixture(t *testing.T, s vault.Store, prefix string) {
	name, size := prefix+"whole", 1500<<10
	version := write(t, s, name, "", make([]byte, size))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 10 {
			next, err := s.Write(context.WithoutCancel(t.Context()), name, version, bytes.Repeat([]byte{byte(i)}, size))
			if err != nil {
				t.Errorf("writing: %v", err)
				return
			}
			version = next
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		data, _, err := s.Read(t.Context(), name)
		if err != nil || len(data) != size || slices.Min(data) != slices.Max(data) {
			t.Fatalf("read a mixture of %d bytes: %v", len(data), err)
		}
	}
}

func write(t *testing.T, s vault.Store, name, version string, data []byte) (newVersion string) {
	t.Helper()
	newVersion, err := s.Write(t.Context(), name, version, data)
	if err != nil {
		t.Fatalf("writing %s: version %q, %v", name, newVersion, err)
	}
	return newVersion
}

func is(t *testing.T, s vault.Store, name string, want []byte) {
	t.Helper()
	got, _, err := s.Read(t.Context(), name)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s has %d bytes, want %d: %v", name, len(got), len(want), err)
	}
}

func together(n int, f func(int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { f(i) })
	}
	all.Wait()
}
