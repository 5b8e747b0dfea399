package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reasons of a Backup with hooks.
const (
	// ReasonRunningHooks surfaces while a hook is run.
	ReasonRunningHooks = "RunningHooks"
	// ReasonHookFailed surfaces when what was to be run before a backup failed: the backup is not made, and begun anew some minutes later.
	ReasonHookFailed = "HookFailed"
)

// HookOutcome is what came of one command of a hook.
//
// +kubebuilder:validation:Enum=Running;Done;Failed;Skipped
type HookOutcome string

// Outcomes of a command.
const (
	HookRunning HookOutcome = "Running"
	HookDone    HookOutcome = "Done"    // also where there is no command
	HookFailed  HookOutcome = "Failed"  // message says why
	HookSkipped HookOutcome = "Skipped" // no pod runs that it could be run in
)

// HookRun is how a hook of the policy gets on around one backup.
type HookRun struct {
	// name is the hook's.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// before is what came of its command before the backup. It says Running before that is begun, so that after is run whatever happens then.
	// +optional
	Before HookOutcome `json:"before,omitempty"`

	// after is what came of its command after the backup. Absent: that is still to be run.
	// +optional
	After HookOutcome `json:"after,omitempty"`

	// message says what failed or was skipped, with the last line that the command printed.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`

	// failedAt is when before failed.
	// +optional
	// +kubebuilder:validation:XValidation:rule=`self > timestamp('0001-01-01T00:00:00Z')`,message="a time is as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	FailedAt *metav1.Time `json:"failedAt,omitempty"`
}
