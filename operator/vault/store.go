package vault

import (
	"context"
	"errors"
	"fmt"
)

// Store holds bytes under names of lower-case letters, digits, dots and dashes. One contract suite, in vaulttest, holds for all of them.
type Store interface {
	// Read returns what was written whole, never a mixture of two writes, with its version; [ErrNotFound] when there is nothing.
	Read(ctx context.Context, name string) (data []byte, version string, err error)
	// Write replaces the version that was read, or makes what must not exist when version is empty; otherwise [ErrConflict], and nothing
	// has changed. The same bytes may keep their version. A Write that fails in another way has happened whole or not at all.
	Write(ctx context.Context, name, version string, data []byte) (newVersion string, err error)
	// Delete takes it away with what broken writes left; of nothing, it succeeds.
	Delete(ctx context.Context, name string) error
	// List returns the names with a prefix, sorted.
	List(ctx context.Context, prefix string) ([]string, error)
}

var (
	// ErrNotFound says that there is nothing of that name.
	ErrNotFound = errors.New("not found in the vault")
	// ErrConflict says that somebody else wrote first.
	ErrConflict = errors.New("somebody else wrote first: read again")
	// ErrUsed says that a plan was applied already, or was about to be: it is used once.
	ErrUsed = errors.New("the plan was used already: make a new one")
	// ErrStale says that a state does not follow the one that is kept.
	ErrStale = errors.New("the state has moved on: make a new plan")
)

// Held says that another run, or another pod of the same run, holds the state.
type Held struct{ Lock Lock }

// Error says who.
func (h *Held) Error() string {
	return fmt.Sprintf("run %s (pod %s) holds the state since %s: wait until it ends", h.Lock.Run, h.Lock.Pod, h.Lock.Since.UTC().Format("2006-01-02T15:04:05Z"))
}
