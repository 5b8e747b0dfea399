package mover

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/snapshot"
	"golang.org/x/sys/unix"

	"github.com/broletto/broletto/operator/move"
)

// restore writes a snapshot into the order's folder. What an entry is called or says leads nowhere else: each is made by its one name in a
// folder that is open.
func (s *session) restore(ctx context.Context) error {
	all, err := s.snapshots(ctx)
	if err != nil {
		return err
	}
	if len(all) != 1 {
		return as(move.FailureOrder, fmt.Errorf("snapshot %s is not complete", s.order.Snapshots[0]))
	}
	man := all[0]
	if s.order.Stream != nil {
		return s.restoreStream(ctx, man)
	}
	if d := man.RootEntry.DirSummary; d != nil {
		s.progress.total.Store(d.TotalFileSize)
		if s.order.Compare { // all is read twice
			s.progress.total.Store(2 * d.TotalFileSize)
		}
	}
	root, err := os.OpenRoot(s.order.Path)
	if err != nil {
		return as(move.FailureTarget, err)
	}
	defer func() { _ = root.Close() }()
	r := &restorer{session: s, replace: s.order.Existing == move.Replace, mayOwn: os.Geteuid() == 0, jobs: make(chan func(), queued)}
	if !r.order.Compare { // which reads all twice
		_ = r.announce(ctx, man.RootEntry)
	}
	if err := r.all(ctx, root, man.RootEntry); err != nil {
		return err
	}
	s.report.Snapshot, s.report.Root = string(man.ID), man.RootObjectID().String()
	s.report.Bytes, s.report.Files, s.report.Folders = r.bytes.Load(), r.files.Load(), r.folders.Load()
	s.report.Unchanged, s.report.Unowned = r.kept.Load(), r.unowned.Load()
	s.packs.forget() // else they are written to the disk, too, if it is the same
	if err := syncFolder(root); err != nil {
		return as(move.FailureTarget, err)
	}
	if s.report.Failed > 0 {
		class := move.FailureTarget
		if r.lost.Load() {
			class = move.FailureDamaged
		}
		return as(class, fmt.Errorf("%d entries could not be restored; all others were", s.report.Failed))
	}
	if s.order.Compare {
		if err := s.compare(ctx, root, man.RootEntry); err != nil {
			return err
		}
		if s.report.Failed > 0 {
			return as(move.FailureTarget, fmt.Errorf("%w: %d entries", errDiffers, s.report.Failed))
		}
	}
	return nil
}

// syncFolder has everything on the disk: who is told that data is back may lose power.
func syncFolder(root *os.Root) error {
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}

// restorer writes files in parallel, while one goroutine walks through the folders, depth first: what was backed up together lies together.
type restorer struct {
	*session
	replace, mayOwn bool
	jobs            chan func()
	bytes, files    atomic.Int64
	folders, kept   atomic.Int64
	unowned         atomic.Int64
	lost            atomic.Bool
	fatal           atomic.Pointer[error]
	zero            sync.Map // pieces that are all zeros, by object
}

// place is a folder that is being restored. It is closed, and gets its mode and times, when nothing of it is left to be done.
type place struct {
	root   *os.Root
	path   string
	entry  *snapshot.DirEntry
	parent *place
	left   atomic.Int64
	mine   bool // it was made here
}

// all restores everything.
func (r *restorer) all(ctx context.Context, root *os.Root, top *snapshot.DirEntry) error {
	var workers sync.WaitGroup
	for range 2 * runtime.NumCPU() {
		workers.Go(func() {
			for job := range r.jobs {
				job()
			}
		})
	}
	own, err := root.OpenRoot(".")
	if err == nil {
		p := &place{root: own, entry: top, mine: r.mayOwn || r.replace}
		p.left.Store(1)
		r.walk(ctx, p)
	}
	close(r.jobs)
	workers.Wait()
	r.packs.rest()
	if fatal := r.fatal.Load(); fatal != nil {
		return *fatal
	}
	if err != nil {
		return as(move.FailureTarget, err)
	}
	return ctx.Err()
}

// walk restores a folder.
func (r *restorer) walk(ctx context.Context, p *place) {
	defer r.done(p)
	r.folders.Add(1)
	entries, err := r.list(ctx, p.entry.ObjectID)
	if err != nil {
		r.fail(p.path, as(move.FailureDamaged, err))
		return
	}
	for _, e := range entries {
		if ctx.Err() != nil || r.fatal.Load() != nil {
			return
		}
		name, err := decodeName(e.Name)
		if err != nil {
			r.fail(path.Join(p.path, e.Name), as(move.FailureDamaged, err))
			continue
		}
		if e.Type == snapshot.EntryTypeDirectory {
			r.folder(ctx, p, name, e)
			continue
		}
		p.left.Add(1)
		r.ahead(ctx, e)
		r.jobs <- func() {
			defer r.done(p)
			if err := r.entry(ctx, p, name, e); err != nil {
				r.fail(path.Join(p.path, name), err)
			}
			r.progress.add(0, 1)
		}
	}
}

// queued is how many entries the walk is ahead of those that are written.
const queued = 256

