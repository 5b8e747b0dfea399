package mover

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/blob/filesystem"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/format"
	"github.com/kopia/kopia/snapshot"

	"github.com/broletto/broletto/operator/move"
)

// owner is who every mover is to a repository: maintenance is its owner's alone, and names of pods change.
const owner = "broletto"

// session is one order under way.
type session struct {
	order    move.Order
	meter    *meter
	progress *progress
	redact   *redactor
	report   move.Report
	unsafe   bool // maintenance of a test gives back space at once
	pause    func(ctx context.Context, attempt int) error

	store  blob.Storage // what the order names, metered
	packs  *packCache   // of it
	cache  string       // a folder of this session's
	config string       // a file in memory
	repo   repo.DirectRepository
}

// handle stands for a session's store where kopia wants an address that it can write down: no secret of a store is in a file.
type handle struct {
	ID int64 `json:"id"`
}

const storeType = "broletto"

var (
	handles    sync.Map // of blob.Storage
	lastHandle atomic.Int64
)

func init() {
	blob.AddSupportedStorage(storeType, handle{}, func(_ context.Context, h *handle, _ bool) (blob.Storage, error) {
		s, known := handles.Load(h.ID)
		if !known {
			return nil, fmt.Errorf("store %d is not of this process", h.ID)
		}
		return s.(blob.Storage), nil
	})
}

// connect reaches the store.
func (s *session) connect(ctx context.Context) (err error) {
	lock := time.Duration(s.order.LockDays) * 24 * time.Hour
	if s.order.Store.Endpoint != "" {
		s.store, err = newBucket(s.order.Store, lock, s.meter, s.pause)
		return err
	}
	folder, err := filesystem.New(ctx, &filesystem.Options{Path: s.order.Store.Folder}, false)
	if err != nil {
		return &storeError{what: "opening", id: blob.ID(s.order.Store.Folder), err: err}
	}
	s.store = metered{folder, s.meter}
	return nil
}

// open opens the repository, which a backup makes where there is none.
func (s *session) open(ctx context.Context) error {
	if err := s.folders(); err != nil {
		return err
	}
	if s.order.Operation == move.Backup {
		if err := s.initialize(ctx); err != nil {
			return err
		}
	}
	id := lastHandle.Add(1)
	s.packs = newPackCache(s.store, s.cache, s.order.CacheBytes, s.meter)
	handles.Store(id, blob.Storage(s.packs))
	defer handles.Delete(id)
	if err := s.configure(id); err != nil {
		return err
	}
	r, err := repo.Open(ctx, s.config, s.order.Password, &repo.Options{
		TimeNowFunc: s.meter.now, DisableRepositoryLog: true, DoNotWaitForUpgrade: true,
		OnFatalError: func(err error) { s.progress.end(fmt.Errorf("the engine: %w", err)) },
	})
	if err != nil {
		return fmt.Errorf("opening the repository: %w", err)
	}
	s.repo = r.(repo.DirectRepository)
	return nil
}

// folders makes a folder of the session's own in the cache. It is empty: what is verified comes from the store.
func (s *session) folders() (err error) {
	if err := os.MkdirAll(s.order.Cache, 0o700); err != nil {
		return fmt.Errorf("the cache: %w", err)
	}
	leftovers, _ := filepath.Glob(filepath.Join(s.order.Cache, "session-*"))
	for _, l := range leftovers {
		if !alive(l) {
			_ = os.RemoveAll(l)
		}
	}
	if s.cache, err = os.MkdirTemp(s.order.Cache, fmt.Sprintf("session-%d-*", os.Getpid())); err != nil {
		return fmt.Errorf("the cache: %w", err)
	}
	return nil
}

// configure writes what kopia reads when it opens a repository.
func (s *session) configure(id int64) error {
	c := repo.LocalConfig{
		Storage: &blob.ConnectionInfo{Type: storeType, Config: &handle{ID: id}},
		// None of kopia's caches: packs are cached by us, and a cache for indexes alone makes it read through a nil pointer.
		Caching: &content.CachingOptions{},
		ClientOptions: repo.ClientOptions{
			Hostname: owner, Username: owner, Description: owner, FormatBlobCacheDuration: -1,
			ReadOnly: s.order.Operation == move.Restore || s.order.Operation == move.Verify,
		},
	}
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	s.config = filepath.Join(s.order.Config, filepath.Base(s.cache)+".json")
	if err := os.WriteFile(s.config, text, 0o600); err != nil {
		return fmt.Errorf("the folder in memory: %w", err)
	}
	return nil
}

// initialize makes a repository where there is none. Several movers may try at once, and any may die at any point: what they write first is
// the same from all of them, and what counts is written once.
func (s *session) initialize(ctx context.Context) error {
	_, err := s.store.GetMetadata(ctx, formatBlob)
	if !errors.Is(err, blob.ErrBlobNotFound) {
		return err
	}
	id := sha256.Sum256([]byte(s.order.Store.Prefix + "\x00" + s.order.Password))
	err = repo.Initialize(ctx, founding{s.store}, &repo.NewRepositoryOptions{
		UniqueID: id[:],
		// The password is as good as random bytes: what makes guessing dear is of no use, and scrypt takes 64 MiB.
		FormatBlockKeyDerivationAlgorithm: "pbkdf2-sha256-600000",
		BlockFormat:                       format.ContentFormat{Hash: "BLAKE3-256-128"},
	}, s.order.Password)
	if errors.Is(err, repo.ErrAlreadyInitialized) || errors.Is(err, blob.ErrBlobAlreadyExists) {
		return nil
	}
	return err
}

// founding is a store without the leftover of a mover that died while it made the repository.
type founding struct{ blob.Storage }

func (f founding) GetBlob(ctx context.Context, id blob.ID, offset, length int64, out blob.OutputBuffer) error {
	if id == format.KopiaBlobCfgBlobID {
		return blob.ErrBlobNotFound
	}
	return f.Storage.GetBlob(ctx, id, offset, length, out)
}

// close lets go of all that the session has.
func (s *session) close(ctx context.Context) {
	if s.repo != nil {
		_ = s.repo.Close(ctx) // all that counts was flushed
	}
	if s.config != "" {
		_ = os.Remove(s.config)
		_ = os.Remove(s.config + ".mlock")
	}
	if s.cache != "" {
		_ = os.RemoveAll(s.cache)
	}
}

// source is whose snapshots they are.
func (s *session) source() snapshot.SourceInfo {
	return snapshot.SourceInfo{UserName: s.order.Source.Tenant, Host: s.order.Source.Workspace, Path: "/" + s.order.Source.Volume}
}
