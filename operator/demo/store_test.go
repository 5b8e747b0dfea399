package demo

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/broletto/broletto/hack/kube"
)

// TestStoreAddress starts the stores of two demos: each has an address of its own, the same one the next time, and does not take another's answers
// for its own.
func TestStoreAddress(t *testing.T) {
	start := func(dir string) *store {
		t.Helper()
		s, err := (&demo{Options: Options{Dir: dir, Stores: kube.BuildStores, Out: t.Output()}}).startStore(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.stop)
		return s
	}
	one, other := start(t.TempDir()), t.TempDir()
	s := start(other)
	if s.address == one.address {
		t.Fatalf("two stores are at %s", s.address)
	}
	s.stop()
	if err := os.WriteFile(other+"/store.secret", []byte(s.secret+"\n"), 0o600); err != nil { // as one may edit it
		t.Fatal(err)
	}
	if again := start(other); again.address != s.address || again.secret != s.secret {
		t.Errorf("the store came back at %s, was at %s", again.address, s.address)
	}

	dir, err := kube.BuildStores(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	late := &store{address: one.address, secret: "another"}
	if err := late.start(t.Context(), &demo{Options: Options{Dir: t.TempDir()}}, dir+"/versitygw"); !errors.Is(err, errTaken) {
		t.Errorf("a store whose address was taken meanwhile: %v, want %v", err, errTaken)
	}
}

// TestStoreInterrupted ends the start of a store that does not come to answer.
func TestStoreInterrupted(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/versitygw", []byte("#!/bin/sh\nexec sleep 60\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	d := &demo{Options: Options{Dir: t.TempDir(), Stores: func(context.Context, io.Writer) (string, error) { cancel(); return dir, nil }}}
	if _, err := d.startStore(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v, want %v", err, context.Canceled)
	}
}
