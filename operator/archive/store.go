package archive

import (
	"context"
	"errors"
	"time"
)

// Store holds bytes under names of lower-case letters, digits, dots, dashes and slashes. One contract suite, in archivetest, holds for all.
type Store interface {
	// Put writes what must not exist, whole, and locks it until a time; zero: no lock. [ErrExists] says that there is something, and nothing
	// has changed. A Put that fails in another way has happened whole or not at all.
	Put(ctx context.Context, name string, data []byte, until time.Time) error
	// Get returns what was written whole; [ErrNotFound] when there is nothing, [ErrTooLarge] when it has more than limit bytes, [io.ErrUnexpectedEOF]
	// when the store breaks off its answer.
	Get(ctx context.Context, name string, limit int64) ([]byte, error)
	// List returns what has a prefix, sorted by name. It knows of every Put and Delete before it. It fails where the store breaks off.
	List(ctx context.Context, prefix string) ([]Entry, error)
	// Keep prolongs a lock, and never shortens it. [ErrNotFound] when there is nothing.
	Keep(ctx context.Context, name string, until time.Time) error
	// Delete takes it out of sight; of nothing, it succeeds. Whether the name can be put again depends on the store: Put may say [ErrExists].
	// What was locked is still there for whoever can look at old versions, until the store's own lifecycle takes what is neither current nor
	// locked.
	Delete(ctx context.Context, name string) error
}

// Entry is one line of a listing.
type Entry struct {
	Name string
	Size int64     // bytes
	Time time.Time // of the Put, by the store's clock
}

var (
	// ErrExists says that there is something of that name already.
	ErrExists = errors.New("it is in the archive already")
	// ErrNotFound says that there is nothing of that name.
	ErrNotFound = errors.New("not found in the archive")
	// ErrTooLarge says that it has more bytes than it may.
	ErrTooLarge = errors.New("it is larger than anything we write")
)
