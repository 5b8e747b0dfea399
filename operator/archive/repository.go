package archive

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"
)

// parallel is how many requests of one backup are under way at once.
const parallel = 16

const (
	// longest is how long a backup may take from Begin to Commit. Pages that nothing names yet are relied on for as long as that.
	longest = 24 * time.Hour
	// Grace is how long what nothing names any more is kept: longer than a backup takes that may still rely on it.
	Grace = 3 * longest
)

// Repository is what a store has of one tenant.
type Repository struct {
	Store  Store
	Tenant string
	Key    Key
	// LockDays is for how many days from its start all of a backup is locked; 0: not at all.
	LockDays int
}

func (r Repository) check(workspace string) error {
	if err := check("tenant", r.Tenant); err != nil {
		return err
	}
	return check("workspace", workspace)
}

// until is the end of a lock that begins now.
func (r Repository) until(now time.Time) time.Time {
	if r.LockDays <= 0 {
		return time.Time{}
	}
	return now.AddDate(0, 0, r.LockDays)
}

// now is the store's time: our clock may be wrong.
func (r Repository) now(ctx context.Context) (time.Time, error) {
	name := r.Tenant + "/" + clockFolder + strings.ToLower(rand.Text())
	if err := r.Store.Put(ctx, name, []byte("?"), time.Time{}); err != nil {
		return time.Time{}, fmt.Errorf("asking the store for its time: %w", err)
	}
	found, err := r.Store.List(ctx, name)
	if err == nil {
		err = r.Store.Delete(ctx, name)
	}
	if err == nil && (len(found) != 1 || found[0].Name != name) {
		err = fmt.Errorf("it does not list %s, which it has taken", name)
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("asking the store for its time: %w", err)
	}
	return found[0].Time.UTC(), nil
}

// numbers lists a folder of a workspace: what is there by its number, and the names of what does not belong there.
func (r Repository) numbers(ctx context.Context, folder, workspace string) (found map[int64]Entry, strange []string, err error) {
	prefix := r.Tenant + "/" + folder + workspace + "/"
	list, err := r.Store.List(ctx, prefix)
	if err != nil {
		return nil, nil, err
	}
	found = map[int64]Entry{}
	for _, e := range list {
		n, err := parseNumber(strings.TrimPrefix(e.Name, prefix))
		if err != nil {
			strange = append(strange, e.Name)
			continue
		}
		found[n] = e
	}
	return found, strange, nil
}

func hashOf(file []byte) Hash { return sha256.Sum256(file) }
