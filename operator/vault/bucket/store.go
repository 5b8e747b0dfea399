package bucket

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/broletto/broletto/operator/s3"
	"github.com/broletto/broletto/operator/vault"
)

// store is a vault.Store.
type store struct{ *s3.Bucket }

// New is a store at s3://bucket/prefix?endpoint=https://host&region=name, with the credentials in a folder. It connects to nothing yet; the
// first use proves that the bucket keeps conditions.
func New(u *url.URL, folder string) (*vault.Remote, error) {
	p, err := parse(u, folder)
	if err != nil {
		return nil, err
	}
	b, err := s3.Open(p, func() (s3.Credentials, error) { return account(folder) })
	if err != nil {
		return nil, fmt.Errorf("the state store %s: %w", u.Redacted(), err)
	}
	return vault.NewRemote("s3://"+p.Bucket+"/"+p.Prefix, func(ctx context.Context) (vault.Store, error) { return store{b}, prove(ctx, b) }), nil
}

// prove tries whether the bucket keeps conditions.
func prove(ctx context.Context, b *s3.Bucket) error {
	err := b.Prove(ctx)
	if errors.Is(err, s3.ErrUnfit) {
		return fmt.Errorf("%w: %w, or keep states in Secrets", vault.ErrUnfit, err)
	}
	return err
}

// Read implements vault.Store.
func (s store) Read(ctx context.Context, name string) (data []byte, version string, err error) {
	data, version, err = s.Get(ctx, name, 0)
	return data, version, inVault(err)
}

// Write implements vault.Store.
func (s store) Write(ctx context.Context, name, version string, data []byte) (newVersion string, err error) {
	newVersion, err = s.Bucket.Write(ctx, name, version, data, time.Time{})
	return newVersion, inVault(err)
}

// List implements vault.Store.
func (s store) List(ctx context.Context, prefix string) (names []string, err error) {
	found, err := s.Bucket.List(ctx, prefix)
	for _, e := range found {
		names = append(names, e.Name)
	}
	slices.Sort(names)
	return names, err
}

// inVault is an error as the vault knows it.
func inVault(err error) error {
	switch {
	case errors.Is(err, s3.ErrNotFound):
		return vault.ErrNotFound
	case errors.Is(err, s3.ErrConflict):
		return vault.ErrConflict
	}
	return err
}
