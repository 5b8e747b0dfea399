package mover

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/fs/virtualfs"
	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"
	"github.com/kopia/kopia/snapshot/policy"
	"github.com/kopia/kopia/snapshot/upload"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/broletto/broletto/operator/move"
)

var (
	errIncomplete = errors.New("the backup could not go on")
	errUnread     = errors.New("entries could not be read; the snapshot has the rest")
)

// pin keeps kopia from forgetting a snapshot by a policy of its own. Which are forgotten is said by an order.
const pin = "broletto"

// tag is the label of snapshots that names their Backup.
const tag = "tag:backup"

// splitters are how kopia cuts files that are not large.
var splitters = map[move.Profile]string{move.General: "DYNAMIC-1M-BUZHASH", move.Database: "FIXED-128K"}

// backup makes a snapshot of what the order names.
func (s *session) backup(ctx, hard context.Context) error {
	root, t, err := s.root(ctx)
	if err != nil {
		return err
	}
	previous, err := snapshot.FindPreviousManifests(hard, s.repo, s.source(), nil)
	if err != nil {
		return fmt.Errorf("looking for the snapshot before: %w", err)
	}
	s.expect(previous)
	_, w, err := s.repo.NewDirectWriter(hard, repo.WriteSessionOptions{Purpose: "backup"})
	if err != nil {
		return err
	}
	defer func() { _ = w.Close(hard) }()
	if t != nil {
		defer func() { _ = t.root.Close() }()
		t.large = &large{ctx: ctx, w: w, cut: cuts[s.order.Profile], progress: s.progress}
	}
	man, err := s.upload(ctx, hard, w, root, previous)
	if err != nil {
		return err
	}
	switch {
	case t != nil:
		s.report.Special = t.special.Load()
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case s.report.Failed > 0: // half a dump is none
		return as(move.FailureSource, errors.New(s.report.Problems[0].Message))
	}
	if err := s.save(hard, w, man); err != nil {
		return err
	}
	if man.IncompleteReason != "" {
		return errIncomplete
	}
	s.sum(man)
	if err := s.intact(hard); err != nil {
		return err
	}
	if s.report.Failed > 0 {
		return as(move.FailureSource, fmt.Errorf("%d %w", s.report.Failed, errUnread))
	}
	return nil
}

// root is what is backed up: a folder, or a folder with a dump.
func (s *session) root(ctx context.Context) (fs.Directory, *tree, error) {
	if s.order.Stream == nil {
		t, f, err := openTree(s.order.Path)
		return f, t, err
	}
	out, err := s.openStream(ctx)
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, nil, err
	}
	return virtualfs.NewStaticDirectory("dump", []fs.Entry{virtualfs.StreamingFileFromReader(encodeName(s.order.Stream.Name), out)}), nil, nil
}

// expect estimates how much there is: as much as the last time, or all that the volume has.
func (s *session) expect(previous []*snapshot.Manifest) {
	for _, m := range previous {
		if m.RootEntry != nil && m.RootEntry.DirSummary != nil && m.IncompleteReason == "" {
			s.progress.total.Store(m.RootEntry.DirSummary.TotalFileSize)
			return
		}
	}
	var volume, parent unix.Stat_t
	var f unix.Statfs_t
	if unix.Stat(s.order.Path, &volume) == nil && unix.Stat(s.order.Path+"/..", &parent) == nil && volume.Dev != parent.Dev && unix.Statfs(s.order.Path, &f) == nil {
		s.progress.total.Store(int64(f.Blocks-f.Bfree) * int64(f.Bsize)) //nolint:unconvert // another type elsewhere
	}
}

// upload reads everything and writes what is new.
func (s *session) upload(ctx, hard context.Context, w repo.RepositoryWriter, root fs.Directory, previous []*snapshot.Manifest) (*snapshot.Manifest, error) {
	u := upload.NewUploader(w)
	u.Progress = &uploading{session: s}
	u.ParallelUploads, u.DisableIgnoreRules = runtime.NumCPU(), true
	u.CheckpointInterval = time.Duration(s.order.CheckpointSeconds) * time.Second
	u.CheckpointLabels = map[string]string{tag: s.order.Backup}
	defer context.AfterFunc(ctx, u.Cancel)()
	p := *policy.DefaultPolicy
	p.CompressionPolicy.CompressorName = zstdFastest
	p.SplitterPolicy.Algorithm = splitters[s.order.Profile]
	man, err := u.Upload(hard, root, policy.BuildTree(nil, &p), s.source(), previous...)
	if err == nil || classOf(err) != "" {
		return man, err
	}
	var path *os.PathError
	if errors.As(err, &path) || errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
		return nil, as(move.FailureSource, err)
	}
	return nil, err
}

