package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Conditions of a BackupPolicy beside Ready, Reconciling and Stalled; Ready holds only while none is False.
const (
	// ConditionFloorKept tells whether the policy does what the consortium asks at least for the data classes of its workspaces. Its message says
	// where the floor asks for more than the policy, and is what holds. It is there where a floor is.
	ConditionFloorKept = "FloorKept"
	// ConditionRecoveryPointKept tells whether every workspace has a verified backup that is at most recoveryPointHours old.
	ConditionRecoveryPointKept = "RecoveryPointKept"
	// ConditionRecoveryTimeKept tells whether the last drill of every workspace succeeded, within its interval and within recoveryTimeMinutes.
	ConditionRecoveryTimeKept = "RecoveryTimeKept"
)

// Reasons of a BackupPolicy.
const (
	// ReasonSameFailureDomain surfaces when two of the policy's repositories are in one failure domain: what fails together is no copy.
	ReasonSameFailureDomain = "SameFailureDomain"
	// ReasonInvalidSchedule surfaces when spec.schedule or spec.timeZone cannot be read.
	ReasonInvalidSchedule = "InvalidSchedule"
	// ReasonRepositoryNotFound surfaces when spec.repository names no BackupRepository of the tenant's consortium.
	ReasonRepositoryNotFound = "RepositoryNotFound"
	// ReasonRepositoryNotReady surfaces while the repository is not Ready: its status says why.
	ReasonRepositoryNotReady = "RepositoryNotReady"
	// ReasonWorkspaceNotFound surfaces when spec.workspaces names a workspace that is not there.
	ReasonWorkspaceNotFound = "WorkspaceNotFound"
	// ReasonRecoveryPointMissed surfaces when the last verified backup of a workspace is older than recoveryPointHours.
	ReasonRecoveryPointMissed = "RecoveryPointMissed"
	// ReasonRecoveryTimeMissed surfaces when the last drill of a workspace took longer than recoveryTimeMinutes.
	ReasonRecoveryTimeMissed = "RecoveryTimeMissed"
	// ReasonDrillFailed surfaces when the last drill of a workspace failed.
	ReasonDrillFailed = "DrillFailed"
	// ReasonDrillOverdue surfaces when a workspace was not drilled for longer than drill.everyDays and a day.
	ReasonDrillOverdue = "DrillOverdue"
	// ReasonFloorApplied surfaces when the consortium's floor asks for more than the policy, and holds in its stead.
	ReasonFloorApplied = "FloorApplied"
	// ReasonTooFewCopies surfaces when the floor asks for more copies in failure domains of their own than the policy has.
	ReasonTooFewCopies = "TooFewCopies"
	// ReasonLockTooShort surfaces when the repository was not seen to lock what it is given for as long as the floor asks.
	ReasonLockTooShort = "LockTooShort"
	// ReasonScheduleTooRare surfaces when spec.schedule has gaps that are longer than the floor's recoveryPointHours.
	ReasonScheduleTooRare = "ScheduleTooRare"
	// ReasonNotPromised surfaces when the policy makes no such promise.
	ReasonNotPromised = "NotPromised"
	// ReasonNoBackupYet surfaces while a workspace has no verified backup, and the promise is not broken yet.
	ReasonNoBackupYet = "NoBackupYet"
	// ReasonKept surfaces when a promise is kept.
	ReasonKept = "Kept"
)

