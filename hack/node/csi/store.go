//go:build linux

package csi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// kind is a folder below the root.
type kind string

const (
	volumes   kind = "volumes"
	snapshots kind = "snapshots"
)

// ref names a volume or a snapshot. Its folder is <root>/<kind>/<id>, with the record and the data in it.
type ref struct {
	Kind kind
	ID   string
}

func (r ref) String() string { return string(r.Kind) + "/" + r.ID }

// record is what we know of a volume or a snapshot.
type record struct {
	ref     `json:"-"`
	Size    int64     // bytes that were asked for
	Source  ref       // what the data was copied from; none: it began empty
	Created time.Time // by our clock
}

// defaultSize is the size of a volume that was asked for without one.
const defaultSize = 1 << 30

// store keeps volumes and snapshots. One process writes, the controller's; the nodes' read.
type store struct {
	root string
	mu   sync.Mutex // one change at a time, copies too: tests copy little
}

func newStore(root string) *store { return &store{root: root} }

// idPattern leaves no way out of a folder. It also leaves names with a leading dot to what is half made or half deleted.
var idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

func (s *store) folder(r ref) string { return filepath.Join(s.root, string(r.Kind), r.ID) }
func (s *store) data(r ref) string   { return filepath.Join(s.folder(r), "data") }
func (s *store) hidden(r ref) string { return filepath.Join(s.root, string(r.Kind), "."+r.ID) }

// get is NotFound for what does not exist, and for what cannot.
func (s *store) get(r ref) (record, error) {
	out := record{ref: r}
	if !idPattern.MatchString(r.ID) {
		return out, status.Errorf(codes.NotFound, "%s: no such id", r)
	}
	text, err := os.ReadFile(filepath.Join(s.folder(r), "record.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return out, status.Errorf(codes.NotFound, "%s: not here", r)
	}
	if err != nil {
		return out, internal(r, err)
	}
	if err := json.Unmarshal(text, &out); err != nil {
		return out, internal(r, err)
	}
	return out, nil
}

// create makes what is wanted, unless something has its name: then it returns that, and the caller judges whether it will do.
func (s *store) create(ctx context.Context, want record) (record, error) {
	if !idPattern.MatchString(want.ID) {
		return want, status.Errorf(codes.InvalidArgument, "name %q: must match %s", want.ID, idPattern)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if have, err := s.get(want.ref); status.Code(err) != codes.NotFound {
		return have, err
	}
	var source record
	if want.Source != (ref{}) {
		var err error
		if source, err = s.get(want.Source); err != nil {
			return want, err
		}
	}
	want.Size = cmp.Or(want.Size, source.Size, defaultSize)
	if want.Size < source.Size {
		return want, status.Errorf(codes.OutOfRange, "%s: %d bytes are less than the %d of %s; ask for more", want, want.Size, source.Size, source)
	}
	want.Created = time.Now()
	if err := s.build(ctx, want); err != nil {
		return want, internal(want.ref, err)
	}
	return want, nil
}

// build makes the folder elsewhere and moves it, so that none is ever half there.
func (s *store) build(ctx context.Context, want record) error {
	hidden := s.hidden(want.ref)
	if err := errors.Join(os.RemoveAll(hidden), os.MkdirAll(hidden, 0o750)); err != nil {
		return err
	}
	data := filepath.Join(hidden, "data")
	if want.Source == (ref{}) {
		// Root's alone, as on a fresh disk: a pod that does not run as root writes by its fsGroup.
		if err := os.Mkdir(data, 0o755); err != nil {
			return err
		}
	} else if err := copyTree(ctx, s.data(want.Source), data); err != nil {
		return errors.Join(err, os.RemoveAll(hidden))
	}
	if err := write(hidden, want); err != nil {
		return err
	}
	return os.Rename(hidden, s.folder(want.ref))
}

// grow raises a size, never lowers it, and returns what it is now.
func (s *store) grow(r ref, size int64) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	have, err := s.get(r)
	if err != nil || have.Size >= size {
		return have.Size, err
	}
	have.Size = size
	if err := write(s.folder(r), have); err != nil {
		return 0, internal(r, err)
	}
	return size, nil
}

// delete removes what is there. It is moved away first, so that none is ever half there.
func (s *store) delete(r ref) error {
	if !idPattern.MatchString(r.ID) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	hidden := s.hidden(r)
	err := os.RemoveAll(hidden)
	if err == nil {
		err = os.Rename(s.folder(r), hidden)
	}
	if err == nil {
		err = os.RemoveAll(hidden)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return internal(r, err)
	}
	return nil
}

// list returns all of a kind, sorted by id.
func (s *store) list(k kind) ([]record, error) {
	entries, err := os.ReadDir(filepath.Join(s.root, string(k)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, status.Error(codes.Internal, err.Error())
	}
	var out []record
	for _, e := range entries {
		r, err := s.get(ref{k, e.Name()})
		if status.Code(err) == codes.NotFound { // hidden, or deleted just now
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// write replaces the record in one step.
func write(folder string, r record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	fresh := filepath.Join(folder, "record.json.new")
	if err := os.WriteFile(fresh, text, 0o640); err != nil {
		return err
	}
	return os.Rename(fresh, filepath.Join(folder, "record.json"))
}

func internal(r ref, err error) error {
	return status.Error(codes.Internal, fmt.Sprintf("%s: %v", r, err))
}
