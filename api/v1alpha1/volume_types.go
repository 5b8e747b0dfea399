package v1alpha1

import "k8s.io/apimachinery/pkg/types"

// ReasonMovingVolumes surfaces while movers are at the data of volumes: status.volumes says how far they are.
const ReasonMovingVolumes = "MovingVolumes"

// VolumePhase says how a mover gets on with a volume.
//
// +kubebuilder:validation:Enum=Waiting;Moving;Done;Skipped;Failed
type VolumePhase string

// Phases of a volume.
const (
	VolumeWaiting VolumePhase = "Waiting" // for a mover's pod, or for another volume
	VolumeMoving  VolumePhase = "Moving"
	VolumeDone    VolumePhase = "Done"
	VolumeSkipped VolumePhase = "Skipped" // it was there already
	VolumeFailed  VolumePhase = "Failed"  // message says why
)

// VolumeProfile says how the data of a volume is cut into pieces, of which those that are in the repository already are not sent again.
//
// +kubebuilder:validation:Enum=General;Database
type VolumeProfile string

// Profiles of volumes.
const (
	ProfileGeneral  VolumeProfile = "General"  // files that come and go
	ProfileDatabase VolumeProfile = "Database" // large files that are changed in place
)

// AnnotationProfile says on a claim what its volume holds: General, which is the default, or Database.
const AnnotationProfile = "broletto.dev/volume-profile"

// VolumeOrigin says what a mover reads.
//
// +kubebuilder:validation:Enum=Snapshot;Volume
type VolumeOrigin string

// What a mover reads.
const (
	FromSnapshot VolumeOrigin = "Snapshot" // a copy of the volume as it was at one instant
	FromVolume   VolumeOrigin = "Volume"   // the volume itself, beside the pods that use it
)

// VolumeMove is how a mover gets on with one volume, or one database.
type VolumeMove struct {
	// name is that of the claim, or database/ and the name of the database.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// phase is Waiting, Moving, Done, Skipped or Failed.
	// +required
	Phase VolumePhase `json:"phase"`

	// message says why it waits, failed or was skipped, and the way out.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`

	// database is what is dumped, or brought back; absent: it is a volume.
	// +optional
	Database *Database `json:"database,omitempty"`

	// from is Snapshot, where the volume's class takes snapshots and the workspace's quota has room for a copy of it, else Volume.
	// +optional
	From VolumeOrigin `json:"from,omitempty"`

	// attempt counts the movers that were at it.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Attempt int32 `json:"attempt,omitempty"`

	// job is the UID of the Job of the mover that is at it.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	Job types.UID `json:"job,omitempty"`

	// snapshot is the name of its data in the repository.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Snapshot string `json:"snapshot,omitempty"`

	// root is the hash of all that the snapshot holds.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Root string `json:"root,omitempty"`

	// generation of the repository that holds the snapshot.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Generation int32 `json:"generation,omitempty"`

	// user is as whom the files are read and written: as the pod that uses the volume.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	User int64 `json:"user,omitempty"`

	// group is its group.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	Group int64 `json:"group,omitempty"`

	// fsGroup is the group of the volume; 0: it has none.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	FSGroup int64 `json:"fsGroup,omitempty"`

	// bytes is how many bytes were read or written so far, and at the end all.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9007199254740991
	Bytes int64 `json:"bytes,omitempty"`

	// files is how many files, likewise.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9007199254740991
	Files int64 `json:"files,omitempty"`

	// totalBytes is about how much there is, while it is moving.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9007199254740991
	TotalBytes int64 `json:"totalBytes,omitempty"`

	// bytesPerSecond is the rate, while it is moving.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9007199254740991
	BytesPerSecond int64 `json:"bytesPerSecond,omitempty"`

	// secondsLeft is about how much longer it takes, while it is moving.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9007199254740991
	SecondsLeft int64 `json:"secondsLeft,omitempty"`

	// sent is how many bytes the store took.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9007199254740991
	Sent int64 `json:"sent,omitempty"`

	// received is how many bytes the store gave.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9007199254740991
	Received int64 `json:"received,omitempty"`
}
