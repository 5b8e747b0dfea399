package v1alpha1

import (
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ConditionWhole tells whether the backup holds all that the workspace has. What was left out stands in status.leftOut. A backup that is not
// Whole is Ready all the same when what it holds was verified: its objects can be restored.
const ConditionWhole = "Whole"

// Reasons of a Backup.
const (
	// ReasonDamaged surfaces when something of the backup cannot be read back: status.lost says what. On a BackupRepository it surfaces when the
	// bucket has a manifest that is not as it was written.
	ReasonDamaged = "Damaged"
	// ReasonWorkspaceGone surfaces when the workspace went before it was backed up.
	ReasonWorkspaceGone = "WorkspaceGone"
	// ReasonWaiting surfaces while as many backups are made in the repository as it takes at once, and others come first.
	ReasonWaiting = "Waiting"
	// ReasonLeftOut surfaces when something of the workspace is not in the backup.
	ReasonLeftOut = "LeftOut"
)

// BackupSpec says what is backed up; it never changes but for keepDays.
//
// +kubebuilder:validation:XValidation:rule="self.workspace == oldSelf.workspace && self.repository == oldSelf.repository",message="a backup is of what it was made of: make another one"
type BackupSpec struct {
	// workspace is the name of a workspace in this home namespace.
	// +required
	Workspace WorkspaceName `json:"workspace"`

	// repository is the name of a BackupRepository of the tenant's consortium.
	// +required
	Repository RepositoryName `json:"repository"`

	// keepDays is for how many days it is kept. Absent: until it is deleted or, where a policy made it, as long as that says.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=36600
	KeepDays *int32 `json:"keepDays,omitempty"`
}

// BackupStatus is what became of it.
type BackupStatus struct {
	// observedGeneration is the generation of the spec that the conditions speak of; -1 before the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready, Reconciling, Stalled and Whole.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule=`self.all(c, c.lastTransitionTime > timestamp('0001-01-01T00:00:00Z'))`,message="lastTransitionTime is a time as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// sequence numbers the backups of a workspace in a repository, from 1; backups are ordered by it, never by time.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9999999999
	Sequence int64 `json:"sequence,omitempty"`

	// manifest is the SHA-256 of the sealed manifest, in hexadecimal: the next backup names it as its predecessor.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Manifest string `json:"manifest,omitempty"`

	// startedAt is when reading began, by the store's clock.
	// +optional
	// +kubebuilder:validation:XValidation:rule=`self > timestamp('0001-01-01T00:00:00Z')`,message="a time is as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	StartedAt *metav1.Time `json:"startedAt,omitempty"`

	// verifiedAt is when the last of it was written, by the store's clock; it is there once all was read back.
	// +optional
	// +kubebuilder:validation:XValidation:rule=`self > timestamp('0001-01-01T00:00:00Z')`,message="a time is as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	VerifiedAt *metav1.Time `json:"verifiedAt,omitempty"`

	// readAt is when all of it was last read back from the store, which is done every spec.verifyEveryDays of the repository.
	// +optional
	// +kubebuilder:validation:XValidation:rule=`self > timestamp('0001-01-01T00:00:00Z')`,message="a time is as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	ReadAt *metav1.Time `json:"readAt,omitempty"`

	// bytesRead is how many bytes came from the store then. A page that several backups of the workspace share is read once in a cycle, and counted once.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9007199254740991
	BytesRead int64 `json:"bytesRead,omitempty"`

	// objects is how many objects it holds.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	Objects int32 `json:"objects,omitempty"`

	// bytes is how many bytes the objects take in the store, those that earlier backups share included.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9007199254740991
	Bytes int64 `json:"bytes,omitempty"`

	// written is how many files were new in the store; what did not change since the last backup is not written again.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9007199254740991
	Written int64 `json:"written,omitempty"`

	// volumes is how the volumes are backed up, by claim, and databases as database/<name>; at most 256.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=256
	Volumes []VolumeMove `json:"volumes,omitempty"`

	// hooks are those of its policy.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Hooks []HookRun `json:"hooks,omitempty"`

	// leftOut is what of the workspace is not in it, and why, at most 64.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	LeftOut []LeftOut `json:"leftOut,omitempty"`

	// lost is what of it cannot be read back, such as "Secret/db", at most 64.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=512
	Lost []string `json:"lost,omitempty"`
}

// LeftOut is something that is not in a backup.
type LeftOut struct {
	// what is the kind of thing, such as "PersistentVolumeClaim/documenti" or "certificates.cert-manager.io".
	// +required
	// +kubebuilder:validation:MaxLength=512
	What string `json:"what"`

	// why says the cause and the way out.
	// +required
	// +kubebuilder:validation:MaxLength=1024
	Why string `json:"why"`
}

// Backup is one backup of one workspace (salvataggio). It is Ready when it was read back from the store, whole. Write one in the comune's home
// namespace to have it made at once; policies write theirs on schedule. Deleting it deletes the backup, as soon as its lock is over.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=bku,categories=broletto
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Workspace",type=string,JSONPath=`.spec.workspace`
// +kubebuilder:printcolumn:name="Sequence",type=integer,JSONPath=`.status.sequence`
// +kubebuilder:printcolumn:name="Objects",type=integer,JSONPath=`.status.objects`
// +kubebuilder:printcolumn:name="Verified",type=date,JSONPath=`.status.verifiedAt`
// +kubebuilder:printcolumn:name="Whole",type=string,JSONPath=`.status.conditions[?(@.type=="Whole")].status`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 120 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name has lower-case letters, digits and dashes, at most 120, for example prima-del-rilascio"
type Backup struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says what is backed up.
	// +required
	Spec BackupSpec `json:"spec"`

	// status is what became of it; only the operator writes here.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status BackupStatus `json:"status,omitzero"`
}

// BackupList is a list of Backup objects.
//
// +kubebuilder:object:root=true
type BackupList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Backup `json:"items"`
}

// TargetNamespace is the namespace that is backed up.
func (b *Backup) TargetNamespace() string { return b.Namespace + "--" + string(b.Spec.Workspace) }

// Sequence is the number of the backup in its repository; 0: it has none yet.
func (b *Backup) Sequence() int64 {
	if b.Status.Sequence > 0 {
		return b.Status.Sequence
	}
	n, err := strconv.ParseInt(b.Annotations[AnnotationSequence], 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// GetConditions returns the conditions, for the kit that sets them.
func (b *Backup) GetConditions() *[]metav1.Condition { return &b.Status.Conditions }

// SetObservedGeneration says which spec the conditions speak of.
func (b *Backup) SetObservedGeneration(generation int64) { b.Status.ObservedGeneration = generation }

// GetObservedGeneration returns the generation that the conditions speak of; -1 before the first look.
func (b *Backup) GetObservedGeneration() int64 { return b.Status.ObservedGeneration }
