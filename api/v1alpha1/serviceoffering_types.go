package v1alpha1

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reasons of a ServiceOffering.
const (
	// ReasonInvalidParameters surfaces when spec.parameters is no JSON schema that instances can be checked against.
	ReasonInvalidParameters = "InvalidParameters"
	// ReasonInvalidManifest surfaces when a manifest is not what a workspace may hold, or its template is wrong.
	ReasonInvalidManifest = "InvalidManifest"
)

// Audience is whom a service is for.
//
// +kubebuilder:validation:Enum=Citizens;Businesses;Bodies;Institutions
type Audience string

// Channel is the way by which a service reaches its audience.
//
// +kubebuilder:validation:Enum=Digital;Counter
type Channel string

// ProcurementState is how far the tender of a service is.
//
// +kubebuilder:validation:Enum=Planned;Tendering;Awarded;Expired
type ProcurementState string

// States of a procurement.
const (
	ProcurementPlanned   ProcurementState = "Planned"
	ProcurementTendering ProcurementState = "Tendering"
	ProcurementAwarded   ProcurementState = "Awarded"
	ProcurementExpired   ProcurementState = "Expired"
)

// Version is a semantic version, for example "1.0.0".
//
// +kubebuilder:validation:MinLength=5
// +kubebuilder:validation:MaxLength=64
// +kubebuilder:validation:Pattern=`^(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})(-[0-9A-Za-z.-]+)?$`
type Version string

// OfferingName is the name of a ServiceOffering: a DNS label of at most 63 characters.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
type OfferingName string

// Procurement is who tendered the service and how far that is.
//
// +kubebuilder:validation:XValidation:rule="self.state != 'Awarded' || has(self.awardedOn)",message="an award has a day, for example awardedOn: \"2018-10-01\""
type Procurement struct {
	// authority is the body that tenders, for example provincia-varese (stazione appaltante).
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=120
	Authority string `json:"authority"`

	// tender is the tender's number in its register, for example CIG-0000000000.
	// +optional
	// +kubebuilder:validation:MaxLength=120
	Tender string `json:"tender,omitempty"`

	// state is Planned, Tendering, Awarded or Expired. Instances are provisioned only when it is Awarded; before, they are demand. After it
	// expired, nothing new is provisioned, and what runs goes on.
	// +required
	State ProcurementState `json:"state"`

	// awardedOn is the day of the award. Nothing is provisioned before it.
	// +optional
	AwardedOn Date `json:"awardedOn,omitempty"`
}

// OfferedStack is the stack that each instance of a service gets. Its variables are the instance's parameters.
type OfferedStack struct {
	// engine is OpenTofu, Terraform or Pulumi.
	// +required
	Engine EngineName `json:"engine"`

	// source is the code; a git or oci source names no secret.
	// +required
	Source StackSource `json:"source"`
}

// Provisions is what an instance of a service gets: a stack, or manifests. A rule in CEL cannot see manifests, whose items are of any shape.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:MaxProperties=1
type Provisions struct {
	// stack is a Stack made in the home namespace of who asked.
	// +optional
	Stack *OfferedStack `json:"stack,omitempty"`

	// manifests are objects made in the workspace with the rights of its editors. They name no namespace. In their texts,
	// ${name} stands for the parameter of that name, and $${ for a plain ${; a text that is nothing but ${name} becomes the parameter itself, number or list.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:Type=object
	Manifests []apiextensionsv1.JSON `json:"manifests,omitzero"`
}

// Decimal is a price with at most six decimals, in the consortium's currency, for example "42.50".
//
// +kubebuilder:validation:MaxLength=20
// +kubebuilder:validation:Pattern=`^(0|[1-9][0-9]{0,9})(\.[0-9]{1,6})?$`
type Decimal string

// Price is what one unit costs from a day on.
type Price struct {
	// unit is what is counted, for example instance-month.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Unit string `json:"unit"`

	// price is the price of one unit in the consortium's currency, before tax.
	// +required
	Price Decimal `json:"price"`

	// from is the first day on which it holds; it holds until the next price of the same unit.
	// +required
	From Date `json:"from"`
}

