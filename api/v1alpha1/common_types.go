package v1alpha1

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Labels and annotations that Broletto writes on what it makes. Nobody else may write them.
const (
	// LabelOwner holds the UID of the Tenant or Workspace that an object was made for. What lacks it is never touched.
	LabelOwner = "broletto.dev/owner"
	// LabelConsortium holds the name of the tenant's consortium, on every managed namespace.
	LabelConsortium = "broletto.dev/consortium"
	// LabelTenant holds the name of the tenant, on every managed namespace.
	LabelTenant = "broletto.dev/tenant"
	// LabelWorkspace holds the name of the workspace, on its namespace; a home namespace has none.
	LabelWorkspace = "broletto.dev/workspace"
	// LabelEnvironment holds the workspace's environment, on its namespace.
	LabelEnvironment = "broletto.dev/environment"
	// LabelDataClass holds the workspace's data class, on its namespace.
	LabelDataClass = "broletto.dev/data-class"
	// LabelException marks a RoleBinding of the platform's own in a workspace, which may name whom the workspace does not. Only members
	// of the platform's group may write it.
	LabelException = "broletto.dev/exception"
	// LabelCostCarrier holds the name of the tenant that pays, on every managed namespace.
	LabelCostCarrier = "broletto.dev/cost-carrier"
	// LabelAnyRegistry is "true" on a managed namespace whose tenant names no registries: its pods may run any image.
	LabelAnyRegistry = "broletto.dev/any-registry"
	// LabelPullAlways is "true" on a managed namespace whose consortium has every pod ask the registry for its images.
	LabelPullAlways = "broletto.dev/pull-always"
	// LabelUse says what a Secret of a home namespace is for; what names a Secret takes only one that says so: "stack-variables" of
	// spec.variablesFrom, "source-credentials" of a Stack's source. Its owner writes it.
	LabelUse = "broletto.dev/use"
	// LabelRun holds the UID of the StackRun, Backup or Restore that a Job and its pod work for. Only the operator writes it, on Jobs.
	LabelRun = "broletto.dev/run"
	// LabelStack holds the name of the Stack, on its StackRuns and on their Jobs and pods.
	LabelStack = "broletto.dev/stack"
	// LabelPolicy holds the name of the BackupPolicy, on the Backups that it made, on the Restores that are its drills and on their workspaces.
	// Only the operator writes it.
	LabelPolicy = "broletto.dev/policy"
	// LabelAnyNode is "true" on a managed namespace whose tenant names no pools of nodes: its pods may run on any.
	LabelAnyNode = "broletto.dev/any-node"
)

// Annotations by which people ask a Stack for something; any new value is a new question.
const (
	// AnnotationReplan asks for a new plan.
	AnnotationReplan = "broletto.dev/replan"
	// AnnotationUnlock holds the name of the StackRun whose lock is to be broken: its pod is ended first.
	AnnotationUnlock = "broletto.dev/unlock"
)

// AnnotationSequence holds the number, in the repository, of a backup that was there before its Backup: the operator makes a Backup of what it finds
// in a bucket. Nobody else writes it.
const AnnotationSequence = "broletto.dev/sequence"

// AnnotationLook has the operator look through a BackupRepository at once; any new value is a new question.
const AnnotationLook = "broletto.dev/look"

// Annotations on a Restore: who asked for it, as the API server knew them; nobody else writes there. A dry run that is set to Apply is asked for
// by whoever does so.
const (
	// AnnotationRequester holds the user's name.
	AnnotationRequester = "broletto.dev/requester"
	// AnnotationRequesterGroups holds the user's groups, one a line. A group whose name has a line break is left out.
	AnnotationRequesterGroups = "broletto.dev/requester-groups"
)

// What a Secret may be for, in LabelUse.
const (
	UseStackVariables    = "stack-variables"
	UseSourceCredentials = "source-credentials"
)

