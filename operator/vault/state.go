package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// keptStates is how many states of a stack are kept, with the current one.
const keptStates = 5

// head says which state is the current one, and which ones are kept. Writing it is what makes a state current.
type head struct {
	Versions []stateVersion `json:"versions"` // the current one first
}

// smallState is the size up to which states are kept in the head itself: one write instead of two, and nothing to sweep.
const smallState = 16 << 10

// stateVersion is one state: its bytes, where they are few, or else the name of its own under which they are, which is never written twice.
type stateVersion struct {
	Serial  int64  `json:"serial"`
	Lineage string `json:"lineage,omitempty"`
	Sum     []byte `json:"sum"` // SHA-256
	Data    []byte `json:"data,omitempty"`
	Name    string `json:"name,omitempty"`
}

func (h head) current() stateVersion {
	if len(h.Versions) == 0 {
		return stateVersion{}
	}
	return h.Versions[0]
}

func (h head) names(name string) bool {
	return slices.ContainsFunc(h.Versions, func(v stateVersion) bool { return v.Name == name })
}

func (s Stack) state() string { return s.prefix() + "state" }

// State is the current state with its serial and lineage; [ErrNotFound] before the first one.
func (v *Vault) State(ctx context.Context, s Stack) (data []byte, serial int64, lineage string, err error) {
	for range attempts {
		var h head
		if _, err = v.getJSON(ctx, s, s.state(), &h); err != nil {
			return nil, 0, "", err
		}
		now := h.current()
		if now.Name == "" {
			return now.Data, now.Serial, now.Lineage, nil
		}
		data, _, err = v.get(ctx, s, now.Name)
		if errors.Is(err, ErrNotFound) { // so many newer ones have come meanwhile that this one went
			continue
		}
		return data, now.Serial, now.Lineage, err
	}
	return nil, 0, "", fmt.Errorf("the state of stack %s is named in the vault, and is not there (%w): restore it", s.UID, err)
}

// Serial is the current state's serial; 0 before the first one.
func (v *Vault) Serial(ctx context.Context, s Stack) (int64, error) {
	var h head
	if _, err := v.getJSON(ctx, s, s.state(), &h); err != nil && !errors.Is(err, ErrNotFound) {
		return 0, err
	}
	return h.current().Serial, nil
}

// PutState keeps a state after the current one: serial is that one's plus one, 1 for the first, and lineage is the same; otherwise [ErrStale].
// The current state again, with the same serial, lineage and bytes, is harmless. The last five are kept.
func (v *Vault) PutState(ctx context.Context, s Stack, serial int64, lineage string, data []byte) error {
	sum := sha256.Sum256(data)
	next := stateVersion{Serial: serial, Lineage: lineage, Sum: sum[:], Data: data}
	written := true // with the head
	if len(data) > smallState {
		next.Data, next.Name, written = nil, s.stateName(serial), false
	}
	for range attempts {
		var h head
		version, err := v.getJSON(ctx, s, s.state(), &h)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		again, err := follows(h, next)
		if err != nil || again {
			return v.withdraw(ctx, h, next, written, err)
		}
		if !written {
			if err := v.make(ctx, s, next.Name, data); err != nil {
				return err
			}
			written = true
		}
		err = v.putHead(ctx, s, version, h, next)
		if !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("keeping state %d of stack %s: %w", serial, s.UID, ErrConflict)
}

// follows judges whether a state may come after those that are kept, or is the current one again.
func follows(h head, next stateVersion) (again bool, err error) {
	now := h.current()
	if now.Serial == next.Serial && now.Lineage == next.Lineage && bytes.Equal(now.Sum, next.Sum) {
		return true, nil
	}
	if next.Serial != now.Serial+1 {
		return false, fmt.Errorf("state %d does not follow state %d, which is kept: %w", next.Serial, now.Serial, ErrStale)
	}
	if len(h.Versions) > 0 && now.Lineage != next.Lineage {
		return false, fmt.Errorf("state %d has another lineage than state %d, which is kept: %w", next.Serial, now.Serial, ErrStale)
	}
	return false, nil
}

// withdraw takes away a state that was written and did not become one of those kept.
func (v *Vault) withdraw(ctx context.Context, h head, next stateVersion, written bool, reason error) error {
	if written && next.Name != "" && !h.names(next.Name) {
		return errors.Join(reason, v.store.Delete(ctx, next.Name))
	}
	return reason
}

// putHead makes a state the current one, then takes away the one too many, and what broken writes left where states are kept beside the head. If
// that fails, the next one does.
func (v *Vault) putHead(ctx context.Context, s Stack, version string, h head, next stateVersion) error {
	all := append([]stateVersion{next}, h.Versions...)
	keep := all[:min(len(all), keptStates)]
	data, err := json.Marshal(head{keep})
	if err != nil {
		return err
	}
	if err := v.replace(ctx, s, s.state(), version, data); err != nil {
		return err
	}
	for _, old := range all[len(keep):] {
		if old.Name != "" {
			_ = v.store.Delete(ctx, old.Name)
		}
	}
	if next.Name != "" {
		_ = v.sweep(ctx, s, head{keep})
	}
	return nil
}

// sweep takes away states that crashes left and nobody names. One that may become the current one at this moment has a higher serial than
// that, and stays.
func (v *Vault) sweep(ctx context.Context, s Stack, h head) error {
	prefix := s.state() + "-"
	names, err := v.store.List(ctx, prefix)
	if err != nil {
		return wrap(err, "listing the states of stack %s", s.UID)
	}
	for _, name := range names {
		text, _, _ := strings.Cut(strings.TrimPrefix(name, prefix), "-")
		serial, err := strconv.ParseInt(text, 10, 64)
		if err != nil || serial > h.current().Serial || h.names(name) {
			continue
		}
		if err := v.store.Delete(ctx, name); err != nil {
			return wrap(err, "deleting %s", name)
		}
	}
	return nil
}

// stateName is unlike any other: two who write the same serial do not write over each other.
func (s Stack) stateName(serial int64) string {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	return s.state() + "-" + strconv.FormatInt(serial, 10) + "-" + hex.EncodeToString(random[:])
}
