package archive

import (
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
)

// Lost is a page that cannot be read, and with it the objects that it names.
type Lost struct {
	Page
	// Err is [ErrDamaged] or [ErrNotFound], or what the store says of this file alone.
	Err error
}

// Verified is what was read back.
type Verified struct {
	// Pages, Objects and Bytes were read from the store and are whole; bytes as they lie there.
	Pages, Objects int
	Bytes          int64
}

// Objects visits the objects of a backup, page by page in the manifest's order: who wants another one, or some of them, sorts and cuts a copy.
// A page that is damaged or gone costs the objects in it, which are returned. A page that the store did not give is asked for again when all others
// were visited; it is lost, too, when it alone is not given, and where its answer breaks off, one as long did not. It fails when the store or visit does.
func (r Repository) Objects(ctx context.Context, m *Manifest, visit func(r Resource, name string, object []byte) error) ([]Lost, error) {
	_, lost, err := r.walk(ctx, m, 0, visit)
	return lost, err
}

// Verify reads everything of a backup back from the store, the manifest too, and checks it.
func (r Repository) Verify(ctx context.Context, m *Manifest) (Verified, []Lost, error) {
	return r.VerifyIn(ctx, m, &Round{})
}

// fetched is a page that was read, or not.
type fetched struct {
	lines [][]byte
	err   error
}

// walk visits the pages of a backup. The largest page that came whole before has so many bytes; 0: none did.
func (r Repository) walk(ctx context.Context, m *Manifest, largest int64, visit func(r Resource, name string, object []byte) error) (v Verified, lost []Lost, err error) {
	if err := r.mine(m); err != nil {
		return v, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	aead, naming := r.Key.cipher(), r.Key.derive(forNames)
	coming := make(chan chan fetched, parallel-1) // with the one that is visited, so many are in memory at most
	go func() {
		defer close(coming)
		for _, p := range m.Pages {
			one := make(chan fetched, 1)
			select {
			case coming <- one:
				go func() { one <- r.fetch(ctx, aead, naming, m.Workspace, p) }()
			case <-ctx.Done():
				return
			}
		}
	}()
	take := func(p Page, got fetched) error {
		if got.err != nil {
			if err := r.excused(ctx, m, got.err); err != nil {
				return err
			}
			lost = append(lost, Lost{p, got.err})
			return nil
		}
		largest = max(largest, p.Size)
		v.Pages, v.Objects, v.Bytes = v.Pages+1, v.Objects+len(p.Names), v.Bytes+p.Size
		for n, line := range got.lines {
			if err := visit(p.Resource, p.Names[n], line); err != nil {
				return err
			}
		}
		return nil
	}
	i := 0
	for one := range coming {
		if err := take(m.Pages[i], <-one); err != nil {
			return v, lost, err
		}
		i++
	}
	first := lost
	lost = nil
	for _, l := range first {
		if Broken(l.Err) {
			lost = append(lost, l)
			continue
		}
		got := r.fetch(ctx, aead, naming, m.Workspace, l.Page)
		if errors.Is(got.err, io.ErrUnexpectedEOF) && l.Size > largest { // perhaps it is the way to the store that breaks off what is long
			return v, lost, got.err
		}
		if err := take(l.Page, got); err != nil {
			return v, lost, err
		}
	}
	return v, lost, ctx.Err()
}

// mine refuses a manifest of somebody else, whose pages this key does not open.
func (r Repository) mine(m *Manifest) error {
	if m.Tenant != r.Tenant {
		return fmt.Errorf("backup %s is of tenant %s, not of %s", m.Name, m.Tenant, r.Tenant)
	}
	return r.check(m.Workspace)
}

// excused is nil when a page alone is at fault, not the store: what it says of a page is believed when it gives the manifest.
func (r Repository) excused(ctx context.Context, m *Manifest, err error) error {
	if errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotFound) {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if _, failed := r.Store.Get(ctx, m.File(), manifestLimit); failed != nil {
		return err
	}
	return nil
}

// fetch reads a page, and believes nothing of it.
func (r Repository) fetch(ctx context.Context, aead cipher.AEAD, naming []byte, workspace string, p Page) fetched {
	name := r.Tenant + "/" + objectsFolder + p.Page
	failed := func(err error) fetched { return fetched{err: fmt.Errorf("reading %s: %w", name, err)} }
	if !pageName.MatchString(p.Page) {
		return failed(damaged("it is no name of a page"))
	}
	sealed, err := r.Store.Get(ctx, name, p.Size)
	switch {
	case errors.Is(err, ErrTooLarge):
		return failed(damaged("it has more than its %d bytes", p.Size))
	case err != nil:
		return failed(err)
	case int64(len(sealed)) != p.Size:
		return failed(damaged("it has %d bytes of %d", len(sealed), p.Size))
	}
	hash := p.Page[:64]
	plain, err := open(aead, []byte(r.Tenant+"/"+objectsFolder+hash), sealed, pageLimit)
	if err != nil {
		return failed(err)
	}
	if nameOf(naming, workspace, p.Resource, plain) != hash {
		return failed(damaged("it is a page of something else"))
	}
	objects := lines(plain)
	if len(objects) != len(p.Names) {
		return failed(damaged("it has %d objects, and its manifest names %d", len(objects), len(p.Names)))
	}
	return fetched{lines: objects}
}
