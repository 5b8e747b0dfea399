package mover

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"
)

// list reads the entries of a folder that is kept. kopia's own says of a folder when the last of its files was changed, not when it was.
func (s *session) list(ctx context.Context, id object.ID) ([]*snapshot.DirEntry, error) {
	r, err := s.repo.OpenObject(ctx, id)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	var m snapshot.DirManifest
	if err := json.NewDecoder(bufio.NewReaderSize(r, 64<<10)).Decode(&m); err != nil {
		return nil, fmt.Errorf("the list of a folder: %w", err)
	}
	if m.StreamType != "kopia:directory" {
		return nil, errors.New("malformed list of a folder")
	}
	return m.Entries, nil
}

// pieces are those that an object is made of, in order and without gaps; those of an object of one piece are itself.
func (s *session) pieces(ctx context.Context, id object.ID, size int64) ([]object.IndirectObjectEntry, error) {
	index, is := id.IndexObjectID()
	if !is {
		return []object.IndirectObjectEntry{{Length: size, Object: id}}, nil
	}
	all, err := object.LoadIndexObject(ctx, contents{s.repo.ContentReader()}, index)
	if err != nil {
		return nil, err
	}
	at := int64(0)
	for _, p := range all {
		if p.Start != at || p.Length <= 0 {
			return nil, fmt.Errorf("malformed index of pieces: one is at %d instead of %d", p.Start, at)
		}
		at += p.Length
	}
	if at != size {
		return nil, fmt.Errorf("malformed index of pieces: %d bytes instead of %d", at, size)
	}
	return all, nil
}

// contents reads contents as an index of pieces wants them.
type contents struct{ content.Reader }

// PrefetchContents has nothing to do: packs are fetched as a whole.
func (contents) PrefetchContents(context.Context, []content.ID, string) []content.ID { return nil }

// text reads a small object as a whole, such as where a link leads.
func (s *session) text(ctx context.Context, id object.ID, bound int64) (string, error) {
	r, err := s.repo.OpenObject(ctx, id)
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Close() }()
	b, err := io.ReadAll(io.LimitReader(r, bound+1))
	if err == nil && int64(len(b)) > bound {
		err = fmt.Errorf("malformed: longer than %d bytes", bound)
	}
	return string(b), err
}
