package mover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kopia/kopia/repo/blob"

	"github.com/broletto/broletto/operator/move"
)

// meter counts what the store is asked for and what it sends, whatever asks.
type meter struct {
	get, put, list, head, remove atomic.Int64
	received, sent               atomic.Int64
	moved                        atomic.Int64 // anything that shows that the operation goes on

	mu      sync.Mutex
	packs   map[blob.ID]int64 // reads of each
	missing map[blob.ID]bool  // packs that were asked for and are not there
	time    time.Time         // the store's, when it was first heard of
	heard   time.Time         // ours then
}

func newMeter() *meter { return &meter{packs: map[blob.ID]int64{}, missing: map[blob.ID]bool{}} }

func (m *meter) requests() move.Requests {
	r := move.Requests{
		Get: m.get.Load(), Put: m.put.Load(), List: m.list.Load(), Head: m.head.Load(), Delete: m.remove.Load(),
		Received: m.received.Load(), Sent: m.sent.Load(),
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r.Packs = int64(len(m.packs))
	for _, n := range m.packs {
		r.MaxGets = max(r.MaxGets, n)
	}
	return r
}

// readPack counts one read of a pack.
func (m *meter) readPack(id blob.ID, err error) {
	if !isPack(id) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.packs[id]++
	if errors.Is(err, blob.ErrBlobNotFound) {
		m.missing[id] = true
	}
}

// lost is a pack that was asked for and is not there; empty: none is.
func (m *meter) lost() blob.ID {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id := range m.missing {
		return id
	}
	return ""
}

// tell notes the store's clock.
func (m *meter) tell(date string) {
	t, err := http.ParseTime(date)
	if err != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.time.IsZero() {
		m.time, m.heard = t, time.Now()
	}
}

// skew is from how many seconds on a clock is wrong: below, it may be the network's.
const skew = 30 * time.Second

// now is the time by the store's clock, where ours is wrong.
func (m *meter) now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	off := m.time.Sub(m.heard)
	if m.time.IsZero() || off.Abs() < skew {
		return time.Now()
	}
	return time.Now().Add(off)
}

// patience is how long the store may be silent within a request.
const patience = time.Minute

// transport counts requests, and ends those on which nothing moves any more.
type transport struct {
	http.RoundTripper
	*meter
	patience time.Duration
}

var errSilent = errors.New("the store does not go on within a request")

// RoundTrip sends one request.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	t.count(r)
	ctx, cancel := context.WithCancelCause(r.Context())
	idle := time.AfterFunc(t.patience, func() { cancel(fmt.Errorf("%w for %s", errSilent, t.patience)) })
	end := func() { idle.Stop(); cancel(nil) }
	beat := func() { idle.Reset(t.patience) }
	r = r.WithContext(ctx)
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &body{ReadCloser: r.Body, read: func(n int) { beat(); t.moved.Add(1); t.sent.Add(int64(n)) }}
	}
	response, err := t.RoundTripper.RoundTrip(r)
	if err != nil {
		end()
		return nil, cmpCause(ctx, err)
	}
	t.tell(response.Header.Get("Date"))
	response.Body = &body{
		ReadCloser: response.Body, end: end,
		read: func(n int) { beat(); t.moved.Add(1); t.received.Add(int64(n)) },
		wrap: func(err error) error { return cmpCause(ctx, err) },
	}
	return response, nil
}

// cmpCause prefers why a request was ended to that it was.
func cmpCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
		return cause
	}
	return err
}

func (t transport) count(r *http.Request) {
	switch query := r.URL.Query(); {
	case r.Method == http.MethodPut:
		t.put.Add(1)
	case r.Method == http.MethodHead:
		t.head.Add(1)
	case r.Method == http.MethodDelete:
		t.remove.Add(1)
	case query.Has("list-type"):
		t.list.Add(1)
	default:
		t.get.Add(1)
	}
}

// body is one that tells what is read of it.
type body struct {
	io.ReadCloser
	read func(int)
	wrap func(error) error
	end  func()
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.read(n)
	}
	if err != nil && !errors.Is(err, io.EOF) && b.wrap != nil {
		err = b.wrap(err)
	}
	return n, err
}

func (b *body) Close() error {
	if b.end != nil {
		b.end()
	}
	return b.ReadCloser.Close()
}

// metered is a store that is a folder.
type metered struct {
	blob.Storage
	*meter
}

func (s metered) GetBlob(ctx context.Context, id blob.ID, offset, length int64, out blob.OutputBuffer) error {
	s.get.Add(1)
	err := s.Storage.GetBlob(ctx, id, offset, length, out)
	s.received.Add(int64(out.Length()))
	s.moved.Add(1)
	return err
}

func (s metered) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, o blob.PutOptions) error {
	s.put.Add(1)
	err := s.Storage.PutBlob(ctx, id, data, o)
	if err == nil {
		s.sent.Add(int64(data.Length()))
		s.moved.Add(1)
		s.push(ctx, id)
	}
	return err
}

// push has the kernel begin to write a blob to the disk, which it would put off until much more is to be written at once.
func (s metered) push(ctx context.Context, id blob.ID) {
	folder, known := s.Storage.(interface {
		GetShardedPathAndFilePath(context.Context, blob.ID) (string, string, error)
	})
	if !known {
		return
	}
	if _, name, err := folder.GetShardedPathAndFilePath(ctx, id); err == nil {
		if f, err := os.Open(name); err == nil { //nolint:gosec // it was made by the storage
			writeback(f)
			_ = f.Close()
		}
	}
}

func (s metered) GetMetadata(ctx context.Context, id blob.ID) (blob.Metadata, error) {
	s.head.Add(1)
	return s.Storage.GetMetadata(ctx, id)
}

func (s metered) DeleteBlob(ctx context.Context, id blob.ID) error {
	s.remove.Add(1)
	return s.Storage.DeleteBlob(ctx, id)
}

func (s metered) ListBlobs(ctx context.Context, prefix blob.ID, each func(blob.Metadata) error) error {
	s.list.Add(1)
	return s.Storage.ListBlobs(ctx, prefix, each)
}

// isPack tells whether a blob has contents of files (p) or of folders (q).
func isPack(id blob.ID) bool {
	return strings.HasPrefix(string(id), "p") || strings.HasPrefix(string(id), "q")
}
