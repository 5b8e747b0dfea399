package v1alpha1

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Conditions of a Stack beside Ready, Reconciling and Stalled.
const (
	// ConditionDrifted tells whether the last look found the workspace other than what was applied.
	ConditionDrifted = "Drifted"
	// ConditionLocked tells whether a run holds the state, and which one.
	ConditionLocked = "Locked"
)

// Reasons of a Stack.
const (
	// ReasonPlanning surfaces while a run makes a plan.
	ReasonPlanning = "Planning"
	// ReasonApplying surfaces while a run applies.
	ReasonApplying = "Applying"
	// ReasonAwaitingApproval surfaces when a plan waits until spec.approvedPlan is its digest.
	ReasonAwaitingApproval = "AwaitingApproval"
	// ReasonDestroying surfaces while a run takes away what the stack made.
	ReasonDestroying = "Destroying"
	// ReasonWorkspaceNotReady surfaces while the workspace does not exist or is not ready.
	ReasonWorkspaceNotReady = "WorkspaceNotReady"
	// ReasonSecretNotUsable surfaces when a Secret that the stack names lacks the label that lets it be used, or is required and missing.
	ReasonSecretNotUsable = "SecretNotUsable"
	// ReasonInvalidSource surfaces when the source cannot be had, or holds what no stack may hold.
	ReasonInvalidSource = "InvalidSource"
	// ReasonNotAllowed surfaces when the plan holds what the platform or the stack itself rules out: maxDestroy, protected.
	ReasonNotAllowed = "NotAllowed"
	// ReasonRunFailed surfaces when the engine failed on the stack's own code or inputs; it runs again when something changes.
	ReasonRunFailed = "RunFailed"
	// ReasonRunLost surfaces when a run ended without a report: its pod was killed or its node went.
	ReasonRunLost = "RunLost"
	// ReasonStateLocked surfaces when another run holds the state.
	ReasonStateLocked = "StateLocked"
	// ReasonNoRoom surfaces while the workspace's quota has no room for the runner's pod.
	ReasonNoRoom = "NoRoom"
	// ReasonDrifted surfaces when a look found changes that nobody applied.
	ReasonDrifted = "Drifted"
	// ReasonOutputsConflict surfaces when the Secret for outputs exists and is not the stack's.
	ReasonOutputsConflict = "OutputsConflict"
)

// EngineName is what runs a stack's code.
//
// +kubebuilder:validation:Enum=OpenTofu;Terraform;Pulumi
type EngineName string

// Engines.
const (
	OpenTofu  EngineName = "OpenTofu"
	Terraform EngineName = "Terraform"
	Pulumi    EngineName = "Pulumi"
)

// StackApproval says who lets a plan be applied.
//
// +kubebuilder:validation:Enum=Manual;Automatic
type StackApproval string

// Approvals.
const (
	ApprovalManual    StackApproval = "Manual"
	ApprovalAutomatic StackApproval = "Automatic"
)

// DriftAction says what follows when the workspace is not as it was applied.
//
// +kubebuilder:validation:Enum=Report;Replan;Apply
type DriftAction string

// Actions on drift.
const (
	DriftReport DriftAction = "Report"
	DriftReplan DriftAction = "Replan"
	DriftApply  DriftAction = "Apply"
)

// StackDeletion says what becomes of what a stack made when it is deleted.
//
// +kubebuilder:validation:Enum=Destroy;Orphan
type StackDeletion string

// Deletion policies of a stack.
const (
	StackDestroy StackDeletion = "Destroy"
	StackOrphan  StackDeletion = "Orphan"
)

// Presence says whether something named has to exist.
//
// +kubebuilder:validation:Enum=Optional;Required
type Presence string

// Presences.
const (
	Optional Presence = "Optional"
	Required Presence = "Required"
)

// SecretName is the name of a Secret.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
type SecretName string

// Digest is the digest of a plan: "hmac-sha256:" and 64 hexadecimal digits.
//
// +kubebuilder:validation:MaxLength=76
// +kubebuilder:validation:Pattern=`^hmac-sha256:[0-9a-f]{64}$`
type Digest string

// SourceText is the text of one file, at most 128 KiB.
//
// +kubebuilder:validation:MaxLength=131072
type SourceText string

// StackSource says where a stack's code is: exactly one of inline, git and oci.
//
// +kubebuilder:validation:XValidation:rule="[has(self.inline), has(self.git), has(self.oci)].exists_one(x, x)",message="a source is one of inline, git and oci"
type StackSource struct {
	// inline is a map from a file's name to its text, for example main.tf: at most 32 files in one folder.
	// +optional
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule=`self.all(k, k.matches(r'^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$'))`,message="a file's name has letters, digits, dots, dashes and underscores and no folder, for example main.tf"
	Inline map[string]SourceText `json:"inline,omitempty"`

	// git is a folder of a repository at a revision.
	// +optional
	Git *GitSource `json:"git,omitempty"`

	// oci is a folder of an artefact in a registry, by digest.
	// +optional
	OCI *OCISource `json:"oci,omitempty"`
}

