package mover

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"

	"github.com/broletto/broletto/operator/move"
)

// verify reads everything of the order's snapshots back from the store: the session's cache was empty, and the meter says what came.
func (s *session) verify(ctx context.Context) error {
	all, err := s.snapshots(ctx)
	if errors.Is(err, snapshot.ErrSnapshotNotFound) { // whoever orders knows that it was made
		return &failed{move.FailureDamaged, err}
	}
	if err != nil {
		return err
	}
	v := &verifier{session: s, seen: map[[16]byte]bool{}}
	for _, m := range all {
		if d := m.RootEntry.DirSummary; d != nil {
			s.progress.total.Add(d.TotalFileSize)
		}
	}
	v.all(func() {
		for _, m := range all {
			v.walk(ctx, "", m.RootEntry)
		}
	})
	v.all(v.again(ctx))
	s.report.Bytes, s.report.Files, s.report.Folders = v.bytes.Load(), v.files.Load(), v.folders.Load()
	if len(all) == 1 {
		s.report.Snapshot, s.report.Root = string(all[0].ID), all[0].RootObjectID().String()
	}
	if fatal := v.fatal.Load(); fatal != nil {
		return *fatal
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if s.report.Failed > 0 {
		return as(move.FailureDamaged, fmt.Errorf("%d entries are damaged: begin a new generation of the repository", s.report.Failed))
	}
	return s.intact(ctx)
}

// verifier reads each object once, in whichever snapshots and folders it is.
type verifier struct {
	*session
	mu    sync.Mutex
	seen  map[[16]byte]bool
	jobs  chan func()
	bytes atomic.Int64
	files atomic.Int64

	folders atomic.Int64
	fatal   atomic.Pointer[error]

	broken []func() // reads again what broke off
	last   bool     // that is under way
}

// all has workers do what walk finds.
func (v *verifier) all(walk func()) {
	v.jobs = make(chan func(), 64)
	var workers sync.WaitGroup
	for range 2 * runtime.NumCPU() {
		workers.Go(func() {
			for job := range v.jobs {
				job()
			}
		})
	}
	walk()
	close(v.jobs)
	workers.Wait()
}

// again reads once more, when all else was read, what the store has broken off.
func (v *verifier) again(ctx context.Context) func() {
	broken := v.broken
	v.broken, v.last = nil, true
	v.packs.mend()
	return func() {
		for _, read := range broken {
			if ctx.Err() == nil && v.fatal.Load() == nil {
				read()
			}
		}
	}
}

// walk verifies a folder.
func (v *verifier) walk(ctx context.Context, at string, d *snapshot.DirEntry) {
	if ctx.Err() != nil || v.fatal.Load() != nil || v.known(d.ObjectID) {
		return
	}
	entries, err := v.list(ctx, d.ObjectID)
	if err != nil {
		v.fail(at+"/", err, func() {
			v.forget(d.ObjectID)
			v.walk(ctx, at, d)
		})
		return
	}
	v.folders.Add(1)
	for _, e := range entries {
		below := path.Join(at, strings.ReplaceAll(e.Name, "\x00", `\x`))
		if e.Type == snapshot.EntryTypeDirectory {
			v.walk(ctx, below, e)
			continue
		}
		v.files.Add(1)
		if v.known(e.ObjectID) {
			v.progress.add(e.FileSize, 1)
			continue
		}
		v.jobs <- func() { v.file(ctx, below, e) }
	}
}

// file verifies a file.
func (v *verifier) file(ctx context.Context, at string, e *snapshot.DirEntry) {
	if ctx.Err() != nil || v.fatal.Load() != nil {
		return
	}
	if err := v.read(ctx, e); err != nil {
		v.fail(at, err, func() { v.jobs <- func() { v.file(ctx, at, e) } })
		return
	}
	v.progress.add(0, 1)
}

// known tells whether an object was verified before, or is about to be.
func (v *verifier) known(id object.ID) bool {
	sum := sha256.Sum256([]byte(id.String()))
	v.mu.Lock()
	defer v.mu.Unlock()
	was := v.seen[[16]byte(sum[:16])]
	v.seen[[16]byte(sum[:16])] = true
	return was
}

// forget has an object read again for the next that it is a piece of: that is damaged, too.
func (v *verifier) forget(id object.ID) {
	sum := sha256.Sum256([]byte(id.String()))
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.seen, [16]byte(sum[:16]))
}

// read reads an object to its end, but for pieces of it that were read before.
func (v *verifier) read(ctx context.Context, e *snapshot.DirEntry) error {
	pieces, err := v.pieces(ctx, e.ObjectID, e.FileSize)
	if err != nil {
		return err
	}
	for _, p := range pieces {
		if len(pieces) > 1 && v.known(p.Object) {
			v.progress.add(p.Length, 0)
			continue
		}
		if err := v.piece(ctx, p); err != nil {
			v.forget(p.Object)
			return err
		}
	}
	return nil
}

// piece reads one piece to its end.
func (v *verifier) piece(ctx context.Context, p object.IndirectObjectEntry) error {
	o, err := v.repo.OpenObject(ctx, p.Object)
	if err != nil {
		return err
	}
	defer func() { _ = o.Close() }()
	buffer := copyBuffers.Get().(*[64 << 10]byte)
	defer copyBuffers.Put(buffer)
	n, err := io.CopyBuffer(onlyWriter{io.Discard}, &counted{ctx, o, v.progress}, buffer[:])
	if err == nil && n != p.Length {
		err = fmt.Errorf("malformed: %d bytes are kept of %d", n, p.Length)
	}
	if err == nil {
		v.bytes.Add(n)
	}
	return err
}

// onlyWriter hides that its writer could read by itself.
type onlyWriter struct{ io.Writer }

// mostBroken is how many packs may be broken off before one as long has come whole.
const mostBroken = 8

// fail notes an entry that cannot be read. Without the store, or with no disk to read it to, nothing is said of the rest. Where an answer breaks off,
// it is asked for again when all else was read: it is damaged when another one as long came whole, and else perhaps the way to the store is.
func (v *verifier) fail(path string, err error, again func()) {
	class := classOf(err)
	var broken *brokenOff
	if class == move.FailureStore && errors.As(err, &broken) {
		proven, n := v.packs.gaveAsLong(broken.announced)
		if !v.last && (proven || n <= mostBroken) {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.broken = append(v.broken, again)
			return
		}
		if proven {
			class = move.FailureDamaged
		}
	}
	switch class {
	case move.FailureDamaged, "":
		v.problem(path, err)
	default:
		v.fatal.CompareAndSwap(nil, &err)
	}
}
