package archive

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"
	"time"
)

// A page ends after an object whose name says so, about every pageObjects, and otherwise where it is full: so one more object changes the page
// that it is in, and the others stay as they are in the store.
const (
	pageObjects    = 128
	maxPageObjects = 8 * pageObjects
	maxPageBytes   = 4 << 20
)

// Backup is one that is being made. Its pages are written while objects are added; nothing counts before Commit.
type Backup struct {
	r         Repository
	workspace string
	started   time.Time // by the store
	begun     time.Time // by us, for how long it takes
	until     time.Time // locks
	aead      cipher.AEAD
	naming    []byte

	open  page
	slots chan struct{}
	all   sync.WaitGroup

	lock    sync.Mutex
	known   map[string]stored // pages that may be relied on, by hash
	taken   map[string]bool   // hashes whose name is in use by what may not
	pages   []Page
	written int
	err     error
}

// stored is a page that is there.
type stored struct {
	name string
	size int64
}

// page is one that is being filled.
type page struct {
	resource Resource
	names    []string
	plain    []byte
}

// Begin begins a backup of a workspace. It looks up which pages are there already; those are not written again.
func (r Repository) Begin(ctx context.Context, workspace string) (*Backup, error) {
	if err := r.check(workspace); err != nil {
		return nil, err
	}
	begun := time.Now()
	started, err := r.now(ctx)
	if err != nil {
		return nil, fmt.Errorf("beginning a backup of %s: %w", workspace, err)
	}
	b := &Backup{
		r: r, workspace: workspace, started: started, begun: begun, until: r.until(started),
		aead: r.Key.cipher(), naming: r.Key.derive(forNames), slots: make(chan struct{}, parallel),
		known: map[string]stored{}, taken: map[string]bool{},
	}
	if err := b.look(ctx); err != nil {
		return nil, fmt.Errorf("beginning a backup of %s: %w", workspace, err)
	}
	return b, nil
}

// look finds the pages that stay for as long as this backup takes: those that the newest one names, and those that are young.
func (b *Backup) look(ctx context.Context) error {
	last, _, _, err := b.r.newest(ctx, b.workspace)
	if err != nil {
		return err
	}
	named := map[string]int64{}
	if last.manifest != nil {
		for _, p := range last.manifest.Pages {
			named[p.Page] = p.Size
		}
	}
	prefix := b.r.Tenant + "/" + objectsFolder
	found, err := b.r.Store.List(ctx, prefix)
	if err != nil {
		return err
	}
	for _, e := range found {
		name := e.Name[len(prefix):]
		if !pageName.MatchString(name) {
			continue
		}
		hash := name[:64]
		size, ours := named[name]
		if ours && size == e.Size || !ours && e.Time.After(b.started.Add(-longest)) {
			if old := b.known[hash].name; old == "" || named[old] == 0 {
				b.known[hash] = stored{name, e.Size}
			}
		}
		b.taken[hash] = true
	}
	return nil
}

// Distrust has pages written anew that were found damaged, by their names in manifests. It goes before Add.
func (b *Backup) Distrust(pages ...string) {
	for _, name := range pages {
		if len(name) >= 64 && b.known[name[:64]].name == name {
			delete(b.known, name[:64])
		}
	}
}

// Add adds an object, as one line of JSON. Objects of one resource come after each other, in an order that is the same next time.
func (b *Backup) Add(ctx context.Context, r Resource, name string, object []byte) error {
	if len(object) == 0 || len(object) > objectLimit || bytes.IndexByte(object, '\n') >= 0 {
		return fmt.Errorf("%s %s cannot be kept: its %d bytes are no line of JSON of at most %d MiB", r, name, len(object), objectLimit>>20)
	}
	if len(b.open.names) > 0 && (b.open.resource != r || len(b.open.plain)+len(object) >= maxPageBytes) {
		if err := b.cut(ctx); err != nil {
			return err
		}
	}
	b.open.resource = r
	b.open.names = append(b.open.names, name)
	b.open.plain = append(append(b.open.plain, object...), '\n')
	if endsPage(name) || len(b.open.names) == maxPageObjects {
		return b.cut(ctx)
	}
	return nil
}

// endsPage says that a page ends after the object of that name.
func endsPage(name string) bool {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	sum := h.Sum64()
	return (sum^sum>>32)%pageObjects == 0
}

// cut has the open page written, when there are not too many under way.
func (b *Backup) cut(ctx context.Context) error {
	p := b.open
	b.open = page{}
	if len(p.names) == 0 {
		return nil
	}
	select {
	case b.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	b.lock.Lock()
	i, err := len(b.pages), b.err
	b.pages = append(b.pages, Page{Resource: p.resource, Bytes: int64(len(p.plain)), Names: p.names})
	b.lock.Unlock()
	if err != nil {
		<-b.slots
		return err
	}
	b.all.Go(func() {
		defer func() { <-b.slots }()
		name, size, err := b.keep(ctx, p)
		b.lock.Lock()
		defer b.lock.Unlock()
		if err != nil && b.err == nil {
			b.err = fmt.Errorf("keeping %s of %s: %w", p.resource, b.workspace, err)
		}
		b.pages[i].Page, b.pages[i].Size = name, size
	})
	return nil
}

// keep has the page in the store, locked, and says under which name and how large.
func (b *Backup) keep(ctx context.Context, p page) (name string, size int64, err error) {
	hash := nameOf(b.naming, b.workspace, p.resource, p.plain)
	b.lock.Lock()
	known, taken := b.known[hash], b.taken[hash]
	b.lock.Unlock()
	prefix := b.r.Tenant + "/" + objectsFolder
	if known.name != "" {
		if err := b.prolong(ctx, prefix+known.name); !errors.Is(err, ErrNotFound) {
			return known.name, known.size, err
		}
	}
	sealed := seal(b.aead, []byte(prefix+hash), p.plain)
	for range tries {
		if name = hash; taken {
			name += "." + more()
		}
		size, err = int64(len(sealed)), b.r.Store.Put(ctx, prefix+name, sealed, b.until)
		if errors.Is(err, ErrExists) { // it came after Begin: by another backup, or by a write of ours whose answer was lost
			if size, err = b.sizeOf(ctx, prefix+name); err == nil {
				err = b.prolong(ctx, prefix+name)
			}
		}
		if !errors.Is(err, ErrNotFound) {
			break
		}
		taken = true // by what was deleted
	}
	if err == nil {
		b.lock.Lock()
		b.written++
		b.lock.Unlock()
	}
	return name, size, err
}

// tries is how many names a page is tried under.
const tries = 3

// more makes a name another one.
func more() string {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// sizeOf asks for the size of a page, which another version of us may have packed otherwise.
func (b *Backup) sizeOf(ctx context.Context, name string) (int64, error) {
	found, err := b.r.Store.List(ctx, name)
	for _, e := range found {
		if e.Name == name {
			return e.Size, err
		}
	}
	if err == nil {
		err = ErrNotFound
	}
	return 0, err
}

// prolong locks a page that is there.
func (b *Backup) prolong(ctx context.Context, name string) error {
	if b.until.IsZero() {
		return nil
	}
	return b.r.Store.Keep(ctx, name, b.until)
}

// Written is how many pages were new.
func (b *Backup) Written() int {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.written
}

// Stop waits for what is under way, and leaves no manifest. What was written is swept some day, or found again by the next backup.
func (b *Backup) Stop() { b.all.Wait() }
