package mover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/maintenance"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/snapshot"
	"github.com/kopia/kopia/snapshot/snapshotmaintenance"

	"github.com/broletto/broletto/operator/move"
)

// maintain forgets the order's snapshots, gives back space that nothing needs any more, and prolongs locks. What movers write meanwhile is
// safe: only what is a day old and was twice found without use goes. Two of them at once are not: whoever orders holds a lease.
func (s *session) maintain(ctx context.Context) error {
	if id := s.meter.lost(); id != "" {
		return as(move.FailureDamaged, fmt.Errorf("pack %s is not in the store any more", id))
	}
	_, w, err := s.repo.NewDirectWriter(ctx, repo.WriteSessionOptions{Purpose: "maintenance"})
	if err != nil {
		return err
	}
	defer func() { _ = w.Close(ctx) }()
	if err := s.forget(ctx, w); err != nil {
		return err
	}
	if err := ours(ctx, w); err != nil {
		return fmt.Errorf("the owner of maintenance: %w", err)
	}
	safety := maintenance.SafetyFull
	if s.unsafe {
		safety = maintenance.SafetyNone
	}
	if err := snapshotmaintenance.Run(ctx, w, maintenance.ModeFull, false, safety); err != nil {
		return fmt.Errorf("maintenance: %w", err)
	}
	if err := w.Flush(ctx); err != nil {
		return err
	}
	if b, is := s.store.(*bucket); is && b.lock > 0 {
		return s.prolong(ctx, b)
	}
	return nil
}

// forget has snapshots not count any more. One that is forgotten already is no error.
func (s *session) forget(ctx context.Context, w repo.RepositoryWriter) error {
	ids := s.order.Snapshots
	if s.order.Others {
		all, err := s.others(ctx, w)
		if err != nil {
			return err
		}
		ids = append(slices.Clone(ids), all...)
	}
	for _, id := range ids {
		if _, err := snapshot.LoadSnapshot(ctx, w, manifest.ID(id)); errors.Is(err, snapshot.ErrSnapshotNotFound) {
			continue
		} else if err != nil {
			return fmt.Errorf("snapshot %s: %w", id, err)
		}
		if err := w.DeleteManifest(ctx, manifest.ID(id)); err != nil {
			return fmt.Errorf("forgetting snapshot %s: %w", id, err)
		}
		s.report.Forgotten++
	}
	return w.Flush(ctx)
}

// young is how old a snapshot is at least that may be forgotten without being named.
const young = 48 * time.Hour

// others are the snapshots that the order does not keep, by the store's clock old enough to be forgotten.
func (s *session) others(ctx context.Context, w repo.RepositoryWriter) (ids []string, err error) {
	all, err := snapshot.ListSnapshotManifests(ctx, w, nil, nil)
	if err != nil {
		return nil, err
	}
	now := s.meter.now()
	for _, id := range all {
		if slices.Contains(s.order.Keep, string(id)) {
			continue
		}
		m, err := snapshot.LoadSnapshot(ctx, w, id)
		if err != nil {
			return nil, fmt.Errorf("snapshot %s: %w", id, err)
		}
		if now.Sub(m.StartTime.ToTime()) > young {
			ids = append(ids, string(id))
		}
	}
	return ids, nil
}

// ours makes us the owner of maintenance, under a name that no pod changes.
func ours(ctx context.Context, w repo.RepositoryWriter) error {
	p, err := maintenance.GetParams(ctx, w)
	if err != nil {
		return err
	}
	if p.Owner == w.ClientOptions().UsernameAtHost() {
		return nil
	}
	p.Owner = w.ClientOptions().UsernameAtHost()
	if err := maintenance.SetParams(ctx, w, p); err != nil {
		return err
	}
	return w.Flush(ctx)
}

// prolong locks everything that snapshots need for as long as what is written now: a backup of today builds on packs of last year.
func (s *session) prolong(ctx context.Context, b *bucket) error {
	var all []blob.ID
	err := b.ListBlobs(ctx, "", func(m blob.Metadata) error {
		if lockable(m.BlobID) {
			all = append(all, m.BlobID)
		}
		return nil
	})
	if err != nil {
		return err
	}
	ids := make(chan blob.ID)
	var locked atomic.Int64
	var first atomic.Pointer[error]
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for id := range ids {
				if err := b.prolong(ctx, id); err != nil && !errors.Is(err, blob.ErrBlobNotFound) {
					first.CompareAndSwap(nil, &err)
				} else if err == nil {
					locked.Add(1)
				}
			}
		})
	}
	for _, id := range all {
		if first.Load() != nil {
			break
		}
		ids <- id
	}
	close(ids)
	workers.Wait()
	s.report.Locked = locked.Load()
	if err := first.Load(); err != nil {
		return *err
	}
	return nil
}
