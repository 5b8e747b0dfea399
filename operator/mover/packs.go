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

const (
	// inMemory is how many bytes of packs are kept in memory.
	inMemory = 96 << 20
	// longest is how many bytes of one have room there. Most have 20 MiB.
	longest = 40 << 20
)

// packCache fetches a pack as a whole when a part of it is wanted, and serves parts of that. Else each piece of a file is a request. It is
// kept in memory until all that was announced of it was read or others need the room, and then in a file of its own if more of it is to be
// read. One that nobody announced and that is fetched a second time is kept in a file, too. The least recently used files go when there are more
// bytes in them than the limit.
type packCache struct {
	blob.Storage
	dir   string // absolute
	limit int64
	*meter

	mu      sync.Mutex
	packs   map[blob.ID]*pack
	fetched map[blob.ID]bool
	wanted  map[blob.ID]int64 // bytes that are still to be read, of packs that were announced
	used    *list.List        // of *pack, the last used in front
	memory  int64             // bytes
	bytes   int64             // in files
	full    bool              // no room on the disk: parts are fetched from the store
	largest int64             // bytes of the largest that came whole
	leads   bool              // one is fetched that nobody waits for yet
	pending sync.WaitGroup
	broken  map[blob.ID]error
}

// pack is one pack, in memory or in a file that no folder names, so that it goes with the process however that ends.
type pack struct {
	id    blob.ID
	ready chan struct{}
	err   error
	held
	size  int64
	users int
	gone  bool
	place *list.Element
}

func newPackCache(s blob.Storage, dir string, limit int64, m *meter) *packCache {
	return &packCache{Storage: s, dir: dir, limit: limit, meter: m, packs: map[blob.ID]*pack{}, fetched: map[blob.ID]bool{}, wanted: map[blob.ID]int64{}, broken: map[blob.ID]error{}, used: list.New()}
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
	defer c.read(p, length)
	out.Reset()
	if offset < 0 || offset+length > p.size {
		return blob.ErrInvalidRange
	}
	return p.copy(out, offset, length)
}

// want announces that so many bytes of a pack will be read.
func (c *packCache) want(id blob.ID, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted[id] += bytes
}

// read counts what was, and lets go of a pack that nobody wants any more.
func (c *packCache) read(p *pack, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	left, announced := c.wanted[p.id]
	if !announced {
		return
	}
	if left -= bytes; left > 0 {
		c.wanted[p.id] = left
		return
	}
	delete(c.wanted, p.id)
	if !p.gone {
		c.drop(p)
	}
}

// copy writes a part, 64 KiB at a time.
func (p *pack) copy(out blob.OutputBuffer, offset, length int64) error {
	buffer := copyBuffers.Get().(*[64 << 10]byte)
	defer copyBuffers.Put(buffer)
	for length > 0 {
		n, err := p.ReadAt(buffer[:min(length, int64(len(buffer)))], offset)
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
	if err := c.broken[id]; err != nil {
		c.mu.Unlock()
		return nil, err
	}
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
		p = c.add(id)
		p.users++
		c.mu.Unlock()
		got, size, err := c.fetch(ctx, id)
		for _, m := range c.settle(p, got, size, err) {
			c.move(ctx, m)
		}
	}
	if p.err != nil {
		c.give(p)
		return nil, p.err
	}
	return p, nil
}