// GitSource is a folder of a git repository.
//
// +kubebuilder:validation:XValidation:rule="!self.url.startsWith('ssh://') || has(self.secret)",message="ssh needs git.secret with identity and known_hosts"
type GitSource struct {
	// url is the repository's, for example https://git.example/ict/stacks.git or ssh://git@git.example/ict/stacks.git.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^(https://[A-Za-z0-9][^\s@?#]*|ssh://([A-Za-z0-9_][A-Za-z0-9_.-]*@)?[A-Za-z0-9][^\s@?#]*)$`
	URL string `json:"url"`

	// revision is a branch, a tag or a commit. A commit is fetched as it is; of a branch or tag, status says which commit it was.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9._/-]*$`
	Revision string `json:"revision"`

	// path is the folder inside the repository. Default: its root.
	// +optional
	// +kubebuilder:validation:MaxLength=200
	// +kubebuilder:validation:Pattern=`^([A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*)?$`
	Path string `json:"path,omitempty"`

	// secret is a Secret of the home namespace with the label broletto.dev/use: source-credentials. For https: username and
	// password, or password alone, and ca.crt. For ssh: identity and known_hosts.
	// +optional
	Secret SecretName `json:"secret,omitempty"`
}

// OCISource is a folder of an OCI artefact.
type OCISource struct {
	// reference is the artefact by digest, for example registry.example/ict/stacks@sha256:….
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9.:-]*(/[a-z0-9][a-z0-9._-]*)+@sha256:[0-9a-f]{64}$`
	Reference string `json:"reference"`

	// path is the folder inside the artefact. Default: its root.
	// +optional
	// +kubebuilder:validation:MaxLength=200
	// +kubebuilder:validation:Pattern=`^([A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*)?$`
	Path string `json:"path,omitempty"`

	// secret is a Secret of the home namespace with the label broletto.dev/use: source-credentials: username, password and ca.crt.
	// +optional
	Secret SecretName `json:"secret,omitempty"`
}

// VariablesSource is a Secret whose keys are input variables.
type VariablesSource struct {
	// secret is a Secret of this namespace with the label broletto.dev/use: stack-variables. All its keys are variables, and secret.
	// +required
	Secret SecretName `json:"secret"`

	// presence says whether the Secret has to exist. Default: Optional.
	// +optional
	// +kubebuilder:default=Optional
	Presence Presence `json:"presence,omitempty"`
}

// Drift says how often to look whether all is as it was applied, and what follows if not.
type Drift struct {
	// everyHours is the time between two looks, in hours; each is put off by up to a tenth, so that not all stacks look at once.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=720
	EveryHours int32 `json:"everyHours"`

	// action is what follows: Report says so in status; Replan makes a plan that waits for approval; Apply repairs. Default: Report.
	// +optional
	// +kubebuilder:default=Report
	Action DriftAction `json:"action,omitempty"`
}

// OutputsTarget is where a stack's outputs go.
type OutputsTarget struct {
	// secret is the Secret in the workspace that gets one key for each output. It is made; one that exists already and is not the stack's is left alone.
	// +required
	Secret SecretName `json:"secret"`
}

// ResourceAddress is the address of a resource as the engine prints it, for example kubectl_manifest.sito.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=512
type ResourceAddress string

// StackSpec is what a comune asks for.
//
// +kubebuilder:validation:XValidation:rule="self.workspace == oldSelf.workspace",message="a stack stays in its workspace: make another stack"
// +kubebuilder:validation:XValidation:rule="self.engine == oldSelf.engine || (self.engine != 'Pulumi' && oldSelf.engine != 'Pulumi')",message="Pulumi and the others do not read each other's state: make another stack"
type StackSpec struct {
	// workspace is the workspace of this tenant in which the stack runs, with the rights of an editor of that workspace and no others.
	// +required
	Workspace WorkspaceName `json:"workspace"`

	// engine is OpenTofu, Terraform or Pulumi (programs in YAML). Terraform runs where the platform has installed it.
	// +required
	Engine EngineName `json:"engine"`

	// source is the code.
	// +required
	Source StackSource `json:"source"`

	// variables are input variables, any JSON. They are no secrets: those stand in variablesFrom.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Variables map[string]apiextensionsv1.JSON `json:"variables,omitempty"`

	// variablesFrom are Secrets whose keys are input variables; a later one wins over an earlier one, and all over variables.
	// +optional
	// +listType=map
	// +listMapKey=secret
	// +kubebuilder:validation:MaxItems=8
	VariablesFrom []VariablesSource `json:"variablesFrom,omitempty"`

	// approval is Manual (a plan waits until approvedPlan is its digest) or Automatic. Default: Manual.
	// +optional
	// +kubebuilder:default=Manual
	Approval StackApproval `json:"approval,omitempty"`

	// approvedPlan is the digest that status.plan shows, written by who lets it be applied. It is used once: another plan wants another approval.
	// +optional
	ApprovedPlan Digest `json:"approvedPlan,omitempty"`

	// maxDestroy is how many resources one plan may destroy or replace; a plan with more is refused. Default: no bound.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	MaxDestroy *int32 `json:"maxDestroy,omitempty"`

	// protected are resources that no plan may destroy or replace, also not when the stack is deleted.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	Protected []ResourceAddress `json:"protected,omitempty"`

	// drift says how often to look whether all is as it was applied. Default: never.
	// +optional
	Drift *Drift `json:"drift,omitempty"`

	// deletionPolicy is Destroy (what the stack made goes with it) or Orphan (it stays). Default: Destroy.
	// +optional
	// +kubebuilder:default=Destroy
	DeletionPolicy StackDeletion `json:"deletionPolicy,omitempty"`

	// outputsTo is where the outputs go. Default: nowhere.
	// +optional
	OutputsTo *OutputsTarget `json:"outputsTo,omitempty"`

	// timeoutMinutes bounds one run. Default: 60.
	// +optional
	// +kubebuilder:default=60
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=720
	TimeoutMinutes int32 `json:"timeoutMinutes,omitempty"`
}

// PlannedChange is what a plan does to one resource, without any value of it.
type PlannedChange struct {
	// address is the resource's.
	// +required
	Address ResourceAddress `json:"address"`

	// action is Create, Update, Replace or Delete.
	// +required
	// +kubebuilder:validation:Enum=Create;Update;Replace;Delete
	Action string `json:"action"`
}

// PlanSummary is what a plan does, without any value.
type PlanSummary struct {
	// digest is what spec.approvedPlan approves: over every address, action and value of the plan and over its outputs, the same for the same plan.
	// +optional
	Digest Digest `json:"digest,omitempty"`

	// adds is the number of resources that are made; a replaced one is one of adds and one of destroys.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	Adds int32 `json:"adds"`
	// changes is the number of resources that are changed in place.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	Changes int32 `json:"changes"`
	// destroys is the number of resources that go.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	Destroys int32 `json:"destroys"`

	// replaced are the resources that are destroyed and made anew, at most 100.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Replaced []ResourceAddress `json:"replaced,omitempty"`

	// resources are the changes, in order of address, at most 100.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Resources []PlannedChange `json:"resources,omitempty"`

	// outputs is the number of outputs that change.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	Outputs int32 `json:"outputs"`
}

// Empty tells whether the plan does nothing.
func (p *PlanSummary) Empty() bool {
	return p.Adds == 0 && p.Changes == 0 && p.Destroys == 0 && p.Outputs == 0
}

// StackPlan is the plan that waits or was last looked at.
type StackPlan struct {
	PlanSummary `json:",inline"`

	// run is the StackRun that made the plan.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Run string `json:"run"`

	// revision is what of the source it was made of: a commit, a digest, or the digest of inline files.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Revision string `json:"revision,omitempty"`

	// expiresAt is until when it may be approved.
	// +optional
	// +kubebuilder:validation:XValidation:rule=`self > timestamp('0001-01-01T00:00:00Z')`,message="a time is as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"`

	// monthlyCost is what comes of it costs a month before tax, for example "42.50 EUR", where the stack provisions a service of the catalogue:
	// its quantity times the price by the month on the day of the plan. Absent where no price is known.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	MonthlyCost string `json:"monthlyCost,omitempty"`
}

