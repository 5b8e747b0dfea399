package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Operation is what a run does.
//
// +kubebuilder:validation:Enum=Plan;Apply;Converge;Look;Destroy
type Operation string

// Operations.
const (
	// OperationPlan makes a plan and keeps it.
	OperationPlan Operation = "Plan"
	// OperationApply applies a plan that was kept and approved.
	OperationApply Operation = "Apply"
	// OperationConverge makes a plan and applies it: approval is Automatic.
	OperationConverge Operation = "Converge"
	// OperationLook makes a plan of what was applied last, to find drift, and keeps nothing.
	OperationLook Operation = "Look"
	// OperationDestroy takes away what was applied last.
	OperationDestroy Operation = "Destroy"
)

// RunPhase is how far a run is.
//
// +kubebuilder:validation:Enum=Pending;Running;Succeeded;Failed
type RunPhase string

// Phases of a run.
const (
	RunPending   RunPhase = "Pending"
	RunRunning   RunPhase = "Running"
	RunSucceeded RunPhase = "Succeeded"
	RunFailed    RunPhase = "Failed"
)

// FailureClass says whose turn it is after a failure.
//
// +kubebuilder:validation:Enum=Source;Input;Refused;OutOfDate;Locked;Engine;Deadline;Infrastructure;Lost
type FailureClass string

// Classes of failure.
const (
	// FailureSource: the source cannot be had or holds what no stack may hold. Its author's turn.
	FailureSource FailureClass = "Source"
	// FailureInput: the engine refused code or inputs before it touched anything. Its author's turn.
	FailureInput FailureClass = "Input"
	// FailureRefused: the plan holds what policy, maxDestroy or protected rule out. Its author's turn.
	FailureRefused FailureClass = "Refused"
	// FailureOutOfDate: the approved plan is not what would be applied now. A new plan is made.
	FailureOutOfDate FailureClass = "OutOfDate"
	// FailureLocked: another run holds the state. Wait.
	FailureLocked FailureClass = "Locked"
	// FailureEngine: engine or provider failed while it looked or applied. Tried again, ever later.
	FailureEngine FailureClass = "Engine"
	// FailureDeadline: the run took longer than timeoutMinutes. Tried again, ever later.
	FailureDeadline FailureClass = "Deadline"
	// FailureInfrastructure: broker, disk or cluster failed. Tried again.
	FailureInfrastructure FailureClass = "Infrastructure"
	// FailureLost: the runner went without a report. What it did is not known: a new plan is made.
	FailureLost FailureClass = "Lost"
)

// StackRunSpec is what one run does; it never changes.
//
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a run never changes"
type StackRunSpec struct {
	// stack is the name of the Stack, in the same namespace.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=40
	Stack string `json:"stack"`

	// stackUID is the Stack's UID.
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	StackUID types.UID `json:"stackUID"`

	// workspace is where it runs.
	// +required
	Workspace WorkspaceName `json:"workspace"`

	// operation is what it does.
	// +required
	Operation Operation `json:"operation"`

	// engine is what runs the code.
	// +required
	Engine EngineName `json:"engine"`

	// inputs is the digest of source, inputs and what else of the spec decides the result.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Inputs string `json:"inputs,omitempty"`

	// plan is the digest that an Apply applies.
	// +optional
	Plan Digest `json:"plan,omitempty"`

	// planRun is the StackRun that made that plan.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	PlanRun string `json:"planRun,omitempty"`

	// attempt counts the runs of a Stack.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2147483647
	Attempt int32 `json:"attempt"`

	// timeoutMinutes bounds it.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=720
	TimeoutMinutes int32 `json:"timeoutMinutes"`
}

// RunFailure says why a run failed; it holds no value of an input, an output or a resource.
type RunFailure struct {
	// class says whose turn it is.
	// +required
	Class FailureClass `json:"class"`

	// message says which object, why, and the way out.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Message string `json:"message,omitempty"`
}

// StackRunStatus is how it went.
type StackRunStatus struct {
	// phase is how far it is.
	// +optional
	Phase RunPhase `json:"phase,omitempty"`

	// job is the name of the Job in the workspace.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Job string `json:"job,omitempty"`

	// jobUID is its UID: the broker answers only the pod of this Job.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	JobUID types.UID `json:"jobUID,omitempty"`

	// startedAt is when the Job was made.
	// +optional
	// +kubebuilder:validation:XValidation:rule=`self > timestamp('0001-01-01T00:00:00Z')`,message="a time is as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	StartedAt *metav1.Time `json:"startedAt,omitempty"`

	// finishedAt is when it was seen to have ended.
	// +optional
	// +kubebuilder:validation:XValidation:rule=`self > timestamp('0001-01-01T00:00:00Z')`,message="a time is as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`

	// failure says why it failed.
	// +optional
	Failure *RunFailure `json:"failure,omitempty"`

	// plan is what it planned.
	// +optional
	Plan *PlanSummary `json:"plan,omitempty"`

	// revision is what of the source it used.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Revision string `json:"revision,omitempty"`

	// serial is the state's after the run.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9007199254740991
	Serial int64 `json:"serial,omitempty"`
}

// StackRun is one attempt of a Stack, made and written by the operator; people read it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=stkr,categories=broletto
// +kubebuilder:printcolumn:name="Stack",type=string,JSONPath=`.spec.stack`
// +kubebuilder:printcolumn:name="Operation",type=string,JSONPath=`.spec.operation`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Adds",type=integer,JSONPath=`.status.plan.adds`
// +kubebuilder:printcolumn:name="Changes",type=integer,JSONPath=`.status.plan.changes`
// +kubebuilder:printcolumn:name="Destroys",type=integer,JSONPath=`.status.plan.destroys`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.failure.message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type StackRun struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what it does.
	// +required
	Spec StackRunSpec `json:"spec"`

	// status is how it went; only the operator writes here.
	// +optional
	Status StackRunStatus `json:"status,omitzero"`
}

// StackRunList is a list of StackRun objects.
//
// +kubebuilder:object:root=true
type StackRunList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []StackRun `json:"items"`
}

// TargetNamespace is the namespace in which the run's Job stands.
func (r *StackRun) TargetNamespace() string { return r.Namespace + "--" + string(r.Spec.Workspace) }

// Finished tells whether the run has ended.
func (r *StackRun) Finished() bool {
	return r.Status.Phase == RunSucceeded || r.Status.Phase == RunFailed
}
