package mover

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"sync"

	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/snapshot"
	"golang.org/x/sync/errgroup"

	"github.com/broletto/broletto/operator/move"
)

// errDiffers surfaces when what was restored is not what was backed up.
var errDiffers = errors.New("what was restored is not what was backed up")

// compare reads what was restored again and compares it with the snapshot: which entries there are, their content and mode. Whatever else is in
// the folders stays out of it. What differs is a problem.
func (s *session) compare(ctx context.Context, root *os.Root, top *snapshot.DirEntry) error {
	c := &comparison{session: s}
	c.g, ctx = errgroup.WithContext(ctx)
	c.g.SetLimit(2 * runtime.NumCPU())
	err := c.folder(ctx, root, "", top)
	return errors.Join(err, c.g.Wait())
}

type comparison struct {
	*session
	g *errgroup.Group
}

// folder compares a folder, which it leaves open until the last of its files was read.
func (c *comparison) folder(ctx context.Context, root *os.Root, at string, d *snapshot.DirEntry) error {
	entries, err := c.list(ctx, d.ObjectID)
	if err != nil {
		return err
	}
	var files sync.WaitGroup
	for _, e := range entries {
		if ctx.Err() != nil {
			break
		}
		name, err := decodeName(e.Name)
		if err != nil {
			return err
		}
		below := path.Join(at, name)
		if e.Type != snapshot.EntryTypeDirectory {
			files.Add(1)
			c.g.Go(func() error {
				defer files.Done()
				return c.judge(below, c.entry(ctx, root, name, e))
			})
			continue
		}
		inner, err := root.OpenRoot(name)
		if err != nil {
			c.problem(below, err)
			continue
		}
		if err := errors.Join(c.folder(ctx, inner, below, e), inner.Close()); err != nil {
			return err
		}
	}
	files.Wait()
	return ctx.Err()
}

// judge notes what differs. The store's failures end the comparison.
func (c *comparison) judge(path string, err error) error {
	if err != nil && (errors.Is(err, errDiffers) || errors.Is(err, os.ErrNotExist)) {
		c.problem(path, err)
		return nil
	}
	return err
}

func (c *comparison) entry(ctx context.Context, root *os.Root, name string, e *snapshot.DirEntry) error {
	info, err := root.Lstat(name)
	if err != nil {
		return err
	}
	if e.Type == snapshot.EntryTypeSymlink {
		want, err := c.text(ctx, e.ObjectID, 1<<12)
		if err != nil {
			return err
		}
		got, err := root.Readlink(name)
		if err != nil || got != want {
			return fmt.Errorf("%w: it is no link to %q", errDiffers, want)
		}
		return nil
	}
	if mode := os.FileMode(e.Permissions) & fs.ModBits; !info.Mode().IsRegular() || info.Mode()&fs.ModBits != mode || info.Size() != e.FileSize {
		return fmt.Errorf("%w: it is %s of %d bytes, and was %s of %d", errDiffers, info.Mode(), info.Size(), mode, e.FileSize)
	}
	return c.content(ctx, root, name, e)
}

func (c *comparison) content(ctx context.Context, root *os.Root, name string, e *snapshot.DirEntry) error {
	if e.FileSize == 0 {
		return nil
	}
	f, err := root.Open(name)
	if err != nil {
		return as(move.FailureTarget, err)
	}
	defer func() { _ = f.Close() }()
	kept, err := c.repo.OpenObject(ctx, e.ObjectID)
	if err != nil {
		return err
	}
	defer func() { _ = kept.Close() }()
	one, other := copyBuffers.Get().(*[64 << 10]byte), copyBuffers.Get().(*[64 << 10]byte)
	defer copyBuffers.Put(one)
	defer copyBuffers.Put(other)
	for at := int64(0); at < e.FileSize; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := io.ReadFull(kept, one[:min(e.FileSize-at, int64(len(one)))])
		if err != nil {
			return err
		}
		if _, err := io.ReadFull(f, other[:n]); err != nil {
			return as(move.FailureTarget, err)
		}
		if !bytes.Equal(one[:n], other[:n]) {
			return fmt.Errorf("%w: it differs in the %d bytes from %d on", errDiffers, n, at)
		}
		at += int64(n)
		c.progress.add(int64(n), 0)
	}
	return nil
}
