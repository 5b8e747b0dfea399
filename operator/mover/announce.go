package mover

import (
	"context"

	"github.com/kopia/kopia/snapshot"
)

// announce tells what a folder's files will want of which pack, as far as that can be read. The error is one that whoever restores meets, too.
func (r *restorer) announce(ctx context.Context, dir *snapshot.DirEntry) error {
	entries, err := r.list(ctx, dir.ObjectID)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch {
		case e.Type == snapshot.EntryTypeDirectory:
			err = r.announce(ctx, e)
		case e.Type == snapshot.EntryTypeFile && e.FileSize > 0:
			err = r.want(ctx, e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// want tells what a file will want.
func (r *restorer) want(ctx context.Context, e *snapshot.DirEntry) error {
	pieces, err := r.pieces(ctx, e.ObjectID, e.FileSize)
	for _, p := range pieces {
		if id, _, is := p.Object.ContentID(); is {
			if info, err := r.repo.ContentInfo(ctx, id); err == nil {
				r.packs.want(info.PackBlobID, int64(info.PackedLength))
			}
		}
	}
	return err
}

// ahead has the pack fetched that a file begins in, before its turn comes. Where files are kept as they are, it may not come.
func (r *restorer) ahead(ctx context.Context, e *snapshot.DirEntry) {
	id, _, direct := e.ObjectID.ContentID()
	if e.Type != snapshot.EntryTypeFile || !direct || r.kept.Load() > 0 {
		return
	}
	if info, err := r.repo.ContentInfo(ctx, id); err == nil { // else whoever reads it is told
		r.packs.ahead(ctx, info.PackBlobID)
	}
}
