package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Conditions of a Tenant beside Ready, Reconciling and Stalled. Each answers one question about the manifest; while one of
// them is False nothing new is made for the tenant, and what it has is left as it is.
const (
	// ConditionConsortiumFound tells whether spec.consortium exists and its country fits the tenant's codes.
	ConditionConsortiumFound = "ConsortiumFound"
	// ConditionMember tells whether a membership interval covers today, in the consortium's time zone.
	ConditionMember = "Member"
	// ConditionCodesUnique tells whether nobody else held one of the tenant's codes first.
	ConditionCodesUnique = "CodesUnique"
	// ConditionDomainsUnique tells whether nobody else held one of the tenant's domains, or one around or below it, first.
	ConditionDomainsUnique = "DomainsUnique"
	// ConditionNamespaceOwned tells whether the home namespace is ours or still free.
	ConditionNamespaceOwned = "NamespaceOwned"
)

// ConditionNetworkEnforced tells whether the cluster's network was seen to cut what network policies forbid, on every node. It is the
// cluster's doing, not the manifest's: it holds nothing back and does not change Ready. It is never True unproven.
const ConditionNetworkEnforced = "NetworkEnforced"

// Reasons of the condition NetworkEnforced.
const (
	// ReasonProven surfaces when on every node of the cluster forbidden packets were cut and allowed ones passed, within the last 31 days.
	ReasonProven = "Proven"
	// ReasonNotEnforced surfaces when a forbidden packet passed on a node of the cluster, until a later try says otherwise.
	ReasonNotEnforced = "NotEnforced"
	// ReasonNotProven surfaces when nobody has tried the network yet, or the cluster has no nodes to try it on.
	ReasonNotProven = "NotProven"
	// ReasonNodesNotProven surfaces when some nodes were not tried: they are new, or could not be.
	ReasonNodesNotProven = "NodesNotProven"
	// ReasonEvidenceOutdated surfaces when a node was tried more than 31 days ago.
	ReasonEvidenceOutdated = "EvidenceOutdated"
	// ReasonEvidenceUnreadable surfaces when what stands in the evidence is not what broletto doctor writes: none of it is believed.
	ReasonEvidenceUnreadable = "EvidenceUnreadable"
)

// Reasons of a Tenant.
const (
	// ReasonDuplicateCode surfaces when another tenant already holds one of spec.codes.
	ReasonDuplicateCode = "DuplicateCode"
	// ReasonDomainConflict surfaces when another tenant already holds one of spec.domains, or a domain around or below it.
	ReasonDomainConflict = "DomainConflict"
	// ReasonCodeSystemMismatch surfaces when spec.codes belong to another country than the consortium.
	ReasonCodeSystemMismatch = "CodeSystemMismatch"
	// ReasonMembershipNotBegun surfaces when the first membership interval lies in the future: the tenant is made on that day.
	ReasonMembershipNotBegun = "MembershipNotBegun"
	// ReasonMembershipEnded surfaces when the last membership interval is over, or between two of them: rights are
	// withdrawn, workspaces are suspended, data stays.
	ReasonMembershipEnded = "MembershipEnded"
	// ReasonWorkspacesRemain surfaces when a Tenant is being deleted while it has workspaces.
	ReasonWorkspacesRemain = "WorkspacesRemain"
)

// TenantName is the name of a tenant and of its home namespace: a DNS label of at most 30 characters without "--".
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=30
// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9]+(-[a-z0-9]+)*$')`,message="a tenant's name is a DNS label of at most 30 characters without --, for example lugano"
type TenantName string

// TenantKind is what kind of body a tenant is.
//
// +kubebuilder:validation:Enum=Municipality;Province;MountainCommunity;Association;ExternalBody
type TenantKind string

// Kinds of tenants.
const (
	Municipality      TenantKind = "Municipality"
	Province          TenantKind = "Province"
	MountainCommunity TenantKind = "MountainCommunity"
	Association       TenantKind = "Association"
	ExternalBody      TenantKind = "ExternalBody"
)

// CostCarrier says who pays for an external body.
//
// +kubebuilder:validation:Enum=Self;Sponsor
type CostCarrier string

// Who pays for an external body.
const (
	CostCarrierSelf    CostCarrier = "Self"
	CostCarrierSponsor CostCarrier = "Sponsor"
)

