package vault

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// beatEvery is how often a sign of life is written down at most.
const beatEvery = 30 * time.Second

// Lock is who holds a stack's state.
type Lock struct {
	Run    string    `json:"run,omitempty"`
	RunUID types.UID `json:"runUID,omitempty"`
	PodUID types.UID `json:"podUID,omitempty"`
	Pod    string    `json:"pod,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Beat   time.Time `json:"beat,omitzero"`
}

func (l Lock) held() bool { return l.RunUID != "" }

func (l Lock) by(runUID, podUID types.UID) bool { return l.RunUID == runUID && l.PodUID == podUID }

func (s Stack) lock() string { return s.prefix() + "lock" }

// TakeLock takes the state for a run and its pod; a [*Held] tells that another run or pod has it. Taking it twice is harmless.
func (v *Vault) TakeLock(ctx context.Context, s Stack, l Lock) error {
	return v.changeLock(ctx, s, func(now Lock) (Lock, bool, error) {
		switch {
		case !now.held():
			return l, true, nil
		case now.by(l.RunUID, l.PodUID):
			return now, false, nil
		}
		return now, false, &Held{now}
	})
}

// Beat notes that the holder lives; a [*Held] tells that another run or pod has the lock, [ErrNotFound] that nobody has it.
func (v *Vault) Beat(ctx context.Context, s Stack, runUID, podUID types.UID, now time.Time) error {
	return v.changeLock(ctx, s, func(l Lock) (Lock, bool, error) {
		switch {
		case !l.held():
			return l, false, wrap(ErrNotFound, "the lock of run %s", runUID)
		case !l.by(runUID, podUID):
			return l, false, &Held{l}
		}
		due := now.Sub(l.Beat) >= beatEvery
		l.Beat = now
		return l, due, nil
	})
}

// Lock is who holds the state; nil: nobody.
func (v *Vault) Lock(ctx context.Context, s Stack) (*Lock, error) {
	var l Lock
	if _, err := v.getJSON(ctx, s, s.lock(), &l); err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	if !l.held() {
		return nil, nil
	}
	return &l, nil
}

// Release gives the lock of a run back. That of another run stays; of no lock, it succeeds.
func (v *Vault) Release(ctx context.Context, s Stack, runUID types.UID) error {
	return v.changeLock(ctx, s, func(now Lock) (Lock, bool, error) {
		return Lock{}, now.RunUID == runUID && now.held(), nil
	})
}

// changeLock writes what change makes of the lock. A lock that nobody holds is empty rather than absent: a deletion cannot tell whose
// lock it deletes, a write over a version can.
func (v *Vault) changeLock(ctx context.Context, s Stack, change func(Lock) (Lock, bool, error)) error {
	var err error
	for range attempts {
		var now Lock
		version, readErr := v.getJSON(ctx, s, s.lock(), &now)
		if readErr != nil && !errors.Is(readErr, ErrNotFound) {
			return readErr
		}
		next, changed, refused := change(now)
		if refused != nil || !changed {
			return refused
		}
		data, marshalErr := json.Marshal(next)
		if marshalErr != nil {
			return marshalErr
		}
		if err = v.replace(ctx, s, s.lock(), version, data); !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return err
}
