package mover

import (
	"bytes"
	"context"
	"io"
	"os"
	"runtime"
	"sync"

	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/broletto/broletto/operator/move"
)

// early is the size in bytes from which on a file begins to be written to the disk at once, so that less is left to wait for at the end.
const early = 64 << 10

// writeback has the kernel begin to write a file to the disk, and waits for nothing.
func writeback(f *os.File) {
	_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
}

// stretch is about how many bytes of a large file are written one after the other: some packs' worth.
const stretch = 16 << 20

// fill writes a file's content, stretches of a large one at once.
func (r *restorer) fill(ctx context.Context, f *os.File, e *snapshot.DirEntry) error {
	if e.FileSize == 0 {
		return nil
	}
	pieces, err := r.pieces(ctx, e.ObjectID, e.FileSize)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	end := int64(0) // of the last byte that was written
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.NumCPU())
	for len(pieces) > 0 {
		n := 1
		for n < len(pieces) && pieces[n].Start-pieces[0].Start < stretch {
			n++
		}
		some := pieces[:n]
		pieces = pieces[n:]
		g.Go(func() error {
			last, err := r.stretch(ctx, f, some, e.FileSize)
			mu.Lock()
			defer mu.Unlock()
			end = max(end, last)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if end < e.FileSize {
		return as(move.FailureTarget, f.Truncate(e.FileSize))
	}
	return nil
}

// stretch writes pieces of a file, and says where what was written ends. What is all zeros becomes holes, and a piece that was all zeros once is
// not read again.
func (r *restorer) stretch(ctx context.Context, f *os.File, pieces []object.IndirectObjectEntry, size int64) (end int64, err error) {
	for _, p := range pieces {
		if _, zero := r.zero.Load(p.Object); zero {
			r.count(p.Length)
			continue
		}
		last, err := r.piece(ctx, f, p)
		if err != nil {
			return end, err
		}
		if end = max(end, last); last == 0 && p.Length < size {
			r.zero.Store(p.Object, true)
		}
	}
	return end, nil
}

// piece writes one piece of a file, and says where what was written ends; 0: the piece is all zeros.
func (r *restorer) piece(ctx context.Context, f *os.File, p object.IndirectObjectEntry) (end int64, err error) {
	o, err := r.repo.OpenObject(ctx, p.Object)
	if err != nil {
		return 0, err
	}
	defer func() { _ = o.Close() }()
	buffer := copyBuffers.Get().(*[64 << 10]byte)
	defer copyBuffers.Put(buffer)
	for at := p.Start; at < p.Start+p.Length; {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		n, err := io.ReadFull(o, buffer[:min(p.Start+p.Length-at, int64(len(buffer)))])
		if err != nil {
			return 0, err
		}
		if !bytes.Equal(buffer[:n], zeros[:n]) {
			if _, err := f.WriteAt(buffer[:n], at); err != nil {
				return 0, as(move.FailureTarget, err)
			}
			end = at + int64(n)
		}
		at += int64(n)
		r.count(int64(n))
	}
	return end, nil
}

func (r *restorer) count(n int64) {
	r.bytes.Add(n)
	r.progress.add(n, 0)
}

var zeros [64 << 10]byte
