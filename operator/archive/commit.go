package archive

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

const (
	// rounds is how often a commit that loses to another one begins again.
	rounds = 100
	// strangers is how many files that are not signed by the tenant's key may lie on top of the newest manifest.
	strangers = 1000
)

// Commit writes the manifest, which makes the backup one. A backup of the same UID that was written within a day is returned as it is; for an
// older one look with [Repository.Find] before Begin. After an error it may or may not be there.
func (b *Backup) Commit(ctx context.Context, about About) (*Manifest, error) {
	err := b.cut(ctx)
	b.all.Wait()
	if err = errors.Join(err, b.err); err != nil {
		return nil, err
	}
	for range rounds {
		m, err := b.commit(ctx, about)
		if !errors.Is(err, ErrExists) {
			if err != nil {
				return nil, fmt.Errorf("committing backup %s of %s: %w", about.Name, b.workspace, err)
			}
			return m, nil
		}
	}
	return nil, fmt.Errorf("committing backup %s of %s: %d others came first: try again", about.Name, b.workspace, rounds)
}

// commit tries it once, as the successor of the newest. ErrExists: another one came first.
func (b *Backup) commit(ctx context.Context, about About) (*Manifest, error) {
	last, next, l, err := b.r.newest(ctx, b.workspace)
	if err != nil {
		return nil, err
	}
	m, err := b.r.find(ctx, b.workspace, l, about.UID, b.started.Add(-longest))
	if !errors.Is(err, ErrNotFound) {
		return m, err
	}
	took := time.Since(b.begun)
	if took > longest {
		return nil, fmt.Errorf("it took %s, and what it relies on may be gone after %s: begin again", took.Round(time.Minute), longest)
	}
	m = &Manifest{Record: Record{
		Format: format, Tenant: b.r.Tenant, Workspace: b.workspace, Sequence: next, About: about,
		Started: b.started, Finished: b.started.Add(took.Round(time.Millisecond)),
	}, Pages: b.pages}
	for _, p := range m.Pages {
		m.Objects += len(p.Names)
		m.Bytes += p.Bytes
	}
	content, err := m.encode()
	if err != nil {
		return nil, err
	}
	m.Signed = Signed{Sequence: next, Previous: last.signed.Sequence, PreviousHash: last.hash}
	file := b.r.Key.sign(m.File(), m.Signed, content)
	m.Hash, m.Written = hashOf(file), m.Finished
	return m, b.r.Store.Put(ctx, m.File(), file, b.until)
}

// link is one of a chain.
type link struct {
	signed   Signed
	hash     Hash
	manifest *Manifest // nil: it was removed
	removed  bool
	planted  error // what lies in the removal's place is none
}

// newest is the last link of a workspace's chain, zero where there is none, and the number that a successor has. Files that the tenant's key
// has not signed are passed over, and their numbers not given again.
func (r Repository) newest(ctx context.Context, workspace string) (last link, next int64, l listing, err error) {
	if l, err = r.list(ctx, workspace); err != nil {
		return link{}, 0, l, err
	}
	for i, n := range slices.Backward(l.numbers) {
		if len(l.numbers)-i > strangers {
			return link{}, 0, l, fmt.Errorf("the newest %d files of %s are not signed by the key of tenant %s: move them out of the bucket", strangers, workspace, r.Tenant)
		}
		if last, err = r.link(ctx, workspace, n, l); err == nil {
			break
		}
		if !errors.Is(err, ErrDamaged) {
			return link{}, 0, l, err
		}
		last = link{}
	}
	for next = last.signed.Sequence + 1; l.manifests[next].Name != "" || l.removed[next].Name != ""; {
		next++
	}
	if next > lastSequence {
		return link{}, 0, l, fmt.Errorf("%s has no number left for a backup", workspace)
	}
	return last, next, l, nil
}

// listing is what there is of a workspace, by number.
type listing struct {
	manifests, removed map[int64]Entry
	numbers            []int64  // of both, sorted
	strange            []string // names that are no numbers
}

func (r Repository) list(ctx context.Context, workspace string) (l listing, err error) {
	manifests, strange, err := r.numbers(ctx, manifestsFolder, workspace)
	if err != nil {
		return listing{}, err
	}
	removed, more, err := r.numbers(ctx, removedFolder, workspace)
	if err != nil {
		return listing{}, err
	}
	l = listing{manifests: manifests, removed: removed, strange: append(strange, more...)}
	l.numbers = append(slices.Collect(maps.Keys(manifests)), slices.Collect(maps.Keys(removed))...)
	slices.Sort(l.numbers)
	l.numbers = slices.Compact(l.numbers)
	return l, nil
}

// link reads one number. ErrDamaged: it does not belong to the chain.
func (r Repository) link(ctx context.Context, workspace string, n int64, l listing) (link, error) {
	var planted error
	if l.removed[n].Name != "" {
		signed, err := r.readRemoval(ctx, workspace, n)
		if err == nil {
			return link{signed: signed, hash: signed.Removed, removed: true}, nil
		}
		if !errors.Is(err, ErrDamaged) {
			return link{}, err
		}
		planted = err
	}
	if l.manifests[n].Name == "" {
		return link{}, planted
	}
	m, err := r.Read(ctx, workspace, n)
	if err != nil {
		return link{}, err
	}
	m.Written = l.manifests[n].Time
	return link{signed: m.Signed, hash: m.Hash, manifest: m, planted: planted}, nil
}

// Read reads one manifest whole. [ErrNotFound] when there is none of that number, [ErrDamaged] when it is not as the tenant's key signed it.
func (r Repository) Read(ctx context.Context, workspace string, sequence int64) (*Manifest, error) {
	if err := r.check(workspace); err != nil {
		return nil, err
	}
	name := numbered(r.Tenant, manifestsFolder, workspace, sequence)
	file, err := r.Store.Get(ctx, name, manifestLimit)
	if errors.Is(err, ErrTooLarge) {
		return nil, damaged("%s: %w", name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	m, err := r.readManifest(workspace, sequence, file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}

// Find finds the manifest of a Backup by its UID, if it was written since a time of the store's and not removed: a pass that
// begins anew has nothing to do then. Else [ErrNotFound].
func (r Repository) Find(ctx context.Context, workspace, uid string, since time.Time) (*Manifest, error) {
	if err := r.check(workspace); err != nil {
		return nil, err
	}
	l, err := r.list(ctx, workspace)
	if err != nil {
		return nil, fmt.Errorf("looking for backup %s of %s: %w", uid, workspace, err)
	}
	return r.find(ctx, workspace, l, uid, since)
}

func (r Repository) find(ctx context.Context, workspace string, l listing, uid string, since time.Time) (*Manifest, error) {
	for _, n := range slices.Backward(l.numbers) {
		if l.manifests[n].Name == "" || l.manifests[n].Time.Before(since) {
			continue
		}
		link, err := r.link(ctx, workspace, n, l)
		if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNotFound) {
			return nil, fmt.Errorf("looking for backup %s of %s: %w", uid, workspace, err)
		}
		if link.manifest != nil && link.manifest.UID == uid {
			return link.manifest, nil
		}
	}
	return nil, ErrNotFound
}