// ahead fetches a pack that will soon be wanted, beside what is going on, one at a time.
func (c *packCache) ahead(ctx context.Context, id blob.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leads || c.full || c.packs[id] != nil || c.broken[id] != nil {
		return
	}
	c.leads = true
	c.pending.Go(func() {
		if p, err := c.take(ctx, id); err == nil { // else whoever wants it is told
			c.give(p)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.leads = false
	})
}

// rest waits until nothing is fetched ahead.
func (c *packCache) rest() { c.pending.Wait() }

// moving is a pack that goes from memory into a file.
type moving struct{ from, to *pack }

// move does that. Where it cannot, the pack is fetched again.
func (c *packCache) move(ctx context.Context, m moving) {
	memory := m.from.held.(*mapped)
	f, size, err := c.file(func(out blob.OutputBuffer) error {
		_, err := out.Write(memory.bytes[:memory.n])
		return err
	})
	c.give(m.from)
	if err != nil {
		f, size, err = c.fetch(ctx, m.to.id)
	}
	c.settle(m.to, f, size, err)
}

// settle counts a pack that is there or cannot be, and makes room for it, for which those are to be moved that it returns.
func (c *packCache) settle(p *pack, got held, size int64, err error) (out []moving) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer close(p.ready)
	p.held, p.size, p.err = got, size, err
	if p.err != nil {
		c.drop(p)
		c.full = c.full || errors.Is(p.err, syscall.ENOSPC)
		if errors.As(err, new(*brokenOff)) {
			c.broken[p.id] = err
		}
		return nil
	}
	c.fetched[p.id] = true
	c.largest = max(c.largest, p.size)
	bytes, limit := c.among(p)
	*bytes += p.size
	for e := c.used.Back(); e != nil && *bytes > limit; {
		old := e.Value.(*pack)
		e = e.Prev()
		if beside, _ := c.among(old); beside == bytes && old != p && old.held != nil {
			moves := bytes == &c.memory && c.wanted[old.id] > 0
			if moves {
				old.users++
			}
			c.drop(old)
			if moves { // whoever wants it from now on waits for the file
				out = append(out, moving{old, c.add(old.id)})
			}
		}
	}
	return out
}

// add notes a pack that is about to be there.
func (c *packCache) add(id blob.ID) *pack {
	p := &pack{id: id, ready: make(chan struct{})}
	p.place = c.used.PushFront(p)
	c.packs[id] = p
	return p
}

// among are the bytes that a pack's are counted with, and how many there may be.
func (c *packCache) among(p *pack) (bytes *int64, limit int64) {
	if _, is := p.held.(*os.File); is {
		return &c.bytes, c.limit
	}
	return &c.memory, inMemory
}

// drop forgets a pack, which stays for those who read it.
func (c *packCache) drop(p *pack) {
	delete(c.packs, p.id)
	c.used.Remove(p.place)
	bytes, _ := c.among(p)
	*bytes -= p.size
	p.gone = true
	p.free()
}

// free lets go of a pack that is forgotten and that nobody reads.
func (p *pack) free() {
	if p.gone && p.users == 0 && p.held != nil {
		_ = p.Close()
	}
}

func (c *packCache) give(p *pack) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.users--
	p.free()
}

func (c *packCache) isFull() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.full
}

// fetch reads a whole pack into memory or, the second time, into a file.
func (c *packCache) fetch(ctx context.Context, id blob.ID) (held, int64, error) {
	c.mu.Lock()
	again := c.fetched[id]
	c.mu.Unlock()
	if !again {
		m, err := newMapped()
		if err != nil {
			return nil, 0, err
		}
		err = c.fill(ctx, id, m)
		if err == nil {
			return m, int64(m.n), nil
		}
		_ = m.Close()
		if !m.over {
			return nil, 0, err
		}
	}
	return c.file(func(out blob.OutputBuffer) error { return c.fill(ctx, id, out) })
}

// file makes a file with a pack in it.
func (c *packCache) file(fill func(blob.OutputBuffer) error) (held, int64, error) {
	f, err := os.CreateTemp(c.dir, "pack-*")
	if err != nil {
		return nil, 0, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	out := &fileBuffer{file: f}
	if err = errors.Join(fill(out), out.err); err != nil {
		_ = f.Close()
		return nil, 0, err
	}
	return f, out.size, nil
}

func (c *packCache) fill(ctx context.Context, id blob.ID, out blob.OutputBuffer) error {
	err := c.Storage.GetBlob(ctx, id, 0, -1, out)
	c.readPack(id, err)
	return err
}

// gaveAsLong tells whether a pack of so many bytes came whole, and how many were broken off.
func (c *packCache) gaveAsLong(size int64) (is bool, broken int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.largest >= size, len(c.broken)
}

// mend has packs asked for again that were broken off.
func (c *packCache) mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.broken)
}

// forget lets go of all packs that nobody reads.
func (c *packCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.packs {
		if p.held != nil {
			c.drop(p)
		}
	}
}

// Close lets go of all files.
func (c *packCache) Close(ctx context.Context) error {
	c.forget()
	return c.Storage.Close(ctx)
}