// StackApplied is what was applied last.
type StackApplied struct {
	// run is the StackRun that applied.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Run string `json:"run"`

	// digest is the plan's that was applied.
	// +optional
	Digest Digest `json:"digest,omitempty"`

	// revision is what of the source it was.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Revision string `json:"revision,omitempty"`

	// inputs is the digest of spec, source and inputs: while it is the same, nothing new is to be applied.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Inputs string `json:"inputs,omitempty"`

	// at is when.
	// +required
	// +kubebuilder:validation:XValidation:rule=`self > timestamp('0001-01-01T00:00:00Z')`,message="a time is as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	At metav1.Time `json:"at"`
}

// StackDrift is what the last look found.
type StackDrift struct {
	PlanSummary `json:",inline"`

	// lookedAt is when.
	// +required
	// +kubebuilder:validation:XValidation:rule=`self > timestamp('0001-01-01T00:00:00Z')`,message="a time is as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	LookedAt metav1.Time `json:"lookedAt"`

	// since is when a look first found what is found now; absent when all is as it was applied.
	// +optional
	// +kubebuilder:validation:XValidation:rule=`self > timestamp('0001-01-01T00:00:00Z')`,message="a time is as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	Since *metav1.Time `json:"since,omitempty"`
}

// StackLock is who holds the state.
type StackLock struct {
	// run is the StackRun.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Run string `json:"run"`

	// pod is the runner's.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Pod string `json:"pod,omitempty"`

	// since is when it took the lock.
	// +required
	// +kubebuilder:validation:XValidation:rule=`self > timestamp('0001-01-01T00:00:00Z')`,message="a time is as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	Since metav1.Time `json:"since"`

	// beat is when it was last heard of.
	// +optional
	// +kubebuilder:validation:XValidation:rule=`self > timestamp('0001-01-01T00:00:00Z')`,message="a time is as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	Beat *metav1.Time `json:"beat,omitempty"`
}

