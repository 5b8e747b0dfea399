package vaulttest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/broletto/broletto/operator/vault"
)

// Remote tests what goes wrong with a store elsewhere: a server at an address, which open reaches through another one.
func Remote(t *testing.T, server string, open func(t *testing.T, addr string) vault.Store) {
	tests := map[string]func(*testing.T, func(addr string) vault.Store, string){
		"a server that comes late": late,
		"a line that breaks":       breaks,
		"many names":               many,
		"odd names":                odd,
		"a large state":            large,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, func(addr string) vault.Store { return open(t, addr) }, server)
		})
	}
}

func late(t *testing.T, open func(string) vault.Store, server string) {
	line := NewLine(t, server)
	line.Cut(0, 0)
	s := open(line.Addr())
	for range 2 {
		if _, _, err := s.Read(t.Context(), "late"); err == nil || errors.Is(err, vault.ErrNotFound) || errors.Is(err, vault.ErrUnfit) {
			t.Errorf("reading from a server that is down: %v", err)
		}
	}
	line.Mend()
	write(t, s, "late", "", []byte("late"))
	is(t, s, "late", []byte("late"))
}

// breaks cuts the line at every part of a write: before, in it, and when nothing but the answer is left.
func breaks(t *testing.T, open func(string) vault.Store, server string) {
	line, steady := NewLine(t, server), open(server)
	s, size := open(line.Addr()), 2<<20
	lost := 0
	for i, cut := range []struct{ there, back int }{
		{0, 1 << 20}, {1, 1 << 20}, {300, 1 << 20}, {5000, 1 << 20}, {size / 2, 1 << 20}, {size - 1, 1 << 20}, {2 * size, 0}, {2 * size, 1},
	} {
		name := "broken-" + strconv.Itoa(i)
		old, next := bytes.Repeat([]byte{1}, size), bytes.Repeat([]byte{2}, size)
		version := write(t, s, name, write(t, s, name, "", nil), old) // over what is there, so that a second one needs no preparation
		line.Cut(cut.there, cut.back)
		_, writeErr := s.Write(t.Context(), name, version, next)
		line.Mend()
		if writeErr == nil || errors.Is(writeErr, vault.ErrConflict) {
			t.Fatalf("cut %+v: %v", cut, writeErr)
		}
		data, version, err := steady.Read(t.Context(), name)
		if err != nil || !bytes.Equal(data, old) && !bytes.Equal(data, next) {
			t.Fatalf("cut %+v: read %d bytes, neither the old nor the new: %v", cut, len(data), err)
		}
		if bytes.Equal(data, next) {
			lost++
		}
		write(t, s, name, version, old)
		is(t, steady, name, old)
	}
	if lost == 0 {
		t.Error("of no write was the answer alone lost: the cuts are in the wrong places")
	}
}

// many are more than one answer of a listing holds.
func many(t *testing.T, open func(string) vault.Store, server string) {
	s := open(server)
	var all sync.WaitGroup
	names := make([]string, 1100)
	for i := range names {
		names[i] = fmt.Sprintf("many.%04d", i)
	}
	for i := range 8 {
		all.Go(func() {
			for j := i; j < len(names); j += 8 {
				if _, err := s.Write(t.Context(), names[j], "", []byte("x")); err != nil {
					t.Errorf("writing %s: %v", names[j], err)
				}
			}
		})
	}
	all.Wait()
	got, err := s.List(t.Context(), "many.")
	if diff := cmp.Diff(names, got); err != nil || diff != "" {
		t.Errorf("%d of 1100 are listed: %v", len(got), err)
	}
}

// odd names stand for what means something to a query, a path or a URL.
func odd(t *testing.T, open func(string) vault.Store, server string) {
	s := open(server)
	odd := []string{"o%d", "o'd", "o*d", "o+d", "o-d", "o..d", "o?d", "o\\d", "o_d", "oxd", "oàd", "o d"}
	for _, name := range odd {
		write(t, s, name, "", []byte(name))
	}
	for _, name := range odd {
		is(t, s, name, []byte(name))
		if got, err := s.List(t.Context(), name); err != nil || len(got) != 1 || got[0] != name {
			t.Errorf("listing %s: %q, %v", name, got, err)
		}
		if err := s.Delete(t.Context(), name); err != nil {
			t.Errorf("deleting %s: %v", name, err)
		}
	}
	if got, err := s.List(t.Context(), "o"); err != nil || len(got) != 0 {
		t.Errorf("deleted, and still there: %q, %v", got, err)
	}
}

func large(t *testing.T, open func(string) vault.Store, server string) {
	s := open(server)
	data := make([]byte, 33<<20) // more than a runner may send
	_, _ = rand.Read(data)
	version := write(t, s, "large", "", data)
	is(t, s, "large", data)
	if _, err := s.Write(t.Context(), "large", "", data); !errors.Is(err, vault.ErrConflict) {
		t.Errorf("writing over it: %v", err)
	}
	write(t, s, "large", version, data[1:])
	is(t, s, "large", data[1:])
}
