package bucket_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/broletto/broletto/operator/vault"
	"github.com/broletto/broletto/operator/vault/bucket"
	"github.com/broletto/broletto/operator/vault/vaulttest"
	"github.com/broletto/broletto/test/stores"
)

// TestBucket holds the store to its contract over a real gateway.
func TestBucket(t *testing.T) {
	g := stores.NewGateway(t)
	open := func(t *testing.T, addr string) vault.Store {
		return opened(t, g.Store(addr, strings.ReplaceAll(t.Name(), " ", "_")), g.Folder)
	}
	t.Run("store", func(t *testing.T) {
		t.Parallel()
		s := opened(t, g.Store(g.Addr, "città/un po' strana?#%+&="), g.Folder)
		vaulttest.Store(t, vaulttest.Corners(s))
	})
	t.Run("vault", func(t *testing.T) {
		t.Parallel()
		vaulttest.Vault(t, opened(t, g.Store(g.Addr, ""), g.Folder))
	})
	t.Run("remote", func(t *testing.T) {
		t.Parallel()
		vaulttest.Remote(t, g.Addr, open)
	})
	t.Run("busy", func(t *testing.T) { busy(t, g) })
	t.Run("credentials", func(t *testing.T) { credentials(t, g) })
}

// TestUnfit refuses stores that take a write against its condition, which are many, or that know no conditions and say so.
func TestUnfit(t *testing.T) {
	t.Parallel()
	folder := stores.Folder(t, map[string]string{"access-key-id": "broletto", "secret-access-key": "segreto"})
	for ignored, want := range map[string]string{"If-None-Match": "8 conditional writes at once 8 went through", "If-Match": "8 conditional writes at once 8 went through", "": ""} {
		s := opened(t, lax(t, ignored), folder)
		for range 2 {
			_, err := s.Write(t.Context(), "x", "", []byte("x"))
			if !errors.Is(err, vault.ErrUnfit) || !strings.Contains(err.Error(), want) {
				t.Errorf("a store without %q: %v", ignored, err)
			}
		}
	}
}

// lax is a store that ignores one condition, or, without any, says that it knows none.
func lax(t *testing.T, ignored string) *url.URL {
	t.Helper()
	var lock sync.Mutex
	versions, n := map[string]string{}, 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lock.Lock()
		defer lock.Unlock()
		now, wanted := versions[r.URL.Path], r.Header.Get("If-Match")
		switch {
		case r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
		case ignored == "":
			w.WriteHeader(http.StatusNotImplemented)
		case ignored != "If-None-Match" && r.Header.Get("If-None-Match") != "" && now != "", ignored != "If-Match" && wanted != "" && wanted != now:
			w.WriteHeader(http.StatusPreconditionFailed)
		default:
			n++
			versions[r.URL.Path] = fmt.Sprintf("%q", strconv.Itoa(n))
			w.Header().Set("ETag", versions[r.URL.Path])
		}
	}))
	t.Cleanup(server.Close)
	return &url.URL{Scheme: "s3", Host: "stati", RawQuery: "region=us-east-1&endpoint=" + url.QueryEscape(server.URL)}
}

// busy has the store answer every other write with a conflict that it has not looked into.
func busy(t *testing.T, g *stores.Gateway) {
	var n atomic.Int32
	addr := g.Before(t, func(w http.ResponseWriter, r *http.Request, gateway http.Handler) {
		if r.Method == http.MethodPut && n.Add(1)%2 == 1 {
			w.WriteHeader(http.StatusConflict)
			return
		}
		gateway.ServeHTTP(w, r)
	})
	s := opened(t, g.Store(addr, "busy"), g.Folder)
	version := ""
	for range 5 {
		var err error
		if version, err = s.Write(t.Context(), "x", version, []byte(version)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Write(t.Context(), "x", "", nil); !errors.Is(err, vault.ErrConflict) {
		t.Errorf("a true conflict among false ones: %v", err)
	}
}

// credentials are wrong, missing, and put right while the operator runs.
func credentials(t *testing.T, g *stores.Gateway) {
	folder := stores.Folder(t, map[string]string{"access-key-id": "broletto", "secret-access-key": "falso"})
	s := opened(t, g.Store(g.Addr, "credentials"), folder)
	err := s.Open(t.Context())
	if err == nil || errors.Is(err, vault.ErrUnfit) || !strings.Contains(err.Error(), "s3://stati/credentials") || strings.Contains(err.Error(), "falso") {
		t.Errorf("wrong credentials: %v", err)
	}
	if err := os.Remove(filepath.Join(folder, "secret-access-key")); err != nil {
		t.Fatal(err)
	}
	if err := s.Open(t.Context()); err == nil || !strings.Contains(err.Error(), "secret-access-key") {
		t.Errorf("missing credentials: %v", err)
	}
	right, err := os.ReadFile(filepath.Join(g.Folder, "secret-access-key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "secret-access-key"), right, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Open(t.Context()); err != nil {
		t.Errorf("right credentials: %v", err)
	}
	elsewhere := g.Store(g.Addr, "")
	elsewhere.Host = "altrove"
	if err := opened(t, elsewhere, g.Folder).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "bucket does not exist") {
		t.Errorf("no such bucket: %v", err)
	}
}

// TestAddress refuses what is written wrongly, and says how it is right.
func TestAddress(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"s3:///x?endpoint=https://h":                       "names no bucket",
		"s3://stati?endpoint=h":                            "endpoint",
		"s3://stati":                                       "endpoint",
		"s3://stati?endpoint=https://h/path":               "endpoint",
		"s3://stati?endpoint=https://k:segreto@h":          "endpoint",
		"s3://stati?endpoint=https://h&access-key=segreto": "no option access-key",
		"s3://k:segreto@stati?endpoint=https://h":          "credentials",
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bucket.New(u, "folder"); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "write it as s3://") {
			t.Errorf("%s: %v", address, err)
		}
	}
	u := &url.URL{Scheme: "s3", Host: "stati", RawQuery: "endpoint=https://h"}
	if _, err := bucket.New(u, ""); err == nil || !strings.Contains(err.Error(), "access-key-id") {
		t.Errorf("no credentials: %v", err)
	}
}

func opened(t *testing.T, u *url.URL, folder string) *vault.Remote {
	t.Helper()
	s, err := bucket.New(u, folder)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
