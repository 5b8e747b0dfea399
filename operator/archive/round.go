package archive

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Round is one reading of the pages of a workspace: a page that several backups share is read once in it. The zero value has read none.
type Round struct {
	lock sync.Mutex
	read map[roundPage]error // nil: it is whole
}

// roundPage is a page as a manifest has it.
type roundPage struct {
	page  string
	size  int64
	names int
}

// verdict is what is wrong with a page, as far as it was read.
func (r *Round) verdict(p Page) (known bool, wrong error) {
	r.lock.Lock()
	defer r.lock.Unlock()
	wrong, known = r.read[roundPage{p.Page, p.Size, len(p.Names)}]
	return known, wrong
}

func (r *Round) note(pages []Page, lost []Lost) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.read == nil {
		r.read = map[roundPage]error{}
	}
	for _, p := range pages {
		r.read[roundPage{p.Page, p.Size, len(p.Names)}] = nil
	}
	for _, l := range lost {
		r.read[roundPage{l.Page.Page, l.Size, len(l.Names)}] = l.Err
	}
}

// VerifyIn is [Repository.Verify] but for pages that were read in the round already, whose verdict is taken from it; only what was read now is
// counted.
func (r Repository) VerifyIn(ctx context.Context, m *Manifest, round *Round) (Verified, []Lost, error) {
	now, err := r.unchanged(ctx, m)
	if err != nil {
		return Verified{}, nil, err
	}
	var known []Lost
	unread := *now
	unread.Pages = nil
	var largest int64 // of the pages that are whole
	for _, p := range now.Pages {
		switch was, wrong := round.verdict(p); {
		case !was:
			unread.Pages = append(unread.Pages, p)
		case wrong != nil:
			known = append(known, Lost{p, wrong})
		default:
			largest = max(largest, p.Size)
		}
	}
	v, lost, err := r.walk(ctx, &unread, largest, func(Resource, string, []byte) error { return nil })
	if err != nil {
		return v, nil, fmt.Errorf("verifying backup %s: %w", m.Name, err)
	}
	round.note(unread.Pages, lost)
	return v, append(known, lost...), nil
}

// unchanged reads a manifest again. [ErrDamaged] when it is another one than it was.
func (r Repository) unchanged(ctx context.Context, m *Manifest) (*Manifest, error) {
	now, err := r.Read(ctx, m.Workspace, m.Sequence)
	if err == nil && now.Hash != m.Hash {
		err = fmt.Errorf("%s: %w", m.File(), damaged("it is another one than it was"))
	}
	if err != nil {
		return nil, fmt.Errorf("verifying backup %s: %w", m.Name, err)
	}
	return now, nil
}

// Broken tells whether it is the archive that is at fault, not the way to it: nothing is there, or it is not what was written.
func Broken(err error) bool { return errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotFound) }
