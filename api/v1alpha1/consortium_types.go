package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reasons of a Consortium.
const (
	// ReasonTenantsRemain surfaces when a Consortium is being deleted while tenants still belong to it.
	ReasonTenantsRemain = "TenantsRemain"
	// ReasonBudgetTenantNotFound surfaces when a budget names a tenant that does not exist or belongs to another consortium.
	ReasonBudgetTenantNotFound = "BudgetTenantNotFound"
)

// ConditionBudgetsValid tells whether every budget names a tenant of this consortium. It does not hold Ready back,
// since tenants are made after their consortium.
const ConditionBudgetsValid = "BudgetsValid"

// AgreementKind is the legal form of the agreement between the comuni.
//
// +kubebuilder:validation:Enum=FrameworkAgreement;Convention;Memorandum;ServiceMandate
type AgreementKind string

// JointEntityForm is the legal form of the body that runs the cluster.
//
// +kubebuilder:validation:Enum=Planned;InHouseCompany;PublicConsortium;OfficeOfOneMember
type JointEntityForm string

// ApprovalOrgan is the organ of a body that approves spending.
//
// +kubebuilder:validation:Enum=Executive;Council;Assembly
type ApprovalOrgan string

// ApprovalState is how far an approval got.
//
// +kubebuilder:validation:Enum=Requested;Approved;Rejected
type ApprovalState string

// ConsortiumSpec is the agreement between the comuni that share one cluster, and what follows from it.
//
// +kubebuilder:validation:XValidation:rule="(self.country == 'CH') == (self.currency == 'CHF')",message="currency follows country: CHF for CH, EUR for IT"
type ConsortiumSpec struct {
	// displayName is the name that people read, for example "Comuni in cloud". One line in NFC (write "à", not "a" and a
	// combining accent), without control or bidirectional characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=120
	// +kubebuilder:validation:XValidation:rule=`self == self.trim() && self.matches(r'^[^\pC\pM\p{Zl}\p{Zp}\x{0374}\x{037E}\x{0387}\x{1FEF}\x{1FFD}\x{2000}\x{2001}\x{2126}\x{212A}\x{212B}\x{2329}\x{232A}\x{2ADC}]*$')`,message="displayName is one line in NFC without control, bidirectional or invisible characters and without blanks around it, for example Comuni in cloud"
	DisplayName string `json:"displayName"`

	// country decides the law that applies, its clocks, and which codes identify a comune: bfs in CH, istat in IT.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="country cannot change: another country is another consortium"
	Country Country `json:"country"`

	// currency is the ISO 4217 currency in which costs are shared.
	// +required
	// +kubebuilder:validation:Enum=CHF;EUR
	Currency string `json:"currency"`

	// timeZone is the IANA time zone of schedules, months and membership days, for example "Europe/Zurich".
	// +required
	// +kubebuilder:validation:Enum=Europe/Zurich;Europe/Rome
	TimeZone string `json:"timeZone"`

	// agreement is the act that the comuni signed.
	// +required
	Agreement Agreement `json:"agreement"`

	// jointEntity is the body that runs the cluster for the comuni.
	// +required
	JointEntity JointEntity `json:"jointEntity"`

	// budgets are the credits voted for the consortium. Nothing may be charged to a budget before every approval is Approved.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Budgets []Budget `json:"budgets,omitempty"`

	// controls selects the Control objects that apply to this consortium and its tenants. Absent: none.
	// +optional
	// +kubebuilder:validation:XValidation:rule=`(!has(self.matchLabels) || self.matchLabels.size() <= 16) && (!has(self.matchExpressions) || self.matchExpressions.size() <= 16)`,message="controls has at most 16 matchLabels and 16 matchExpressions"
	// +kubebuilder:validation:XValidation:rule=`!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn', 'Exists', 'DoesNotExist'] && (e.operator in ['In', 'NotIn']) == (has(e.values) && e.values.size() > 0))`,message="an operator is In or NotIn with values, or Exists or DoesNotExist without, for example {key: broletto.dev/profile, operator: In, values: [it]}"
	Controls *metav1.LabelSelector `json:"controls,omitempty"`

	// network says where the cluster's own traffic comes from. Absent: the defaults of its fields.
	// +optional
	// +kubebuilder:default={}
	Network ConsortiumNetwork `json:"network,omitzero"`

	// defaults are what a tenant gets when it says nothing.
	// +required
	Defaults Defaults `json:"defaults"`

	// backupFloors are the least that BackupPolicies do for workspaces of a data class, whatever they say: the stricter wins. Each class has
	// its own; one without has none.
	// +optional
	// +listType=map
	// +listMapKey=dataClass
	// +kubebuilder:validation:MaxItems=3
	BackupFloors []BackupFloor `json:"backupFloors,omitempty"`
}