// StackStatus is what the operator made of it. It holds no value of an input, an output or a resource.
type StackStatus struct {
	// observedGeneration is the generation of the spec that the conditions speak of; -1 before the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready, Reconciling, Stalled, Drifted and Locked.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule=`self.all(c, c.lastTransitionTime > timestamp('0001-01-01T00:00:00Z'))`,message="lastTransitionTime is a time as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// executor says what runs the stack: Job, or LocalProcess, which is for development only.
	// +optional
	// +kubebuilder:validation:Enum=Job;LocalProcess
	Executor string `json:"executor,omitempty"`

	// plan is the plan that waits for approval, or the last one that was made.
	// +optional
	Plan *StackPlan `json:"plan,omitempty"`

	// applied is what was applied last; absent before the first time.
	// +optional
	Applied *StackApplied `json:"applied,omitempty"`

	// drift is what the last look found.
	// +optional
	Drift *StackDrift `json:"drift,omitempty"`

	// lock is who holds the state now.
	// +optional
	Lock *StackLock `json:"lock,omitempty"`

	// run is the StackRun that was made last.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Run string `json:"run,omitempty"`

	// attempts is how often the same run failed in a row.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	Attempts int32 `json:"attempts,omitempty"`

	// approved is the approvedPlan that was used last. While spec.approvedPlan is the same it approves nothing more, not even a plan
	// that does just the same: clear it, then write it again.
	// +optional
	Approved Digest `json:"approved,omitempty"`

	// outputsTo is the Secret in the workspace that has the outputs.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	OutputsTo string `json:"outputsTo,omitempty"`

	// replanned is the value of the annotation broletto.dev/replan that was answered.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Replanned string `json:"replanned,omitempty"`
}

// Stack is infrastructure as code of a comune (OpenTofu, Terraform or Pulumi), run in one of its workspaces with the rights of an editor
// there. Write it in the comune's home namespace. What it would do is planned first and stands in status.plan; it is applied when
// spec.approvedPlan is the digest of that plan, or at once under approval: Automatic.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=stk,categories=broletto
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Workspace",type=string,JSONPath=`.spec.workspace`
// +kubebuilder:printcolumn:name="Engine",type=string,JSONPath=`.spec.engine`
// +kubebuilder:printcolumn:name="Drifted",type=string,JSONPath=`.status.conditions[?(@.type=="Drifted")].status`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z0-9]+(-[a-z0-9]+)*$')",message="metadata.name is a DNS label of at most 40 characters without --, for example sportello-config"
type Stack struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what the comune asks for.
	// +required
	Spec StackSpec `json:"spec"`

	// status is what the operator made of it; only the operator writes here.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status StackStatus `json:"status,omitzero"`
}

// StackList is a list of Stack objects.
//
// +kubebuilder:object:root=true
type StackList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Stack `json:"items"`
}

// TargetNamespace is the namespace in which the stack runs.
func (s *Stack) TargetNamespace() string { return s.Namespace + "--" + string(s.Spec.Workspace) }

// GetConditions returns the conditions, for the kit that sets them.
func (s *Stack) GetConditions() *[]metav1.Condition { return &s.Status.Conditions }

// SetObservedGeneration says which spec the conditions speak of.
func (s *Stack) SetObservedGeneration(generation int64) { s.Status.ObservedGeneration = generation }

// GetObservedGeneration returns the generation that the conditions speak of; -1 before the first look.
func (s *Stack) GetObservedGeneration() int64 { return s.Status.ObservedGeneration }
