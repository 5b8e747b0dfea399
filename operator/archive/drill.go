package archive

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Drill is what a rehearsal of a restore came to.
type Drill struct {
	Format    int    `json:"format"`
	Tenant    string `json:"tenant"`
	Policy    string `json:"policy"`
	Workspace string `json:"workspace"`
	// Backup is what was restored, Sequence its number and Manifest the hash of its manifest's file; 0 and empty when it was not even found.
	Backup   string `json:"backup"`
	Sequence int64  `json:"sequence"`
	Manifest string `json:"manifest"`
	// Restore and UID are those of the Restore. The record is named by the UID.
	Restore string `json:"restore"`
	UID     string `json:"uid"`
	// Began and Ended are by the operator's clock. Seconds is how long it took from when there was a workspace to restore into.
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended"`
	Seconds int32     `json:"seconds"`
	// BytesRead is how many bytes came from the store.
	BytesRead int64   `json:"bytesRead"`
	Passed    bool    `json:"passed"`
	Message   string  `json:"message,omitempty"`
	Checks    []Check `json:"checks"`

	Evidence Evidence `json:"-"`
	// Written is when the store took the record.
	Written time.Time `json:"-"`
}

// Check is what was asked of what was restored, and what came of it.
type Check struct {
	Name string `json:"name"`
	// Asked is the check as its policy had it, as JSON.
	Asked   json.RawMessage `json:"asked"`
	Passed  bool            `json:"passed"`
	Seconds int32           `json:"seconds"`
	Message string          `json:"message,omitempty"`
}

// Evidence is what a record of a drill is known by.
type Evidence struct {
	// Name in the bucket.
	Name string
	// Hash of the file.
	Hash Hash
	// Signature of name and file, with which the file ends.
	Signature []byte
}

// DrillDays is for how many days a record is kept, by the store's clock: a year's are there when the year is looked at.
const DrillDays = 400

const (
	// drillLimit bounds a record, in bytes.
	drillLimit = 1 << 20
	// drillNames is how many names a record may have: what lies there and is not signed is passed over.
	drillNames = 9
)

// drillName is a UID and, where something else lay there, a number.
var drillName = regexp.MustCompile(`^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:\.[1-9])?$`)

// Attest has the record of a drill in the bucket, signed. To attest a drill twice is harmless: it returns what is there of its UID.
func (r Repository) Attest(ctx context.Context, d Drill) (Drill, error) {
	attest := func() (Drill, error) {
		if err := r.check(d.Workspace); err != nil {
			return Drill{}, err
		}
		d.Format, d.Tenant, d.Began, d.Ended = format, r.Tenant, d.Began.UTC(), d.Ended.UTC()
		content, err := json.Marshal(d)
		if err != nil {
			return Drill{}, err
		}
		now, err := r.now(ctx)
		if err != nil {
			return Drill{}, err
		}
		for n := range drillNames {
			name := r.Tenant + "/" + drillsFolder + d.Workspace + "/" + d.UID
			if n > 0 {
				name += fmt.Sprintf(".%d", n)
			}
			if _, err := drillPlace(r.Tenant, name); err != nil {
				return Drill{}, err
			}
			file := r.Key.sign(name, Signed{Sequence: d.Sequence}, content)
			if err = r.Store.Put(ctx, name, file, r.until(now)); err == nil {
				d.Evidence = evidence(name, file)
				return d, nil
			}
			if !errors.Is(err, ErrExists) {
				return Drill{}, err
			}
			there, err := r.drill(ctx, name)
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNotFound) {
				return there, err
			}
		}
		return Drill{}, fmt.Errorf("%d files that the tenant's key has not signed lie in its place: move them out of the bucket", drillNames)
	}
	out, err := attest()
	if err != nil {
		return Drill{}, fmt.Errorf("writing the record of drill %s: %w", d.Restore, err)
	}
	return out, nil
}

func evidence(name string, file []byte) Evidence {
	return Evidence{Name: name, Hash: hashOf(file), Signature: slices.Clone(file[len(file)-ed25519.SignatureSize:])}
}

