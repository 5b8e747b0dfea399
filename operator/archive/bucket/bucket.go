package bucket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/broletto/broletto/operator/archive"
	"github.com/broletto/broletto/operator/s3"
)

const (
	// patience bounds one request: a connection that says nothing any more must not hold up a backup for good.
	patience = 2 * time.Minute
	// tries is how often a request is made that failed for no reason of its own.
	tries = 3
)

// Bucket is an archive.Store.
type Bucket struct {
	name string // as errors call it, without credentials
	s3   *s3.Bucket
}

// New is the bucket at a place. It connects to nothing yet. The credentials are asked for at each use.
func New(p s3.Place, account func() (s3.Credentials, error)) (*Bucket, error) {
	b := &Bucket{name: "s3://" + p.Bucket + "/" + p.Prefix}
	var err error
	if b.s3, err = s3.Open(p, account); err != nil {
		return nil, fmt.Errorf("the backup store %s: %w", b.name, err)
	}
	return b, nil
}

// Put implements archive.Store.
func (b *Bucket) Put(ctx context.Context, name string, data []byte, until time.Time) error {
	return b.do(ctx, func(ctx context.Context) error {
		_, err := b.s3.Write(ctx, name, "", data, until)
		return err
	})
}

// Get implements archive.Store.
func (b *Bucket) Get(ctx context.Context, name string, limit int64) (data []byte, err error) {
	err = b.do(ctx, func(ctx context.Context) (err error) {
		data, _, err = b.s3.Get(ctx, name, limit)
		return err
	})
	return data, err
}

// List implements archive.Store.
func (b *Bucket) List(ctx context.Context, prefix string) (entries []archive.Entry, err error) {
	err = b.do(ctx, func(ctx context.Context) error {
		found, err := b.s3.List(ctx, prefix)
		entries = make([]archive.Entry, 0, len(found))
		for _, e := range found {
			entries = append(entries, archive.Entry{Name: e.Name, Size: e.Size, Time: e.Time})
		}
		return err
	})
	slices.SortFunc(entries, func(a, b archive.Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries, err
}

// Keep implements archive.Store.
func (b *Bucket) Keep(ctx context.Context, name string, until time.Time) error {
	return b.do(ctx, func(ctx context.Context) error { return b.s3.Keep(ctx, name, until) })
}

// Delete implements archive.Store.
func (b *Bucket) Delete(ctx context.Context, name string) error {
	return b.do(ctx, func(ctx context.Context) error { return b.s3.Delete(ctx, name) })
}

// Proof is what the bucket has shown.
type Proof struct {
	// Locks are kept: nobody with our credentials could delete, shorten or weaken one.
	Locks bool
	// DeletesVersions says that our credentials can delete versions that are not locked: they should not.
	DeletesVersions bool
	// Offset is by how much the store's clock is ahead of ours.
	Offset time.Duration
}

// Prove tries whether the bucket keeps conditions, without which it is [s3.ErrUnfit], and, when locks are wanted, whether it keeps those, without
// which it is [s3.ErrNotLocked]. It leaves objects named proof-… to the bucket's lifecycle.
func (b *Bucket) Prove(ctx context.Context, locks bool) (p Proof, err error) {
	err = b.s3.Prove(ctx)
	if err == nil {
		p.DeletesVersions, err = b.s3.MayDeleteVersions(ctx)
	}
	p.Offset = b.s3.Offset()
	if err == nil && locks {
		err = b.s3.ProveLock(ctx)
		p.Locks = err == nil
	}
	if err != nil {
		err = fmt.Errorf("the backup store %s: %w", b.name, err)
	}
	return p, err
}

// do makes a request, again when it failed for no reason of its own: all of them may be made twice.
func (b *Bucket) do(ctx context.Context, request func(context.Context) error) (err error) {
	for try := range tries {
		if try > 0 {
			select {
			case <-ctx.Done():
				return cmp.Or(err, ctx.Err())
			case <-time.After(time.Duration(try*try) * 250 * time.Millisecond):
			}
		}
		if err = once(ctx, request); err == nil || s3.Refused(err) || errors.Is(err, archive.ErrExists) || errors.Is(err, archive.ErrNotFound) ||
			errors.Is(err, archive.ErrTooLarge) {
			break
		}
	}
	if err == nil || errors.Is(err, archive.ErrExists) || errors.Is(err, archive.ErrNotFound) || errors.Is(err, archive.ErrTooLarge) {
		return err
	}
	return fmt.Errorf("the backup store %s: %w", b.name, err)
}

func once(ctx context.Context, request func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	switch err := request(ctx); {
	case errors.Is(err, s3.ErrNotFound):
		return archive.ErrNotFound
	case errors.Is(err, s3.ErrConflict):
		return archive.ErrExists
	case errors.Is(err, s3.ErrTooLarge):
		return archive.ErrTooLarge
	default:
		return err
	}
}
