package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/run"
)

// Options bound a fetch.
type Options struct {
	// Limits are those of what is fetched. Default: [run.DefaultLimits].
	Limits run.Limits
	// Wire is how many bytes are read from the network at most. Default: 64 MiB.
	Wire int64
	// Time is how long it may take. Default: 5 minutes.
	Time time.Duration
	// Ranges are those of private addresses that may be dialled, loopback too. Default: none, for there stands what trusts its network. Link-local
	// addresses and metadata services are refused whatever is said here.
	Ranges []netip.Prefix
}

const (
	defaultWire = 64 << 20
	defaultTime = 5 * time.Minute
)

func (o Options) filled() Options {
	if o.Limits == (run.Limits{}) {
		o.Limits = run.DefaultLimits
	}
	if o.Wire == 0 {
		o.Wire = defaultWire
	}
	if o.Time == 0 {
		o.Time = defaultTime
	}
	return o
}

// Failure is why a source cannot be had.
type Failure struct {
	class v1alpha1.FailureClass
	err   error
}

// Error is the cause's message.
func (f *Failure) Error() string { return f.err.Error() }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.err }

// Class says whose turn it is: Source, its author's; Infrastructure: it may be there at the next try.
func (f *Failure) Class() v1alpha1.FailureClass { return f.class }

func authors(format string, args ...any) error {
	return &Failure{v1alpha1.FailureSource, fmt.Errorf(format, args...)}
}

func passing(format string, args ...any) error {
	return &Failure{v1alpha1.FailureInfrastructure, fmt.Errorf(format, args...)}
}

// Fetch puts a source into a folder that is there and empty, and says which revision it is: a commit, an artefact's digest, or one of
// inline files. Beside the folder it needs room of its own, which it leaves empty. A failure is a [Failure] or a [run.Hostile].
func Fetch(ctx context.Context, s run.Source, dir string, o Options) (revision string, err error) {
	o = o.filled()
	ctx, cancel := context.WithTimeout(ctx, o.Time)
	defer cancel()
	switch {
	case s.Inline != nil:
		return inline(s.Inline, dir, o)
	case s.Git != nil:
		revision, err = git(ctx, *s.Git, s.Credentials, dir, o)
	case s.OCI != nil:
		revision, err = artefact(ctx, *s.OCI, s.Credentials, dir, o)
	default:
		return "", authors("the source is none of inline, git and oci: set one of them in spec.source")
	}
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return "", passing("the source could not be had within %s: is its server up, and reachable from the workspace? (%w)", o.Time, err)
	}
	return revision, err
}

// inline writes files of one folder. Their digest is over names and texts with their lengths, so that no two sets share one.
func inline(files map[string]v1alpha1.SourceText, dir string, o Options) (string, error) {
	tree, err := run.OpenTree(dir, o.Limits)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		text := string(files[name])
		_, _ = fmt.Fprintf(sum, "%d %s %d %s\n", len(name), name, len(text), text)
		if err = tree.Add(name, 0, int64(len(text)), strings.NewReader(text)); err != nil {
			break
		}
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), errors.Join(err, tree.Close())
}

// beside makes a folder beside another one, on the same disk. Call the second result when it is not needed any more.
func beside(dir string) (string, func(), error) {
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".fetch-")
	if err != nil {
		return "", nil, fmt.Errorf("making room for the source: %w", err)
	}
	return tmp, func() { _ = os.RemoveAll(tmp) }, nil
}

// settle makes a folder below another one the one that was asked for.
func settle(from, path, dir string) error {
	root, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	if info, err := root.Stat(filepath.Join(".", path)); err != nil || !info.IsDir() {
		return authors("the source has no folder %q: correct its path", path)
	}
	// A folder is put in another's place only if that is empty.
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("making room for the source: %w", err)
	}
	return os.Rename(filepath.Join(from, path), dir)
}