// folder makes a folder and restores what is in it.
func (r *restorer) folder(ctx context.Context, p *place, name string, e *snapshot.DirEntry) {
	err := p.root.Mkdir(name, 0o700)
	mine := err == nil
	if errors.Is(err, os.ErrExist) {
		err = r.enter(p, name, &mine)
	}
	var root *os.Root
	if err == nil {
		root, err = p.root.OpenRoot(name)
	}
	if err != nil {
		r.fail(path.Join(p.path, name), as(move.FailureTarget, err))
		return
	}
	below := &place{root: root, path: path.Join(p.path, name), entry: e, parent: p, mine: mine || r.replace}
	below.left.Store(1)
	p.left.Add(1)
	r.walk(ctx, below)
}

// enter looks at what stands where a folder is to be. What is no folder is replaced or in the way.
func (r *restorer) enter(p *place, name string, mine *bool) error {
	info, err := p.root.Lstat(name)
	if err != nil || info.IsDir() {
		return err
	}
	if !r.replace {
		return errors.New("something that is no folder stands there: order Replace, or take it away")
	}
	*mine = true
	if err := p.root.Remove(name); err != nil {
		return err
	}
	return p.root.Mkdir(name, 0o700)
}

// done counts one thing of a folder as done.
func (r *restorer) done(p *place) {
	for p != nil && p.left.Add(-1) == 0 {
		if p.mine && r.fatal.Load() == nil {
			err := r.dress(p.root, p.entry)
			if p.parent == nil && errors.Is(err, os.ErrPermission) {
				r.unowned.Add(1) // the volume itself is not the mover's
			} else if err != nil {
				r.fail(p.path, as(move.FailureTarget, err))
			}
		}
		_ = p.root.Close()
		p = p.parent
	}
}

// dress gives a folder its owner, mode and times.
func (r *restorer) dress(root *os.Root, e *snapshot.DirEntry) error {
	r.own(func() error { return root.Lchown(".", int(e.UserID), int(e.GroupID)) })
	return errors.Join(root.Chmod(".", os.FileMode(e.Permissions)&fs.ModBits), root.Chtimes(".", time.Time{}, e.ModTime.ToTime()))
}

// own gives an entry to its owner, which root alone may. Others keep what they restore, as a volume's group does its work there.
func (r *restorer) own(chown func() error) {
	if !r.mayOwn || chown() != nil {
		r.unowned.Add(1)
	}
}

// entry restores a file or a link.
func (r *restorer) entry(ctx context.Context, p *place, name string, e *snapshot.DirEntry) error {
	if r.fatal.Load() != nil {
		return nil
	}
	write := r.file
	switch e.Type {
	case snapshot.EntryTypeFile:
	case snapshot.EntryTypeSymlink:
		write = r.link
	default:
		return as(move.FailureDamaged, fmt.Errorf("entry of an unknown type %q", e.Type))
	}
	err := write(ctx, p, name, e)
	if errors.Is(err, os.ErrExist) {
		if !r.replace {
			r.kept.Add(1)
			return nil
		}
		if err = p.root.RemoveAll(name); err == nil {
			err = write(ctx, p, name, e)
		}
	}
	if err == nil {
		r.files.Add(1)
	}
	return err
}

func (r *restorer) link(ctx context.Context, p *place, name string, e *snapshot.DirEntry) error {
	target, err := r.text(ctx, e.ObjectID, unix.PathMax)
	if err != nil {
		return err
	}
	if err := p.root.Symlink(target, name); err != nil {
		return as(move.FailureTarget, err)
	}
	r.own(func() error { return p.root.Lchown(name, int(e.UserID), int(e.GroupID)) })
	return nil
}

// file writes one file. What broke off is taken away again.
func (r *restorer) file(ctx context.Context, p *place, name string, e *snapshot.DirEntry) error {
	f, err := p.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return as(move.FailureTarget, err)
	}
	err = r.fill(ctx, f, e)
	if err == nil && e.FileSize >= early {
		writeback(f)
	}
	if err == nil {
		r.own(func() error { return f.Chown(int(e.UserID), int(e.GroupID)) })
		err = as(move.FailureTarget, f.Chmod(os.FileMode(e.Permissions)&fs.ModBits))
	}
	if err == nil {
		err = as(move.FailureTarget, futimes(f, e.ModTime.ToTime()))
	}
	if closed := f.Close(); err == nil {
		err = as(move.FailureTarget, closed)
	}
	if err != nil {
		_ = p.root.Remove(name)
	}
	return err
}

func futimes(f *os.File, t time.Time) error {
	now := unix.NsecToTimespec(t.UnixNano())
	return unix.UtimesNanoAt(int(f.Fd()), "", []unix.Timespec{{Nsec: unix.UTIME_OMIT}, now}, unix.AT_EMPTY_PATH)
}

// fail notes an entry that could not be restored. With a full disk or without the store, all others would fail, too.
func (r *restorer) fail(path string, err error) {
	class := classOf(err)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		class = move.FailureSpace
		err = &failed{class, fmt.Errorf("the disk of %s is full: %w", r.order.Path, err)}
	}
	switch class {
	case move.FailureSpace, move.FailureStore, move.FailureDenied, move.FailureStalled, move.FailureDeadline, move.FailureInterrupted:
		r.fatal.CompareAndSwap(nil, &err)
		return
	case move.FailureDamaged, "":
		r.lost.Store(true)
	default:
	}
	r.problem(path, err)
}
