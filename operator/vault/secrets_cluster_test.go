package vault_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/broletto/broletto/operator/vault"
	"github.com/broletto/broletto/operator/vault/vaulttest"
	"github.com/broletto/broletto/test/cluster"
)

const namespace = "broletto-system"

// TestSecrets holds the store to its contract with the operator's own rights.
func TestSecrets(t *testing.T) {
	t.Parallel()
	store := vault.NewSecrets(operator(t), namespace)
	vaulttest.Store(t, vaulttest.Corners(store))
	vaulttest.Vault(t, store)
}

// TestSecretsCrash breaks the connection before each request of a large write: what is read is the old or the new, whole, and after the
// next write nothing is left of the broken one.
func TestSecretsCrash(t *testing.T) {
	t.Parallel()
	whole := operator(t)
	old, next := random(t, 2<<20), random(t, 2<<20)
	steady := vault.NewSecrets(whole, namespace)
	for crash := range 10 {
		name := "crash." + strconv.Itoa(crash)
		version, err := steady.Write(t.Context(), name, "", old)
		if err != nil {
			t.Fatal(err)
		}
		left := crash
		frail := vault.NewSecrets(breaking(t, whole, &left), namespace)
		_, writeErr := frail.Write(t.Context(), name, version, next)
		data, version, err := steady.Read(t.Context(), name)
		if err != nil || !bytes.Equal(data, old) && !bytes.Equal(data, next) || writeErr == nil && !bytes.Equal(data, next) {
			t.Fatalf("crash %d (%v): read %d bytes, neither the old nor the new: %v", crash, writeErr, len(data), err)
		}
		if _, err := steady.Write(t.Context(), name, version, next); err != nil {
			t.Fatal(err)
		}
		if n := secrets(t, whole, name); n != 4 {
			t.Errorf("crash %d: a whole of three parts is kept in %d Secrets", crash, n)
		}
		if err := steady.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if n := secrets(t, whole, name); n != 0 {
			t.Errorf("crash %d: %d Secrets are left of what was deleted", crash, n)
		}
	}
}

// TestSecretsLarge keeps a state that does not compress, larger than any Secret, and finds nothing of it in clear.
func TestSecretsLarge(t *testing.T) {
	t.Parallel()
	c := operator(t)
	v := vault.New(vault.NewSecrets(c, namespace), vault.NewSecrets(c, namespace))
	s := vault.Stack{Tenant: "large", UID: "large"}
	state := random(t, 8<<20)
	if err := v.PutState(t.Context(), s, 1, "line", state); err != nil {
		t.Fatal(err)
	}
	got, serial, _, err := v.State(t.Context(), s)
	if err != nil || serial != 1 || !bytes.Equal(got, state) {
		t.Errorf("a state of %d bytes is read as %d: %v", len(state), len(got), err)
	}
	if err := v.Forget(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if n := secrets(t, c, "stack-large."); n != 0 {
		t.Errorf("%d Secrets are left of a forgotten stack", n)
	}
}

func operator(t *testing.T) client.WithWatch {
	t.Helper()
	c, err := client.NewWithWatch(cluster.Operator(t), client.Options{Scheme: cluster.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// breaking is a client that fails from the request on that comes after so many.
func breaking(t *testing.T, c client.WithWatch, left *int) client.Client {
	t.Helper()
	broken := func() error {
		if *left--; *left < 0 {
			return errCrash
		}
		return nil
	}
	return interceptor.NewClient(c, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return errors.Join(broken(), onlyIf(*left >= 0, func() error { return c.Create(ctx, o, opts...) }))
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return errors.Join(broken(), onlyIf(*left >= 0, func() error { return c.Update(ctx, o, opts...) }))
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return errors.Join(broken(), onlyIf(*left >= 0, func() error { return c.Delete(ctx, o, opts...) }))
		},
		List: func(ctx context.Context, c client.WithWatch, o client.ObjectList, opts ...client.ListOption) error {
			return errors.Join(broken(), onlyIf(*left >= 0, func() error { return c.List(ctx, o, opts...) }))
		},
	})
}

func onlyIf(whole bool, f func() error) error {
	if !whole {
		return nil
	}
	return f()
}

// secrets counts those whose names have a prefix.
func secrets(t *testing.T, c client.Client, prefix string) (n int) {
	t.Helper()
	var all corev1.SecretList
	if err := c.List(t.Context(), &all, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	for _, s := range all.Items {
		if strings.HasPrefix(s.Name, prefix) {
			n++
		}
	}
	return n
}

func random(t *testing.T, size int) []byte {
	t.Helper()
	data := make([]byte, size)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	return data
}
