package bucket_test

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/broletto/broletto/operator/archive/archivetest"
	"github.com/broletto/broletto/operator/archive/bucket"
	"github.com/broletto/broletto/operator/s3"
	"github.com/broletto/broletto/test/stores"
)

// TestBucket holds the store to its contract over a real gateway, in a bucket with locks and in one without.
func TestBucket(t *testing.T) {
	g := stores.NewGateway(t)
	g.NewLockedBucket(t, "archivio")
	t.Run("plain", func(t *testing.T) {
		t.Parallel()
		archivetest.Store(t, open(t, g, g.Addr, g.Bucket, "città/un po' strana?#%+&=/"), false)
	})
	t.Run("locked", func(t *testing.T) {
		t.Parallel()
		archivetest.Store(t, open(t, g, g.Addr, "archivio", "x/"), true)
	})
	t.Run("proof", func(t *testing.T) { t.Parallel(); proof(t, g) })
	t.Run("requests", func(t *testing.T) { t.Parallel(); requests(t, g) })
	t.Run("archive", func(t *testing.T) { t.Parallel(); whole(t, g) })
	t.Run("cut lines", func(t *testing.T) { t.Parallel(); cut(t, g) })
	t.Run("answers that break off", func(t *testing.T) { t.Parallel(); brokenOff(t, g) })
	t.Run("a slow store", func(t *testing.T) { t.Parallel(); slow(t, g) })
	t.Run("stolen credentials", func(t *testing.T) { t.Parallel(); stolen(t, g) })
}

// brokenOff has a way to the gateway break off its answers.
func brokenOff(t *testing.T, g *stores.Gateway) {
	var left, length atomic.Int64
	addr := g.Before(t, func(w http.ResponseWriter, r *http.Request, gateway http.Handler) {
		if r.Method == http.MethodGet && left.Add(-1) >= 0 {
			w = &truncating{w, int(length.Load())}
		}
		gateway.ServeHTTP(w, r)
	})
	archivetest.BrokenOff(t, open(t, g, addr, g.Bucket, "breaks/"), func(answers, after int) {
		length.Store(int64(after))
		left.Store(int64(answers))
	})
}

// proof is given of a bucket that keeps locks, and of none that does not.
func proof(t *testing.T, g *stores.Gateway) {
	p, err := open(t, g, g.Addr, "archivio", "").Prove(t.Context(), true)
	if err != nil || !p.Locks || !p.DeletesVersions || p.Offset.Abs() > 2*time.Second {
		t.Errorf("a bucket with locks: %+v, %v", p, err)
	}
	p, err = open(t, g, g.Addr, g.Bucket, "").Prove(t.Context(), false)
	if err != nil || p.Locks {
		t.Errorf("a bucket without locks: %+v, %v", p, err)
	}
	p, err = open(t, g, g.Addr, g.Bucket, "").Prove(t.Context(), true)
	if !errors.Is(err, s3.ErrNotLocked) || p.Locks {
		t.Errorf("a bucket without locks that should have them: %+v, %v", p, err)
	}
	for name, test := range map[string]struct {
		lie  func(w http.ResponseWriter, r *http.Request) bool
		want string
	}{
		"lets versions be deleted": {func(w http.ResponseWriter, r *http.Request) bool {
			return r.Method == http.MethodDelete && r.URL.Query().Has("versionId") && answer(w, http.StatusNoContent)
		}, "deleting a locked version went through"},
		"lets versions be deleted with bypass": {func(w http.ResponseWriter, r *http.Request) bool {
			return r.Method == http.MethodDelete && r.Header.Get("X-Amz-Bypass-Governance-Retention") != "" && answer(w, http.StatusNoContent)
		}, "deleting a locked version with bypass went through"},
		"lets locks be shortened": {func(w http.ResponseWriter, r *http.Request) bool {
			return r.Method == http.MethodPut && r.URL.Query().Has("retention") && answer(w, http.StatusOK)
		}, "shortening a lock went through"},
		"does not lock": {func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Hide", "X-Amz-Object-Lock-Mode")
			return false
		}, "is locked until 0001"},
		"has failed": {func(w http.ResponseWriter, r *http.Request) bool {
			return r.Method == http.MethodDelete && r.URL.Query().Has("versionId") && answer(w, http.StatusInternalServerError)
		}, "500"},
	} {
		t.Run("a store that "+name, func(t *testing.T) {
			b := open(t, g, before(t, g, test.lie), "archivio", "")
			p, err := b.Prove(t.Context(), true)
			if err == nil || p.Locks || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "segreto") {
				t.Errorf("%+v, %v", p, err)
			}
			if name == "has failed" && errors.Is(err, s3.ErrNotLocked) {
				t.Errorf("a failure proves nothing: %v", err)
			}
		})
	}
	b := open(t, g, before(t, g, func(w http.ResponseWriter, r *http.Request) bool {
		return r.Method == http.MethodDelete && r.URL.Query().Has("versionId") && answer(w, http.StatusForbidden)
	}), "archivio", "")
	if p, err := b.Prove(t.Context(), true); err != nil || p.DeletesVersions || !p.Locks {
		t.Errorf("credentials that may not delete versions: %+v, %v", p, err)
	}
	b = open(t, g, before(t, g, func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Date", time.Now().Add(2*time.Hour).UTC().Format(http.TimeFormat))
		return false
	}), g.Bucket, "")
	if p, err := b.Prove(t.Context(), false); err != nil || (p.Offset-2*time.Hour).Abs() > 2*time.Second {
		t.Errorf("a clock two hours ahead: %s, %v", p.Offset, err)
	}
}