// BackupFloor is the least that every BackupPolicy does for workspaces of a data class.
type BackupFloor struct {
	// dataClass is the class of the workspaces.
	// +required
	DataClass DataClass `json:"dataClass"`

	// retention is how much is kept at least, each of its numbers by itself.
	// +optional
	Retention *Retention `json:"retention,omitempty"`

	// recoveryPointHours is how old the last verified backup may be at most. A schedule that is rarer breaks the floor.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=8784
	RecoveryPointHours *int32 `json:"recoveryPointHours,omitempty"`

	// drillEveryDays is how often restores are rehearsed at least.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=366
	DrillEveryDays *int32 `json:"drillEveryDays,omitempty"`

	// copies is in how many further repositories each backup lies at least, each in a failure domain of its own. Default: 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=3
	Copies int32 `json:"copies,omitempty"`

	// objectLockDays is for how many days the repository locks what it is given, at least, as proven. A copy in one that locks less does not count.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3660
	ObjectLockDays *int32 `json:"objectLockDays,omitempty"`
}

// Agreement is the act that the comuni signed (accordo quadro, convenzione, protocollo d'intesa).
//
// +kubebuilder:validation:XValidation:rule="!has(self.until) || self.until > self.from",message="until is after from: from: 2024-04-04, until: 2034-04-03"
type Agreement struct {
	// kind is the legal form of the agreement.
	// +required
	Kind AgreementKind `json:"kind"`

	// signedOn is the day of the signature, as 2006-01-02.
	// +required
	SignedOn Date `json:"signedOn"`

	// from is the first day on which the agreement holds, as 2006-01-02.
	// +required
	From Date `json:"from"`

	// until is the last day on which the agreement holds, as 2006-01-02. Absent: no end is agreed.
	// +optional
	Until Date `json:"until,omitempty"`

	// purposes are the aims that the agreement states, one sentence each.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=500
	// +kubebuilder:validation:items:XValidation:rule=`self == self.trim() && self.matches(r'^[^\pC\pM\p{Zl}\p{Zp}\x{0374}\x{037E}\x{0387}\x{1FEF}\x{1FFD}\x{2000}\x{2001}\x{2126}\x{212A}\x{212B}\x{2329}\x{232A}\x{2ADC}]*$')`,message="a purpose is one line in NFC without control, bidirectional or invisible characters and without blanks around it, for example gestione congiunta di servizi"
	Purposes []string `json:"purposes"`

	// consultation says how the members are consulted, for example "conferenza dei sindaci".
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=500
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^(\n|[^\pC\pM\p{Zl}\p{Zp}\x{0374}\x{037E}\x{0387}\x{1FEF}\x{1FFD}\x{2000}\x{2001}\x{2126}\x{212A}\x{212B}\x{2329}\x{232A}\x{2ADC}])*$')`,message="consultation is text in NFC without control (but line breaks), bidirectional or invisible characters, for example conferenza dei sindaci"
	Consultation string `json:"consultation"`

	// obligations says what the members owe each other.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1000
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^(\n|[^\pC\pM\p{Zl}\p{Zp}\x{0374}\x{037E}\x{0387}\x{1FEF}\x{1FFD}\x{2000}\x{2001}\x{2126}\x{212A}\x{212B}\x{2329}\x{232A}\x{2ADC}])*$')`,message="obligations is text in NFC without control (but line breaks), bidirectional or invisible characters, for example riparto secondo chiave"
	Obligations string `json:"obligations"`

	// noticeMonths is the notice, in months, that a member gives before it leaves.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=120
	NoticeMonths int32 `json:"noticeMonths"`

	// expulsionClause says whether the agreement lets the consortium end a membership against the member's will.
	// +optional
	// +kubebuilder:default=false
	ExpulsionClause bool `json:"expulsionClause"`
}

