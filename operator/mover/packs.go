package mover

import (
	"container/list"
	"context"
	"errors"
	"os"
	"sync"
	"syscall"

	"github.com/kopia/kopia/repo/blob"
)

// packCache fetches a pack as a whole when a part of it is wanted, and serves parts from a file of its own. Else each piece of a file is a
// request. The least recently used packs go when there are more bytes than its limit.
type packCache struct {
	blob.Storage
	dir   string // absolute
	limit int64
	*meter

	mu    sync.Mutex
	packs map[blob.ID]*pack
	used  *list.List // of *pack, the last used in front
	bytes int64
	full  bool // no room on the disk: parts are fetched from the store
}

// pack is one pack in a file that no folder names, so that it goes with the process however that ends.
type pack struct {
	id    blob.ID
	ready chan struct{}
	err   error
	file  *os.File
	size  int64
	users int
	gone  bool
	place *list.Element
}

func newPackCache(s blob.Storage, dir string, limit int64, m *meter) *packCache {
	return &packCache{Storage: s, dir: dir, limit: limit, meter: m, packs: map[blob.ID]*pack{}, used: list.New()}
}

// GetBlob reads a blob or a range of it.
func (c *packCache) GetBlob(ctx context.Context, id blob.ID, offset, length int64, out blob.OutputBuffer) error {
	if !isPack(id) || length <= 0 || c.isFull() {
		err := c.Storage.GetBlob(ctx, id, offset, length, out)
		c.readPack(id, err)
		return err
	}
	p, err := c.take(ctx, id)
	if err != nil {
		if c.isFull() {
			return c.GetBlob(ctx, id, offset, length, out)
		}
		return err
	}
	defer c.give(p)
	out.Reset()
	if offset < 0 || offset+length > p.size {
		return blob.ErrInvalidRange
	}
	return p.copy(out, offset, length)
}

// copy writes a part, 64 KiB at a time.
func (p *pack) copy(out blob.OutputBuffer, offset, length int64) error {
	buffer := copyBuffers.Get().(*[64 << 10]byte)
	defer copyBuffers.Put(buffer)
	for length > 0 {
		n, err := p.file.ReadAt(buffer[:min(length, int64(len(buffer)))], offset)
		if err != nil {
			return err
		}
		if _, err := out.Write(buffer[:n]); err != nil {
			return err
		}
		offset, length = offset+int64(n), length-int64(n)
	}
	return nil
}

var copyBuffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// take returns a pack that is there, fetched by whoever came first, and to be given back.
func (c *packCache) take(ctx context.Context, id blob.ID) (*pack, error) {
	c.mu.Lock()
	p := c.packs[id]
	if p != nil {
		p.users++
		c.used.MoveToFront(p.place)
		c.mu.Unlock()
		select {
		case <-p.ready:
		case <-ctx.Done():
			c.give(p)
			return nil, context.Cause(ctx)
		}
	} else {
		p = &pack{id: id, ready: make(chan struct{}), users: 1}
		p.place = c.used.PushFront(p)
		c.packs[id] = p
		c.mu.Unlock()
		file, size, err := c.fetch(ctx, id)
		c.settle(p, file, size, err)
		close(p.ready)
	}
	if p.err != nil {
		c.give(p)
		return nil, p.err
	}
	return p, nil
}

// settle counts a pack that was fetched, and makes room for it.
func (c *packCache) settle(p *pack, file *os.File, size int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.file, p.size, p.err = file, size, err
	c.bytes += p.size
	if p.err != nil {
		c.drop(p)
		c.full = c.full || errors.Is(p.err, syscall.ENOSPC)
		return
	}
	for e := c.used.Back(); e != nil && c.bytes > c.limit; {
		old := e.Value.(*pack)
		e = e.Prev()
		if old != p && old.file != nil {
			c.drop(old)
		}
	}
}

// drop forgets a pack, whose file stays open for those who read it.
func (c *packCache) drop(p *pack) {
	delete(c.packs, p.id)
	c.used.Remove(p.place)
	c.bytes -= p.size
	p.gone = true
	if p.users == 0 && p.file != nil {
		_ = p.file.Close()
	}
}

func (c *packCache) give(p *pack) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.users--; p.users == 0 && p.gone && p.file != nil {
		_ = p.file.Close()
	}
}

func (c *packCache) isFull() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.full
}

// fetch reads a whole pack into a file.
func (c *packCache) fetch(ctx context.Context, id blob.ID) (*os.File, int64, error) {
	f, err := os.CreateTemp(c.dir, "pack-*")
	if err != nil {
		return nil, 0, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	out := &fileBuffer{file: f}
	err = c.Storage.GetBlob(ctx, id, 0, -1, out)
	c.readPack(id, err)
	if err = errors.Join(err, out.err); err != nil {
		_ = f.Close()
		return nil, 0, err
	}
	return f, out.size, nil
}

// forget lets go of all packs that nobody reads.
func (c *packCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.packs {
		if p.file != nil {
			c.drop(p)
		}
	}
}

// Close lets go of all files.
func (c *packCache) Close(ctx context.Context) error {
	c.forget()
	return c.Storage.Close(ctx)
}

// fileBuffer is a file as kopia's stores write to.
type fileBuffer struct {
	file *os.File
	size int64
	err  error
}

func (b *fileBuffer) Write(p []byte) (int, error) {
	n, err := b.file.Write(p)
	b.size += int64(n)
	if err != nil {
		b.err = err
	}
	return n, err
}

func (b *fileBuffer) Length() int { return int(b.size) }

func (b *fileBuffer) Reset() {
	_, seek := b.file.Seek(0, 0)
	b.size, b.err = 0, errors.Join(b.file.Truncate(0), seek)
}
