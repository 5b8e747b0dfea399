package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// removal is the content of its file.
type removal struct {
	UID  string `json:"uid"`
	Name string `json:"name"`
}

// Remove removes a backup: it says so, signed, and from then on the backup is none. [Repository.Sweep] deletes the manifest later, and after
// that the pages that nothing else names.
func (r Repository) Remove(ctx context.Context, m *Manifest) error {
	if err := r.mine(m); err != nil {
		return err
	}
	name := numbered(r.Tenant, removedFolder, m.Workspace, m.Sequence)
	content, err := json.Marshal(removal{m.UID, m.Name})
	if err == nil {
		signed := m.Signed
		signed.Removed = m.Hash
		err = r.Store.Put(ctx, name, r.Key.sign(name, signed, content), time.Time{})
	}
	if errors.Is(err, ErrExists) {
		_, err = r.readRemoval(ctx, m.Workspace, m.Sequence)
	}
	if err != nil {
		return fmt.Errorf("removing backup %s of %s: %w", m.Name, m.Workspace, err)
	}
	return nil
}

func (r Repository) readRemoval(ctx context.Context, workspace string, n int64) (Signed, error) {
	name := numbered(r.Tenant, removedFolder, workspace, n)
	file, err := r.Store.Get(ctx, name, pageLimit)
	if errors.Is(err, ErrTooLarge) {
		return Signed{}, damaged("%s: %w", name, err)
	}
	if err != nil {
		return Signed{}, fmt.Errorf("reading %s: %w", name, err)
	}
	signed, _, err := r.Key.unsign(name, file)
	if err == nil && (signed.Sequence != n || signed.Removed == Hash{}) {
		err = damaged("it contradicts its own name")
	}
	if err != nil {
		return Signed{}, fmt.Errorf("%s: %w", name, err)
	}
	return signed, nil
}

// Place is where a backup is in a tenant's archive.
type Place struct {
	Workspace string
	Sequence  int64
}

// Places are where the bucket has manifests by their names, the newest first by the store's clock; and the names of files that lie among them and
// are none. Nothing is read: what was removed is there until it is swept.
func (r Repository) Places(ctx context.Context) (all []Place, strange []string, err error) {
	if err := check("tenant", r.Tenant); err != nil {
		return nil, nil, err
	}
	prefix := r.Tenant + "/" + manifestsFolder
	found, err := r.Store.List(ctx, prefix)
	if err != nil {
		return nil, nil, fmt.Errorf("listing the backups of %s: %w", r.Tenant, err)
	}
	slices.SortStableFunc(found, func(a, b Entry) int { return b.Time.Compare(a.Time) })
	for _, e := range found {
		workspace, number, _ := strings.Cut(strings.TrimPrefix(e.Name, prefix), "/")
		n, err := parseNumber(number)
		if err != nil || !label.MatchString(workspace) {
			strange = append(strange, e.Name)
			continue
		}
		all = append(all, Place{workspace, n})
	}
	return all, strange, nil
}

// Kept reads the manifest of a place, unless the backup was removed. [ErrNotFound]: it was, or there is none; [ErrDamaged]: it is not as the
// tenant's key signed it. A removal that the key has not signed removes nothing.
func (r Repository) Kept(ctx context.Context, p Place) (*Manifest, error) {
	if err := r.check(p.Workspace); err != nil {
		return nil, err
	}
	switch _, err := r.readRemoval(ctx, p.Workspace, p.Sequence); {
	case err == nil:
		return nil, fmt.Errorf("backup number %d of %s was removed: %w", p.Sequence, p.Workspace, ErrNotFound)
	case !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrDamaged):
		return nil, err
	}
	return r.Read(ctx, p.Workspace, p.Sequence)
}

// Swept is what a sweep has deleted.
type Swept struct {
	Manifests, Pages int
	Bytes            int64
	// More says that there was more than the limit.
	More bool
}

// Sweep deletes, at most limit of them, manifests that were removed and pages that no manifest names, when that is so for longer than
// [Grace] by the store's clock; and records of drills that are older than 400 days. It deletes nothing while there is a manifest that it cannot read: nobody knows what that names.
func (r Repository) Sweep(ctx context.Context, limit int) (s Swept, err error) {
	if err := check("tenant", r.Tenant); err != nil {
		return s, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("sweeping the archive of %s: %w", r.Tenant, err)
		}
	}()
	now, err := r.now(ctx)
	if err != nil {
		return s, err
	}
	before := now.Add(-Grace)
	pages, err := r.Store.List(ctx, r.Tenant+"/"+objectsFolder) // before manifests: what comes in between is young
	if err != nil {
		return s, err
	}
	named, gone, err := r.named(ctx, before)
	if err != nil {
		return s, err
	}
	stale, err := r.Store.List(ctx, r.Tenant+"/"+clockFolder)
	if err != nil {
		return s, err
	}
	drills, err := r.oldDrills(ctx, now)
	if err != nil {
		return s, err
	}
	stale = append(stale, drills...)
	s.Manifests, s.Pages = len(gone), 0
	for _, e := range pages {
		if e.Time.Before(before) && !named[strings.TrimPrefix(e.Name, r.Tenant+"/"+objectsFolder)] {
			gone = append(gone, e)
		}
	}
	if len(gone) > limit {
		gone, s.More = gone[:max(limit, 0)], true
	}
	s.Manifests = min(s.Manifests, len(gone))
	s.Pages = len(gone) - s.Manifests
	for _, e := range gone {
		s.Bytes += e.Size
	}
	manifests, rest := gone[:s.Manifests], gone[s.Manifests:]
	for _, e := range stale {
		if e.Time.Before(before) {
			rest = append(rest, e)
		}
	}
	for _, some := range [][]Entry{manifests, rest} { // a manifest never names what is gone
		if err := each(ctx, len(some), func(ctx context.Context, i int) error { return r.Store.Delete(ctx, some[i].Name) }); err != nil {
			return s, err
		}
	}
	return s, nil
}

// named are the pages of all backups of the tenant, and the manifests that were removed before a time.
func (r Repository) named(ctx context.Context, before time.Time) (pages map[string]bool, gone []Entry, err error) {
	workspaces, err := r.Workspaces(ctx)
	if err != nil {
		return nil, nil, err
	}
	pages = map[string]bool{}
	for _, w := range workspaces {
		l, err := r.list(ctx, w)
		if err != nil {
			return nil, nil, err
		}
		for _, n := range l.numbers {
			e := l.manifests[n]
			if e.Name == "" {
				continue
			}
			if removed := l.removed[n]; removed.Name != "" && removed.Time.Before(before) {
				if _, err := r.readRemoval(ctx, w, n); err != nil {
					return nil, nil, err
				}
				gone = append(gone, e)
				continue
			}
			m, err := r.Read(ctx, w, n)
			if err != nil {
				return nil, nil, err
			}
			for _, p := range m.Pages {
				pages[p.Page] = true
			}
		}
	}
	return pages, gone, nil
}

// Workspaces are those that the bucket has backups of, sorted.
func (r Repository) Workspaces(ctx context.Context) (names []string, err error) {
	for _, folder := range []string{manifestsFolder, removedFolder} {
		prefix := r.Tenant + "/" + folder
		found, err := r.Store.List(ctx, prefix)
		if err != nil {
			return nil, fmt.Errorf("listing the workspaces of %s: %w", r.Tenant, err)
		}
		for _, e := range found {
			if w, _, _ := strings.Cut(strings.TrimPrefix(e.Name, prefix), "/"); label.MatchString(w) {
				names = append(names, w)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
