package mover

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"syscall"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/compression"
	"github.com/kopia/kopia/repo/object"
	"golang.org/x/sys/unix"
)

// minLarge is from what size on a file is backed up by us, in bytes.
const minLarge = 64 << 20

// holeUnit is the piece that holes are made of, in bytes. A hole that has no whole one in it is read as zeros.
const holeUnit = 8 << 20

// large backs up large files. What is changed in place in one, as in a disk or a database, costs little more than itself: its contents are
// small ones. A hole of any length is a few references to one piece of zeros, and nothing is read or hashed for it.
type large struct {
	ctx      context.Context // of the order: when that ends, nothing more is read
	w        repo.RepositoryWriter
	splitter string
	progress *progress

	mu    sync.Mutex
	zeros []object.ID // of 1, 2, 4 … units
}

const zstdFastest = compression.Name("zstd-fastest")

// file writes a file and returns its object, and its size: it may be cut off, or grow, meanwhile.
func (l *large) file(ctx context.Context, f *file) (id object.ID, size int64, err error) {
	r, err := f.open()
	if err != nil {
		return object.EmptyID, 0, err
	}
	defer func() { _ = r.Close() }()
	var parts []object.ID
	for {
		now, err := r.Stat()
		if err != nil {
			return object.EmptyID, 0, err
		}
		whole := min(now.Size(), f.Size())
		if size >= whole {
			break
		}
		begin, end, err := hole(r, size, whole)
		if err != nil {
			return object.EmptyID, 0, err
		}
		if begin > size {
			id, n, err := l.data(ctx, io.NewSectionReader(r, size, begin-size))
			if err != nil {
				return object.EmptyID, 0, err
			}
			parts = append(parts, id)
			if size += n; size < begin {
				break
			}
		}
		for units, k := (end-begin)/holeUnit, 0; units > 0; units, k = units/2, k+1 {
			if units%2 == 1 {
				id, err := l.zero(ctx, k)
				if err != nil {
					return object.EmptyID, 0, err
				}
				parts = append(parts, id)
			}
		}
		l.progress.add(end-begin, 0)
		size = end
	}
	if parts == nil { // nothing is left of it
		return l.data(ctx, io.LimitReader(r, 0))
	}
	id, err = l.w.ConcatenateObjects(ctx, parts, repo.ConcatenateOptions{Compressor: zstdFastest})
	return id, size, err
}

// hole finds the next hole of whole units at or behind an offset. Without another, both are the file's end.
func hole(f *reader, at, size int64) (begin, end int64, err error) {
	for begin = at; begin < size; {
		begin, err = unix.Seek(int(f.Fd()), begin, unix.SEEK_HOLE)
		if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENXIO) {
			break // its file system knows of none, or it was cut off
		}
		if err != nil {
			return 0, 0, err
		}
		if begin >= size {
			break
		}
		end, err = unix.Seek(int(f.Fd()), begin, unix.SEEK_DATA)
		if errors.Is(err, syscall.ENXIO) {
			end = size
		} else if err != nil {
			return 0, 0, err
		}
		end = min(end, size)
		if end-begin >= holeUnit {
			return begin, begin + (end-begin)/holeUnit*holeUnit, nil
		}
		begin = end
	}
	return size, size, nil
}

// data writes what is no hole, and tells how much that was.
func (l *large) data(ctx context.Context, r io.Reader) (id object.ID, n int64, err error) {
	w := l.w.NewObjectWriter(ctx, object.WriterOptions{
		Compressor: zstdFastest, MetadataCompressor: zstdFastest, Splitter: l.splitter, AsyncWrites: runtime.NumCPU(),
	})
	defer func() { _ = w.Close() }()
	buffer := copyBuffers.Get().(*[64 << 10]byte)
	defer copyBuffers.Put(buffer)
	if n, err = io.CopyBuffer(w, &counted{l.ctx, r, l.progress}, buffer[:]); err != nil {
		return object.EmptyID, 0, err
	}
	id, err = w.Result()
	return id, n, err
}

// zero is the object of 2^k units of zeros.
func (l *large) zero(ctx context.Context, k int) (object.ID, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.zeros) <= k {
		id, err := l.double(ctx)
		if err != nil {
			return object.EmptyID, err
		}
		l.zeros = append(l.zeros, id)
	}
	return l.zeros[k], nil
}

func (l *large) double(ctx context.Context) (object.ID, error) {
	if n := len(l.zeros); n > 0 {
		return l.w.ConcatenateObjects(ctx, []object.ID{l.zeros[n-1], l.zeros[n-1]}, repo.ConcatenateOptions{Compressor: zstdFastest})
	}
	w := l.w.NewObjectWriter(ctx, object.WriterOptions{Compressor: zstdFastest, MetadataCompressor: zstdFastest, Splitter: "FIXED-8M"})
	defer func() { _ = w.Close() }()
	if _, err := w.Write(make([]byte, holeUnit)); err != nil {
		return object.EmptyID, err
	}
	return w.Result()
}

// counted is a reader that tells what was read, and ends with its context.
type counted struct {
	ctx context.Context
	io.Reader
	progress *progress
}

func (c *counted) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	n, err := c.Reader.Read(p)
	c.progress.add(int64(n), 0)
	return n, err
}