// TenantSpec is one comune or other body that the consortium hosts.
//
// +kubebuilder:validation:XValidation:rule="self.kind != 'Municipality' || has(self.codes.istat) || has(self.codes.bfs)",message="a Municipality is known by its statistical code: codes: {istat: \"058091\"} in Italy, codes: {bfs: \"5192\"} in Switzerland"
// +kubebuilder:validation:XValidation:rule="self.kind != 'Municipality' || has(self.population)",message="a Municipality states its population, for example population: {value: 63494, definition: PermanentResidents, referenceDate: \"2018-12-31\", source: federal population table}"
// +kubebuilder:validation:XValidation:rule="self.kind != 'MountainCommunity' || !has(self.population)",message="a MountainCommunity has no population of its own, since its inhabitants are those of its members: remove population"
// +kubebuilder:validation:XValidation:rule="(self.kind == 'ExternalBody') == has(self.sponsor)",message="an ExternalBody, and nobody else, has a sponsor, for example sponsor: {tenant: lugano, costCarrier: Self}"
type TenantSpec struct {
	// displayName is the name that people read, for example "Città di Lugano". One line in NFC (write "à", not "a" and a
	// combining accent), without control or bidirectional characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=120
	// +kubebuilder:validation:XValidation:rule=`self == self.trim() && self.matches(r'^[^\pC\pM\p{Zl}\p{Zp}\x{0374}\x{037E}\x{0387}\x{1FEF}\x{1FFD}\x{2000}\x{2001}\x{2126}\x{212A}\x{212B}\x{2329}\x{232A}\x{2ADC}]*$')`,message="displayName is one line in NFC without control, bidirectional or invisible characters and without blanks around it, for example Città di Lugano"
	DisplayName string `json:"displayName"`

	// kind is what the body is: a comune, a province, a mountain community, an association, or an external body of a
	// member (museum, pension fund).
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="kind cannot change: another kind of body is another tenant"
	Kind TenantKind `json:"kind"`

	// consortium names the Consortium that hosts the tenant.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=30
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')`,message="consortium is a DNS label of at most 30 characters, for example ticino"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="consortium cannot change: a tenant that moves is made anew in the other consortium"
	Consortium string `json:"consortium"`

	// sponsor is the tenant that an external body belongs to, and who of the two pays. Required for kind ExternalBody.
	// +optional
	Sponsor *Sponsor `json:"sponsor,omitempty"`

	// codes identify the body; its name does not. No two tenants may hold the same code: the first keeps it.
	// +required
	// +kubebuilder:validation:XValidation:rule="(!has(oldSelf.istat) || (has(self.istat) && self.istat == oldSelf.istat)) && (!has(oldSelf.bfs) || (has(self.bfs) && self.bfs == oldSelf.bfs))",message="a statistical code cannot change: a merged comune is a new tenant"
	Codes Codes `json:"codes"`

	// population is the number that costs per inhabitant are shared by. Required for kind Municipality; a mountain
	// community has none, since its inhabitants are those of its members.
	// +optional
	Population *Population `json:"population,omitempty"`

	// activeUsers is the number of people who work with the platform, for costs shared per seat.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	ActiveUsers *int32 `json:"activeUsers,omitempty"`

	// memberships are the intervals in which the body is a member; members leave and come back. Intervals do not overlap.
	// +required
	// +listType=map
	// +listMapKey=entry
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.all(b, a.entry == b.entry || (a.entry < b.entry ? has(a.exit) && a.exit < b.entry : has(b.exit) && b.exit < a.entry)))",message="membership intervals do not overlap: each but the last has an exit before the next entry"
	Memberships []Membership `json:"memberships"`

	// administrators may do everything that a comune may do, in the home namespace and in every workspace.
	// +required
	// +listType=map
	// +listMapKey=kind
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Administrators []Subject `json:"administrators"`

	// viewers may read the home namespace and every workspace, but no Secret.
	// +optional
	// +listType=map
	// +listMapKey=kind
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	Viewers []Subject `json:"viewers,omitempty"`

	// domains are the DNS domains under which the tenant's workspaces may serve hosts, for example "lugano.example". No
	// two tenants may hold the same domain, or one below the other's: the first keeps it.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:XValidation:rule=`self.matches(r'^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)+[a-z]([-a-z0-9]{0,61}[a-z0-9])?$')`,message="a domain is a DNS name of at least two labels in lower case, without a wildcard or a trailing dot, for example lugano.example"
	Domains []Hostname `json:"domains,omitempty"`

	// dataClasses are the data classes that the tenant may host. Default: Ordinary.
	// +optional
	// +listType=set
	// +kubebuilder:default={"Ordinary"}
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=3
	DataClasses []DataClass `json:"dataClasses,omitempty"`

	// quota is all that the tenant's workspaces may hold together: requests.cpu, requests.memory, limits.cpu, limits.memory,
	// requests.storage and pods, and what else of requests.ephemeral-storage, limits.ephemeral-storage, services.loadbalancers
	// and services.nodeports is granted: what it does not name is not. Amounts are such as "500m", 4Gi or "20", at most 1Pi;
	// memory and storage are 0 or at least 1Mi; requests are at most limits.
	// +required
	// +kubebuilder:validation:XValidation:rule="['requests.cpu', 'requests.memory', 'limits.cpu', 'limits.memory', 'requests.storage', 'pods'].all(k, k in self)",message="a tenant's quota names requests.cpu, requests.memory, limits.cpu, limits.memory, requests.storage and pods, for example {requests.cpu: \"8\", requests.memory: 32Gi, limits.cpu: \"16\", limits.memory: 48Gi, requests.storage: 500Gi, pods: \"120\"}"
	Quota Quota `json:"quota"`

	// storageClasses are the storage classes that the tenant may use; the first is its default.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	StorageClasses []StorageClass `json:"storageClasses"`

	// limits are how many objects the tenant may have. Absent: the defaults of its fields.
	// +optional
	// +kubebuilder:default={}
	Limits Limits `json:"limits,omitzero"`

	// nodePools are the pools of nodes on which the tenant's pods may run, for example "shared": nodes with the label
	// broletto.dev/node-pool of that value. A pod chooses one by its nodeSelector; one that does not gets the first. Absent: any node.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:XValidation:rule=`self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')`,message="a node pool is a DNS label of at most 63 characters, for example shared"
	NodePools []string `json:"nodePools,omitempty"`

	// registries are the prefixes of the images that the tenant may run, each ending in "/", for example
	// "registry.ticino.example/". Absent: any.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=3
	// +kubebuilder:validation:items:MaxLength=200
	// +kubebuilder:validation:items:XValidation:rule=`self.matches(r'^[a-z0-9]([-.a-z0-9]*[a-z0-9])?(:[0-9]{1,5})?/([a-z0-9]([-._a-z0-9]*[a-z0-9])?/)*$')`,message="a registry is a host and perhaps a path, in lower case and ending in /, for example registry.ticino.example/ or registry.ticino.example:5000/lugano/"
	Registries []string `json:"registries,omitempty"`

	// priorityClasses are the priority classes that the tenant's pods may name. Where the cluster has a default class, list
	// it here. Absent: none.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:XValidation:rule=`self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && !self.startsWith('system-')`,message="a priority class is a DNS label of at most 63 characters that does not begin with system-, for example tenant-high"
	PriorityClasses []string `json:"priorityClasses,omitempty"`

	// runtimeClasses are the runtime classes that the tenant's pods may name, for example "gvisor". Absent: none.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:XValidation:rule=`self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')`,message="a runtime class is a DNS label of at most 63 characters, for example gvisor"
	RuntimeClasses []string `json:"runtimeClasses,omitempty"`

	// backupRecipients are the tenant's own recipients of age: with an identity of one of them, the bucket alone gives its backups back,
	// without the joint entity. Absent: only the escrow of the repository opens them.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	BackupRecipients []AgeRecipient `json:"backupRecipients,omitempty"`
}

