package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Chain is what a bucket has of the backups of a workspace.
type Chain struct {
	// Records are the backups that are whole as far as their manifests go, by sequence.
	Records []Record
	// Newest is the last link, also one that was removed; zero: there is none. Whoever keeps it elsewhere sees by [Chain.Holds] whether the
	// bucket was set back.
	Newest Head
	// Faults are what is wrong, by name.
	Faults []Fault
}

// Head is a place in a chain.
type Head struct {
	Sequence int64
	Hash     Hash
}

// Fault is something wrong with a file of the archive.
type Fault struct {
	Name string // in the bucket
	Err  error
}

// Error says what.
func (f Fault) Error() string { return f.Name + ": " + f.Err.Error() }

// Unwrap is the cause.
func (f Fault) Unwrap() error { return f.Err }

var (
	// ErrMissing says that a backup is gone that nobody removed on purpose.
	ErrMissing = errors.New("missing, though nobody removed it: whoever has the store's credentials may have; look for its older versions in the bucket")
	// ErrReplayed says that a file lies under a name that is not its own.
	ErrReplayed = errors.New("a copy of another one")
	// ErrOutOfChain says that a backup does not follow the one before it.
	ErrOutOfChain = errors.New("it does not follow the backup before it")
	// ErrForeign says that a file has a name that we give to none.
	ErrForeign = errors.New("not of ours: move it out of the bucket")
)

// Manifests are the backups of a workspace, as a chain of which each link names the one before. It fails when the store does; whatever is
// wrong with what it holds is a fault.
func (r Repository) Manifests(ctx context.Context, workspace string) (Chain, error) {
	if err := r.check(workspace); err != nil {
		return Chain{}, err
	}
	l, err := r.list(ctx, workspace)
	if err != nil {
		return Chain{}, fmt.Errorf("reading the backups of %s: %w", workspace, err)
	}
	links := make([]link, len(l.numbers))
	faults := make([]error, len(l.numbers))
	err = each(ctx, len(l.numbers), func(ctx context.Context, i int) error {
		var err error // its own: many are read at once
		links[i], err = r.link(ctx, workspace, l.numbers[i], l)
		if links[i].manifest != nil {
			links[i].manifest.Pages = nil // they are many
		}
		if errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotFound) {
			faults[i], err = err, nil
		}
		return err
	})
	if err != nil {
		return Chain{}, fmt.Errorf("reading the backups of %s: %w", workspace, err)
	}
	return r.chain(workspace, l, links, faults), nil
}

// chain judges what was read.
func (r Repository) chain(workspace string, l listing, links []link, faults []error) (c Chain) {
	manifest := func(n int64) string { return numbered(r.Tenant, manifestsFolder, workspace, n) }
	fault := func(name string, err error) { c.Faults = append(c.Faults, Fault{name, err}) }
	for _, name := range l.strange {
		fault(name, ErrForeign)
	}
	var before Head
	for i, n := range l.numbers {
		if faults[i] != nil {
			fault(cmp.Or(l.manifests[n].Name, l.removed[n].Name), faults[i])
			continue
		}
		link := links[i]
		if link.planted != nil {
			fault(l.removed[n].Name, link.planted)
		}
		switch previous := link.signed.Previous; {
		case previous > before.Sequence:
			if !slices.ContainsFunc(c.Faults, func(f Fault) bool { return f.Name == manifest(previous) }) {
				fault(manifest(previous), fmt.Errorf("%w (number %d names number %d, and the one before is %d)", ErrMissing, n, previous, before.Sequence))
			}
		case previous < before.Sequence, link.signed.PreviousHash != before.Hash:
			fault(manifest(n), ErrOutOfChain)
		}
		before = Head{n, link.hash}
		if link.manifest != nil {
			c.Records = append(c.Records, link.manifest.Record)
		}
	}
	c.Newest = before
	return c
}

// Holds says what is wrong when a backup that is known from elsewhere is not in the chain, or is another one.
func (c Chain) Holds(known Head) error {
	if known.Sequence == 0 {
		return nil
	}
	if c.Newest.Sequence < known.Sequence {
		return fmt.Errorf("backup number %d is the newest, and there was number %d: the bucket was set back: %w", c.Newest.Sequence, known.Sequence, ErrMissing)
	}
	for _, r := range c.Records {
		if r.Sequence == known.Sequence && r.Hash != known.Hash {
			return fmt.Errorf("backup number %d is another one than it was: %w", known.Sequence, ErrOutOfChain)
		}
	}
	if c.Newest.Sequence == known.Sequence && c.Newest.Hash != known.Hash {
		return fmt.Errorf("backup number %d is another one than it was: %w", known.Sequence, ErrOutOfChain)
	}
	return nil
}

// Head is its place in the chain.
func (r Record) Head() Head { return Head{r.Sequence, r.Hash} }

// each calls f for 0 to n-1, some at once, until one fails.
func each(ctx context.Context, n int, f func(context.Context, int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slots := make(chan struct{}, parallel)
	var all sync.WaitGroup
	for i := range n {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		all.Go(func() {
			defer func() { <-slots }()
			if err := f(ctx, i); err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}