// BackupPolicySpec says what is backed up, when, and what is promised.
//
// +kubebuilder:validation:XValidation:rule="has(self.workspaces) != has(self.selector)",message="name workspaces, or select them by selector: {matchLabels: …}, not both"
// +kubebuilder:validation:XValidation:rule="!has(self.copies) || !(self.repository in self.copies)",message="copies are further repositories: leave out the one that repository names"
// +kubebuilder:validation:XValidation:rule="!has(self.recoveryTimeMinutes) || has(self.drill)",message="recoveryTimeMinutes is measured by drills: add drill: {everyDays: 30}"
type BackupPolicySpec struct {
	// workspaces are names in this home namespace.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	Workspaces []WorkspaceName `json:"workspaces,omitempty"`

	// selector selects workspaces of this home namespace by their labels.
	// +optional
	// +kubebuilder:validation:XValidation:rule=`(!has(self.matchLabels) || self.matchLabels.size() <= 16) && (!has(self.matchExpressions) || self.matchExpressions.size() <= 16)`,message="selector has at most 16 matchLabels and 16 matchExpressions"
	// +kubebuilder:validation:XValidation:rule=`!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn', 'Exists', 'DoesNotExist'] && (e.operator in ['In', 'NotIn']) == (has(e.values) && e.values.size() > 0))`,message="an operator is In or NotIn with values, or Exists or DoesNotExist without, for example {key: tier, operator: In, values: [front]}"
	Selector *metav1.LabelSelector `json:"selector,omitempty"`

	// repository is the name of a BackupRepository of the tenant's consortium.
	// +required
	Repository RepositoryName `json:"repository"`

	// copies are further repositories, each in a failure domain of its own: each run makes a backup in each of them too. Retention and
	// recoveryPointHours hold for each. Drills rehearse what is in repository.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=3
	Copies []RepositoryName `json:"copies,omitempty"`

	// schedule is minute, hour, day of month, month and day of week as cron writes them, for example "30 2 * * *". There is one run on each
	// local day that it names, also on the two on which the clock changes: at the named time or, where that does not exist, at the next that
	// does. Each workspace runs up to ten minutes later, always the same. After a downtime one run is made up for.
	// +required
	// +kubebuilder:validation:MinLength=9
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^[0-5]?[0-9] ([01]?[0-9]|2[0-3]) [0-9*,/-]+ [0-9*,/-]+ [0-9*,/-]+$')`,message="schedule is minute and hour as numbers, then day of month, month and day of week as numbers, lists, ranges or *, for example \"30 2 * * *\": one run a day at most"
	Schedule string `json:"schedule"`

	// timeZone is the IANA time zone of the schedule, for example "Europe/Rome". Default: the consortium's.
	// +optional
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule=`self == 'UTC' || self.matches(r'^[A-Z][A-Za-z_]*(/[A-Z][A-Za-z0-9_+-]*){1,2}$')`,message="timeZone is a name of the IANA database, for example Europe/Rome"
	TimeZone string `json:"timeZone,omitempty"`

	// retention says which backups of a workspace are kept.
	// +required
	Retention Retention `json:"retention"`

	// recoveryPointHours promises that a verified backup is never older. Absent: nothing is promised.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=8784
	RecoveryPointHours *int32 `json:"recoveryPointHours,omitempty"`

	// recoveryTimeMinutes promises that a restore takes no longer; drills measure it. Absent: nothing is promised.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10080
	RecoveryTimeMinutes *int32 `json:"recoveryTimeMinutes,omitempty"`

	// drill rehearses restores. Absent: none is rehearsed.
	// +optional
	Drill *Drill `json:"drill,omitempty"`

	// hooks are commands for the tenant's own pods around the backups of this policy, in this order before and the other way round after them.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Hooks []Hook `json:"hooks,omitempty"`

	// databases are dumped in each backup of this policy, in this order, after the volumes were read: as a stream, without a file that would hold the dump.
	// A database whose workspace lacks the Service, or where no pod of it runs, is left out, and the backup says so.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	Databases []Database `json:"databases,omitempty"`
}

// Retention says which backups are kept: the last ones, and the last of each of so many days, weeks, months and years. What any rule keeps is
// kept, and the last verified one always.
type Retention struct {
	// last is how many of the last backups are kept.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=365
	Last int32 `json:"last,omitempty"`

	// daily is of how many days one is kept.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=366
	Daily int32 `json:"daily,omitempty"`

	// weekly is of how many weeks, from Monday on, one is kept.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=260
	Weekly int32 `json:"weekly,omitempty"`

	// monthly is of how many months one is kept.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=240
	Monthly int32 `json:"monthly,omitempty"`

	// yearly is of how many years one is kept.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=50
	Yearly int32 `json:"yearly,omitempty"`
}

// Drill restores the last backup of each workspace into a throw-away one, compares, measures and removes it.
type Drill struct {
	// everyDays is the interval.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=366
	EveryDays int32 `json:"everyDays"`

	// checks are asked of what was restored, in this order, once it was compared. A drill passes when all of them do.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	Checks []DrillCheck `json:"checks,omitempty"`
}

