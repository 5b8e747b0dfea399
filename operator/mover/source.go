package mover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/snapshot"

	"github.com/broletto/broletto/operator/move"
)

// tree is the folder that is backed up. It is read through a root that no link leads out of, however the tenant's processes move things
// about meanwhile: the order, with credentials of the store, is not far. kopia's own takes any path, and any file called *.kopia-entry for
// a reference to what somebody else has backed up.
type tree struct {
	root    *os.Root
	special atomic.Int64
	large   *large
}

// entry is one file, folder or link.
type entry struct {
	tree *tree
	path string // within the root
	name string // as it is kept
	info os.FileInfo
}

func (e *entry) Name() string                { return e.name }
func (e *entry) IsDir() bool                 { return e.info.IsDir() }
func (e *entry) Mode() os.FileMode           { return e.info.Mode() }
func (e *entry) Sys() any                    { return nil }
func (e *entry) LocalFilesystemPath() string { return "" }
func (e *entry) Close()                      {}
func (e *entry) Device() fs.DeviceInfo       { return fs.DeviceInfo{} }

func (e *entry) Owner() fs.OwnerInfo {
	if s, ok := e.info.Sys().(*syscall.Stat_t); ok {
		return fs.OwnerInfo{UserID: s.Uid, GroupID: s.Gid}
	}
	return fs.OwnerInfo{}
}

type folder struct{ entry }

type file struct{ entry }

type link struct{ entry }

// unreadable is an entry of which nothing is known but its name.
type unreadable struct {
	entry
	err error
}

var (
	_ fs.Directory              = (*folder)(nil)
	_ fs.File                   = (*file)(nil)
	_ snapshot.HasDirEntryOrNil = (*largeFile)(nil)
	_ fs.Symlink                = (*link)(nil)
	_ fs.ErrorEntry             = (*unreadable)(nil)
)

func (e *entry) ModTime() time.Time { return e.info.ModTime() }
func (e *entry) Size() int64        { return e.info.Size() }
func (f *folder) Size() int64       { return 0 }

// ErrorInfo is why.
func (u *unreadable) ErrorInfo() error { return u.err }

func (u *unreadable) Mode() os.FileMode { return 0 }

func openTree(dir string) (*tree, *folder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, as(move.FailureSource, err)
	}
	t := &tree{root: root}
	info, err := root.Lstat(".")
	if err != nil {
		return nil, nil, errors.Join(as(move.FailureSource, err), root.Close())
	}
	return t, &folder{entry{tree: t, path: ".", name: "volume", info: info}}, nil
}

// SupportsMultipleIterations says that the folder can be read again.
func (f *folder) SupportsMultipleIterations() bool { return true }

// Child finds one entry.
func (f *folder) Child(ctx context.Context, name string) (fs.Entry, error) {
	return fs.IterateEntriesAndFindChild(ctx, f, name)
}

// Iterate reads the folder.
func (f *folder) Iterate(context.Context) (fs.DirectoryIterator, error) {
	d, err := f.tree.root.Open(f.path)
	if err != nil {
		return nil, err
	}
	return &entries{of: f, dir: d}, nil
}

// maxSorted is how many entries of a folder are sorted at a time.
const maxSorted = 100_000

// inOrder is the order in which folders are restored and verified, so that what is wanted one after another lies together.
func inOrder(a, b os.DirEntry) int {
	switch {
	case a.IsDir() && !b.IsDir():
		return -1
	case b.IsDir() && !a.IsDir():
		return 1
	}
	return strings.Compare(a.Name(), b.Name())
}

type entries struct {
	of    *folder
	dir   *os.File
	batch []os.DirEntry
}

func (i *entries) Close() { _ = i.dir.Close() }

// Next is the next entry that has a content; nil after the last.
func (i *entries) Next(ctx context.Context) (fs.Entry, error) {
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if len(i.batch) == 0 {
			var err error
			if i.batch, err = i.dir.ReadDir(maxSorted); errors.Is(err, io.EOF) {
				return nil, nil
			} else if err != nil {
				return nil, err
			}
			slices.SortFunc(i.batch, inOrder)
		}
		d := i.batch[0]
		i.batch = i.batch[1:]
		if e := i.entry(d); e != nil {
			return e, nil
		}
	}
}

func (i *entries) entry(d os.DirEntry) fs.Entry {
	e := entry{tree: i.of.tree, path: path.Join(i.of.path, d.Name()), name: encodeName(d.Name())}
	info, err := d.Info()
	if errors.Is(err, os.ErrNotExist) {
		return nil // it was deleted meanwhile
	}
	if err != nil {
		return &unreadable{entry: e, err: err}
	}
	e.info = info
	switch mode := info.Mode(); {
	case mode.IsDir():
		return &folder{e}
	case mode&os.ModeSymlink != 0:
		return &link{e}
	case mode.IsRegular():
		if info.Size() < minLarge {
			return &file{e}
		}
		return &largeFile{file{e}}
	}
	e.tree.special.Add(1)
	return nil
}

// Readlink is where a link leads.
func (l *link) Readlink(context.Context) (string, error) { return l.tree.root.Readlink(l.path) }

// Resolve is not asked for.
func (l *link) Resolve(context.Context) (fs.Entry, error) { return nil, errors.ErrUnsupported }

// Open opens a file for reading.
func (f *file) Open(context.Context) (fs.Reader, error) { return f.open() }

func (f *file) open() (*reader, error) {
	// Without waiting, as it may have become a pipe.
	opened, err := f.tree.root.OpenFile(f.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := opened.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file any more", f.path)
	}
	if err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	return &reader{File: opened, of: f}, nil
}

type reader struct {
	*os.File
	of *file
}

// Entry is the file as it is now.
func (r *reader) Entry() (fs.Entry, error) {
	info, err := r.Stat()
	if err != nil {
		return nil, err
	}
	e := r.of.entry
	e.info = info
	return &file{e}, nil
}

// largeFile is a file that is backed up by us.
type largeFile struct{ file }

// DirEntryOrNil backs the file up.
func (f *largeFile) DirEntryOrNil(ctx context.Context) (*snapshot.DirEntry, error) {
	if f.tree.large == nil {
		return nil, nil
	}
	id, size, err := f.tree.large.file(ctx, &f.file)
	if err != nil {
		return nil, err
	}
	return &snapshot.DirEntry{
		Name: f.name, Type: snapshot.EntryTypeFile, Permissions: snapshot.Permissions(f.Mode() & fs.ModBits), FileSize: size,
		ModTime: fs.UTCTimestampFromTime(f.ModTime()), UserID: f.Owner().UserID, GroupID: f.Owner().GroupID, ObjectID: id,
	}, nil
}
