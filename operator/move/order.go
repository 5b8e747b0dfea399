package move

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"time"
)

// Operation is what a mover is to do.
type Operation string

// The operations.
const (
	Backup   Operation = "Backup"   // of a folder or a dump
	Restore  Operation = "Restore"  // of one snapshot, into a folder or into what takes dumps back
	Verify   Operation = "Verify"   // reads everything back from the store
	Maintain Operation = "Maintain" // forgets snapshots, gives back their space and prolongs locks; one mover at a time
	Check    Operation = "Check"    // of what a drill has restored: a question by HTTP, without a store
)

// Profile says how files are cut into pieces, of which those that are known already are not sent again.
type Profile string

// The profiles.
const (
	General  Profile = "General"  // pieces of about 1 MiB, of files from 64 MiB on of 128 KiB, whose borders follow the content
	Database Profile = "Database" // pieces of just 128 KiB, for files of pages
)

// Existing says what a restore does where something stands already.
type Existing string

// What becomes of what stands already. Nothing is taken away but what is replaced.
const (
	Keep    Existing = "Keep"
	Replace Existing = "Replace"
)

// Order is what one mover does.
type Order struct {
	Operation Operation `json:"operation"`
	Store     Store     `json:"store"`
	// Password is that of the repository, at least 16 bytes of it.
	Password string `json:"password"`
	// Source is whose data it is. Snapshots of one source build on each other.
	Source Source `json:"source"`
	// Backup is the UID of the Backup that this is a part of; it is a tag of the snapshot.
	Backup string `json:"backup,omitempty"`
	// Path is the folder that is read or written, absolute.
	Path string `json:"path,omitempty"`
	// Stream is backed up or restored instead of a folder.
	Stream  *Stream `json:"stream,omitempty"`
	Profile Profile `json:"profile,omitempty"`
	// Snapshots are which to restore (one), to verify (none: all) or to forget.
	Snapshots []string `json:"snapshots,omitempty"`
	// Keep are the snapshots that Maintain keeps when it is to forget all Others, but for those that are younger than two days: their backups may
	// be under way.
	Keep     []string `json:"keep,omitempty"`
	Others   bool     `json:"others,omitempty"`
	Existing Existing `json:"existing,omitempty"`
	// Compare has what was restored read again, and compared with the snapshot.
	Compare bool `json:"compare,omitempty"`
	// Question is what Check asks.
	Question *Question `json:"question,omitempty"`
	// Deadline ends the operation. Zero: none.
	Deadline time.Time `json:"deadline,omitzero"`
	// StallSeconds is after how long without any progress the operation fails. Default: 600.
	StallSeconds int `json:"stallSeconds,omitempty"`
	// CheckpointSeconds is how often a backup makes certain that what it has sent counts after its death. Default: 120.
	CheckpointSeconds int `json:"checkpointSeconds,omitempty"`
	// LockDays is for how many days nobody may delete what is written, enforced by the store (Compliance). 0: no lock.
	LockDays int `json:"lockDays,omitempty"`
	// Config is a folder in memory for what holds secrets, absolute.
	Config string `json:"config"`
	// Cache is a folder on disk for what the store has sent, absolute. CacheBytes bounds it. Default: 1 GiB.
	Cache      string `json:"cache"`
	CacheBytes int64  `json:"cacheBytes,omitempty"`
}

// Source names a volume, or a dump.
type Source struct {
	Tenant    string `json:"tenant"`
	Workspace string `json:"workspace"`
	Volume    string `json:"volume"`
}

// Stream is the dump of a database, which is one file of a snapshot and on no disk. It counts only when the program ends well that writes it or
// brings it back.
type Stream struct {
	Name   string `json:"name"`   // of the file
	Socket string `json:"socket"` // absolute, at which package dump answers
}

// Question is a GET that is to be answered with a status. It is asked again until then, or until the seconds are over.
type Question struct {
	URL     string `json:"url"` // http:// or https://, host:port/path
	Status  int    `json:"status"`
	Seconds int    `json:"seconds"`
}