// DrillCheck is one question to what was restored, in the throw-away workspace.
//
// +kubebuilder:validation:XValidation:rule="[has(self.podsReady), has(self.http), has(self.command)].filter(x, x).size() == 1",message="a check is one of podsReady, http and command, for example podsReady: {podSelector: {matchLabels: {app: web}}}"
type DrillCheck struct {
	// name is a DNS label.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')`,message="name is a DNS label of at most 63 characters, for example web"
	Name string `json:"name"`

	// timeoutSeconds is how long the check may take to pass, beginning when the one before it is over. It is asked again until then; a command
	// that has ended badly is not. The pod that asks by http may take as long to begin.
	// +optional
	// +kubebuilder:default=300
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1200
	TimeoutSeconds int32 `json:"timeoutSeconds,omitempty"`

	// podsReady passes when pods are selected and all of them are Ready.
	// +optional
	PodsReady *PodsReadyCheck `json:"podsReady,omitempty"`

	// http passes when a service of the workspace answers a GET as it should.
	// +optional
	HTTP *HTTPCheck `json:"http,omitempty"`

	// command passes when it ends with code 0 in one of the tenant's own pods.
	// +optional
	Command *CommandCheck `json:"command,omitempty"`
}

// PodsReadyCheck selects pods.
type PodsReadyCheck struct {
	// podSelector selects the pods. Those that have succeeded, or are being deleted, do not count.
	// +required
	// +kubebuilder:validation:XValidation:rule=`has(self.matchLabels) && self.matchLabels.size() >= 1 && self.matchLabels.size() <= 8 && !has(self.matchExpressions)`,message="podSelector has 1 to 8 matchLabels, for example {matchLabels: {app: web}}"
	PodSelector metav1.LabelSelector `json:"podSelector"`
}

// HTTPCheck is a GET without credentials, sent from a pod in the workspace. No redirect is followed.
type HTTPCheck struct {
	// service is the name of a Service in the workspace.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')`,message="service is the name of a Service, for example web"
	Service string `json:"service"`

	// scheme is what the Service speaks. With HTTPS the certificate is not verified, as a kubelet does not for probes: it bears other names than the
	// Service has in the throw-away workspace, and what is asked is whether it answers.
	// +optional
	// +kubebuilder:default=HTTP
	Scheme CheckScheme `json:"scheme,omitempty"`

	// port is one of the Service's. Default: 80, and with HTTPS 443.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`

	// path is what is asked for, and perhaps a query, for example "/atti?n=1".
	// +optional
	// +kubebuilder:default=/
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule=`self.matches('^/[!-~]*$')`,message="path begins with a slash and has no blanks, for example /health"
	Path string `json:"path,omitempty"`

	// status is the code of the right answer.
	// +optional
	// +kubebuilder:default=200
	// +kubebuilder:validation:Minimum=200
	// +kubebuilder:validation:Maximum=599
	Status int32 `json:"status,omitempty"`
}

// CheckScheme is what a Service speaks that a check asks.
//
// +kubebuilder:validation:Enum=HTTP;HTTPS
type CheckScheme string

// The schemes of checks.
const (
	CheckHTTP  CheckScheme = "HTTP"
	CheckHTTPS CheckScheme = "HTTPS"
)

// CommandCheck is a command in a pod of the workspace, run as an account of the workspace, as a hook's is.
type CommandCheck struct {
	// podSelector selects the pods; the first running one by name is taken.
	// +required
	// +kubebuilder:validation:XValidation:rule=`has(self.matchLabels) && self.matchLabels.size() >= 1 && self.matchLabels.size() <= 8 && !has(self.matchExpressions)`,message="podSelector has 1 to 8 matchLabels, for example {matchLabels: {app: db}}"
	PodSelector metav1.LabelSelector `json:"podSelector"`

	// container is the container's name. Default: the pod's first.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Container string `json:"container,omitempty"`

	// command is what is run, for example [sh, -c, "psql -tAc 'select count(*) > 0 from atti' | grep -q t"]. It may be run twice.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=2048
	Command []string `json:"command"`
}

