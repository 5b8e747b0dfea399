package v1alpha1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ConditionWormProven tells whether the store was seen to refuse what an object lock forbids: deleting a version, shortening its lock, going
// around it. It is tried on an object of our own, never taken from what the store says of itself.
const ConditionWormProven = "WormProven"

// ConditionCredentialsRestricted tells whether the store was seen to refuse our credentials the deletion of a version that is not locked. It holds
// Ready back from nothing. It is there once that was tried.
const ConditionCredentialsRestricted = "CredentialsRestricted"

// ConditionCatalogued tells whether every backup that the bucket has of the consortium's tenants is there as a Backup. Those that a cluster lost come
// back by themselves, once their tenant and its key are there. It tells too whether the record of each workspace's last drill is in the bucket.
const ConditionCatalogued = "Catalogued"

// ConditionVerified tells whether all backups in the repository were read back within the last two cycles, and are as they were written.
const ConditionVerified = "Verified"

// Reasons of a BackupRepository.
const (
	// ReasonCredentialsMissing surfaces when the Secret of s3.credentialsSecret, or what it must hold, is not there.
	ReasonCredentialsMissing = "CredentialsMissing"
	// ReasonStoreUnfit surfaces when the store takes what it must refuse: a write over an object that is there, or a deletion under a lock.
	ReasonStoreUnfit = "StoreUnfit"
	// ReasonStoreUnreachable surfaces when the store does not answer or refuses our credentials; it is asked again.
	ReasonStoreUnreachable = "StoreUnreachable"
	// ReasonClockWrong surfaces when the store's clock and ours are more than five minutes apart: locks and retention go by time.
	ReasonClockWrong = "ClockWrong"
	// ReasonNotAsked surfaces when no object lock is asked for: whoever holds the credentials can delete backups.
	ReasonNotAsked = "NotAsked"
	// ReasonKeyLost surfaces when the bucket has backups of a tenant whose key is not in the operator's namespace.
	ReasonKeyLost = "KeyLost"
	// ReasonRecordMissing surfaces when the bucket no longer has the record of a drill that a policy's status names.
	ReasonRecordMissing = "RecordMissing"
	// ReasonOverdue surfaces when a backup was not read back for two cycles.
	ReasonOverdue = "Overdue"
	// ReasonMayDeleteVersions surfaces when whoever has the credentials can delete for good what is not locked, or the bucket keeps no versions.
	ReasonMayDeleteVersions = "MayDeleteVersions"
	// ReasonDeletionRefused surfaces when the store refused to delete a version.
	ReasonDeletionRefused = "DeletionRefused"
	// ReasonLockKept surfaces when the store refused every try.
	ReasonLockKept = "LockKept"
)

// RepositoryName is the name of a BackupRepository: a DNS label of at most 40 characters.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=40
// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')`,message="a repository's name is a DNS label of at most 40 characters, for example primario"
type RepositoryName string

// LockMode is how strict an object lock is: Compliance lets nobody delete before its time.
//
// +kubebuilder:validation:Enum=Compliance
type LockMode string

// LockCompliance is the only one.
const LockCompliance LockMode = "Compliance"

// AgeRecipient is a public key of age (https://age-encryption.org/v1): "age1" and 58 more characters.
//
// +kubebuilder:validation:MinLength=62
// +kubebuilder:validation:MaxLength=62
// +kubebuilder:validation:XValidation:rule=`self.matches('^age1[02-9ac-hj-np-z]{58}$')`,message="a recipient is a public key as age-keygen prints it, age1 and 58 more characters"
type AgeRecipient string