// Annotations on a managed namespace: what its tenant may use there. The admission policies in config/policies read them, and only
// the operator writes them. Each is a list with blanks between its items; one that is empty or absent allows nothing.
const (
	// AnnotationHosts lists the hosts that the tenant's ledger holds for the workspace: the only ones that it serves.
	AnnotationHosts = "broletto.dev/hosts"
	// AnnotationSubjects lists who may be given rights there, as "Group:lugano:ict".
	AnnotationSubjects = "broletto.dev/subjects"
	// AnnotationVetted lists for whom the role bindings of a workspace's own making were last looked through: "open" while anybody may
	// have rights there, and groups and users as AnnotationSubjects has them. Who stands here and not there has left just now.
	AnnotationVetted = "broletto.dev/vetted"
	// AnnotationServiceTypes lists the types of Service beside ClusterIP that the workspace's quota grants.
	AnnotationServiceTypes = "broletto.dev/service-types"
	// AnnotationStorageClasses lists the tenant's storage classes, its default first.
	AnnotationStorageClasses = "broletto.dev/storage-classes"
	// AnnotationRegistries lists the prefixes of images; see LabelAnyRegistry.
	AnnotationRegistries = "broletto.dev/registries"
	// AnnotationNodePools lists pools of nodes, the default first; see LabelAnyNode.
	AnnotationNodePools = "broletto.dev/node-pools"
	// AnnotationPriorityClasses lists the priority classes that pods may have beside none.
	AnnotationPriorityClasses = "broletto.dev/priority-classes"
	// AnnotationRuntimeClasses lists the runtime classes that pods may have beside none.
	AnnotationRuntimeClasses = "broletto.dev/runtime-classes"
)

// LabelNodePool holds a node's pool. The platform puts it on nodes, and a taint of the same key and value on nodes that are one pool's own.
const LabelNodePool = "broletto.dev/node-pool"

// Conditions that every kind has. They follow kstatus: Ready tells success, Reconciling that work is under
// way and nobody is needed, Stalled that only a person can help.
const (
	ConditionReady       = "Ready"
	ConditionReconciling = "Reconciling"
	ConditionStalled     = "Stalled"
)

// Reasons that every kind shares.
const (
	// ReasonSucceeded surfaces when everything that the spec asks for is in place.
	ReasonSucceeded = "Succeeded"
	// ReasonRetrying surfaces when the API server refused or failed a request; the operator tries again by itself.
	ReasonRetrying = "Retrying"
	// ReasonDeleting surfaces while what was made for the object is being taken away.
	ReasonDeleting = "Deleting"
	// ReasonConsortiumNotFound surfaces when spec.consortium names no Consortium.
	ReasonConsortiumNotFound = "ConsortiumNotFound"
	// ReasonNamespaceConflict surfaces when the namespace to be made exists already and is not ours: nothing is written to it.
	ReasonNamespaceConflict = "NamespaceConflict"
	// ReasonQuotaPending surfaces while the controller manager has not yet counted what a ResourceQuota limits:
	// until it has, the API server refuses every creation that the quota counts.
	ReasonQuotaPending = "QuotaPending"
)

// Date is a calendar day since 1900 as "2006-01-02", without time or zone. The rule also keeps out lists, which the API server
// lets pass for any text with a format, and which a Go client cannot read.
//
// +kubebuilder:validation:Format=date
// +kubebuilder:validation:MinLength=10
// +kubebuilder:validation:MaxLength=10
// +kubebuilder:validation:XValidation:rule="self >= timestamp('1900-01-01T00:00:00Z')",message="a date is a day since 1900, for example \"2024-04-04\""
type Date string

// Country is an ISO 3166-1 country code. It decides which law, clocks and codes apply.
//
// +kubebuilder:validation:Enum=CH;IT
type Country string

// Countries whose municipal law Broletto knows.
const (
	Switzerland Country = "CH"
	Italy       Country = "IT"
)

// PodSecurity is the Pod Security Standard that the namespaces of a workspace are pinned to.
//
// +kubebuilder:validation:Enum=Restricted;Baseline
type PodSecurity string

// Pod Security Standards; Privileged is not to be had.
const (
	PodSecurityRestricted PodSecurity = "Restricted"
	PodSecurityBaseline   PodSecurity = "Baseline"
)

// DataClass says how much harm the loss or leak of the data would do (ACN: dati ordinari, critici, strategici).
//
// +kubebuilder:validation:Enum=Ordinary;Critical;Strategic
type DataClass string

// Data classes, lowest first.
const (
	DataClassOrdinary  DataClass = "Ordinary"
	DataClassCritical  DataClass = "Critical"
	DataClassStrategic DataClass = "Strategic"
)