// JointEntity is the body that runs the cluster for the comuni.
type JointEntity struct {
	// name is the entity's name. One line in NFC, without control or bidirectional characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=120
	// +kubebuilder:validation:XValidation:rule=`self == self.trim() && self.matches(r'^[^\pC\pM\p{Zl}\p{Zp}\x{0374}\x{037E}\x{0387}\x{1FEF}\x{1FFD}\x{2000}\x{2001}\x{2126}\x{212A}\x{212B}\x{2329}\x{232A}\x{2ADC}]*$')`,message="name is one line in NFC without control, bidirectional or invisible characters and without blanks around it, for example Provincia di Varese"
	Name string `json:"name"`

	// form is the entity's legal form; Planned while it is not yet founded.
	// +required
	Form JointEntityForm `json:"form"`
}

// Budget is spending authority voted by one member (credito).
//
// +kubebuilder:validation:XValidation:rule="!has(self.until) || self.until > self.from",message="until is after from: from: 2020-06-18, until: 2025-12-31"
type Budget struct {
	// name is unique among the budgets of the consortium, a DNS label.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')`,message="name is a DNS label of at most 63 characters, for example rinnovamento-2020-2025"
	Name string `json:"name"`

	// credit is the amount voted, in the consortium's currency with two decimals, for example "15500000.00".
	// +required
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^(0|[1-9][0-9]{0,11})\.[0-9]{2}$')`,message="credit is at most 12 digits, a point and two decimals, for example \"15500000.00\""
	Credit string `json:"credit"`

	// tenant is the member that voted the credit.
	// +required
	Tenant TenantName `json:"tenant"`

	// from is the first day on which the credit may be used, as 2006-01-02.
	// +required
	From Date `json:"from"`

	// until is the last day on which the credit may be used, as 2006-01-02. Absent: no end is set.
	// +optional
	Until Date `json:"until,omitempty"`

	// approvals are the acts that the credit needs, in the order in which they are taken.
	// +required
	// +listType=map
	// +listMapKey=organ
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=3
	Approvals []Approval `json:"approvals"`
}

// Approval is one act by which an organ approves a budget.
type Approval struct {
	// organ is who decides.
	// +required
	Organ ApprovalOrgan `json:"organ"`

	// state is how far the approval got.
	// +required
	State ApprovalState `json:"state"`

	// act names the document, for example "seduta del Municipio".
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	// +kubebuilder:validation:XValidation:rule=`self == self.trim() && self.matches(r'^[^\pC\pM\p{Zl}\p{Zp}\x{0374}\x{037E}\x{0387}\x{1FEF}\x{1FFD}\x{2000}\x{2001}\x{2126}\x{212A}\x{212B}\x{2329}\x{232A}\x{2ADC}]*$')`,message="act is one line in NFC without control, bidirectional or invisible characters and without blanks around it, for example seduta del Municipio"
	Act string `json:"act"`

	// date is the day of the act, as 2006-01-02.
	// +required
	Date Date `json:"date"`
}

// ConsortiumNetwork says where the cluster's own traffic comes from, and what no workspace may open by address.
type ConsortiumNetwork struct {
	// internetIngress is the namespace of the ingress controller that serves workspaces with exposure Internet.
	// +optional
	// +kubebuilder:default=ingress-internet
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')`,message="internetIngress is a DNS label of at most 63 characters, for example ingress-internet"
	InternetIngress string `json:"internetIngress,omitempty"`

	// consortiumIngress is the namespace of the ingress controller that serves workspaces with exposure Consortium:
	// the one that only the members' networks reach.
	// +optional
	// +kubebuilder:default=ingress-consortium
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')`,message="consortiumIngress is a DNS label of at most 63 characters, for example ingress-consortium"
	ConsortiumIngress string `json:"consortiumIngress,omitempty"`

	// protectedCIDRs are the address ranges that stay closed even when a workspace's egress names a range around them:
	// at least those of pods, services and nodes. Default: every private range of both families. Link-local and cloud
	// metadata addresses are always closed.
	// +optional
	// +listType=set
	// +kubebuilder:default={"10.0.0.0/8","172.16.0.0/12","192.168.0.0/16","100.64.0.0/10","fc00::/7"}
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	ProtectedCIDRs []CIDR `json:"protectedCIDRs,omitempty"`
}