// Drills are the records of a tenant's drills, in the order of their ends, and what is wrong with files that lie among them. It fails when the
// store does.
func (r Repository) Drills(ctx context.Context) (all []Drill, faults []Fault, err error) {
	found, err := r.listDrills(ctx)
	if err != nil {
		return nil, nil, err
	}
	read, failed := make([]Drill, len(found)), make([]error, len(found))
	err = each(ctx, len(found), func(ctx context.Context, i int) (err error) {
		if read[i], err = r.drill(ctx, found[i].Name); errors.Is(err, ErrDamaged) || errors.Is(err, ErrForeign) || errors.Is(err, ErrNotFound) {
			failed[i], err = err, nil
		}
		read[i].Written = found[i].Time
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("reading the drills of %s: %w", r.Tenant, err)
	}
	for i, e := range found {
		switch {
		case errors.Is(failed[i], ErrNotFound): // it was swept meanwhile
		case failed[i] != nil:
			faults = append(faults, Fault{e.Name, failed[i]})
		default:
			all = append(all, read[i])
		}
	}
	slices.SortStableFunc(all, func(a, b Drill) int { return cmp.Or(a.Ended.Compare(b.Ended), cmp.Compare(a.UID, b.UID)) })
	return all, faults, nil
}

// DrillNames are the names in the bucket of what lies among the records, whatever it is.
func (r Repository) DrillNames(ctx context.Context) (map[string]bool, error) {
	found, err := r.listDrills(ctx)
	names := map[string]bool{}
	for _, e := range found {
		names[e.Name] = true
	}
	return names, err
}

func (r Repository) listDrills(ctx context.Context) ([]Entry, error) {
	if err := check("tenant", r.Tenant); err != nil {
		return nil, err
	}
	found, err := r.Store.List(ctx, r.Tenant+"/"+drillsFolder)
	if err != nil {
		return nil, fmt.Errorf("listing the drills of %s: %w", r.Tenant, err)
	}
	return found, nil
}

// drillPlace is what the name of a record says.
func drillPlace(tenant, name string) (d Drill, err error) {
	rest, ours := strings.CutPrefix(name, tenant+"/"+drillsFolder)
	workspace, file, _ := strings.Cut(rest, "/")
	parts := drillName.FindStringSubmatch(file)
	if !ours || parts == nil || !label.MatchString(workspace) {
		return Drill{}, ErrForeign
	}
	return Drill{Tenant: tenant, Workspace: workspace, UID: parts[1]}, nil
}

// drill reads one record. [ErrDamaged]: it is not as the tenant's key signed it for this name.
func (r Repository) drill(ctx context.Context, name string) (Drill, error) {
	place, err := drillPlace(r.Tenant, name)
	if err != nil {
		return Drill{}, err
	}
	file, err := r.Store.Get(ctx, name, drillLimit)
	if errors.Is(err, ErrTooLarge) {
		return Drill{}, damaged("it has more bytes than any that we write")
	}
	if err != nil {
		return Drill{}, err
	}
	signed, content, err := r.Key.unsign(name, file)
	if err != nil {
		return Drill{}, err
	}
	var d Drill
	if err := json.Unmarshal(content, &d); err != nil || d.Format != format {
		return Drill{}, damaged("it is no record of a drill")
	}
	if d.Tenant != place.Tenant || d.Workspace != place.Workspace || d.UID != place.UID || signed != (Signed{Sequence: d.Sequence}) {
		return Drill{}, damaged("it contradicts its own name")
	}
	d.Evidence = evidence(name, file)
	return d, nil
}

// oldDrills are the records that are kept no longer.
func (r Repository) oldDrills(ctx context.Context, now time.Time) ([]Entry, error) {
	found, err := r.listDrills(ctx)
	return slices.DeleteFunc(found, func(e Entry) bool {
		_, strange := drillPlace(r.Tenant, e.Name)
		return strange != nil || e.Time.After(now.AddDate(0, 0, -DrillDays))
	}), err
}