// Hook is a command in a pod of a workspace, run as an account of the workspace. A backup whose before fails is not made. Where no pod is
// running that it could be run in, the backup is made without, and says so.
//
// +kubebuilder:validation:XValidation:rule="has(self.before) || has(self.after)",message="a hook has before, after or both, for example before: [sync]"
type Hook struct {
	// name is a DNS label.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')`,message="name is a DNS label of at most 63 characters, for example dump"
	Name string `json:"name"`

	// podSelector selects the pods; the first running one by name is taken.
	// +required
	// +kubebuilder:validation:XValidation:rule=`has(self.matchLabels) && self.matchLabels.size() >= 1 && self.matchLabels.size() <= 8 && !has(self.matchExpressions)`,message="podSelector has 1 to 8 matchLabels, for example {matchLabels: {app: db}}"
	PodSelector metav1.LabelSelector `json:"podSelector"`

	// container is the container's name. Default: the pod's first.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Container string `json:"container,omitempty"`

	// before is run before the backup, for example [sh, -c, "pg_dump -Fc -f /backup/db.dump sportello"].
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=4096
	Before []string `json:"before,omitempty"`

	// after is run after it, also when it or before failed, and perhaps more than once.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=4096
	After []string `json:"after,omitempty"`

	// timeoutSeconds bounds each. What has not ended then has failed; it is not killed.
	// +optional
	// +kubebuilder:default=300
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	TimeoutSeconds int32 `json:"timeoutSeconds,omitempty"`
}

// EffectiveRules are what holds for workspaces of a data class: of the policy and the consortium's floor, the stricter of each.
type EffectiveRules struct {
	// dataClass is the class of the workspaces.
	// +required
	DataClass DataClass `json:"dataClass"`

	// retention says which backups are kept.
	// +required
	Retention Retention `json:"retention"`

	// recoveryPointHours is how old the last verified backup may be. Absent: nothing is promised.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=8784
	RecoveryPointHours *int32 `json:"recoveryPointHours,omitempty"`

	// drillEveryDays is how often restores are rehearsed. Absent: none is.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=366
	DrillEveryDays *int32 `json:"drillEveryDays,omitempty"`
}

// PolicyWorkspace is how one workspace stands.
type PolicyWorkspace struct {
	// name is the workspace's.
	// +required
	Name WorkspaceName `json:"name"`

	// dataClass is the workspace's: a floor may be set for it.
	// +optional
	DataClass DataClass `json:"dataClass,omitempty"`

	// backup is the last Backup made for the policy.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Backup string `json:"backup,omitempty"`

	// scheduledFor is what instant of the schedule that was for.
	// +optional
	// +kubebuilder:validation:XValidation:rule=`self > timestamp('0001-01-01T00:00:00Z')`,message="a time is as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	ScheduledFor *metav1.Time `json:"scheduledFor,omitempty"`

	// verified is the last Backup that is Ready.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Verified string `json:"verified,omitempty"`

	// verifiedAt is when the data of that were read from the workspace, by the store's clock.
	// +optional
	// +kubebuilder:validation:XValidation:rule=`self > timestamp('0001-01-01T00:00:00Z')`,message="a time is as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	VerifiedAt *metav1.Time `json:"verifiedAt,omitempty"`

	// drill is how the last drill went.
	// +optional
	Drill *DrillResult `json:"drill,omitempty"`
}

// DrillResult is the evidence of one rehearsal.
type DrillResult struct {
	// restore is the Restore that it was.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Restore string `json:"restore"`

	// backup is what was restored.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Backup string `json:"backup"`

	// at is when it ended.
	// +required
	// +kubebuilder:validation:XValidation:rule=`self > timestamp('0001-01-01T00:00:00Z')`,message="a time is as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	At metav1.Time `json:"at"`

	// passed tells whether everything came back as it was, and every check passed.
	// +required
	Passed *bool `json:"passed"`

	// seconds is how long it took until everything was restored, compared and checked.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	Seconds int32 `json:"seconds"`

	// bytesRead is how many bytes came from the store.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9007199254740991
	BytesRead int64 `json:"bytesRead"`

	// message says what differed, or which check failed.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`

	// checks are what came of each check, in their order.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	Checks []DrillCheckResult `json:"checks,omitempty"`

	// evidence is the signed record of all this in the bucket. Absent: it is not written yet.
	// +optional
	Evidence *DrillEvidence `json:"evidence,omitempty"`
}

// DrillCheckResult is what came of one check.
type DrillCheckResult struct {
	// name is the check's.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// passed tells whether it did.
	// +required
	Passed *bool `json:"passed"`

	// seconds is how long it took.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	Seconds int32 `json:"seconds"`

	// message says why it did not pass; the record has all of it.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Message string `json:"message,omitempty"`
}