// Sponsor is the member that an external body belongs to.
type Sponsor struct {
	// tenant names the member.
	// +required
	Tenant TenantName `json:"tenant"`

	// costCarrier says who pays: the body itself or the sponsor.
	// +optional
	// +kubebuilder:default=Self
	CostCarrier CostCarrier `json:"costCarrier,omitempty"`
}

// Codes are the public codes of a body. They are strings: "058091" keeps its zero.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!(has(self.istat) && has(self.bfs))",message="a body has an istat code or a bfs code, never both"
type Codes struct {
	// istat is the code of an Italian comune: six digits, for example "012133" (codice ISTAT).
	// +optional
	// +kubebuilder:validation:MaxLength=6
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[0-9]{6}$')`,message="istat is six digits in quotes, zeros included, for example \"012133\""
	ISTAT string `json:"istat,omitempty"`

	// bfs is the number of a Swiss commune: one to four digits without a leading zero, for example "5192" (numero UST).
	// +optional
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[1-9][0-9]{0,3}$')`,message="bfs is one to four digits in quotes without a leading zero, for example \"5192\""
	BFS string `json:"bfs,omitempty"`

	// cadastral is the land register's code of an Italian comune: a letter and three digits, for example "L682" (codice Belfiore).
	// +optional
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[A-Z][0-9]{3}$')`,message="cadastral is a capital letter and three digits, for example L682"
	Cadastral string `json:"cadastral,omitempty"`

	// ipa is the code in the Italian index of public bodies, for example "c_l682" (codice IPA).
	// +optional
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9_]{2,20}$')`,message="ipa is 2 to 20 lower-case letters, digits and underscores, for example c_l682"
	IPA string `json:"ipa,omitempty"`

	// other identifies a body that no public register knows, for example "CH-TI-LAC".
	// +optional
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[A-Z0-9]+(-[A-Z0-9]+)*$')`,message="other is capital letters, digits and single hyphens between them, for example CH-TI-LAC"
	Other string `json:"other,omitempty"`
}

