package v1alpha1

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ConditionConforms tells whether an instance is what its offering says: its version, and its objects unchanged.
const ConditionConforms = "Conforms"

// Reasons of a ServiceInstance.
const (
	// ReasonOfferingNotFound surfaces when spec.offering names no ServiceOffering of the tenant's consortium.
	ReasonOfferingNotFound = "OfferingNotFound"
	// ReasonAwaitingAward surfaces while the service is not awarded: the instance is counted as demand.
	ReasonAwaitingAward = "AwaitingAward"
	// ReasonProcurementExpired surfaces when the award has expired before the instance was provisioned.
	ReasonProcurementExpired = "ProcurementExpired"
	// ReasonParametersRefused surfaces when parameters do not fit the offering's schema.
	ReasonParametersRefused = "ParametersRefused"
	// ReasonProvisioning surfaces while the stack or the manifests are being made.
	ReasonProvisioning = "Provisioning"
	// ReasonUpgradeWaits surfaces when another version is offered and the instance is not at it: spec.version pins it, or others go first.
	ReasonUpgradeWaits = "UpgradeWaits"
	// ReasonUpgrading surfaces while the instance goes from one version of the offering to another.
	ReasonUpgrading = "Upgrading"
	// ReasonVersionNotOffered surfaces when a new instance pins a version that is not the offered one.
	ReasonVersionNotOffered = "VersionNotOffered"
	// ReasonDeviates surfaces when what was provisioned was changed by somebody else.
	ReasonDeviates = "Deviates"
	// ReasonObjectConflict surfaces when an object of the manifests exists already and is not the instance's.
	ReasonObjectConflict = "ObjectConflict"
)

// ServiceStackPrefix is what the names of the Stacks begin with that instances are made of; the rest is the instance's name.
const ServiceStackPrefix = "svc-"

// ServiceInstanceSpec is what a comune asks for.
//
// +kubebuilder:validation:XValidation:rule="self.offering == oldSelf.offering && self.workspace == oldSelf.workspace",message="an instance keeps its offering and its workspace: make another one"
type ServiceInstanceSpec struct {
	// offering is the name of a ServiceOffering of the tenant's consortium.
	// +required
	Offering OfferingName `json:"offering"`

	// workspace is the workspace of this tenant in which it is provisioned.
	// +required
	Workspace WorkspaceName `json:"workspace"`

	// parameters are what the offering's schema lets be said.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Parameters map[string]apiextensionsv1.JSON `json:"parameters,omitempty"`

	// quantity is how many units are asked for, in the unit of the offering's price. Default: 1.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Quantity int32 `json:"quantity,omitempty"`

	// version pins the instance to a version of the offering: when another one is offered, the instance stays as it is and status.upgrade
	// shows what would change. Default: the instance follows the offering.
	// +optional
	Version Version `json:"version,omitempty"`
}

// Upgrade is what another version of the offering would change.
type Upgrade struct {
	// version is the offered one.
	// +required
	Version Version `json:"version"`

	// changes are the objects that would be made, changed or taken away, such as "change ConfigMap/albo", at most 64.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=1024
	Changes []string `json:"changes,omitempty"`
}

// ServiceInstanceStatus is what the operator made of it.
type ServiceInstanceStatus struct {
	// observedGeneration is the generation of the spec that the conditions speak of; -1 before the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready, Reconciling, Stalled and Conforms.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule=`self.all(c, c.lastTransitionTime > timestamp('0001-01-01T00:00:00Z'))`,message="lastTransitionTime is a time as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// version is the version of the offering that is provisioned; absent before.
	// +optional
	Version Version `json:"version,omitempty"`

	// stack is the Stack that was made for it.
	// +optional
	// +kubebuilder:validation:MaxLength=40
	Stack string `json:"stack,omitempty"`

	// objects are the objects made in the workspace, such as "apps/v1 Deployment/albo".
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=512
	Objects []string `json:"objects,omitempty"`

	// upgrade is what a newer version would change, while the instance is not at it.
	// +optional
	Upgrade *Upgrade `json:"upgrade,omitempty"`
}

// ServiceInstance asks for a service of the catalogue in a workspace. Write it in the comune's home namespace. Before the service is
// awarded it is demand, counted on the offering; from the day of the award it is provisioned without anybody touching it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=svi,categories=broletto
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Offering",type=string,JSONPath=`.spec.offering`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.version`
// +kubebuilder:printcolumn:name="Workspace",type=string,JSONPath=`.spec.workspace`
// +kubebuilder:printcolumn:name="Conforms",type=string,JSONPath=`.status.conditions[?(@.type=="Conforms")].status`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 31 && self.metadata.name.matches('^[a-z0-9]+(-[a-z0-9]+)*$')",message="metadata.name is a DNS label of at most 31 characters without --, for example albo"
type ServiceInstance struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what the comune asks for.
	// +required
	Spec ServiceInstanceSpec `json:"spec"`

	// status is what the operator made of it; only the operator writes here.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status ServiceInstanceStatus `json:"status,omitzero"`
}

// ServiceInstanceList is a list of ServiceInstance objects.
//
// +kubebuilder:object:root=true
type ServiceInstanceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ServiceInstance `json:"items"`
}

// TargetNamespace is the namespace in which the instance is provisioned.
func (i *ServiceInstance) TargetNamespace() string {
	return i.Namespace + "--" + string(i.Spec.Workspace)
}

// GetConditions returns the conditions, for the kit that sets them.
func (i *ServiceInstance) GetConditions() *[]metav1.Condition { return &i.Status.Conditions }

// SetObservedGeneration says which spec the conditions speak of.
func (i *ServiceInstance) SetObservedGeneration(generation int64) {
	i.Status.ObservedGeneration = generation
}

// GetObservedGeneration returns the generation that the conditions speak of; -1 before the first look.
func (i *ServiceInstance) GetObservedGeneration() int64 { return i.Status.ObservedGeneration }
