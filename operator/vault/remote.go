package vault

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// patience bounds one operation on a remote store: a connection that says nothing any more must not hold up a run or a lock for good.
const patience = time.Minute

// ErrUnfit says that a store does not keep what [Store] promises: nothing may be kept in it.
var ErrUnfit = errors.New("this store cannot keep states")

// Remote is a store elsewhere, which is opened and proven when it is first used, and tried again at the next use for as long as that fails.
type Remote struct {
	name string // as errors call it, without credentials
	open func(context.Context) (Store, error)

	lock  sync.Mutex
	store Store
}

// NewRemote is a store that open connects to and proves.
func NewRemote(name string, open func(context.Context) (Store, error)) *Remote {
	return &Remote{name: name, open: open}
}

// Open connects to the store and proves it, unless that was done. [ErrUnfit] says that no other attempt will do.
func (r *Remote) Open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := r.opened(ctx)
	return err
}

func (r *Remote) opened(ctx context.Context) (Store, error) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.store != nil {
		return r.store, nil
	}
	store, err := r.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening the state store %s: %w", r.name, err)
	}
	r.store = store
	return store, nil
}

// Read implements [Store].
func (r *Remote) Read(ctx context.Context, name string) (data []byte, version string, err error) {
	err = r.do(ctx, func(ctx context.Context, s Store) (err error) {
		data, version, err = s.Read(ctx, name)
		return err
	})
	return data, version, err
}

// Write implements [Store].
func (r *Remote) Write(ctx context.Context, name, version string, data []byte) (newVersion string, err error) {
	err = r.do(ctx, func(ctx context.Context, s Store) (err error) {
		newVersion, err = s.Write(ctx, name, version, data)
		return err
	})
	return newVersion, err
}

// Delete implements [Store].
func (r *Remote) Delete(ctx context.Context, name string) error {
	return r.do(ctx, func(ctx context.Context, s Store) error { return s.Delete(ctx, name) })
}

// List implements [Store].
func (r *Remote) List(ctx context.Context, prefix string) (names []string, err error) {
	err = r.do(ctx, func(ctx context.Context, s Store) (err error) {
		names, err = s.List(ctx, prefix)
		return err
	})
	return names, err
}

func (r *Remote) do(ctx context.Context, f func(context.Context, Store) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	store, err := r.opened(ctx)
	if err != nil {
		return err
	}
	err = f(ctx, store)
	if err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrConflict) {
		return err
	}
	return fmt.Errorf("the state store %s: %w", r.name, err)
}