// BackupRepositorySpec says where backups are.
type BackupRepositorySpec struct {
	// consortium is the name of the Consortium whose tenants may use it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a repository stays with its consortium: make another one"
	Consortium string `json:"consortium"`

	// region is where the data lie, for example "ch-ticino-1".
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Region string `json:"region"`

	// s3 is the bucket.
	// +required
	S3 BackupBucket `json:"s3"`

	// objectLock has every object refuse to be deleted for some days, whoever asks; the bucket must have been made with object lock.
	// Absent: whoever holds the credentials can delete backups.
	// +optional
	ObjectLock *ObjectLock `json:"objectLock,omitempty"`

	// verifyEveryDays is how often each backup is read back, all of it, from the day it is made on. Default: 7.
	// +optional
	// +kubebuilder:default=7
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=366
	VerifyEveryDays *int32 `json:"verifyEveryDays,omitempty"`

	// maxConcurrent is how many backups are made in it at once. The others wait for their turn, which is fair among tenants; one tenant has at most
	// one less. Default: 4.
	// +optional
	// +kubebuilder:default=4
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=64
	MaxConcurrent *int32 `json:"maxConcurrent,omitempty"`

	// failureDomain names what fails together, for example "dc-1".
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	FailureDomain string `json:"failureDomain"`

	// escrow is the joint entity's recipient: its identity, kept off line, opens every tenant's key when all else is lost.
	// +required
	Escrow AgeRecipient `json:"escrow"`
}

// BackupBucket is one bucket of an S3 store.
//
// +kubebuilder:validation:XValidation:rule="self.endpoint == oldSelf.endpoint && self.bucket == oldSelf.bucket && self.prefix == oldSelf.prefix",message="a repository stays where its backups are: make another one"
type BackupBucket struct {
	// endpoint is where the store answers: https://host or, on a network of one's own, http://host, with a port if need be.
	// +required
	// +kubebuilder:validation:MinLength=8
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$') || self.matches(r'^https?://\[[0-9a-fA-F:]+\](:[0-9]{1,5})?$')`,message="endpoint is scheme, host and port alone, for example https://s3.ticino.example"
	Endpoint string `json:"endpoint"`

	// bucket is its name.
	// +required
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9][-a-z0-9.]*[a-z0-9]$') && !self.contains('..')`,message="bucket is a name of S3: 3 to 63 lower-case letters, digits, dots and dashes, for example broletto-primario"
	Bucket string `json:"bucket"`

	// prefix is what names of objects begin with, for a bucket that holds other things too, for example "broletto". Default: nothing.
	// +optional
	// +kubebuilder:default=""
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule=`self == '' || self.matches('^[a-z0-9][-a-z0-9/]*$') && !self.endsWith('/') && !self.contains('//')`,message="prefix has lower-case letters, digits, dashes and slashes within, for example broletto"
	Prefix string `json:"prefix"`

	// region is the region that requests are signed for. Default: us-east-1, which stores without regions take.
	// +optional
	// +kubebuilder:default=us-east-1
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Region string `json:"region,omitempty"`

	// credentialsSecret is a Secret in the operator's namespace with access-key-id and secret-access-key.
	// +required
	CredentialsSecret SecretName `json:"credentialsSecret"`
}

// ObjectLock has the store refuse deletions.
type ObjectLock struct {
	// mode is Compliance: nobody deletes before the time.
	// +required
	Mode LockMode `json:"mode"`

	// days is for how long each object is locked after the last backup that needs it.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3660
	Days int32 `json:"days"`
}

// ConditionVolumesIntact tells whether all volumes were found as they were written, the last time that they were read back.
const ConditionVolumesIntact = "VolumesIntact"

