package vault_test

import (
	"context"
	"strings"
	"testing"

	"github.com/broletto/broletto/operator/run"
	"github.com/broletto/broletto/operator/vault"
)

// reads counts what is read of keys.
type reads struct {
	*vault.Memory
	keys int
}

func (r *reads) Read(ctx context.Context, name string) ([]byte, string, error) {
	if strings.HasPrefix(name, "tenant-key-") {
		r.keys++
	}
	return r.Memory.Read(ctx, name)
}

// TestKeyIsRemembered reads a tenant's key once for many things, and again when it is another one now.
func TestKeyIsRemembered(t *testing.T) {
	store := &reads{Memory: vault.NewMemory()}
	here, elsewhere := vault.New(store, store), vault.New(store, store)
	s := vault.Stack{Tenant: "lugano", UID: "1"}
	write := func(v *vault.Vault, text string) {
		t.Helper()
		if err := v.PutOrder(t.Context(), s, "run", run.Order{Run: text}); err != nil {
			t.Fatal(err)
		}
	}
	read := func(v *vault.Vault, want string) {
		t.Helper()
		if o, err := v.Order(t.Context(), s, "run"); err != nil || o.Run != want {
			t.Errorf("got %q, want %q: %v", o.Run, want, err)
		}
	}
	write(here, "first")
	before := store.keys
	for range 10 {
		write(here, "first")
		read(here, "first")
	}
	if store.keys != before {
		t.Errorf("the key was read %d times more", store.keys-before)
	}

	if err := elsewhere.ForgetTenant(t.Context(), s.Tenant); err != nil {
		t.Fatal(err)
	}
	write(elsewhere, "second") // with a new key
	read(here, "second")
	if err := here.ForgetTenant(t.Context(), s.Tenant); err != nil {
		t.Fatal(err)
	}
	if _, err := here.Order(t.Context(), s, "run"); err == nil {
		t.Error("what was sealed with a key that is gone opens")
	}
}

// TestKeyItselfIsReadAnew wants the key that everything about a run begins with to be the one that is kept now.
func TestKeyItselfIsReadAnew(t *testing.T) {
	store := vault.NewMemory()
	here, elsewhere := vault.New(store, store), vault.New(store, store)
	s := vault.Stack{Tenant: "lugano", UID: "1"}
	key := func(v *vault.Vault) string {
		t.Helper()
		k, err := v.Key(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		return string(k)
	}
	old := key(here)
	if err := elsewhere.ForgetTenant(t.Context(), s.Tenant); err != nil {
		t.Fatal(err)
	}
	if now := key(elsewhere); now == old || key(here) != now {
		t.Error("one of two replicas goes on with the key of a tenant that is gone")
	}
}
