// Package archivetest is what every store of archives promises, as tests.
package archivetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/broletto/broletto/operator/archive"
)

const limit = 64 << 20

// Store tests a store, each promise in a corner of its own. Locks says whether it takes a lock.
func Store(t *testing.T, s archive.Store, locks bool) {
	tests := map[string]func(*testing.T, archive.Store, string){
		"what was never put is not there": nothing,
		"what is put is got":              put,
		"what is there stays":             once,
		"a listing":                       listing,
		"many names":                      many,
		"one of many wins":                race,
		"too large":                       large,
		"a listing cut short":             short,
		"the store's time":                clock,
	}
	if locks {
		tests["locks"] = lock
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, s, "corner-"+strings.ToLower(rand.Text())+"/")
		})
	}
}

func nothing(t *testing.T, s archive.Store, corner string) {
	if _, err := s.Get(t.Context(), corner+"never", limit); !errors.Is(err, archive.ErrNotFound) {
		t.Errorf("getting what was never put: %v", err)
	}
	if err := s.Delete(t.Context(), corner+"never"); err != nil {
		t.Errorf("deleting what was never put: %v", err)
	}
	if found, err := s.List(t.Context(), corner); err != nil || len(found) != 0 {
		t.Errorf("listing nothing: %v, %v", found, err)
	}
}

// short is a listing that nobody waits for: part of it must not pass for the whole.
func short(t *testing.T, s archive.Store, corner string) {
	must(t, s.Put(t.Context(), corner+"one", []byte("1"), time.Time{}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if found, err := s.List(ctx, corner); !errors.Is(err, context.Canceled) {
		t.Errorf("it lists %v: %v", found, err)
	}
}

// BrokenOff tests a store behind a way that breaks off the next so many of its answers, each after so many bytes of what its head says. No part of
// one passes for the whole, nor for an answer of another kind, and it is asked for again.
func BrokenOff(t *testing.T, s archive.Store, breakOff func(answers, after int)) {
	corner, data := "corner-"+strings.ToLower(rand.Text())+"/", make([]byte, 100<<10)
	_, _ = rand.Read(data)
	for _, name := range []string{"one", "two", "three"} {
		must(t, s.Put(t.Context(), corner+name, data, time.Time{}))
	}
	for _, after := range []int{0, 150} {
		breakOff(1000, after)
		if got, err := s.Get(t.Context(), corner+"one", limit); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("broken off after %d bytes, %d are got: %v", after, len(got), err)
		}
		if found, err := s.List(t.Context(), corner); err == nil || errors.Is(err, archive.ErrNotFound) || errors.Is(err, archive.ErrTooLarge) {
			t.Errorf("broken off after %d bytes, it lists %v: %v", after, found, err)
		}
		breakOff(1, after)
		is(t, s, corner+"one", data)
		breakOff(1, after)
		if found, err := s.List(t.Context(), corner); err != nil || len(found) != 3 {
			t.Errorf("once broken off after %d bytes, it lists %v: %v", after, found, err)
		}
	}
}

func put(t *testing.T, s archive.Store, corner string) {
	for _, size := range []int{0, 1, 700 << 10, 9 << 20} {
		name, data := corner+fmt.Sprint("of-", size), make([]byte, size)
		_, _ = rand.Read(data)
		must(t, s.Put(t.Context(), name, data, time.Time{}))
		is(t, s, name, data)
		must(t, s.Delete(t.Context(), name))
		if _, err := s.Get(t.Context(), name, limit); !errors.Is(err, archive.ErrNotFound) {
			t.Errorf("%s is there after it was deleted: %v", name, err)
		}
		if err := s.Put(t.Context(), name, data[:size/2], time.Time{}); err == nil {
			is(t, s, name, data[:size/2])
		} else if !errors.Is(err, archive.ErrExists) {
			t.Errorf("putting it again: %v", err)
		}
	}
}

func once(t *testing.T, s archive.Store, corner string) {
	must(t, s.Put(t.Context(), corner+"once", []byte("first"), time.Time{}))
	for range 3 {
		if err := s.Put(t.Context(), corner+"once", []byte("second"), time.Time{}); !errors.Is(err, archive.ErrExists) {
			t.Errorf("putting over it: %v", err)
		}
	}
	is(t, s, corner+"once", []byte("first"))
}

func listing(t *testing.T, s archive.Store, corner string) {
	for i, name := range []string{"b/2", "b/1", "a/1", "b2/1", "b/1.x", "b/c/d"} {
		must(t, s.Put(t.Context(), corner+name, make([]byte, i), time.Time{}))
	}
	must(t, s.Delete(t.Context(), corner+"b/2"))
	found, err := s.List(t.Context(), corner+"b/")
	must(t, err)
	for i := range found {
		found[i].Time = time.Time{}
	}
	want := []archive.Entry{{Name: corner + "b/1", Size: 1}, {Name: corner + "b/1.x", Size: 4}, {Name: corner + "b/c/d", Size: 5}}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("listing (-want +got):\n%s", diff)
	}
}