// ServiceOfferingSpec is one entry of the catalogue.
//
// +kubebuilder:validation:XValidation:rule="self.consortium == oldSelf.consortium",message="an offering stays in its consortium: make another one"
type ServiceOfferingSpec struct {
	// consortium is the name of the Consortium whose tenants may ask for it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Consortium string `json:"consortium"`

	// displayName is the name that people read, one line.
	// +optional
	// +kubebuilder:validation:MaxLength=120
	// +kubebuilder:validation:XValidation:rule=`self == self.trim() && self.matches(r'^[^\pC\pM\p{Zl}\p{Zp}\x{0374}\x{037E}\x{0387}\x{1FEF}\x{1FFD}\x{2000}\x{2001}\x{2126}\x{212A}\x{212B}\x{2329}\x{232A}\x{2ADC}]*$')`,message="displayName is one line in NFC without control, bidirectional or invisible characters and without blanks around it, for example Albo pretorio online"
	DisplayName string `json:"displayName,omitempty"`

	// version is the version of what it provisions. Change it with every change of provisions or parameters: instances are upgraded to it.
	// +required
	Version Version `json:"version"`

	// audience is whom it is for.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=4
	Audience []Audience `json:"audience,omitempty"`

	// channels are the ways by which it reaches its audience.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=2
	Channels []Channel `json:"channels,omitempty"`

	// dataClasses are the classes of data that it may hold: an instance's workspace has one of them. Default: Ordinary alone.
	// +optional
	// +listType=set
	// +kubebuilder:default={Ordinary}
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=3
	DataClasses []DataClass `json:"dataClasses,omitempty"`

	// procurement is who tendered it and how far that is.
	// +required
	Procurement Procurement `json:"procurement"`

	// parameters is a JSON schema of what an instance may say: type object, whose properties have type, enum, minimum, maximum, minLength,
	// maxLength, pattern, default, items (of plain types), minItems, maxItems. What it does not name is refused. Default: nothing may be said.
	// +optional
	Parameters *apiextensionsv1.JSON `json:"parameters,omitempty"`

	// provisions is what an instance gets.
	// +required
	Provisions Provisions `json:"provisions"`

	// prices are what it costs, from which day on.
	// +optional
	// +listType=map
	// +listMapKey=unit
	// +listMapKey=from
	// +kubebuilder:validation:MaxItems=64
	Prices []Price `json:"prices,omitempty"`
}

// Demand is how much of an offering the members ask for.
type Demand struct {
	// instances is the number of ServiceInstances.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000000000
	Instances int64 `json:"instances"`

	// quantity is the sum of their quantities.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000000000
	Quantity int64 `json:"quantity"`

	// tenants is the number of tenants that ask.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000000000
	Tenants int64 `json:"tenants"`

	// provisioned is the number of instances that are Ready.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000000000
	Provisioned int64 `json:"provisioned"`

	// outdated is the number of instances that are not at spec.version yet.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000000000
	Outdated int64 `json:"outdated"`
}

// ServiceOfferingStatus is what the operator found.
type ServiceOfferingStatus struct {
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

	// demand is summed over all members.
	// +optional
	Demand *Demand `json:"demand,omitempty"`

	// rules are the checks of parameters, made from spec.parameters: the admission policy applies them to instances when they are written.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Rules []ParameterRule `json:"rules,omitempty"`
}

// ParameterRule is what one parameter of an instance has to fulfil, flat, so that the API server can check it.
type ParameterRule struct {
	// name is the parameter's.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// type is string, integer, number, boolean or array.
	// +required
	// +kubebuilder:validation:Enum=string;integer;number;boolean;array
	Type string `json:"type"`

	// required says whether an instance has to give it.
	// +optional
	Required bool `json:"required,omitempty"`

	// minimum and maximum bound a number, as decimal texts.
	// +optional
	// +kubebuilder:validation:MaxLength=40
	Minimum string `json:"minimum,omitempty"`
	// maximum bounds a number, as a decimal text.
	// +optional
	// +kubebuilder:validation:MaxLength=40
	Maximum string `json:"maximum,omitempty"`

	// minLength is the least number of characters, or of items.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000000
	MinLength *int64 `json:"minLength,omitempty"`
	// maxLength is the largest number of characters, or of items.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000000
	MaxLength *int64 `json:"maxLength,omitempty"`

	// pattern is a regular expression (RE2) that a text fulfils.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Pattern string `json:"pattern,omitempty"`

	// enum are the texts that it may be.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=256
	Enum []string `json:"enum,omitempty"`
}

// ServiceOffering is one entry of the shared catalogue (catalogo dei servizi): what it provisions, who tendered it, what it costs. The
// joint entity writes it; comuni ask for it with a ServiceInstance.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=svo,categories=broletto
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.spec.version`
// +kubebuilder:printcolumn:name="Procurement",type=string,JSONPath=`.spec.procurement.state`
// +kubebuilder:printcolumn:name="Demand",type=integer,JSONPath=`.status.demand.quantity`
// +kubebuilder:printcolumn:name="Provisioned",type=integer,JSONPath=`.status.demand.provisioned`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name is a DNS label of at most 63 characters, for example albo-pretorio"
type ServiceOffering struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the entry.
	// +required
	Spec ServiceOfferingSpec `json:"spec"`

	// status is what the operator found; only the operator writes here.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status ServiceOfferingStatus `json:"status,omitzero"`
}

// ServiceOfferingList is a list of ServiceOffering objects.
//
// +kubebuilder:object:root=true
type ServiceOfferingList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ServiceOffering `json:"items"`
}

// GetConditions returns the conditions, for the kit that sets them.
func (o *ServiceOffering) GetConditions() *[]metav1.Condition { return &o.Status.Conditions }

// SetObservedGeneration says which spec the conditions speak of.
func (o *ServiceOffering) SetObservedGeneration(generation int64) {
	o.Status.ObservedGeneration = generation
}

// GetObservedGeneration returns the generation that the conditions speak of; -1 before the first look.
func (o *ServiceOffering) GetObservedGeneration() int64 { return o.Status.ObservedGeneration }
