package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Conditions of a Workspace beside Ready, Reconciling and Stalled. None of them holds Ready back.
const (
	// ConditionVolumesBound tells whether every volume of spec.storage is bound. A claim that waits for its first consumer, or
	// for a storage class that this cluster lacks, is told here.
	ConditionVolumesBound = "VolumesBound"
	// ConditionPeersConsent tells whether every workspace named in allowFrom and connectTo names this one too. What only
	// one side wants stays closed.
	ConditionPeersConsent = "PeersConsent"
	// ConditionSuspended tells whether new pods are refused: the workspace has expired, or its tenant is no member today.
	ConditionSuspended = "Suspended"
)

// Reasons of a Workspace.
const (
	// ReasonNotAHomeNamespace surfaces when the namespace of a Workspace is no tenant's home.
	ReasonNotAHomeNamespace = "NotAHomeNamespace"
	// ReasonTenantNotReady surfaces while the tenant itself waits or is stalled: its status says why.
	ReasonTenantNotReady = "TenantNotReady"
	// ReasonQuotaExceeded surfaces when the tenant's quota has not enough left: the message says what is free and who holds the rest.
	ReasonQuotaExceeded = "QuotaExceeded"
	// ReasonAwaitingAllocation surfaces while the tenant's ledger has not yet answered.
	ReasonAwaitingAllocation = "AwaitingAllocation"
	// ReasonDataClassNotAllowed surfaces when spec.dataClass is not among the tenant's data classes.
	ReasonDataClassNotAllowed = "DataClassNotAllowed"
	// ReasonHostNotAllowed surfaces when a host lies outside the tenant's domains.
	ReasonHostNotAllowed = "HostNotAllowed"
	// ReasonHostConflict surfaces when another workspace of the tenant already serves a host.
	ReasonHostConflict = "HostConflict"
	// ReasonStorageClassNotAllowed surfaces when a volume names a storage class that the tenant may not use.
	ReasonStorageClassNotAllowed = "StorageClassNotAllowed"
	// ReasonVolumesExceedQuota surfaces when the volumes together are larger than the workspace's requests.storage.
	ReasonVolumesExceedQuota = "VolumesExceedQuota"
	// ReasonEgressProtected surfaces when an egress range lies inside the link-local or protected ranges of the cluster.
	ReasonEgressProtected = "EgressProtected"
	// ReasonVolumesRetained surfaces when a Workspace with volumes is deleted under deletionPolicy Retain: rights are gone,
	// namespace and data stay until the policy is set to Delete.
	ReasonVolumesRetained = "VolumesRetained"
	// ReasonVolumesPending surfaces while a volume is not yet bound.
	ReasonVolumesPending = "VolumesPending"
	// ReasonStorageClassMissing surfaces when this cluster has no such storage class.
	ReasonStorageClassMissing = "StorageClassMissing"
	// ReasonConsentMissing surfaces when a peer does not name this workspace.
	ReasonConsentMissing = "ConsentMissing"
	// ReasonExpired surfaces when spec.expiresAt has passed.
	ReasonExpired = "Expired"
	// ReasonActive surfaces when the workspace may run pods.
	ReasonActive = "Active"
)

// WorkspaceName is the name of a workspace: a DNS label of at most 31 characters without "--".
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=31
// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9]+(-[a-z0-9]+)*$')`,message="a workspace's name is a DNS label of at most 31 characters without --, for example sportello"
type WorkspaceName string

// Environment says what a workspace is for.
//
// +kubebuilder:validation:Enum=Production;Test;Lab
type Environment string

// Environments.
const (
	Production Environment = "Production"
	Test       Environment = "Test"
	Lab        Environment = "Lab"
)

// Exposure says who may reach a workspace from outside, through the ingress controller.
//
// +kubebuilder:validation:Enum=Internet;Consortium;None
type Exposure string

// Exposures.
const (
	ExposureInternet   Exposure = "Internet"
	ExposureConsortium Exposure = "Consortium"
	ExposureNone       Exposure = "None"
)

// AccessRole is what somebody may do in a workspace.
//
// +kubebuilder:validation:Enum=Admin;Edit;View
type AccessRole string

// Roles in a workspace.
const (
	RoleAdmin AccessRole = "Admin"
	RoleEdit  AccessRole = "Edit"
	RoleView  AccessRole = "View"
)

// DeletionPolicy says what becomes of a workspace's volumes when it is deleted.
//
// +kubebuilder:validation:Enum=Retain;Delete
type DeletionPolicy string

// Deletion policies.
const (
	DeletionRetain DeletionPolicy = "Retain"
	DeletionDelete DeletionPolicy = "Delete"
)

