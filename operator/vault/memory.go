package vault

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Memory is a store that ends with the process: for tests.
type Memory struct {
	mu     sync.Mutex
	serial int
	held   map[string]entry
}

type entry struct {
	data    []byte
	version string
}

// NewMemory is an empty store in memory.
func NewMemory() *Memory { return &Memory{held: map[string]entry{}} }

// Read implements [Store].
func (m *Memory) Read(ctx context.Context, name string) (data []byte, version string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e, found := m.held[name]
	if !found {
		return nil, "", ErrNotFound
	}
	return slices.Clone(e.data), e.version, nil
}

// Write implements [Store].
func (m *Memory) Write(ctx context.Context, name, version string, data []byte) (newVersion string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held[name].version != version {
		return "", ErrConflict
	}
	m.serial++
	newVersion = strconv.Itoa(m.serial)
	m.held[name] = entry{slices.Clone(data), newVersion}
	return newVersion, nil
}

// Delete implements [Store].
func (m *Memory) Delete(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.held, name)
	return nil
}

// List implements [Store].
func (m *Memory) List(ctx context.Context, prefix string) (names []string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(m.held)) {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	return names, nil
}
