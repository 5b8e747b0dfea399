package mover

import (
	"context"
	"errors"
	"io"
	"sync"
	"syscall"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/compression"
	"github.com/kopia/kopia/repo/object"
	"golang.org/x/sys/unix"
)

// holeUnit is the piece that holes are made of, in bytes. A hole that has no whole one in it is read as zeros.
const holeUnit = 8 << 20

// sparse backs up files with holes: a hole of any length is a few references to one piece of zeros, and nothing is read or hashed for it.
type sparse struct {
	w        repo.RepositoryWriter
	splitter string
	progress *progress

	mu    sync.Mutex
	zeros []object.ID // of 1, 2, 4 … units
}

const zstdFastest = compression.Name("zstd-fastest")

// file writes a file and returns its object.
func (s *sparse) file(ctx context.Context, f *file) (object.ID, error) {
	r, err := f.open()
	if err != nil {
		return object.EmptyID, err
	}
	defer func() { _ = r.Close() }()
	size := f.Size()
	var parts []object.ID
	for at := int64(0); at < size; {
		begin, end, err := hole(r, at, size)
		if err != nil {
			return object.EmptyID, err
		}
		if begin > at {
			id, err := s.data(ctx, io.NewSectionReader(r, at, begin-at))
			if err != nil {
				return object.EmptyID, err
			}
			parts = append(parts, id)
		}
		for units, k := (end-begin)/holeUnit, 0; units > 0; units, k = units/2, k+1 {
			if units%2 == 1 {
				id, err := s.zero(ctx, k)
				if err != nil {
					return object.EmptyID, err
				}
				parts = append(parts, id)
			}
		}
		s.progress.add(end-begin, 0)
		at = end
	}
	return s.w.ConcatenateObjects(ctx, parts, repo.ConcatenateOptions{Compressor: zstdFastest})
}

// hole finds the next hole of whole units at or behind an offset. Without another, both are the file's end.
func hole(f *reader, at, size int64) (begin, end int64, err error) {
	for begin = at; begin < size; {
		if begin, err = unix.Seek(int(f.Fd()), begin, unix.SEEK_HOLE); err != nil {
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

// data writes what is no hole.
func (s *sparse) data(ctx context.Context, r io.Reader) (object.ID, error) {
	w := s.w.NewObjectWriter(ctx, object.WriterOptions{Compressor: zstdFastest, MetadataCompressor: zstdFastest, Splitter: s.splitter, AsyncWrites: 1})
	defer func() { _ = w.Close() }()
	buffer := copyBuffers.Get().(*[64 << 10]byte)
	defer copyBuffers.Put(buffer)
	if _, err := io.CopyBuffer(w, &counted{ctx, r, s.progress}, buffer[:]); err != nil {
		return object.EmptyID, err
	}
	return w.Result()
}

// zero is the object of 2^k units of zeros.
func (s *sparse) zero(ctx context.Context, k int) (object.ID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.zeros) <= k {
		id, err := s.double(ctx)
		if err != nil {
			return object.EmptyID, err
		}
		s.zeros = append(s.zeros, id)
	}
	return s.zeros[k], nil
}

func (s *sparse) double(ctx context.Context) (object.ID, error) {
	if n := len(s.zeros); n > 0 {
		return s.w.ConcatenateObjects(ctx, []object.ID{s.zeros[n-1], s.zeros[n-1]}, repo.ConcatenateOptions{Compressor: zstdFastest})
	}
	w := s.w.NewObjectWriter(ctx, object.WriterOptions{Compressor: zstdFastest, MetadataCompressor: zstdFastest, Splitter: "FIXED-8M"})
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
