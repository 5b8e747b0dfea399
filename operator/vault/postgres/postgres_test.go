package postgres_test

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/broletto/broletto/operator/vault"
	"github.com/broletto/broletto/operator/vault/postgres"
	"github.com/broletto/broletto/operator/vault/vaulttest"
	"github.com/broletto/broletto/test/stores"
)

// TestPostgres holds the store to its contract over a real server.
func TestPostgres(t *testing.T) {
	p := stores.NewPostgres(t)
	t.Run("store", func(t *testing.T) {
		t.Parallel()
		s := opened(t, p.Store(p.Addr, "postgres"), p.Folder)
		vaulttest.Store(t, vaulttest.Corners(s))
		vaulttest.Vault(t, s)
	})
	t.Run("remote", func(t *testing.T) {
		t.Parallel()
		p.Do(t, "postgres", "CREATE DATABASE remote")
		vaulttest.Remote(t, p.Addr, func(t *testing.T, addr string) vault.Store { return opened(t, p.Store(addr, "remote"), p.Folder) })
	})
	t.Run("strict", func(t *testing.T) { strict(t, p) })
	t.Run("replicas", func(t *testing.T) { replicas(t, p) })
	t.Run("rights", func(t *testing.T) { rights(t, p) })
	t.Run("credentials", func(t *testing.T) { credentials(t, p) })
}

// strict is a database whose defaults would have a write that lost a race fail in another way, and be told before it is on disk.
func strict(t *testing.T, p *stores.Postgres) {
	p.Do(t, "postgres", "CREATE DATABASE strict",
		"ALTER DATABASE strict SET default_transaction_isolation = 'serializable'", "ALTER DATABASE strict SET synchronous_commit = off")
	s := opened(t, p.Store(p.Addr, "strict"), p.Folder)
	vaulttest.Store(t, vaulttest.Corners(s))
}

// replicas make the table at once.
func replicas(t *testing.T, p *stores.Postgres) {
	p.Do(t, "postgres", "CREATE DATABASE replicas")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if err := opened(t, p.Store(p.Addr, "replicas"), p.Folder).Open(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// rights may be no more than those on the table, once somebody else has made it.
func rights(t *testing.T, p *stores.Postgres) {
	p.Do(t, "postgres", "CREATE DATABASE rights", "CREATE ROLE clerk LOGIN PASSWORD 'x'")
	p.Do(t, "rights", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
	clerk := stores.Folder(t, map[string]string{"username": "clerk", "password": "x"})
	s := opened(t, p.Store(p.Addr, "rights"), clerk)
	if err := s.Open(t.Context()); err == nil || !strings.Contains(err.Error(), "making table broletto_vault") {
		t.Errorf("a role that may make no table: %v", err)
	}
	if err := opened(t, p.Store(p.Addr, "rights"), p.Folder).Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.Do(t, "rights", "GRANT SELECT, INSERT, UPDATE, DELETE ON broletto_vault TO clerk")
	if _, err := s.Write(t.Context(), "x", "", nil); err != nil {
		t.Errorf("a role with the four rights on the table: %v", err)
	}
}

// credentials are wrong, then put right while the operator runs.
func credentials(t *testing.T, p *stores.Postgres) {
	folder := stores.Folder(t, map[string]string{"username": "broletto", "password": "falso"})
	s := opened(t, p.Store(p.Addr, "postgres"), folder)
	err := s.Open(t.Context())
	if err == nil || errors.Is(err, vault.ErrUnfit) || !strings.Contains(err.Error(), "password authentication failed") || strings.Contains(err.Error(), "falso") {
		t.Errorf("a wrong password: %v", err)
	}
	right, err := os.ReadFile(filepath.Join(p.Folder, "password"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "password"), right, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Open(t.Context()); err != nil {
		t.Errorf("the right password: %v", err)
	}
}

// TestAddress refuses what is written wrongly, and never repeats a password.
func TestAddress(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"postgres://u:segreto@h/d":        "does not belong into an address",
		"postgres://h/d?password=segreto": "does not belong into an address",
		"postgres://h/d?sslmode=perhaps":  "sslmode",
	} {
		u, err := url.Parse(address)
		if err != nil {
			continue // it does not even get here
		}
		if _, err := postgres.New(u, ""); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "segreto") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func opened(t *testing.T, u *url.URL, folder string) *vault.Remote {
	t.Helper()
	s, err := postgres.New(u, folder)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
