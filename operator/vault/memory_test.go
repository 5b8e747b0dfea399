package vault_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"testing"

	"github.com/broletto/broletto/operator/vault"
	"github.com/broletto/broletto/operator/vault/vaulttest"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	vaulttest.Store(t, func(*testing.T) (vault.Store, string) { return vault.NewMemory(), "" })
	vaulttest.Vault(t, vault.NewMemory())
}

// TestCrash breaks the store before each write of a saved state: the state is the old one or the new one, whole, the next save works, and
// leaves what the current states need and nothing else.
func TestCrash(t *testing.T) {
	t.Parallel()
	s := vault.Stack{Tenant: "lugano", UID: "1"}
	for size, kept := range map[int]int{1: 1, 1 << 20: 6} { // small ones in the head, large ones beside it
		for crash := range 8 {
			store := &frail{Memory: vault.NewMemory(), left: 1 << 30}
			v := vault.New(store, store.Memory)
			put := func(serial int64) error {
				return v.PutState(t.Context(), s, serial, "line", bytes.Repeat([]byte{byte(serial)}, size))
			}
			for serial := range int64(5) {
				if err := put(serial + 1); err != nil {
					t.Fatal(err)
				}
			}
			store.left = crash
			err := put(6)
			store.left = 1 << 30
			data, serial, _, readErr := v.State(t.Context(), s)
			if readErr != nil || len(data) != size || int64(data[size-1]) != serial || err == nil && serial != 6 {
				t.Errorf("%d bytes, crash %d (%v): %d bytes, serial %d, %v", size, crash, err, len(data), serial, readErr)
			}
			if err := errors.Join(put(6), put(7)); err != nil {
				t.Errorf("%d bytes, crash %d: again: %v", size, crash, err)
			}
			if names, err := store.List(t.Context(), "stack-1.state"); err != nil || len(names) != kept {
				t.Errorf("%d bytes, crash %d: they are kept as %v, %v", size, crash, names, err)
			}
		}
	}
}

// TestSealed looks at what a store gets: neither what was written nor its like is in it, twice the same is not the same, and what is moved
// under another name does not open.
func TestSealed(t *testing.T) {
	t.Parallel()
	s, store := vault.Stack{Tenant: "lugano", UID: "1"}, vault.NewMemory()
	v := vault.New(store, vault.NewMemory())
	secret := make([]byte, 64)
	_, _ = rand.Read(secret)
	for _, run := range []string{"1", "2"} {
		if err := v.PutPlan(t.Context(), s, "1", secret); err != nil {
			t.Fatal(err)
		}
		data, _, err := store.Read(t.Context(), "stack-1.run-1.plan")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Write(t.Context(), "stack-1.run-"+run+".source", "", data); err != nil {
			t.Fatal(err)
		}
		if _, err := v.Source(t.Context(), s, "1"); err == nil || errors.Is(err, vault.ErrNotFound) {
			t.Errorf("a plan opens as a source: %v", err)
		}
	}
	first, _, _ := store.Read(t.Context(), "stack-1.run-1.source")
	second, _, _ := store.Read(t.Context(), "stack-1.run-2.source")
	for i := range first {
		if i > 0 && i+8 <= min(len(first), len(second)) && string(first[i:i+8]) == string(second[i:i+8]) {
			t.Fatal("two writes look alike")
		}
	}
}

// TestMove moves a vault through a store that fails at each change: whenever it is repeated, nothing is lost and no key leaves.
func TestMove(t *testing.T) {
	t.Parallel()
	s, state := vault.Stack{Tenant: "lugano", UID: "1"}, bytes.Repeat([]byte("state"), 1<<15)
	for crash := range 12 {
		from, to := &frail{Memory: vault.NewMemory(), left: 1 << 30}, &frail{Memory: vault.NewMemory(), left: crash}
		if err := errors.Join(vault.New(from, from).PutState(t.Context(), s, 1, "line", state), vault.New(from, from).PutPlan(t.Context(), s, "1", []byte("plan"))); err != nil {
			t.Fatal(err)
		}
		from.left = crash - 3 // the two of the state, and the plan, are carried first
		if _, err := vault.Move(t.Context(), from, to); err == nil != (crash >= 6) {
			t.Errorf("crash %d: %v", crash, err)
		}
		from.left, to.left = 1<<30, 1<<30
		if _, err := vault.Move(t.Context(), from, to); err != nil {
			t.Fatal(err)
		}
		moved := vault.New(to, from.Memory)
		if data, _, _, err := moved.State(t.Context(), s); err != nil || !bytes.Equal(data, state) {
			t.Errorf("crash %d: the state has %d bytes: %v", crash, len(data), err)
		}
		if data, err := moved.Plan(t.Context(), s, "1"); err != nil || string(data) != "plan" {
			t.Errorf("crash %d: the plan is %q: %v", crash, data, err)
		}
		left, _ := from.List(t.Context(), "")
		went, _ := to.List(t.Context(), "")
		if len(left) != 1 || left[0] != "tenant-key-lugano" || len(went) != 3 {
			t.Errorf("crash %d: left are %v, moved %v", crash, left, went)
		}
	}
	from, to := vault.NewMemory(), vault.NewMemory()
	_, _ = from.Write(t.Context(), "stack-1.state", "", []byte("old"))
	_, _ = to.Write(t.Context(), "stack-1.state", "", []byte("new"))
	if _, err := vault.Move(t.Context(), from, to); err == nil {
		t.Error("another state was taken for the one that is to be moved")
	}
	if data, _, _ := to.Read(t.Context(), "stack-1.state"); string(data) != "new" {
		t.Errorf("it was written over with %q", data)
	}
	if _, _, err := from.Read(t.Context(), "stack-1.state"); err != nil {
		t.Errorf("what was not moved is gone: %v", err)
	}
}

// frail is a store that fails after so many changes.
type frail struct {
	*vault.Memory
	left int
}

var errCrash = errors.New("crash")

func (f *frail) Write(ctx context.Context, name, version string, data []byte) (string, error) {
	if f.left--; f.left < 0 {
		return "", errCrash
	}
	return f.Memory.Write(ctx, name, version, data)
}

func (f *frail) Delete(ctx context.Context, name string) error {
	if f.left--; f.left < 0 {
		return errCrash
	}
	return f.Memory.Delete(ctx, name)
}