// Store is where a repository is: a bucket of an S3 store, or a folder.
type Store struct {
	// Endpoint is https://host or http://host:port. Empty: Folder is the store.
	Endpoint string `json:"endpoint,omitempty"`
	Region   string `json:"region,omitempty"`
	Bucket   string `json:"bucket,omitempty"`
	// Prefix is what names in the bucket begin with, and ends in a slash: <tenant>/volumes/<generation>/.
	Prefix       string `json:"prefix,omitempty"`
	AccessKey    string `json:"accessKey,omitempty"`
	SecretKey    string `json:"secretKey,omitempty"`
	SessionToken string `json:"sessionToken,omitempty"`
	// CA are certificates in PEM that are trusted, and no others. Empty: the system's.
	CA string `json:"ca,omitempty"`
	// Folder is absolute.
	Folder string `json:"folder,omitempty"`
}

// maxOrder bounds an order, in bytes.
const maxOrder = 1 << 20

// ReadOrder reads one order and completes it.
func ReadOrder(r io.Reader) (Order, error) {
	var o Order
	d := json.NewDecoder(io.LimitReader(r, maxOrder))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		return o, fmt.Errorf("reading the order: %w", err)
	}
	return o, o.Complete()
}

// Complete sets defaults, and says what of the order cannot be done.
func (o *Order) Complete() error {
	setDefault(&o.Profile, General)
	setDefault(&o.Existing, Keep)
	setDefault(&o.StallSeconds, 600)
	setDefault(&o.CheckpointSeconds, 120)
	setDefault(&o.CacheBytes, 1<<30)
	return errors.Join(o.wrong()...)
}

func setDefault[T comparable](field *T, otherwise T) {
	var zero T
	if *field == zero {
		*field = otherwise
	}
}

func (o *Order) wrong() (all []error) {
	require := func(ok bool, field, want string) {
		if !ok {
			all = append(all, fmt.Errorf("the order's %s: %s", field, want))
		}
	}
	if o.Operation == Check {
		u, err := url.Parse(o.question().URL)
		require(err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil, "question.url", "http:// or https:// with host, port and path")
		require(o.question().Status >= 200 && o.question().Status <= 599, "question.status", "between 200 and 599")
		require(o.question().Seconds > 0 && o.question().Seconds <= 1200, "question.seconds", "between 1 and 1200")
		return all
	}
	require(slices.Contains([]Operation{Backup, Restore, Verify, Maintain}, o.Operation), "operation", "Backup, Restore, Verify, Maintain or Check")
	require(o.Profile == General || o.Profile == Database, "profile", "General or Database")
	require(o.Existing == Keep || o.Existing == Replace, "existing", "Keep or Replace")
	require(len(o.Password) >= 16, "password", "at least 16 bytes")
	require(filepath.IsAbs(o.Config), "config", "an absolute path")
	require(filepath.IsAbs(o.Cache), "cache", "an absolute path")
	require(o.StallSeconds > 0 && o.CheckpointSeconds > 0 && o.CheckpointSeconds <= 2700, "checkpointSeconds", "between 1 and 2700")
	require(o.LockDays >= 0 && o.LockDays <= 36500, "lockDays", "between 0 and 36500")
	if o.Operation == Backup {
		require(o.Source.Tenant != "" && o.Source.Workspace != "" && o.Source.Volume != "", "source", "tenant, workspace and volume")
		require(o.Backup != "", "backup", "the UID of a Backup")
	}
	if o.Operation == Backup || o.Operation == Restore {
		require((o.Stream == nil) == filepath.IsAbs(o.Path), "path", "an absolute path, or a stream")
		require(o.Stream == nil || plain(o.Stream.Name) && filepath.IsAbs(o.Stream.Socket), "stream", "the name of a file, and an absolute path of a socket")
	}
	if o.Operation == Restore {
		require(len(o.Snapshots) == 1, "snapshots", "one")
	}
	return append(all, o.Store.wrong()...)
}

// question is what is asked, or nothing.
func (o *Order) question() Question {
	if o.Question == nil {
		return Question{}
	}
	return *o.Question
}

// plain tells whether a name is that of one file.
func plain(name string) bool {
	return name != "" && name != "." && name != ".." && filepath.Base(name) == name
}

func (s Store) wrong() []error {
	if s.Endpoint == "" {
		if filepath.IsAbs(s.Folder) {
			return nil
		}
		return []error{errors.New("the order's store: an endpoint, or an absolute folder")}
	}
	u, err := url.Parse(s.Endpoint)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Path != "" || u.User != nil {
		return []error{errors.New("the order's store.endpoint: https:// or http:// with host and port alone")}
	}
	if s.Bucket == "" || s.AccessKey == "" || s.SecretKey == "" {
		return []error{errors.New("the order's store: a bucket, an access key and a secret key")}
	}
	return nil
}
