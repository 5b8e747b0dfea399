package bucket_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/broletto/broletto/operator/archive"
	"github.com/broletto/broletto/operator/vault/vaulttest"
	"github.com/broletto/broletto/test/stores"
)

var secrets = archive.Resource{Version: "v1", Resource: "secrets", Kind: "Secret"}

// backUp backs up some objects and says how many pages were new.
func backUp(ctx context.Context, r archive.Repository, uid string, objects int) (m *archive.Manifest, written int, err error) {
	b, err := r.Begin(ctx, "sportello")
	if err != nil {
		return nil, 0, err
	}
	defer b.Stop()
	for i := range objects {
		name := fmt.Sprintf("o-%04d", i)
		if err := b.Add(ctx, secrets, name, fmt.Appendf(nil, `{"name":%q,"data":%q}`, name, strings.Repeat(name, 50))); err != nil {
			return nil, 0, err
		}
	}
	m, err = b.Commit(ctx, archive.About{UID: uid, Name: "前の夜"})
	return m, b.Written(), err
}

// whole backs up, verifies, removes and sweeps in a bucket with locks, of which nothing is lost by that.
func whole(t *testing.T, g *stores.Gateway) {
	r := archive.Repository{Store: open(t, g, g.Addr, "archivio", "città/"), Tenant: "lugano", Key: archive.NewKey(), LockDays: 2}
	first, written, err := backUp(t.Context(), r, "1", 1000)
	if err != nil || written != len(first.Pages) {
		t.Fatalf("%d pages: %v", written, err)
	}
	second, written, err := backUp(t.Context(), r, "2", 1000)
	if err != nil || written != 0 || second.Sequence != 2 {
		t.Fatalf("%d pages: %v", written, err)
	}
	if again, _, err := backUp(t.Context(), r, "1", 1000); err != nil || again.Hash != first.Hash {
		t.Errorf("the second pass of a backup: %v", err)
	}
	if v, lost, err := r.Verify(t.Context(), second); err != nil || len(lost) != 0 || v.Objects != 1000 || v.Bytes == 0 {
		t.Errorf("verified %+v, lost %v: %v", v, lost, err)
	}
	for _, name := range []string{first.File(), "lugano/objects/" + first.Pages[0].Page} {
		info, err := g.Client(t).StatObject(t.Context(), "archivio", "città/"+name, minio.StatObjectOptions{})
		until, _ := time.Parse(time.RFC3339, info.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date"))
		if err != nil || until.Sub(first.Started).Round(time.Minute) != 48*time.Hour {
			t.Errorf("%s is locked until %s: %v", name, until, err)
		}
	}
	if err := r.Remove(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if got, err := r.Sweep(t.Context(), 100); err != nil || got.Pages+got.Manifests != 0 {
		t.Errorf("within the grace, %+v: %v", got, err)
	}
	c, err := r.Manifests(t.Context(), "sportello")
	if err != nil || len(c.Faults) != 0 || len(c.Records) != 1 || c.Newest != second.Head() || time.Since(c.Records[0].Written).Abs() > time.Minute {
		t.Errorf("the chain: %+v, %v", c, err)
	}
}

// cut cuts the line after so many bytes, there and back: what counts afterwards is whole, and the next pass puts it right.
func cut(t *testing.T, g *stores.Gateway) {
	var lost atomic.Int32
	t.Cleanup(func() {
		if lost.Load() == 0 {
			t.Error("no cut was in the way of a backup: they are in the wrong places")
		}
	})
	for _, at := range []struct{ there, back int }{
		{0, 1 << 20}, {3000, 1 << 20}, {6000, 1 << 20}, {13000, 1 << 20}, {1 << 20, 0}, {1 << 20, 1500}, {1 << 20, 4000},
	} {
		t.Run(fmt.Sprint("after ", at), func(t *testing.T) {
			t.Parallel()
			line := vaulttest.NewLine(t, g.Addr)
			r := archive.Repository{
				Store: open(t, g, line.Addr(), g.Bucket, fmt.Sprintf("cut-%d-%d/", at.there, at.back)), Tenant: "lugano", Key: archive.NewKey(),
			}
			line.Cut(at.there, at.back)
			if _, _, err := backUp(t.Context(), r, "1", 300); err != nil {
				lost.Add(1)
				if strings.Contains(err.Error(), "segreto") {
					t.Errorf("cut: %v", err)
				}
			}
			line.Mend()
			c, err := r.Manifests(t.Context(), "sportello")
			if err != nil || len(c.Faults) != 0 {
				t.Fatalf("faults %v: %v", c.Faults, err)
			}
			m, _, err := backUp(t.Context(), r, "1", 300)
			if err != nil || m.Sequence != 1 {
				t.Fatalf("again: %v", err)
			}
			line.Cut(1<<20, 2000)
			names := 0
			gone, err := r.Objects(t.Context(), m, func(archive.Resource, string, []byte) error { names++; return nil })
			line.Mend()
			if err == nil && names+len(slices.Concat(pages(gone)...)) != 300 {
				t.Errorf("reading: %d objects, lost %d", names, len(gone))
			}
			if v, gone, err := r.Verify(t.Context(), m); err != nil || len(gone) != 0 || v.Objects != 300 {
				t.Errorf("verified %+v, lost %v: %v", v, gone, err)
			}
		})
	}
}

func pages(lost []archive.Lost) (names [][]string) {
	for _, l := range lost {
		names = append(names, l.Names)
	}
	return names
}

// slow answers late, out of order, and breaks pages off: one alone is lost, and as the store's fault, not as damage. Where one as long is not given
// either, it is the store that fails.
func slow(t *testing.T, g *stores.Gateway) {
	var n atomic.Int32
	var short atomic.Value // what the names of pages end with
	short.Store("none")
	addr := g.Before(t, func(w http.ResponseWriter, r *http.Request, gateway http.Handler) {
		select {
		case <-time.After(time.Duration(n.Add(1)%7) * 10 * time.Millisecond):
		case <-r.Context().Done():
		}
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/objects/") && strings.HasSuffix(r.URL.Path, short.Load().(string)) {
			w = &truncating{w, 100}
		}
		gateway.ServeHTTP(w, r)
	})
	r := archive.Repository{Store: open(t, g, addr, g.Bucket, "slow/"), Tenant: "lugano", Key: archive.NewKey()}
	m, _, err := backUp(t.Context(), r, "1", 1000)
	if err != nil {
		t.Fatal(err)
	}
	last := ""
	count := 0
	visit := func(_ archive.Resource, name string, _ []byte) error {
		if name <= last {
			t.Errorf("%s comes after %s", name, last)
		}
		last = name
		count++
		return nil
	}
	if lost, err := r.Objects(t.Context(), m, visit); err != nil || len(lost) != 0 || count != 1000 {
		t.Errorf("%d objects, lost %v: %v", count, lost, err)
	}
	bySize := func(a, b archive.Page) int { return cmp.Compare(a.Size, b.Size) }
	least, most := slices.MinFunc(m.Pages, bySize), slices.MaxFunc(m.Pages, bySize)
	short.Store(least.Page)
	last, count = "", 0
	lost, err := r.Objects(t.Context(), m, visit)
	if err != nil || len(lost) != 1 || count+len(lost[0].Names) != 1000 || lost[0].Page.Page != least.Page || archive.Broken(lost[0].Err) {
		t.Errorf("with a truncated page, %d objects, lost %v: %v", count, lost, err)
	}
	for _, name := range []string{"", most.Page} {
		short.Store(name)
		if _, lost, err := r.Verify(t.Context(), m); !errors.Is(err, io.ErrUnexpectedEOF) || archive.Broken(err) {
			t.Errorf("with pages truncated that end with %q, lost %d: %v", name, len(lost), err)
		}
	}
}

// truncating ends an answer before it is whole.
type truncating struct {
	http.ResponseWriter
	left int
}

func (w *truncating) Write(data []byte) (int, error) {
	n := min(len(data), w.left)
	w.left -= n
	if n == 0 {
		return len(data), nil
	}
	_, err := w.ResponseWriter.Write(data[:n])
	return len(data), err
}
