package mover

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"runtime"
	"sync"
	"syscall"

	chunkers "github.com/PlakarKorp/go-cdc-chunkers"
	_ "github.com/PlakarKorp/go-cdc-chunkers/chunkers/fastcdc" // cuts by content
	_ "github.com/PlakarKorp/go-cdc-chunkers/chunkers/fixed"   // cuts by position
	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/compression"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/object"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/broletto/broletto/operator/move"
)

const (
	// minLarge is from what size on a file is backed up by us, in bytes.
	minLarge = 64 << 20
	// pieceSize is that of most pieces of a large file, in bytes: a few pages of a database. maxPieces is how many a file has at most, more or
	// less: those of a larger one are larger.
	pieceSize = 128 << 10
	maxPieces = 1 << 20
	// holeUnit is the piece that holes are made of, in bytes. A hole that has no whole one in it is read as zeros.
	holeUnit = 8 << 20
)

const zstdFastest = compression.Name("zstd-fastest")

// cut is how a large file is cut into pieces, which are at most so many times smaller or larger than most.
type cut struct {
	algorithm string
	spread    int
}

// cuts are by content, so that what is inserted moves no limit but those near it, or where pages end.
var cuts = map[move.Profile]cut{move.General: {"fastcdc-v1.0.0", 4}, move.Database: {"fixed-v1.0.0", 1}}

// large backs up large files, in smaller pieces than kopia would, and with all processors. What is changed in place in one, as in a disk or a
// database, costs little more than itself. A hole is references to one piece of zeros, and nothing is read or hashed for it.
type large struct {
	ctx      context.Context // of the order: when that ends, nothing more is read
	w        repo.RepositoryWriter
	cut      cut
	progress *progress

	mu    sync.Mutex
	zeros object.ID // of a unit
}

// piece is one of a file, as kopia keeps them.
type piece = object.IndirectObjectEntry

// file writes a file and returns its object, and its size: it may be cut off, or grow, meanwhile.
func (l *large) file(ctx context.Context, f *file) (id object.ID, size int64, err error) {
	r, err := f.open()
	if err != nil {
		return object.EmptyID, 0, err
	}
	defer func() { _ = r.Close() }()
	var pieces []*piece
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
		more, err := l.data(ctx, io.NewSectionReader(r, size, begin-size), size, sizeOfPieces(whole))
		if err != nil {
			return object.EmptyID, 0, err
		}
		for _, p := range more {
			size += p.Length
		}
		pieces = append(pieces, more...)
		if size < begin {
			break // it was cut off
		}
		for ; size < end; size += holeUnit {
			zeros, err := l.zero(ctx)
			if err != nil {
				return object.EmptyID, 0, err
			}
			pieces = append(pieces, &piece{Start: size, Length: holeUnit, Object: zeros})
			l.progress.add(holeUnit, 0)
		}
	}
	if pieces == nil { // nothing is left of it
		id, err = l.write(ctx, nil, "")
		return id, 0, err
	}
	id, err = l.index(ctx, pieces)
	return id, size, err
}

// sizeOfPieces is the size of most pieces of a file.
func sizeOfPieces(size int64) int {
	n := int64(pieceSize)
	for size/n > maxPieces {
		n *= 2
	}
	return int(n)
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

// data writes what is no hole, and returns its pieces.
func (l *large) data(ctx context.Context, r io.Reader, at int64, size int) (pieces []*piece, err error) {
	c, err := chunkers.NewChunker(l.cut.algorithm, &counted{l.ctx, r, l.progress}, &chunkers.ChunkerOpts{
		MinSize: size / l.cut.spread, NormalSize: size, MaxSize: size * l.cut.spread,
	})
	if err != nil {
		return nil, err
	}
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(runtime.NumCPU())
	err = c.Split(func(offset, length uint, text []byte) error {
		if length == 0 { // the end
			return nil
		}
		p := &piece{Start: at + int64(offset), Length: int64(length)}
		pieces = append(pieces, p)
		text = bytes.Clone(text)
		all.Go(func() (err error) {
			p.Object, err = l.write(ctx, text, "")
			return err
		})
		return context.Cause(ctx)
	})
	return pieces, errors.Join(all.Wait(), err)
}

// write writes a piece, or what tells of pieces.
func (l *large) write(ctx context.Context, text []byte, prefix content.IDPrefix) (object.ID, error) {
	w := l.w.NewObjectWriter(ctx, object.WriterOptions{Compressor: zstdFastest, MetadataCompressor: zstdFastest, Splitter: "FIXED-8M", Prefix: prefix})
	defer func() { _ = w.Close() }()
	if _, err := w.Write(text); err != nil {
		return object.EmptyID, err
	}
	return w.Result()
}

// index writes which pieces a file is made of, as kopia reads it.
func (l *large) index(ctx context.Context, pieces []*piece) (object.ID, error) {
	text, err := json.Marshal(map[string]any{"stream": "kopia:indirect", "entries": pieces})
	if err != nil {
		return object.EmptyID, err
	}
	id, err := l.write(ctx, text, "x")
	if err != nil {
		return object.EmptyID, err
	}
	return object.ParseID("I" + id.String())
}

// zero is the object of a unit of zeros.
func (l *large) zero(ctx context.Context) (object.ID, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.zeros != object.EmptyID {
		return l.zeros, nil
	}
	id, err := l.write(ctx, make([]byte, holeUnit), "")
	l.zeros = id
	return id, err
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
