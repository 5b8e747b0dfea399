package volumes

import (
	"encoding/json"
	"fmt"

	"github.com/broletto/broletto/api/v1alpha1"
)

// Kept is a volume or a dump in a backup, as its manifest has it.
type Kept struct {
	// Name is that of the claim, or of the database after [v1alpha1.DatabasePrefix].
	Name string `json:"name"`
	// Snapshot is the name of its data in a generation of the tenant's volumes, and Root the hash of all that it holds.
	Snapshot   string `json:"snapshot"`
	Root       string `json:"root"`
	Generation int32  `json:"generation"`
	Bytes      int64  `json:"bytes"`
	Files      int64  `json:"files"`
	// User, Group and FSGroup are as whom it was read.
	User    int64 `json:"user"`
	Group   int64 `json:"group"`
	FSGroup int64 `json:"fsGroup,omitempty"`
	// Database is what was dumped; nil: it is a volume.
	Database *v1alpha1.Database `json:"database,omitempty"`
}

// Keep is what a manifest says of the volumes that were backed up; nil: there are none.
func Keep(all []v1alpha1.VolumeMove) (json.RawMessage, error) {
	var out []Kept
	for _, v := range all {
		if v.Phase == v1alpha1.VolumeDone {
			out = append(out, Kept{v.Name, v.Snapshot, v.Root, v.Generation, v.Bytes, v.Files, v.User, v.Group, v.FSGroup, v.Database})
		}
	}
	if out == nil {
		return nil, nil
	}
	return json.Marshal(out)
}

// Read reads what a manifest says.
func Read(text json.RawMessage) (out []Kept, err error) {
	if len(text) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(text, &out); err != nil {
		return nil, fmt.Errorf("reading which volumes the backup has: %w", err)
	}
	return out, nil
}

// Move is a volume of a backup that is done, or that is to be restored.
func (k Kept) Move(phase v1alpha1.VolumePhase) v1alpha1.VolumeMove {
	return v1alpha1.VolumeMove{
		Name: k.Name, Phase: phase, Snapshot: k.Snapshot, Root: k.Root, Generation: k.Generation, Bytes: k.Bytes, Files: k.Files,
		User: k.User, Group: k.Group, FSGroup: k.FSGroup, Database: k.Database,
	}
}