// DrillEvidence is where the record of a drill is, and what it is known by.
type DrillEvidence struct {
	// repository is in whose bucket it is.
	// +optional
	Repository RepositoryName `json:"repository,omitempty"`

	// name is that of the record in the bucket, after the repository's prefix.
	// +required
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name"`

	// digest is the SHA-256 of the record as it lies there, in hexadecimal.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Digest string `json:"digest"`

	// signature is the Ed25519 signature of name and record, in base64, by the key that signs the tenant's backups.
	// +required
	// +kubebuilder:validation:MaxLength=88
	Signature string `json:"signature"`
}

// BackupPolicyStatus is how the policy stands.
type BackupPolicyStatus struct {
	// observedGeneration is the generation of the spec that the conditions speak of; -1 before the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready, Reconciling, Stalled, RecoveryPointKept, RecoveryTimeKept and FloorKept.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule=`self.all(c, c.lastTransitionTime > timestamp('0001-01-01T00:00:00Z'))`,message="lastTransitionTime is a time as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// nextRun is when the schedule is due next.
	// +optional
	// +kubebuilder:validation:XValidation:rule=`self > timestamp('0001-01-01T00:00:00Z')`,message="a time is as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	NextRun *metav1.Time `json:"nextRun,omitempty"`

	// effective is what holds for workspaces of a data class for which the consortium has a floor; for the others, the spec does.
	// +optional
	// +listType=map
	// +listMapKey=dataClass
	// +kubebuilder:validation:MaxItems=3
	Effective []EffectiveRules `json:"effective,omitempty"`

	// workspaces are those that it backs up.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=500
	Workspaces []PolicyWorkspace `json:"workspaces,omitempty"`

	// copies are how the same workspaces stand in the repositories of spec.copies.
	// +optional
	// +listType=map
	// +listMapKey=repository
	// +kubebuilder:validation:MaxItems=3
	Copies []PolicyCopy `json:"copies,omitempty"`
}

// PolicyCopy is how workspaces stand in a further repository.
type PolicyCopy struct {
	// repository is its name.
	// +required
	Repository RepositoryName `json:"repository"`

	// workspaces are those that are backed up there; they have no drills.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=500
	Workspaces []PolicyWorkspace `json:"workspaces,omitempty"`
}

// BackupPolicy has workspaces backed up on a schedule, keeps what retention says, rehearses restores, and is not Ready when a promise is broken
// (piano dei salvataggi). Write it in the comune's home namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=bkp,categories=broletto
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Schedule",type=string,JSONPath=`.spec.schedule`
// +kubebuilder:printcolumn:name="Repository",type=string,JSONPath=`.spec.repository`
// +kubebuilder:printcolumn:name="Next",type=date,JSONPath=`.status.nextRun`
// +kubebuilder:printcolumn:name="Point",type=string,JSONPath=`.status.conditions[?(@.type=="RecoveryPointKept")].reason`
// +kubebuilder:printcolumn:name="Time",type=string,JSONPath=`.status.conditions[?(@.type=="RecoveryTimeKept")].reason`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z0-9]+(-[a-z0-9]+)*$')",message="metadata.name is a DNS label of at most 40 characters without --, for example notturno: backups are named after it"
type BackupPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says what is backed up, when, and what is promised.
	// +required
	Spec BackupPolicySpec `json:"spec"`

	// status is how the policy stands; only the operator writes here.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status BackupPolicyStatus `json:"status,omitzero"`
}

// BackupPolicyList is a list of BackupPolicy objects.
//
// +kubebuilder:object:root=true
type BackupPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BackupPolicy `json:"items"`
}

// GetConditions returns the conditions, for the kit that sets them.
func (p *BackupPolicy) GetConditions() *[]metav1.Condition { return &p.Status.Conditions }

// SetObservedGeneration says which spec the conditions speak of.
func (p *BackupPolicy) SetObservedGeneration(generation int64) {
	p.Status.ObservedGeneration = generation
}

// GetObservedGeneration returns the generation that the conditions speak of; -1 before the first look.
func (p *BackupPolicy) GetObservedGeneration() int64 { return p.Status.ObservedGeneration }