// VolumeUpkeep is how the volumes of a tenant are looked after in a repository.
type VolumeUpkeep struct {
	// tenant is its name.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Tenant string `json:"tenant"`

	// generation is of what. A damaged one is followed by another, and looked after for as long as a backup needs it.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Generation int32 `json:"generation"`

	// maintainedAt is when what no backup needs was last forgotten, and locks were prolonged.
	// +optional
	// +kubebuilder:validation:XValidation:rule=`self > timestamp('0001-01-01T00:00:00Z')`,message="a time is as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	MaintainedAt *metav1.Time `json:"maintainedAt,omitempty"`

	// verifiedAt is when everything was last read back from the store.
	// +optional
	// +kubebuilder:validation:XValidation:rule=`self > timestamp('0001-01-01T00:00:00Z')`,message="a time is as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	VerifiedAt *metav1.Time `json:"verifiedAt,omitempty"`

	// bytesRead is how many bytes came from the store then.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9007199254740991
	BytesRead int64 `json:"bytesRead,omitempty"`

	// damaged says what was found lost or changed; empty: nothing.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Damaged string `json:"damaged,omitempty"`

	// failed says why the last mover failed otherwise, or could not be started. It is tried again: after a day, or a minute.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Failed string `json:"failed,omitempty"`

	// mover is the one that is at it.
	// +optional
	Mover *VolumeMove `json:"mover,omitempty"`
}

// BackupRepositoryStatus is what was found of it.
type BackupRepositoryStatus struct {
	// observedGeneration is the generation of the spec that the conditions speak of; -1 before the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready, Reconciling, Stalled, WormProven, CredentialsRestricted, Catalogued and Verified.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule=`self.all(c, c.lastTransitionTime > timestamp('0001-01-01T00:00:00Z'))`,message="lastTransitionTime is a time as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// provenAt is when the store was last tried, by its own clock.
	// +optional
	// +kubebuilder:validation:XValidation:rule=`self > timestamp('0001-01-01T00:00:00Z')`,message="a time is as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	ProvenAt *metav1.Time `json:"provenAt,omitempty"`

	// volumes is how the volumes of each tenant are looked after, at most 1000.
	// +optional
	// +listType=map
	// +listMapKey=tenant
	// +listMapKey=generation
	// +kubebuilder:validation:MaxItems=1000
	Volumes []VolumeUpkeep `json:"volumes,omitempty"`
}

// BackupRepository is one object store that holds backups (archivio dei salvataggi). Each tenant's backups in it are sealed with a key of the
// tenant's own, which the operator keeps and which lies in the bucket too, for the escrow to open.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=bkr,categories=broletto
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Worm",type=string,JSONPath=`.status.conditions[?(@.type=="WormProven")].status`
// +kubebuilder:printcolumn:name="Region",type=string,JSONPath=`.spec.region`
// +kubebuilder:printcolumn:name="Domain",type=string,JSONPath=`.spec.failureDomain`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name is a DNS label of at most 40 characters, for example primario"
type BackupRepository struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says where backups are.
	// +required
	Spec BackupRepositorySpec `json:"spec"`

	// status is what was found of it; only the operator writes here.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status BackupRepositoryStatus `json:"status,omitzero"`
}

// BackupRepositoryList is a list of BackupRepository objects.
//
// +kubebuilder:object:root=true
type BackupRepositoryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BackupRepository `json:"items"`
}

// GetConditions returns the conditions, for the kit that sets them.
func (r *BackupRepository) GetConditions() *[]metav1.Condition { return &r.Status.Conditions }

// SetObservedGeneration says which spec the conditions speak of.
func (r *BackupRepository) SetObservedGeneration(generation int64) {
	r.Status.ObservedGeneration = generation
}

// GetObservedGeneration returns the generation that the conditions speak of; -1 before the first look.
func (r *BackupRepository) GetObservedGeneration() int64 { return r.Status.ObservedGeneration }

// VerifyEvery is how long a cycle of reading backups back is.
func (r *BackupRepository) VerifyEvery() time.Duration {
	days := int32(7)
	if r.Spec.VerifyEveryDays != nil {
		days = *r.Spec.VerifyEveryDays
	}
	return time.Duration(days) * 24 * time.Hour
}

// AtOnce is how many backups are made in it at once.
func (r *BackupRepository) AtOnce() int {
	if r.Spec.MaxConcurrent == nil {
		return 4
	}
	return int(*r.Spec.MaxConcurrent)
}
