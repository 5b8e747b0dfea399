package archive

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Found is what a bucket has of a tenant.
type Found struct {
	Tenant string
	// Key is zero when none opened.
	Key Key
	// Chains by workspace.
	Chains map[string]Chain
	// Faults that are of no workspace, such as a second key.
	Faults []Fault
}

// Rebuild finds tenants, workspaces and backups by nothing but the bucket and an identity that the keys are wrapped for. Whoever can write to
// the bucket could have put another key there, with backups to it: compare [Key.Public] with what the auditors have. Of several keys the oldest
// by the store's clock is taken, and the others are faults. Without names of tenants it looks at all.
func Rebuild(ctx context.Context, s Store, identity string, only ...string) ([]Found, error) {
	prefixes := []string{""}
	if len(only) > 0 {
		prefixes = nil
		for _, tenant := range only {
			prefixes = append(prefixes, tenant+"/"+keysFolder, tenant+"/"+manifestsFolder)
		}
	}
	var all []Entry
	for _, prefix := range prefixes {
		some, err := s.List(ctx, prefix)
		if err != nil {
			return nil, fmt.Errorf("rebuilding from the bucket: %w", err)
		}
		all = append(all, some...)
	}
	tenants := map[string][]Entry{} // their keys
	for _, e := range all {
		tenant, rest := tenantOf(e.Name)
		if label.MatchString(tenant) && strings.HasPrefix(rest, keysFolder) {
			tenants[tenant] = append(tenants[tenant], e)
		} else if label.MatchString(tenant) && strings.HasPrefix(rest, manifestsFolder) {
			tenants[tenant] = append(tenants[tenant], []Entry{}...)
		}
	}
	var found []Found
	for _, tenant := range slices.Sorted(maps.Keys(tenants)) {
		f, err := rebuild(ctx, s, tenant, tenants[tenant], identity)
		if err != nil {
			return nil, fmt.Errorf("rebuilding tenant %s from the bucket: %w", tenant, err)
		}
		found = append(found, f)
	}
	return found, nil
}

// Count is how many backups can be read, and how many of their manifests cannot.
func (f Found) Count() (backups, faults int) {
	for _, c := range f.Chains {
		backups, faults = backups+len(c.Records), faults+len(c.Faults)
	}
	return backups, faults
}

func rebuild(ctx context.Context, s Store, tenant string, keys []Entry, identity string) (Found, error) {
	f := Found{Tenant: tenant, Chains: map[string]Chain{}}
	slices.SortStableFunc(keys, func(a, b Entry) int { return a.Time.Compare(b.Time) })
	opened := false
	for _, e := range keys {
		wrapped, err := s.Get(ctx, e.Name, keyLimit)
		if err != nil && !errors.Is(err, ErrTooLarge) {
			return f, err
		}
		var key Key
		if err == nil {
			key, err = Unwrap(wrapped, tenant, identity)
		}
		switch {
		case err != nil:
			f.Faults = append(f.Faults, Fault{e.Name, err})
		case !opened:
			f.Key, opened = key, true
		case key != f.Key:
			f.Faults = append(f.Faults, Fault{e.Name, fmt.Errorf("another key than the older one, of %s: somebody else may have put it there", keys[0].Time.UTC().Format(time.RFC3339))})
		}
	}
	if !opened {
		f.Faults = append(f.Faults, Fault{tenant + "/" + keysFolder, errors.New("no key of the tenant opens with this identity: take the one of the escrow")})
		return f, nil
	}
	r := Repository{Store: s, Tenant: tenant, Key: f.Key}
	workspaces, err := r.Workspaces(ctx)
	if err != nil {
		return f, err
	}
	for _, w := range workspaces {
		if f.Chains[w], err = r.Manifests(ctx, w); err != nil {
			return f, err
		}
	}
	return f, nil
}