// many are more than one answer of a listing holds.
func many(t *testing.T, s archive.Store, corner string) {
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := i; j < 1100; j += 8 {
				if err := s.Put(t.Context(), fmt.Sprintf("%s%04d", corner, j), []byte("x"), time.Time{}); err != nil {
					t.Errorf("putting number %d: %v", j, err)
				}
			}
		})
	}
	all.Wait()
	found, err := s.List(t.Context(), corner)
	if err != nil || len(found) != 1100 || found[1099].Name != corner+"1099" {
		t.Errorf("%d of 1100 are listed: %v", len(found), err)
	}
}

func race(t *testing.T, s archive.Store, corner string) {
	var won atomic.Int32
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			err := s.Put(context.WithoutCancel(t.Context()), corner+"new", bytes.Repeat([]byte{byte(i)}, 701<<10), time.Time{})
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, archive.ErrExists) {
				t.Errorf("putting at once: %v", err)
			}
		})
	}
	all.Wait()
	data, err := s.Get(t.Context(), corner+"new", limit)
	if won.Load() != 1 || err != nil || len(data) != 701<<10 || bytes.Count(data, data[:1]) != len(data) {
		t.Errorf("%d of 16 put it at once, and it has %d bytes: %v", won.Load(), len(data), err)
	}
}

func large(t *testing.T, s archive.Store, corner string) {
	must(t, s.Put(t.Context(), corner+"large", make([]byte, 1001), time.Time{}))
	if data, err := s.Get(t.Context(), corner+"large", 1000); !errors.Is(err, archive.ErrTooLarge) {
		t.Errorf("%d bytes, of at most 1000: %v", len(data), err)
	}
	if data, err := s.Get(t.Context(), corner+"large", 1001); err != nil || len(data) != 1001 {
		t.Errorf("%d bytes, of at most 1001: %v", len(data), err)
	}
}

func clock(t *testing.T, s archive.Store, corner string) {
	before := time.Now().Add(-2 * time.Second)
	must(t, s.Put(t.Context(), corner+"now", nil, time.Time{}))
	found, err := s.List(t.Context(), corner+"now")
	if err != nil || len(found) != 1 || found[0].Time.Before(before) || found[0].Time.After(time.Now().Add(2*time.Second)) {
		t.Errorf("put at %s, listed as %+v: %v", before, found, err)
	}
}

// lock prolongs, and does not shorten; what is locked can be taken out of sight all the same.
func lock(t *testing.T, s archive.Store, corner string) {
	until := time.Now().Add(time.Hour).Truncate(time.Second)
	must(t, s.Put(t.Context(), corner+"locked", []byte("first"), until))
	must(t, s.Keep(t.Context(), corner+"locked", until.Add(time.Hour)))
	must(t, s.Keep(t.Context(), corner+"locked", until)) // nothing to do
	is(t, s, corner+"locked", []byte("first"))
	must(t, s.Put(t.Context(), corner+"open", nil, time.Time{}))
	must(t, s.Keep(t.Context(), corner+"open", until))
	must(t, s.Delete(t.Context(), corner+"locked"))
	for _, name := range []string{"locked", "never"} {
		if err := s.Keep(t.Context(), corner+name, until); !errors.Is(err, archive.ErrNotFound) {
			t.Errorf("keeping what is not there: %v", err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t *testing.T, s archive.Store, name string, want []byte) {
	t.Helper()
	got, err := s.Get(t.Context(), name, limit)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s has %d bytes, want %d: %v", name, len(got), len(want), err)
	}
}