// stolen are credentials with which somebody deletes everything: what is locked is there when the delete markers are gone.
func stolen(t *testing.T, g *stores.Gateway) {
	g.NewLockedBucket(t, "rubato")
	b := open(t, g, g.Addr, "rubato", "")
	for _, name := range []string{"a/1", "a/2"} {
		if err := b.Put(t.Context(), name, []byte(name), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	client := g.Client(t)
	versions := func(each func(minio.ObjectInfo)) {
		for o := range client.ListObjectsIter(t.Context(), "rubato", minio.ListObjectsOptions{Recursive: true, WithVersions: true}) {
			if o.Err != nil {
				t.Fatal(o.Err)
			}
			each(o)
		}
	}
	versions(func(o minio.ObjectInfo) {
		if err := client.RemoveObject(t.Context(), "rubato", o.Key, minio.RemoveObjectOptions{VersionID: o.VersionID, GovernanceBypass: true}); err == nil {
			t.Errorf("a locked version of %s was deleted", o.Key)
		}
		if err := client.RemoveObject(t.Context(), "rubato", o.Key, minio.RemoveObjectOptions{}); err != nil {
			t.Error(err)
		}
	})
	if found, err := b.List(t.Context(), ""); err != nil || len(found) != 0 {
		t.Errorf("all is deleted, and listed: %v, %v", found, err)
	}
	versions(func(o minio.ObjectInfo) {
		if o.IsDeleteMarker {
			if err := client.RemoveObject(t.Context(), "rubato", o.Key, minio.RemoveObjectOptions{VersionID: o.VersionID}); err != nil {
				t.Error(err)
			}
		}
	})
	for _, name := range []string{"a/1", "a/2"} {
		if data, err := b.Get(t.Context(), name, 100); err != nil || string(data) != name {
			t.Errorf("after the delete markers are gone, %s is %q: %v", name, data, err)
		}
	}
}

// requests are made again that failed, and no others.
func requests(t *testing.T, g *stores.Gateway) {
	var lock sync.Mutex
	seen, fail := 0, 0
	addr := before(t, g, func(w http.ResponseWriter, _ *http.Request) bool {
		lock.Lock()
		defer lock.Unlock()
		seen++
		return seen <= fail && answer(w, http.StatusServiceUnavailable)
	})
	b := open(t, g, addr, g.Bucket, "tries/")
	for name, test := range map[string]struct {
		fail, requests int
		request        func(context.Context) error
		ok             bool
	}{
		"delete":    {2, 3, func(ctx context.Context) error { return b.Delete(ctx, "x") }, true},
		"list":      {2, 3, func(ctx context.Context) error { _, err := b.List(ctx, "x"); return err }, true},
		"three":     {3, 3, func(ctx context.Context) error { return b.Delete(ctx, "x") }, false},
		"not found": {0, 1, func(ctx context.Context) error { _, err := b.Get(ctx, "x", 1); return err }, false},
		"put":       {1, 3, func(ctx context.Context) error { return b.Put(ctx, "p", nil, time.Time{}) }, true}, // it asks what became of it
		"no bucket": {0, 1, func(ctx context.Context) error { return open(t, g, addr, "altrove", "").Delete(ctx, "x") }, false},
		"impossible": {0, 0, func(ctx context.Context) error {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return b.Delete(ctx, "x")
		}, false},
	} {
		lock.Lock()
		seen, fail = 0, test.fail
		lock.Unlock()
		err := test.request(t.Context())
		if (err == nil) != test.ok || seen != test.requests {
			t.Errorf("%s: %d requests: %v", name, seen, err)
		}
	}
}

func open(t *testing.T, g *stores.Gateway, addr, name, prefix string) *bucket.Bucket {
	t.Helper()
	b, err := bucket.New(s3.Place{Endpoint: "http://" + addr, Bucket: name, Region: "us-east-1", Prefix: prefix}, g.Account)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func answer(w http.ResponseWriter, status int) bool {
	w.WriteHeader(status)
	return true
}

// before answers some requests, hides a header of the gateway's answers that it is told in Hide, and leaves the Date that it is given.
func before(t *testing.T, g *stores.Gateway, answers func(http.ResponseWriter, *http.Request) bool) (addr string) {
	t.Helper()
	return g.Before(t, func(w http.ResponseWriter, r *http.Request, gateway http.Handler) {
		if answers(w, r) {
			return
		}
		said := httptest.NewRecorder()
		gateway.ServeHTTP(said, r)
		hide, date := w.Header().Get("Hide"), w.Header().Get("Date")
		maps.Copy(w.Header(), said.Header())
		w.Header().Del(hide)
		if date != "" {
			w.Header().Set("Date", date)
		}
		w.WriteHeader(said.Code)
		_, _ = w.Write(said.Body.Bytes())
	})
}
