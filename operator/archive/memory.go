package archive

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Memory is a store that ends with the process: for tests.
type Memory struct {
	// Now is the store's clock; nil: time.Now. Set it before the first use.
	Now func() time.Time

	mu   sync.Mutex
	held map[string]kept
	gone map[string]bool // names that were deleted, and are not given again
}

type kept struct {
	data  []byte
	time  time.Time
	until time.Time
}

// NewMemory is an empty store in memory.
func NewMemory() *Memory { return &Memory{held: map[string]kept{}, gone: map[string]bool{}} }

// Put implements [Store].
func (m *Memory) Put(ctx context.Context, name string, data []byte, until time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, found := m.held[name]; found || m.gone[name] {
		return ErrExists
	}
	now := time.Now()
	if m.Now != nil {
		now = m.Now()
	}
	m.held[name] = kept{slices.Clone(data), now, until}
	return nil
}

// Get implements [Store].
func (m *Memory) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	k, found := m.held[name]
	if !found {
		return nil, ErrNotFound
	}
	if int64(len(k.data)) > limit {
		return nil, ErrTooLarge
	}
	return slices.Clone(k.data), nil
}

// List implements [Store].
func (m *Memory) List(ctx context.Context, prefix string) (found []Entry, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(m.held)) {
		if k := m.held[name]; strings.HasPrefix(name, prefix) {
			found = append(found, Entry{Name: name, Size: int64(len(k.data)), Time: k.time})
		}
	}
	return found, nil
}

// Keep implements [Store].
func (m *Memory) Keep(ctx context.Context, name string, until time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	k, found := m.held[name]
	if !found {
		return ErrNotFound
	}
	if until.After(k.until) {
		k.until = until
		m.held[name] = k
	}
	return nil
}

// Delete implements [Store].
func (m *Memory) Delete(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, found := m.held[name]; found {
		delete(m.held, name)
		m.gone[name] = true
	}
	return nil
}

// Until is until when something is locked; zero: it is not.
func (m *Memory) Until(name string) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.held[name].until
}

// Swap writes over what is there as nobody should, and gives back what was.
func (m *Memory) Swap(name string, data []byte) (old []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.held[name]
	old, k.data = k.data, data
	m.held[name] = k
	return old
}
