package mover

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/kopia/kopia/snapshot"

	"github.com/broletto/broletto/operator/dump"
	"github.com/broletto/broletto/operator/move"
)

// stream is a dump on its way. It ends well only when the program does that writes it: else one that broke off would look whole.
type stream struct{ io.ReadCloser }

func (s *session) openStream(ctx context.Context) (*stream, error) {
	r, err := dump.Open(ctx, s.order.Stream.Socket, func() { s.meter.moved.Add(1) })
	if err != nil {
		return nil, ofStream(move.FailureSource, err)
	}
	return &stream{r}, nil
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = ofStream(move.FailureSource, err)
	}
	return n, err
}

// ofStream gives an error of a dump its class: that of what the program says, unless there was none.
func ofStream(class move.Class, err error) error {
	var failed *dump.Failure
	switch {
	case errors.As(err, &failed) && failed.Unanswered:
		class = move.FailureStalled
	case errors.Is(err, dump.ErrBroken):
		class = move.FailureInterrupted
	}
	return as(class, err)
}

// restoreStream hands the dump of a snapshot to the program that brings it back.
func (s *session) restoreStream(ctx context.Context, man *snapshot.Manifest) error {
	entries, err := s.list(ctx, man.RootObjectID())
	if err != nil {
		return err
	}
	if len(entries) != 1 || entries[0].Type != snapshot.EntryTypeFile || entries[0].Name != encodeName(s.order.Stream.Name) {
		return as(move.FailureOrder, fmt.Errorf("snapshot %s is not of a dump", man.ID))
	}
	e := entries[0]
	s.progress.total.Store(e.FileSize)
	from, err := s.repo.OpenObject(ctx, e.ObjectID)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	kept := &kept{Reader: from, session: s, left: e.FileSize}
	err = dump.Bring(ctx, s.order.Stream.Socket, kept, func() { s.meter.moved.Add(1) })
	if kept.err != nil { // nothing was brought back
		return kept.err
	}
	if err != nil {
		return ofStream(move.FailureTarget, err)
	}
	s.progress.add(0, 1)
	s.report.Snapshot, s.report.Root, s.report.Bytes, s.report.Files = string(man.ID), man.RootObjectID().String(), e.FileSize, 1
	return nil
}

// kept is a dump in the repository, of so many bytes and not one less.
type kept struct {
	io.Reader
	*session
	left int64
	err  error
}

func (k *kept) Read(p []byte) (int, error) {
	n, err := k.Reader.Read(p)
	k.left -= int64(n)
	k.progress.add(int64(n), 0)
	if errors.Is(err, io.EOF) && k.left != 0 {
		err = as(move.FailureDamaged, fmt.Errorf("the dump has %d bytes less than when it was written", k.left))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		k.err = err
	}
	return n, err
}
