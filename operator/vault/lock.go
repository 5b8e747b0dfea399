package vault

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// BeatEvery is how often a sign of life is written down at most.
const BeatEvery = 30 * time.Second

// Lock is who holds a stack's state.
type Lock struct {
	Run    string    `json:"run,omitempty"`
	RunUID types.UID `json:"runUID,omitempty"`
	PodUID types.UID `json:"podUID,omitempty"`
	Pod    string    `json:"pod,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Beat   time.Time `json:"beat,omitzero"`

	version string // in the store
}

func (l Lock) held() bool { return l.RunUID != "" }

func (l Lock) by(runUID, podUID types.UID) bool { return l.RunUID == runUID && l.PodUID == podUID }

func (s Stack) lock() string { return s.prefix() + "lock" }

// TakeLock takes the state for a run and its pod, and returns the lock as it is kept; a [*Held] tells that another run or pod has it. Taking
// it twice is harmless.
func (v *Vault) TakeLock(ctx context.Context, s Stack, l Lock) (taken Lock, err error) {
	err = v.changeLock(ctx, s, nil, func(now Lock) (Lock, bool, error) {
		switch {
		case !now.held():
			taken = l
			return l, true, nil
		case now.by(l.RunUID, l.PodUID):
			taken = now
			return now, false, nil
		}
		return now, false, &Held{now}
	})
	return taken, err
}

// Beat notes that the holder lives; a [*Held] tells that another run or pod has the lock, [ErrNotFound] that nobody has it.
func (v *Vault) Beat(ctx context.Context, s Stack, runUID, podUID types.UID, now time.Time) error {
	return v.changeLock(ctx, s, nil, func(l Lock) (Lock, bool, error) {
		switch {
		case !l.held():
			return l, false, wrap(ErrNotFound, "the lock of run %s", runUID)
		case !l.by(runUID, podUID):
			return l, false, &Held{l}
		}
		due := now.Sub(l.Beat) >= BeatEvery
		l.Beat = now
		return l, due, nil
	})
}

// Lock is who holds the state; nil: nobody.
func (v *Vault) Lock(ctx context.Context, s Stack) (*Lock, error) {
	l, err := v.readLock(ctx, s)
	if err != nil || !l.held() {
		return nil, err
	}
	return &l, nil
}

// readLock reads the lock, which is empty when nobody holds it.
func (v *Vault) readLock(ctx context.Context, s Stack) (l Lock, err error) {
	l.version, err = v.getJSON(ctx, s, s.lock(), &l)
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return l, err
}

// Release gives the lock of a run back. That of another run stays; of no lock, it succeeds.
func (v *Vault) Release(ctx context.Context, s Stack, runUID types.UID) error {
	return v.ReleaseSeen(ctx, s, runUID, nil)
}

// ReleaseSeen is Release by who has just read the lock; nil: nobody held it, or it was not read.
func (v *Vault) ReleaseSeen(ctx context.Context, s Stack, runUID types.UID, seen *Lock) error {
	return v.changeLock(ctx, s, seen, func(now Lock) (Lock, bool, error) {
		return Lock{}, now.RunUID == runUID && now.held(), nil
	})
}

// changeLock writes what change makes of the lock, which is read unless it was seen just now. A lock that nobody holds is empty rather than
// absent: a deletion cannot tell whose lock it deletes, a write over a version can.
func (v *Vault) changeLock(ctx context.Context, s Stack, seen *Lock, change func(Lock) (Lock, bool, error)) (err error) {
	for range attempts {
		now := seen
		if now == nil {
			read, err := v.readLock(ctx, s)
			if err != nil {
				return err
			}
			now = &read
		}
		seen = nil // if somebody else wrote meanwhile, it is read
		next, changed, refused := change(*now)
		if refused != nil || !changed {
			return refused
		}
		data, marshalErr := json.Marshal(next)
		if marshalErr != nil {
			return marshalErr
		}
		if err = v.replace(ctx, s, s.lock(), now.version, data); !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return err
}