// WorkspaceSpec is what a comune asks for.
//
// +kubebuilder:validation:XValidation:rule="self.environment != 'Lab' || has(self.expiresAt)",message="a Lab has an end, for example expiresAt: \"2027-06-30T00:00:00Z\""
// +kubebuilder:validation:XValidation:rule="self.environment != 'Lab' || !self.personalData",message="a Lab holds no personal data: set personalData: false, or environment: Test"
// +kubebuilder:validation:XValidation:rule="self.environment != 'Production' || !has(self.expiresAt)",message="a Production workspace does not expire: remove expiresAt, or set environment: Test"
// +kubebuilder:validation:XValidation:rule="self.deletionPolicy == 'Delete' || !has(oldSelf.storage) || !has(oldSelf.storage.volumes) || oldSelf.storage.volumes.all(o, has(self.storage) && has(self.storage.volumes) && self.storage.volumes.exists(v, v.name == o.name))",message="a volume and its data go only under deletionPolicy: Delete; set it, or keep the volume in storage.volumes"
type WorkspaceSpec struct {
	// displayName is the name that people read, for example "Sportello online". One line in NFC, without control or
	// bidirectional characters. Default: the object's name.
	// +optional
	// +kubebuilder:validation:MaxLength=120
	// +kubebuilder:validation:XValidation:rule=`self == self.trim() && self.matches(r'^[^\pC\pM\p{Zl}\p{Zp}\x{0374}\x{037E}\x{0387}\x{1FEF}\x{1FFD}\x{2000}\x{2001}\x{2126}\x{212A}\x{212B}\x{2329}\x{232A}\x{2ADC}]*$')`,message="displayName is one line in NFC without control, bidirectional or invisible characters and without blanks around it, for example Sportello online"
	DisplayName string `json:"displayName,omitempty"`

	// environment is Production, Test or Lab. A Lab expires and holds no personal data.
	// +required
	Environment Environment `json:"environment"`

	// dataClass classifies the data, as the law asks of every public body; it is never defaulted. It must be among the
	// tenant's dataClasses. It may be raised; only the platform lowers it.
	// +required
	DataClass DataClass `json:"dataClass"`

	// personalData says whether personal data are processed here.
	// +required
	PersonalData *bool `json:"personalData"`

	// quota is what the workspace takes of its tenant's quota, for example {requests.cpu: "2", requests.memory: 4Gi}: keys and
	// amounts are those of a tenant's quota. What it does not name comes from the consortium's defaults.
	// +optional
	Quota Quota `json:"quota,omitempty"`

	// access gives people and pipelines rights in this workspace, beside the tenant's administrators and viewers.
	// +optional
	// +listType=map
	// +listMapKey=role
	// +listMapKey=kind
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Access []Access `json:"access,omitempty"`

	// network opens what this workspace needs; all else is closed, in both directions.
	// +optional
	// +kubebuilder:default={}
	Network WorkspaceNetwork `json:"network,omitzero"`

	// storage asks for volumes.
	// +optional
	Storage *WorkspaceStorage `json:"storage,omitempty"`

	// expiresAt is when the workspace is suspended, as "2027-06-30T00:00:00Z": no new pods, data kept. Required for a Lab.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=date-time
	// +kubebuilder:validation:Pattern=`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$`
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule="self >= timestamp('2000-01-01T00:00:00Z')",message="expiresAt is an instant since 2000, for example \"2027-06-30T00:00:00Z\""
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"`

	// deletionPolicy says what becomes of the volumes when the workspace, or a volume in it, is deleted. Retain keeps
	// namespace and data and takes the rights away until somebody sets Delete.
	// +optional
	// +kubebuilder:default=Retain
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// Access gives one subject one role.
type Access struct {
	// role is Admin, Edit (all but rights) or View (all but Secrets).
	// +required
	Role AccessRole `json:"role"`

	Subject `json:",inline"`
}

// WorkspaceNetwork opens what a workspace needs.
//
// +kubebuilder:validation:XValidation:rule="!has(self.hosts) || self.hosts.size() == 0 || self.exposure != 'None'",message="hosts are served through an ingress controller: set exposure: Internet or exposure: Consortium"
type WorkspaceNetwork struct {
	// exposure says through which ingress controller the workspace is reached: Internet, Consortium (the members'
	// networks) or None.
	// +optional
	// +kubebuilder:default=None
	Exposure Exposure `json:"exposure,omitempty"`

	// hosts are the names that the workspace serves. Each lies within the tenant's domains, and no other workspace serves it.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:XValidation:rule=`self.matches(r'^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)+[a-z]([-a-z0-9]{0,61}[a-z0-9])?$')`,message="a host is a DNS name of at least two labels in lower case, without a wildcard or a trailing dot, for example id.lugano.example"
	Hosts []Hostname `json:"hosts,omitempty"`

	// allowFrom lists workspaces that may connect to this one. It opens nothing unless the other lists this one in connectTo.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	AllowFrom []Peer `json:"allowFrom,omitempty"`

	// connectTo lists workspaces that this one connects to. It opens nothing unless the other lists this one in allowFrom.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	ConnectTo []Peer `json:"connectTo,omitempty"`

	// egress lists address ranges outside the cluster that this workspace connects to.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Egress []Egress `json:"egress,omitempty"`
}

// Peer names another workspace.
type Peer struct {
	// tenant is the other's tenant. Default: one's own.
	// +optional
	Tenant TenantName `json:"tenant,omitempty"`

	// workspace is the other's name.
	// +required
	Workspace WorkspaceName `json:"workspace"`
}

// Egress opens one address range on some ports.
type Egress struct {
	// cidr is the range, for example "203.0.113.0/24". Link-local, cloud metadata and the consortium's protected ranges stay closed within it.
	// +required
	CIDR CIDR `json:"cidr"`

	// ports are the ports to open, for example [443].
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=65535
	Ports []int32 `json:"ports"`

	// protocol is TCP or UDP.
	// +optional
	// +kubebuilder:default=TCP
	// +kubebuilder:validation:Enum=TCP;UDP
	Protocol string `json:"protocol,omitempty"`
}

// WorkspaceStorage asks for volumes.
type WorkspaceStorage struct {
	// volumes are the volumes to make, each a PersistentVolumeClaim of its name.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	Volumes []Volume `json:"volumes,omitempty"`
}

// Volume is one volume.
//
// +kubebuilder:validation:XValidation:rule="has(self.class) == has(oldSelf.class) && (!has(self.class) || self.class == oldSelf.class)",message="class cannot change: add a volume of the other class and move the data"
// +kubebuilder:validation:XValidation:rule="!isQuantity(self.size) || quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0",message="size cannot shrink: add a smaller volume and move the data"
type Volume struct {
	// name is the name of the PersistentVolumeClaim, a DNS label.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')`,message="name is a DNS label of at most 63 characters, for example documenti"
	Name string `json:"name"`

	// size is how large the volume is, for example "100Gi". It can grow where the class can, and never shrinks.
	// +required
	// +kubebuilder:validation:XValidation:rule="!isQuantity(self) || (quantity(self).compareTo(quantity('1Mi')) >= 0 && quantity(self).compareTo(quantity('1Pi')) <= 0)",message="size is between 1Mi and 1Pi, for example 100Gi"
	Size Amount `json:"size"`

	// class is one of the tenant's storage classes. Default: the tenant's first.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')`,message="class is a DNS label of at most 63 characters, for example encrypted"
	Class string `json:"class,omitempty"`
}

// WorkspaceStatus is what the operator made of the workspace.
type WorkspaceStatus struct {
	// observedGeneration is the generation of the spec that the conditions speak of; -1 before the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready, Reconciling, Stalled, VolumesBound, PeersConsent and Suspended.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule=`self.all(c, c.lastTransitionTime > timestamp('0001-01-01T00:00:00Z'))`,message="lastTransitionTime is a time as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// namespace is where the workspace's pods run: <tenant>--<workspace>.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`

	// allocationRevision is the revision of the ledger's entry that the namespace is at: what earlier ones granted is given back.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9007199254740991
	AllocationRevision int64 `json:"allocationRevision,omitempty"`

	// quota is what the workspace may use of what the tenant's ledger holds for it.
	// +optional
	// +kubebuilder:validation:MaxProperties=24
	// +kubebuilder:validation:XValidation:rule=`self.all(k, type(self[k]) == int || isQuantity(self[k]))`,message="each amount is a Kubernetes quantity, for example 4Gi"
	Quota corev1.ResourceList `json:"quota,omitempty"`
}

// Workspace is one isolated place of a comune: a namespace of its own with quota, network rules, rights and volumes
// (ambiente). Write it in the comune's home namespace; the shortest one that works is
// {environment: Production, dataClass: Ordinary, personalData: false}.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=wks,categories=broletto
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Namespace",type=string,JSONPath=`.status.namespace`
// +kubebuilder:printcolumn:name="Environment",type=string,JSONPath=`.spec.environment`
// +kubebuilder:printcolumn:name="Class",type=string,JSONPath=`.spec.dataClass`
// +kubebuilder:printcolumn:name="CPU",type=string,JSONPath=`.status.quota.requests\.cpu`
// +kubebuilder:printcolumn:name="Memory",type=string,JSONPath=`.status.quota.requests\.memory`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 31 && self.metadata.name.matches('^[a-z0-9]+(-[a-z0-9]+)*$')",message="metadata.name is a DNS label of at most 31 characters without --, for example sportello: with the tenant's name it makes the namespace"
type Workspace struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what the comune asks for.
	// +required
	Spec WorkspaceSpec `json:"spec"`

	// status is what the operator made of it; only the operator writes here.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status WorkspaceStatus `json:"status,omitzero"`
}

// WorkspaceList is a list of Workspace objects.
//
// +kubebuilder:object:root=true
type WorkspaceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Workspace `json:"items"`
}

// TargetNamespace is the namespace in which the workspace's pods run.
func (w *Workspace) TargetNamespace() string { return w.Namespace + "--" + w.Name }

// GetConditions returns the conditions, for the kit that sets them.
func (w *Workspace) GetConditions() *[]metav1.Condition { return &w.Status.Conditions }

// SetObservedGeneration says which spec the conditions speak of.
func (w *Workspace) SetObservedGeneration(generation int64) {
	w.Status.ObservedGeneration = generation
}

// GetObservedGeneration returns the generation that the conditions speak of; -1 before the first look.
func (w *Workspace) GetObservedGeneration() int64 { return w.Status.ObservedGeneration }