// Below tells whether it is a lower class than another.
func (c DataClass) Below(other DataClass) bool {
	order := []DataClass{DataClassOrdinary, DataClassCritical, DataClassStrategic}
	return slices.Index(order, c) < slices.Index(order, other)
}

// SubjectKind is the kind of a Subject.
//
// +kubebuilder:validation:Enum=Group;User;ServiceAccount
type SubjectKind string

// Kinds of subjects.
const (
	SubjectGroup          SubjectKind = "Group"
	SubjectUser           SubjectKind = "User"
	SubjectServiceAccount SubjectKind = "ServiceAccount"
)

// Amount is a Kubernetes quantity as a string, such as "500m", "4Gi" or "20": without sign or exponent, with at most 12
// digits, 3 decimals and a unit up to Pi.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=20
// +kubebuilder:validation:XValidation:rule=`self.matches(r'^(0|[1-9][0-9]{0,11})(\.[0-9]{1,3})?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$')`,message="an amount has no sign and no exponent, at most 12 digits, 3 decimals and a unit up to Pi, for example \"500m\", \"4Gi\" or \"20\""
type Amount string

// Quantity is the amount as a number; zero for a text that the schema rules out.
func (a Amount) Quantity() resource.Quantity {
	q, err := resource.ParseQuantity(string(a))
	if err != nil {
		return resource.Quantity{}
	}
	return q
}

// Quota is a map from resource to amount, as in a Kubernetes ResourceQuota: requests.cpu, requests.memory,
// requests.storage, requests.ephemeral-storage, limits.cpu, limits.memory, limits.ephemeral-storage, pods,
// services.loadbalancers, services.nodeports. Amounts are strings such as "500m", "4Gi" or "20", at most 1Pi; memory and
// storage are 0 or at least 1Mi.
//
// +kubebuilder:validation:MaxProperties=10
// +kubebuilder:validation:XValidation:rule="self.all(k, k in ['requests.cpu', 'requests.memory', 'requests.storage', 'requests.ephemeral-storage', 'limits.cpu', 'limits.memory', 'limits.ephemeral-storage', 'pods', 'services.loadbalancers', 'services.nodeports'])",message="a quota knows requests.cpu, requests.memory, requests.storage, requests.ephemeral-storage, limits.cpu, limits.memory, limits.ephemeral-storage, pods, services.loadbalancers and services.nodeports, for example {requests.cpu: \"2\", requests.memory: 4Gi}"
// +kubebuilder:validation:XValidation:rule="self.all(k, !isQuantity(self[k]) || quantity(self[k]).compareTo(quantity('1Pi')) <= 0)",message="each amount is at most 1Pi, for example 4Gi"
// +kubebuilder:validation:XValidation:rule=`['requests.memory', 'requests.storage', 'requests.ephemeral-storage', 'limits.memory', 'limits.ephemeral-storage'].all(k, !(k in self) || !isQuantity(self[k]) || quantity(self[k]).compareTo(quantity('0')) == 0 || !quantity(self[k]).isLessThan(quantity('1Mi')))`,message="memory and storage are 0 or at least 1Mi: mind the unit, for example requests.memory: 4Gi"
// +kubebuilder:validation:XValidation:rule="['pods', 'services.loadbalancers', 'services.nodeports'].all(k, !(k in self) || !isQuantity(self[k]) || quantity(self[k]).isInteger())",message="pods, services.loadbalancers and services.nodeports are whole numbers, for example pods: \"20\""
// +kubebuilder:validation:XValidation:rule="['cpu', 'memory', 'ephemeral-storage'].all(k, !('requests.' + k in self && 'limits.' + k in self) || !isQuantity(self['requests.' + k]) || !isQuantity(self['limits.' + k]) || quantity(self['requests.' + k]).compareTo(quantity(self['limits.' + k])) <= 0)",message="requests are at most limits, for example {requests.cpu: \"2\", limits.cpu: \"4\"}"
type Quota map[corev1.ResourceName]Amount

// List returns the quota as the type that Kubernetes objects use.
func (q Quota) List() corev1.ResourceList {
	out := make(corev1.ResourceList, len(q))
	for name, amount := range q {
		out[name] = amount.Quantity()
	}
	return out
}