// save has the snapshot count. The checkpoints on the way to it go.
func (s *session) save(ctx context.Context, w repo.RepositoryWriter, man *snapshot.Manifest) error {
	man.Tags, man.Pins = map[string]string{tag: s.order.Backup}, []string{pin}
	if man.IncompleteReason != "" {
		man.Pins = nil
	}
	id, err := snapshot.SaveSnapshot(ctx, w, man)
	if err != nil {
		return fmt.Errorf("saving the snapshot: %w", err)
	}
	if man.IncompleteReason == "" {
		all, err := snapshot.ListSnapshots(ctx, w, man.Source)
		if err != nil {
			return fmt.Errorf("looking for checkpoints: %w", err)
		}
		for _, m := range all {
			if m.IncompleteReason == "" || m.ID == id {
				continue
			}
			if err := w.DeleteManifest(ctx, m.ID); err != nil {
				return fmt.Errorf("deleting a checkpoint: %w", err)
			}
		}
	}
	if err := w.Flush(ctx); err != nil {
		return fmt.Errorf("writing the rest: %w", err)
	}
	man.ID = id
	return nil
}

func (s *session) sum(man *snapshot.Manifest) {
	s.report.Snapshot, s.report.Root = string(man.ID), man.RootObjectID().String()
	if d := man.RootEntry.DirSummary; d != nil {
		s.report.Bytes, s.report.Files, s.report.Folders = d.TotalFileSize, d.TotalFileCount+d.TotalSymlinkCount, d.TotalDirCount
	}
}

// intact looks whether every pack that the index names is in the store and long enough: a snapshot builds on all that was there before.
func (s *session) intact(ctx context.Context) error {
	if id := s.meter.lost(); id != "" {
		return as(move.FailureDamaged, fmt.Errorf("pack %s is not in the store any more", id))
	}
	if err := s.repo.Refresh(ctx); err != nil {
		return fmt.Errorf("reading the index again: %w", err)
	}
	length := map[blob.ID]int64{}
	var mu sync.Mutex
	g, within := errgroup.WithContext(ctx)
	for _, prefix := range []blob.ID{"p", "q"} {
		g.Go(func() error {
			return s.store.ListBlobs(within, prefix, func(m blob.Metadata) error {
				mu.Lock()
				defer mu.Unlock()
				length[m.BlobID] = m.Length
				return nil
			})
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return s.repo.ContentReader().IterateContents(ctx, content.IterateOptions{}, func(c content.Info) error {
		if n, there := length[c.PackBlobID]; !there {
			return as(move.FailureDamaged, fmt.Errorf("pack %s is not in the store any more", c.PackBlobID))
		} else if n < int64(c.PackOffset)+int64(c.PackedLength) {
			return as(move.FailureDamaged, fmt.Errorf("pack %s has only %d bytes in the store", c.PackBlobID, n))
		}
		return nil
	})
}

// uploading takes what kopia tells of an upload.
type uploading struct {
	upload.NullUploadProgress
	*session
	unchanged atomic.Int64
}

// HashedBytes tells of bytes that were read.
func (u *uploading) HashedBytes(n int64) { u.progress.add(n, 0) }

// CachedFile tells of a file that is as it was.
func (u *uploading) CachedFile(_ string, size int64) {
	u.progress.add(size, 0)
	u.unchanged.Add(1)
}

// FinishedFile tells of a file that is done.
func (u *uploading) FinishedFile(string, error) { u.progress.add(0, 1) }

// UploadFinished tells that all are.
func (u *uploading) UploadFinished() { u.report.Unchanged = u.unchanged.Load() }

// Error tells of an entry that could not be read. One that was deleted meanwhile is none.
func (u *uploading) Error(path string, err error, _ bool) {
	if errors.Is(err, os.ErrNotExist) {
		u.progress.mu.Lock()
		u.report.Vanished++
		u.progress.mu.Unlock()
		return
	}
	u.problem(path, err)
}

// snapshots are those of an order, or all that are complete.
func (s *session) snapshots(ctx context.Context) ([]*snapshot.Manifest, error) {
	ids := make([]manifest.ID, 0, len(s.order.Snapshots))
	for _, id := range s.order.Snapshots {
		ids = append(ids, manifest.ID(id))
	}
	if len(ids) == 0 {
		var err error
		if ids, err = snapshot.ListSnapshotManifests(ctx, s.repo, nil, nil); err != nil {
			return nil, err
		}
	}
	var all []*snapshot.Manifest
	for _, id := range ids {
		m, err := snapshot.LoadSnapshot(ctx, s.repo, id)
		if err != nil {
			return nil, fmt.Errorf("snapshot %s: %w", id, err)
		}
		if m.IncompleteReason == "" && m.RootEntry != nil && m.RootObjectID() != object.EmptyID {
			all = append(all, m)
		}
	}
	return all, nil
}
