package run

import (
	"encoding/json"
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/broletto/broletto/api/v1alpha1"
)

// Audience is whom a runner's token is for: the broker, and nobody else.
const Audience = "broletto-broker"

// What a runner asks of the broker, over TLS, with its token as bearer. Every answer but a success is a [Problem] as JSON.
const (
	// PathOrder is what to do: POST answers an [Order] and takes the lock of the state; asking again is harmless.
	PathOrder = "/v1/order"
	// PathBeat tells that the runner lives: POST answers a [Beat]. One every [BeatEvery].
	PathBeat = "/v1/beat"
	// PathApplying asks leave to apply, right before: POST answers 204 once, after the broker has put source and inputs where a later
	// Destroy finds them and has used the plan up. A second time, from whomever, is refused as OutOfDate. A Converge sends its source.
	PathApplying = "/v1/applying"
	// PathReport ends the run: PUT takes a [Report] and gives the lock back. The first report counts; the same one again is harmless.
	PathReport = "/v1/report"
	// PathSource, PathPlan and PathState hold bytes: GET answers them, 404 when there are none; PUT takes them, at most [MaxBlob]. A Plan
	// alone puts source and plan.
	// A plan is what an engine needs to apply it; a source is a [Pack] of files. PUT of a state wants [HeaderSerial] and [HeaderLineage].
	PathSource = "/v1/source"
	PathPlan   = "/v1/plan"
	PathState  = "/v1/state"
)

// Headers beside a state.
const (
	// HeaderSerial is a count that grows with every state of a stack, given by the runner: what it read, plus one for each it saved since.
	HeaderSerial = "Broletto-Serial"
	// HeaderLineage is what the engine calls the state's lineage; empty where it has none. A state of another lineage is refused.
	HeaderLineage = "Broletto-Lineage"
)

const (
	// BeatEvery is the time between two signs of life.
	BeatEvery = 10 * time.Second
	// Overtime is how much longer than its run a runner may live: until then it tries to bring state and report home.
	Overtime = 5 * time.Minute
	// MaxBlob bounds a source, a plan or a state, in bytes.
	MaxBlob = 32 << 20
)

// Order is what one run does. It holds secrets: it is never logged, and goes to the runner only.
type Order struct {
	Run       string              `json:"run"`       // name of the StackRun
	Stack     string              `json:"stack"`     // <tenant>/<name>
	Namespace string              `json:"namespace"` // of the workspace
	Operation v1alpha1.Operation  `json:"operation"`
	Engine    v1alpha1.EngineName `json:"engine"`
	// Source is where the code is to be had. Apply, Look and Destroy have none: they take the Pack that PathSource answers.
	Source *Source `json:"source,omitempty"`
	// Inputs are the input variables, any JSON.
	Inputs map[string]json.RawMessage `json:"inputs,omitempty"`
	// Secret are the names among Inputs whose values are redacted wherever they turn up.
	Secret []string `json:"secret,omitempty"`
	// Approved is the digest of the plan that Apply applies.
	Approved v1alpha1.Digest `json:"approved,omitempty"`
	// PlanRun is the UID of the StackRun whose source and plan Apply applies; the broker looks them up by it.
	PlanRun types.UID `json:"planRun,omitempty"`
	// MaxDestroy and Protected are the stack's own bounds of a plan.
	MaxDestroy *int32   `json:"maxDestroy,omitempty"`
	Protected  []string `json:"protected,omitempty"`
	// Forbidden are types of resource and data source that the platform rules out, such as external; * at the end stands for any rest.
	Forbidden []string `json:"forbidden,omitempty"`
	// Key makes digests and passphrases of this stack; no other stack has it. 32 bytes.
	Key []byte `json:"key"`
	// Serial is that of the state which PathState answers; 0 when there is none.
	Serial int64 `json:"serial"`
	// Deadline is when the run is over, whatever it does.
	Deadline time.Time `json:"deadline"`
}

// Source is where a stack's code is to be had, with what it takes to get it.
type Source struct {
	v1alpha1.StackSource `json:",inline"`
	// Credentials are the keys of the Secret that the source names.
	Credentials map[string][]byte `json:"credentials,omitempty"`
	// Ranges are those of private addresses that the platform lets sources be at; all other private ones are refused.
	Ranges []netip.Prefix `json:"ranges,omitempty"`
}

// Beat is the answer to a sign of life.
type Beat struct {
	// Stop asks the runner to interrupt its engine, save what is there, and report.
	Stop bool `json:"stop,omitempty"`
}

// Report is how a run ended.
type Report struct {
	// Failure is why it failed; nil: it succeeded.
	Failure *v1alpha1.RunFailure `json:"failure,omitempty"`
	// Revision is what of the source was used.
	Revision string `json:"revision,omitempty"`
	// Plan is what was planned; nil: it came to no plan.
	Plan *v1alpha1.PlanSummary `json:"plan,omitempty"`
	// Applied says that engine was told to apply, whether or not it came to its end.
	Applied bool `json:"applied,omitempty"`
	// Serial is that of the state that was saved last.
	Serial int64 `json:"serial,omitempty"`
	// Outputs are the outputs after an apply, any JSON, secret.
	Outputs map[string]json.RawMessage `json:"outputs,omitempty"`
}

// Problem is why the broker refused.
type Problem struct {
	// Class says whose turn it is.
	Class v1alpha1.FailureClass `json:"class"`
	// Message says which object, why, and the way out.
	Message string `json:"message"`
}

// Error is the message.
func (p *Problem) Error() string { return p.Message }