// CIDR is a range of addresses of either family in canonical form, for example "203.0.113.0/24" or "2001:db8::/32".
//
// +kubebuilder:validation:MinLength=4
// +kubebuilder:validation:MaxLength=43
// +kubebuilder:validation:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked() && string(cidr(self)) == self",message="a CIDR is an address range without host bits, in canonical form, for example 203.0.113.0/24 or 2001:db8::/32"
type CIDR string

// Defaults are what a tenant gets when it says nothing.
type Defaults struct {
	// workspace is what a Workspace gets when it says nothing.
	// +required
	Workspace WorkspaceDefaults `json:"workspace"`
}

// WorkspaceDefaults is what a Workspace gets when it says nothing.
type WorkspaceDefaults struct {
	// quota is granted to a workspace that asks for none. Keys and amounts are those of a tenant's quota.
	// +required
	// +kubebuilder:validation:MinProperties=1
	Quota Quota `json:"quota"`

	// podSecurity is the Pod Security Standard of workspaces.
	// +optional
	// +kubebuilder:default=Restricted
	PodSecurity PodSecurity `json:"podSecurity,omitempty"`

	// imagePullPolicy is what the pods of workspaces pull by. IfNotPresent leaves it to them: the node then has to see to it that nobody runs
	// a private image that another tenant's secret brought there, as kubelets do by default since Kubernetes 1.35. Always has every
	// pod ask the registry, which makes the creation of a pod some tenths of a millisecond slower.
	// +optional
	// +kubebuilder:default=IfNotPresent
	// +kubebuilder:validation:Enum=Always;IfNotPresent
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`
}

// ConsortiumStatus is what the operator sees of the consortium.
type ConsortiumStatus struct {
	// observedGeneration is the generation of the spec that the conditions speak of; -1 before the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready, Reconciling, Stalled and BudgetsValid.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule=`self.all(c, c.lastTransitionTime > timestamp('0001-01-01T00:00:00Z'))`,message="lastTransitionTime is a time as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// tenants is the number of tenants that belong to the consortium.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	Tenants int32 `json:"tenants"`
}

// Consortium is the agreement between comuni that share one cluster (accordo quadro, convenzione, protocollo
// d'intesa): who runs it, under which law, in which currency, with which budgets and defaults. Tenants name it in
// spec.consortium. It cannot be deleted while tenants belong to it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,path=consortia,shortName=consort,categories=broletto
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Country",type=string,JSONPath=`.spec.country`
// +kubebuilder:printcolumn:name="Currency",type=string,JSONPath=`.spec.currency`
// +kubebuilder:printcolumn:name="Tenants",type=integer,JSONPath=`.status.tenants`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 30 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name is a DNS label of at most 30 characters, for example ticino"
type Consortium struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what the comuni agreed.
	// +required
	Spec ConsortiumSpec `json:"spec"`

	// status is what the operator sees; only it writes here.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status ConsortiumStatus `json:"status,omitzero"`
}

// ConsortiumList is a list of Consortium objects.
//
// +kubebuilder:object:root=true
type ConsortiumList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Consortium `json:"items"`
}

// GetConditions returns the conditions, for the kit that sets them.
func (c *Consortium) GetConditions() *[]metav1.Condition { return &c.Status.Conditions }

// SetObservedGeneration says which spec the conditions speak of.
func (c *Consortium) SetObservedGeneration(generation int64) {
	c.Status.ObservedGeneration = generation
}

// GetObservedGeneration returns the generation that the conditions speak of; -1 before the first look.
func (c *Consortium) GetObservedGeneration() int64 { return c.Status.ObservedGeneration }
