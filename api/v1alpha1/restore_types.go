package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reasons of a Restore.
const (
	// ReasonBackupNotFound surfaces when spec.backup names no Backup in this namespace.
	ReasonBackupNotFound = "BackupNotFound"
	// ReasonBackupNotReady surfaces while the backup was not read back yet.
	ReasonBackupNotReady = "BackupNotReady"
	// ReasonWorkspaceExists surfaces when into.newWorkspace names a workspace that this restore did not make.
	ReasonWorkspaceExists = "WorkspaceExists"
	// ReasonDataClassTooLow surfaces when into.workspace is of a lower data class than what was backed up.
	ReasonDataClassTooLow = "DataClassTooLow"
	// ReasonRequesterUnknown surfaces when nobody knows who asked: the object was made while the admission policies were not in force.
	ReasonRequesterUnknown = "RequesterUnknown"
	// ReasonPartlyRestored surfaces when something was refused or lost: status.refused and status.lost say what.
	ReasonPartlyRestored = "PartlyRestored"
	// ReasonChecking surfaces while a drill asks the checks of its policy.
	ReasonChecking = "Checking"
	// ReasonCheckFailed surfaces when a check of a drill failed: status.checks says which, and why.
	ReasonCheckFailed = "CheckFailed"
)

// Conflicts says what becomes of an object that is there already and differs.
//
// +kubebuilder:validation:Enum=Skip;Replace
type Conflicts string

// What becomes of it.
const (
	ConflictsSkip    Conflicts = "Skip"
	ConflictsReplace Conflicts = "Replace"
)

// RestoreMode says whether anything is written.
//
// +kubebuilder:validation:Enum=Apply;DryRun
type RestoreMode string

// Modes of a restore.
const (
	RestoreApply  RestoreMode = "Apply"
	RestoreDryRun RestoreMode = "DryRun"
)

// Bindings says whether role bindings come back.
//
// +kubebuilder:validation:Enum=Skip;Restore
type Bindings string

// Whether role bindings come back.
const (
	BindingsSkip    Bindings = "Skip"
	BindingsRestore Bindings = "Restore"
)

// RestoreSpec says what comes back, and where; it never changes, but from DryRun to Apply.
//
// +kubebuilder:validation:XValidation:rule="self.backup == oldSelf.backup && self.into == oldSelf.into && self.bindings == oldSelf.bindings",message="a restore is what it was: make another one"
// +kubebuilder:validation:XValidation:rule="self.mode == oldSelf.mode || self.mode == 'Apply'",message="what was restored cannot be planned: make another one"
type RestoreSpec struct {
	// backup is the name of a Backup in this namespace. There is no way into another tenant.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=120
	Backup string `json:"backup"`

	// into says where to.
	// +required
	Into RestoreTarget `json:"into"`

	// mode is Apply, or DryRun: nothing is written, and status says what would be. A dry run becomes a restore when it is set to Apply.
	// +optional
	// +kubebuilder:default=Apply
	Mode RestoreMode `json:"mode,omitempty"`

	// bindings says whether role bindings come back too; who had rights then may have none today.
	// +optional
	// +kubebuilder:default=Skip
	Bindings Bindings `json:"bindings,omitempty"`
}

// RestoreTarget is where a restore goes.
//
// +kubebuilder:validation:XValidation:rule="has(self.workspace) != has(self.newWorkspace)",message="into names workspace, one that is there, or newWorkspace, one that is made"
// +kubebuilder:validation:XValidation:rule="!has(self.conflicts) || has(self.workspace)",message="conflicts goes with workspace: a new one has none"
type RestoreTarget struct {
	// workspace is one that is there.
	// +optional
	Workspace WorkspaceName `json:"workspace,omitempty"`

	// newWorkspace is one that is made, within the tenant's quota, as the backup has it: with its hosts and its exposure if it has the name of the
	// one that was backed up, which is gone then; and else without them, and with those volumes alone that the backup holds.
	// +optional
	NewWorkspace WorkspaceName `json:"newWorkspace,omitempty"`

	// conflicts says what becomes of an object that is there already and differs: Skip leaves it, Replace makes it what the backup has.
	// Default: Skip.
	// +optional
	Conflicts Conflicts `json:"conflicts,omitempty"`
}