// Population is a number of inhabitants with its definition, day and source: counts by different definitions differ.
type Population struct {
	// value is the number of inhabitants.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000000
	Value int64 `json:"value"`

	// definition says who is counted.
	// +required
	// +kubebuilder:validation:Enum=PermanentResidents;Inhabitants;Census
	Definition string `json:"definition"`

	// referenceDate is the day of the count, as 2006-01-02.
	// +required
	ReferenceDate Date `json:"referenceDate"`

	// source names the publication.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	// +kubebuilder:validation:XValidation:rule=`self == self.trim() && self.matches(r'^[^\pC\pM\p{Zl}\p{Zp}\x{0374}\x{037E}\x{0387}\x{1FEF}\x{1FFD}\x{2000}\x{2001}\x{2126}\x{212A}\x{212B}\x{2329}\x{232A}\x{2ADC}]*$')`,message="source is one line in NFC without control, bidirectional or invisible characters and without blanks around it, for example ISTAT census 2011"
	Source string `json:"source"`
}

// Membership is one interval in which a body is a member (adesione to recesso).
//
// +kubebuilder:validation:XValidation:rule="!has(self.exit) || self.exit >= self.entry",message="exit is not before entry: entry: 2018-06-20, exit: 2023-12-31"
type Membership struct {
	// entry is the first day of membership, as 2006-01-02.
	// +required
	Entry Date `json:"entry"`

	// exit is the last day of membership, as 2006-01-02. Absent: no end is known.
	// +optional
	Exit Date `json:"exit,omitempty"`

	// act is the council's act of joining.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	// +kubebuilder:validation:XValidation:rule=`self == self.trim() && self.matches(r'^[^\pC\pM\p{Zl}\p{Zp}\x{0374}\x{037E}\x{0387}\x{1FEF}\x{1FFD}\x{2000}\x{2001}\x{2126}\x{212A}\x{212B}\x{2329}\x{232A}\x{2ADC}]*$')`,message="act is one line in NFC without control, bidirectional or invisible characters and without blanks around it, for example accordo quadro 4.4.2024"
	Act string `json:"act"`

	// convenienceStudy is the document that shows why joining pays: without one, a court annulled a comune's joining.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	// +kubebuilder:validation:XValidation:rule=`self == self.trim() && self.matches(r'^[^\pC\pM\p{Zl}\p{Zp}\x{0374}\x{037E}\x{0387}\x{1FEF}\x{1FFD}\x{2000}\x{2001}\x{2126}\x{212A}\x{212B}\x{2329}\x{232A}\x{2ADC}]*$')`,message="convenienceStudy is one line in NFC without control, bidirectional or invisible characters and without blanks around it, for example studio preliminare 2023"
	ConvenienceStudy string `json:"convenienceStudy"`
}

// Subject is somebody who gets rights.
//
// +kubebuilder:validation:XValidation:rule="!self.name.startsWith('system:')",message="names that begin with system: belong to Kubernetes; name a group, user or account of your own, for example lugano:ict"
// +kubebuilder:validation:XValidation:rule="self.kind != 'ServiceAccount' || (self.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$') && self.name != 'default')",message="a ServiceAccount is named by a DNS label other than default, for example flux"
type Subject struct {
	// kind is Group or User, as the identity provider names them, or ServiceAccount: an account that the operator makes, for
	// a tool such as Flux or Argo CD or a pipeline to act as. In a Tenant it lives in the home namespace, in a Workspace in the workspace's.
	// +required
	Kind SubjectKind `json:"kind"`

	// name is the name of the group, user or account, for example "lugano:ict". No name begins with "system:".
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^[^\pC\pM\pZ]*$')`,message="name has no blanks, control or combining characters, for example lugano:ict"
	Name string `json:"name"`
}

