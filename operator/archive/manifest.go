package archive

import (
	"encoding/json"
	"fmt"
	"time"
)

// Resource is what objects are of.
type Resource struct {
	Group    string `json:"group,omitempty"`
	Version  string `json:"version"`
	Resource string `json:"resource"`
	Kind     string `json:"kind"`
}

// String names it as kubectl does.
func (r Resource) String() string {
	if r.Group == "" {
		return r.Resource
	}
	return r.Resource + "." + r.Group
}

// Page is some objects of one resource, in one file.
type Page struct {
	Resource
	// Page is its name in the tenant's objects/.
	Page string `json:"page"`
	// Bytes of the objects.
	Bytes int64 `json:"bytes"`
	// Size of the file, in bytes.
	Size int64 `json:"size"`
	// Names of the objects, in their order.
	Names []string `json:"names"`
}

// LeftOut is what a backup lacks, and why, and the way out.
type LeftOut struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// About is what the caller says of a backup.
type About struct {
	// UID of the Backup: a second pass finds its manifest by it.
	UID string `json:"uid"`
	// Name of the Backup, in any script.
	Name string `json:"name"`
	// Policy made it, if that is not empty; KeepDays is for how many days somebody else wants it kept, if it is not 0. The bucket alone says so
	// when the cluster is gone.
	Policy   string    `json:"policy,omitempty"`
	KeepDays int32     `json:"keepDays,omitempty"`
	LeftOut  []LeftOut `json:"leftOut,omitempty"`
	// Spec of the workspace, as JSON.
	Spec json.RawMessage `json:"spec,omitempty"`
	// Volumes are what the mover says of them, as JSON.
	Volumes json.RawMessage `json:"volumes,omitempty"`
}

// Record is a backup without the list of its pages.
type Record struct {
	Format    int    `json:"format"`
	Tenant    string `json:"tenant"`
	Workspace string `json:"workspace"`
	Sequence  int64  `json:"sequence"`
	About
	// Started and Finished are by the store's clock.
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	// Objects and Bytes are how many, and how large they are together.
	Objects int   `json:"objects"`
	Bytes   int64 `json:"bytes"`

	// Signed is its place in the chain.
	Signed Signed `json:"-"`
	// Hash of its file.
	Hash Hash `json:"-"`
	// Written is when the store took it.
	Written time.Time `json:"-"`
}

// Manifest is a backup.
type Manifest struct {
	Record
	Pages []Page `json:"pages"`
}

// File is its name in the bucket.
func (r Record) File() string {
	return numbered(r.Tenant, manifestsFolder, r.Workspace, r.Sequence)
}

const (
	// manifestLimit bounds a manifest, in bytes, packed and unpacked: about a million objects.
	manifestLimit = 64 << 20
	// pageLimit bounds a page, and objectLimit what is in it.
	pageLimit   = 32 << 20
	objectLimit = 16 << 20
)

// encode is the content of the manifest's file.
func (m *Manifest) encode() ([]byte, error) {
	content, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("writing the manifest of backup %s: %w", m.Name, err)
	}
	if len(content) > manifestLimit {
		return nil, fmt.Errorf("backup %s has %d objects, whose names alone take more than %d MiB: divide the workspace", m.Name, m.Objects, manifestLimit>>20)
	}
	return content, nil
}

// readManifest opens a manifest's file and checks all of it.
func (r Repository) readManifest(workspace string, sequence int64, file []byte) (*Manifest, error) {
	name := numbered(r.Tenant, manifestsFolder, workspace, sequence)
	signed, content, err := r.Key.unsign(name, file)
	if err != nil {
		return nil, r.replayed(workspace, sequence, file, err)
	}
	m, err := decode(content)
	if err != nil {
		return nil, err
	}
	if signed.Sequence != sequence || m.Sequence != sequence || m.Tenant != r.Tenant || m.Workspace != workspace || signed.Removed != (Hash{}) ||
		signed.Previous < 0 || signed.Previous >= sequence || (signed.Previous == 0) != (signed.PreviousHash == Hash{}) {
		return nil, damaged("it contradicts its own name")
	}
	m.Signed, m.Hash = signed, hashOf(file)
	return m, nil
}

// replayed tells when what does not open is another manifest of the same workspace.
func (r Repository) replayed(workspace string, sequence int64, file []byte, err error) error {
	if len(file) < headerSize {
		return err
	}
	its := readHeader(file).Sequence
	if its == sequence || its < 1 || its > lastSequence {
		return err
	}
	if _, failed := CheckSignature(r.Key.Public(), numbered(r.Tenant, manifestsFolder, workspace, its), file); failed != nil {
		return err
	}
	return damaged("it is number %d: %w", its, ErrReplayed)
}

// decode reads a manifest's content, which nobody but a holder of the key wrote, and which is not trusted for that.
func decode(content []byte) (*Manifest, error) {
	m := &Manifest{}
	if err := json.Unmarshal(content, m); err != nil {
		return nil, damaged("its manifest cannot be read: %v", err)
	}
	if m.Format != format {
		return nil, damaged("its manifest has format %d: a newer version wrote it", m.Format)
	}
	objects, bytes := 0, int64(0)
	for i, p := range m.Pages {
		if !pageName.MatchString(p.Page) || p.Bytes < 0 || p.Bytes > pageLimit || p.Size < 0 || p.Size > pageLimit+pageLimit/8 || len(p.Names) == 0 ||
			int64(len(p.Names)) > p.Bytes || p.Resource.Resource == "" || p.Version == "" || p.Kind == "" {
			return nil, damaged("its page %d is none", i+1)
		}
		objects += len(p.Names)
		bytes += p.Bytes
	}
	if objects != m.Objects || bytes != m.Bytes {
		return nil, damaged("its manifest counts %d objects of %d bytes and names %d of %d", m.Objects, m.Bytes, objects, bytes)
	}
	return m, nil
}