// RestoreStatus is what became of it.
type RestoreStatus struct {
	// observedGeneration is the generation of the spec that the conditions speak of; -1 before the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready, Reconciling and Stalled.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule=`self.all(c, c.lastTransitionTime > timestamp('0001-01-01T00:00:00Z'))`,message="lastTransitionTime is a time as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// requester is who asked: with that one's rights it is restored.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Requester string `json:"requester,omitempty"`

	// namespace is where objects are made.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`

	// startedAt is when it began.
	// +optional
	// +kubebuilder:validation:XValidation:rule=`self > timestamp('0001-01-01T00:00:00Z')`,message="a time is as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	StartedAt *metav1.Time `json:"startedAt,omitempty"`

	// finishedAt is when it ended.
	// +optional
	// +kubebuilder:validation:XValidation:rule=`self > timestamp('0001-01-01T00:00:00Z')`,message="a time is as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`

	// creates is how many objects were made or, in a dry run, would be.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	Creates int32 `json:"creates,omitempty"`

	// same is how many were there as the backup has them.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	Same int32 `json:"same,omitempty"`

	// skipped is how many were there, differ, and were left.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	Skipped int32 `json:"skipped,omitempty"`

	// replaced is how many were there and were, or would be, made what the backup has.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	Replaced int32 `json:"replaced,omitempty"`

	// conflicts names objects that are there and differ, at most 64, such as "ConfigMap/app".
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=512
	Conflicts []string `json:"conflicts,omitempty"`

	// refused names what may not be made, and why, at most 64.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Refused []LeftOut `json:"refused,omitempty"`

	// lost names what the backup no longer holds, at most 64.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=512
	Lost []string `json:"lost,omitempty"`

	// volumes is how the volumes are restored, by claim, and databases as database/<name>; at most 256.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=256
	Volumes []VolumeMove `json:"volumes,omitempty"`

	// sequence is the number of the backup in its chain.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9999999999
	Sequence int64 `json:"sequence,omitempty"`

	// manifest is the SHA-256 of the manifest that was restored, in hexadecimal.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Manifest string `json:"manifest,omitempty"`

	// checks are the checks of a drill as its policy had them when the first one was asked, and what came of each.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	Checks []CheckRun `json:"checks,omitempty"`

	// bytesRead is how many bytes of objects were read, unpacked.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9007199254740991
	BytesRead int64 `json:"bytesRead,omitempty"`
}

// CheckRun is a check of a drill, and what came of it.
type CheckRun struct {
	DrillCheck `json:",inline"`

	// beganAt is when it was asked first.
	// +optional
	// +kubebuilder:validation:XValidation:rule=`self > timestamp('0001-01-01T00:00:00Z')`,message="a time is as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	BeganAt *metav1.Time `json:"beganAt,omitempty"`

	// passed tells whether it did. Absent: it is not over.
	// +optional
	Passed *bool `json:"passed,omitempty"`

	// seconds is how long it took.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	Seconds int32 `json:"seconds,omitempty"`

	// message says why it has not passed.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`

	// mover is the pod that asks, of an http check.
	// +optional
	Mover *VolumeMove `json:"mover,omitempty"`
}

// Restore brings a backup back (ripristino), into the workspace that it was made of or another one of the same tenant. It is done with the
// rights of who wrote it: what that one may not make today is refused, and never anything outside the workspace. Write it in the comune's home namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=rst,categories=broletto
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Backup",type=string,JSONPath=`.spec.backup`
// +kubebuilder:printcolumn:name="Into",type=string,JSONPath=`.status.namespace`
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`
// +kubebuilder:printcolumn:name="Creates",type=integer,JSONPath=`.status.creates`
// +kubebuilder:printcolumn:name="Replaced",type=integer,JSONPath=`.status.replaced`
// +kubebuilder:printcolumn:name="Skipped",type=integer,JSONPath=`.status.skipped`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 120 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name has lower-case letters, digits and dashes, at most 120, for example confronto"
type Restore struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says what comes back, and where.
	// +required
	Spec RestoreSpec `json:"spec"`

	// status is what became of it; only the operator writes here.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status RestoreStatus `json:"status,omitzero"`
}

// RestoreList is a list of Restore objects.
//
// +kubebuilder:object:root=true
type RestoreList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Restore `json:"items"`
}

// Target is the name of the workspace that it goes into.
func (r *Restore) Target() string {
	if r.Spec.Into.NewWorkspace != "" {
		return string(r.Spec.Into.NewWorkspace)
	}
	return string(r.Spec.Into.Workspace)
}

// GetConditions returns the conditions, for the kit that sets them.
func (r *Restore) GetConditions() *[]metav1.Condition { return &r.Status.Conditions }

// SetObservedGeneration says which spec the conditions speak of.
func (r *Restore) SetObservedGeneration(generation int64) { r.Status.ObservedGeneration = generation }

// GetObservedGeneration returns the generation that the conditions speak of; -1 before the first look.
func (r *Restore) GetObservedGeneration() int64 { return r.Status.ObservedGeneration }