// Hostname is a DNS name of at least two labels, in lower case, without a wildcard or a trailing dot, for example
// "lugano.example". Other alphabets are written in punycode.
//
// +kubebuilder:validation:MinLength=4
// +kubebuilder:validation:MaxLength=253
type Hostname string

// StorageClass is a storage class that a tenant may use.
type StorageClass struct {
	// name is the name of the StorageClass.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')`,message="name is a DNS label of at most 63 characters, for example standard"
	Name string `json:"name"`

	// quota is how much of this class the tenant's workspaces may hold together, for example 3Ti. Absent: only
	// requests.storage of the tenant's quota bounds it.
	// +optional
	// +kubebuilder:validation:XValidation:rule=`!isQuantity(self) || ((quantity(self).compareTo(quantity('0')) == 0 || !quantity(self).isLessThan(quantity('1Mi'))) && !quantity(self).isGreaterThan(quantity('1Pi')))`,message="quota is 0, or between 1Mi and 1Pi, for example 3Ti"
	Quota Amount `json:"quota,omitempty"`
}

// Limits are how many objects a tenant may have.
type Limits struct {
	// workspaces is how many workspaces the tenant may have.
	// +optional
	// +kubebuilder:default=20
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=500
	Workspaces *int32 `json:"workspaces,omitempty"`

	// stacks is how many stacks the tenant may have.
	// +optional
	// +kubebuilder:default=20
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=500
	Stacks *int32 `json:"stacks,omitempty"`

	// backups is how many backups the tenant may have.
	// +optional
	// +kubebuilder:default=500
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	Backups *int32 `json:"backups,omitempty"`

	// objectsPerWorkspace is how many objects of each of these kinds one workspace, and the home namespace, may hold:
	// ConfigMap, Secret, Service, Job, CronJob, PersistentVolumeClaim, Deployment, StatefulSet, Ingress, Role,
	// HorizontalPodAutoscaler, PodDisruptionBudget, ServiceInstance, BackupPolicy, Restore; and eleven times as many ReplicaSets.
	// +optional
	// +kubebuilder:default=200
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	ObjectsPerWorkspace *int32 `json:"objectsPerWorkspace,omitempty"`
}

// TenantStatus is what the operator made of the tenant.
type TenantStatus struct {
	// observedGeneration is the generation of the spec that the conditions speak of; -1 before the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready, Reconciling, Stalled, ConsortiumFound, Member, CodesUnique, DomainsUnique and NamespaceOwned.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule=`self.all(c, c.lastTransitionTime > timestamp('0001-01-01T00:00:00Z'))`,message="lastTransitionTime is a time as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// namespace is the home namespace, in which the comune writes what it asks for.
	// +optional
	// +kubebuilder:validation:MaxLength=30
	Namespace string `json:"namespace,omitempty"`

	// claims are the codes and domains that this tenant holds, as "istat:012133" or "domain:lugano.example"; nobody else can get them.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=40
	// +kubebuilder:validation:items:MaxLength=260
	Claims []string `json:"claims,omitempty"`

	// allocated is the sum of all allocations. The API server refuses any write, to spec or status, after which it would be
	// more than spec.quota.
	// +optional
	// +kubebuilder:validation:MaxProperties=24
	// +kubebuilder:validation:XValidation:rule=`self.all(k, type(self[k]) == int || isQuantity(self[k]))`,message="each amount is a Kubernetes quantity, for example 4Gi"
	Allocated corev1.ResourceList `json:"allocated,omitempty"`

	// allocations is the ledger: what each workspace holds of the quota, and of the storage classes that have one.
	// A workspace uses nothing that does not stand here.
	// +optional
	// +listType=map
	// +listMapKey=workspace
	// +kubebuilder:validation:MaxItems=500
	Allocations []Allocation `json:"allocations,omitempty"`
}

