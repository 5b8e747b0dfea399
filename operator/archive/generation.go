package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// lastGeneration is the last number of a generation.
const lastGeneration = 1<<31 - 1

// Generation is the generation of the tenant's volumes that new backups are written into, from 1 on. What lies in an older one is read, and never
// built on: an engine takes over from its repository what it does not read, damage included. Objects need none, since each of their backups
// reads all of its pages.
func (r Repository) Generation(ctx context.Context) (int32, error) {
	if err := check("tenant", r.Tenant); err != nil {
		return 0, err
	}
	prefix := r.Tenant + "/" + generationsFolder
	found, err := r.Store.List(ctx, prefix)
	if err != nil {
		return 0, fmt.Errorf("looking for the generation of %s: %w", r.Tenant, err)
	}
	for _, e := range slices.Backward(found) {
		n, err := parseNumber(strings.TrimPrefix(e.Name, prefix))
		if err != nil || n < 2 || n > lastGeneration {
			continue
		}
		file, err := r.Store.Get(ctx, e.Name, keyLimit)
		if err != nil && !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrNotFound) {
			return 0, fmt.Errorf("looking for the generation of %s: %w", r.Tenant, err)
		}
		if err != nil {
			continue
		}
		if signed, _, err := r.Key.unsign(e.Name, file); err == nil && signed.Sequence == n {
			return int32(n), nil //nolint:gosec // it is bounded
		}
	}
	return 1, nil
}

// Renew begins a new generation after a damaged one, and says why. It is in the bucket, signed, before anything is written into it; to begin it twice
// is harmless. It returns the generation that is current then, which is at least one more.
func (r Repository) Renew(ctx context.Context, damaged int32, why string) (int32, error) {
	now, err := r.Generation(ctx)
	if err != nil || now > damaged {
		return now, err
	}
	content, err := json.Marshal(map[string]string{"why": why})
	if err != nil {
		return 0, err
	}
	started, err := r.now(ctx)
	if err != nil {
		return 0, err
	}
	for n := int64(now) + 1; n < int64(now)+strangers; n++ { // what lies there and is not signed is passed over
		name := fmt.Sprintf("%s/%s%010d", r.Tenant, generationsFolder, n)
		if err = r.Store.Put(ctx, name, r.Key.sign(name, Signed{Sequence: n}, content), r.until(started)); err == nil {
			return int32(n), nil //nolint:gosec // it is bounded
		}
		if !errors.Is(err, ErrExists) {
			break
		}
		if other, failed := r.Generation(ctx); failed != nil || other > damaged {
			return other, failed
		}
	}
	return 0, fmt.Errorf("beginning a new generation of %s: %w", r.Tenant, err)
}