// Allocation is what one workspace holds.
type Allocation struct {
	// workspace names the workspace.
	// +required
	Workspace WorkspaceName `json:"workspace"`

	// uid is the UID of the workspace: one made again under the same name holds nothing.
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=36
	UID types.UID `json:"uid"`

	// revision counts the decisions about this workspace, from 1.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=9007199254740991
	Revision int64 `json:"revision"`

	// quota is what the workspace holds of the tenant's quota, and of each of its storage classes, under the key
	// that a ResourceQuota uses: "<class>.storageclass.storage.k8s.io/requests.storage".
	// +optional
	// +kubebuilder:validation:MaxProperties=24
	Quota corev1.ResourceList `json:"quota,omitempty"`

	// releasing is what the workspace held before and has not yet given back: it counts until the workspace's
	// status.allocationRevision has reached revision.
	// +optional
	// +kubebuilder:validation:MaxProperties=24
	Releasing corev1.ResourceList `json:"releasing,omitempty"`

	// hosts are the host names that the workspace serves; no other workspace of the tenant can get them.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	Hosts []Hostname `json:"hosts,omitempty"`
}

// Tenant is one comune or other body that the consortium hosts (ente aderente). The operator makes its home namespace,
// named like the tenant, gives its administrators and viewers their rights there and in all its workspaces, and
// shares its quota out among them. It cannot be deleted while it has workspaces.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=broletto
// +kubebuilder:selectablefield:JSONPath=`.spec.consortium`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Consortium",type=string,JSONPath=`.spec.consortium`
// +kubebuilder:printcolumn:name="Kind",type=string,JSONPath=`.spec.kind`
// +kubebuilder:printcolumn:name="CPU",type=string,JSONPath=`.status.allocated.requests\.cpu`,description="CPU requests granted to workspaces"
// +kubebuilder:printcolumn:name="of",type=string,JSONPath=`.spec.quota.requests\.cpu`,description="CPU requests of the tenant"
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 30 && self.metadata.name.matches('^[a-z0-9]+(-[a-z0-9]+)*$')",message="metadata.name is a DNS label of at most 30 characters without --, for example lugano: it names the home namespace"
// +kubebuilder:validation:XValidation:rule="!self.metadata.name.startsWith('kube-') && !(self.metadata.name in ['default', 'broletto-system'])",message="metadata.name names the home namespace: default, broletto-system and names that begin with kube- belong to the cluster"
// +kubebuilder:validation:XValidation:rule=`!has(self.spec.sponsor) || self.spec.sponsor.tenant != self.metadata.name`,message="sponsor.tenant is another tenant: the member that the body belongs to, for example lugano",fieldPath=".spec.sponsor.tenant"
// +kubebuilder:validation:XValidation:rule=`!has(self.status) || !has(self.status.allocated) || self.spec.quota.all(k, !(k in self.status.allocated) || !quantity(string(self.status.allocated[k])).isGreaterThan(quantity(self.spec.quota[k])))`,message="spec.quota cannot be less than status.allocated, what the tenant's workspaces hold together: lower spec.quota of some Workspaces first",fieldPath=".spec.quota"
// +kubebuilder:validation:XValidation:rule=`!has(self.status) || !has(self.status.allocated) || self.status.allocated.all(k, k in self.spec.quota || k.endsWith('.storageclass.storage.k8s.io/requests.storage') || string(self.status.allocated[k]) == '0')`,message="spec.quota names every resource of status.allocated, what the tenant's workspaces hold together: lower spec.quota of some Workspaces to \"0\" first",fieldPath=".spec.quota"
// +kubebuilder:validation:XValidation:rule=`!has(self.status) || !has(self.status.allocated) || self.spec.storageClasses.all(c, !has(c.quota) || !((c.name + '.storageclass.storage.k8s.io/requests.storage') in self.status.allocated) || !quantity(string(self.status.allocated[c.name + '.storageclass.storage.k8s.io/requests.storage'])).isGreaterThan(quantity(c.quota)))`,message="quota of a storage class cannot be less than what status.allocated holds of it: lower requests.storage, or the volumes of that class, in some Workspaces first",fieldPath=".spec.storageClasses"
type Tenant struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is who the tenant is and what it may use.
	// +required
	Spec TenantSpec `json:"spec"`

	// status is what the operator made of it; only the operator writes here.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status TenantStatus `json:"status,omitzero"`
}

// TenantList is a list of Tenant objects.
//
// +kubebuilder:object:root=true
type TenantList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Tenant `json:"items"`
}

// GetConditions returns the conditions, for the kit that sets them.
func (t *Tenant) GetConditions() *[]metav1.Condition { return &t.Status.Conditions }

// SetObservedGeneration says which spec the conditions speak of.
func (t *Tenant) SetObservedGeneration(generation int64) { t.Status.ObservedGeneration = generation }

// GetObservedGeneration returns the generation that the conditions speak of; -1 before the first look.
func (t *Tenant) GetObservedGeneration() int64 { return t.Status.ObservedGeneration }
