package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/broletto/broletto/operator/run"
)

// attempts bound how often a change is tried anew because somebody else wrote first.
const attempts = 20

// Vault keeps what belongs to stacks. Everything is safe to call from several replicas at once.
type Vault struct {
	store Store
	keys  Store

	mu    sync.Mutex
	known map[string]knownKey // by tenant
}

// New is a vault over a store, with the tenants' keys in another one, which may be the same.
func New(store, keys Store) *Vault {
	return &Vault{store: store, keys: keys, known: map[string]knownKey{}}
}

// Stack says whose things are meant.
type Stack struct {
	Tenant string
	UID    types.UID
}

// stackPrefix is what the names of all that belongs to stacks begin with.
const stackPrefix = "stack-"

func (s Stack) prefix() string { return stackPrefix + string(s.UID) + "." }

func (s Stack) of(run types.UID, what string) string {
	return s.prefix() + "run-" + string(run) + "." + what
}

// What is kept of a run.
const (
	order  = "order"
	source = "source"
	plan   = "plan"
	report = "report"
	used   = "used"
)

// PutOrder keeps what a run has to do; a later one replaces it.
func (v *Vault) PutOrder(ctx context.Context, s Stack, runUID types.UID, o run.Order) error {
	return v.putJSON(ctx, s, s.of(runUID, order), o)
}

// Order is what a run has to do.
func (v *Vault) Order(ctx context.Context, s Stack, runUID types.UID) (o run.Order, err error) {
	_, err = v.getJSON(ctx, s, s.of(runUID, order), &o)
	return o, err
}

// PutSource keeps the code that a run planned.
func (v *Vault) PutSource(ctx context.Context, s Stack, runUID types.UID, data []byte) error {
	return v.put(ctx, s, s.of(runUID, source), data)
}

// Source is the code that a run planned.
func (v *Vault) Source(ctx context.Context, s Stack, runUID types.UID) ([]byte, error) {
	data, _, err := v.get(ctx, s, s.of(runUID, source))
	return data, err
}

// PutPlan keeps what a run planned.
func (v *Vault) PutPlan(ctx context.Context, s Stack, runUID types.UID, data []byte) error {
	return v.put(ctx, s, s.of(runUID, plan), data)
}

// Plan is what a run planned.
func (v *Vault) Plan(ctx context.Context, s Stack, runUID types.UID) ([]byte, error) {
	data, _, err := v.get(ctx, s, s.of(runUID, plan))
	return data, err
}

// applied is what was applied last, in one piece, so that source and inputs always belong together.
type applied struct {
	Run    types.UID                  `json:"run"`
	Inputs map[string]json.RawMessage `json:"inputs,omitempty"`
	Secret []string                   `json:"secret,omitempty"`
	Source []byte                     `json:"source,omitempty"`
}

func (s Stack) applied() string { return s.prefix() + "applied" }

// Begin lets a run apply: it uses the plan of sourceRun up, which succeeds exactly once whoever asks ([ErrUsed] from then on), and makes
// that run's source and the order's inputs the ones that were applied last. Without a sourceRun, as of Destroy, the run itself is used up
// and what was applied last stays. If it fails halfway, the plan is used and nothing else has changed.
func (v *Vault) Begin(ctx context.Context, s Stack, runUID, sourceRun types.UID) error {
	if sourceRun == "" {
		return v.use(ctx, s, runUID, runUID)
	}
	source, err := v.Source(ctx, s, sourceRun)
	if err != nil {
		return err
	}
	return v.begin(ctx, s, runUID, sourceRun, source)
}

// BeginOwn is Begin of a run that applies what it planned itself, of a source that is kept nowhere else.
func (v *Vault) BeginOwn(ctx context.Context, s Stack, runUID types.UID, source []byte) error {
	return v.begin(ctx, s, runUID, runUID, source)
}

func (v *Vault) begin(ctx context.Context, s Stack, runUID, sourceRun types.UID, source []byte) error {
	o, err := v.Order(ctx, s, runUID)
	if err != nil {
		return err
	}
	if err := v.use(ctx, s, runUID, sourceRun); err != nil {
		return err
	}
	return v.putJSON(ctx, s, s.applied(), applied{Run: runUID, Inputs: o.Inputs, Secret: o.Secret, Source: source})
}

// use uses the plan of a run up.
func (v *Vault) use(ctx context.Context, s Stack, runUID, planRun types.UID) error {
	err := v.make(ctx, s, s.of(planRun, used), []byte(runUID))
	if errors.Is(err, ErrConflict) {
		return ErrUsed
	}
	return err
}

// AppliedSource is the code that was applied last.
func (v *Vault) AppliedSource(ctx context.Context, s Stack) ([]byte, error) {
	var a applied
	_, err := v.getJSON(ctx, s, s.applied(), &a)
	return a.Source, err
}

// AppliedInputs are the input variables that were applied last, and the names of the secret ones.
func (v *Vault) AppliedInputs(ctx context.Context, s Stack) (inputs map[string]json.RawMessage, secret []string, err error) {
	var a applied
	_, err = v.getJSON(ctx, s, s.applied(), &a)
	return a.Inputs, a.Secret, err
}

// PutReport keeps how a run ended. The first one counts: another one after it is [ErrConflict], the same one again is harmless.
func (v *Vault) PutReport(ctx context.Context, s Stack, runUID types.UID, r run.Report) error {
	data, err := json.Marshal(r)
	if err != nil {
		return wrap(err, "writing the report of run %s", runUID)
	}
	name := s.of(runUID, report)
	if err = v.make(ctx, s, name, data); !errors.Is(err, ErrConflict) {
		return err
	}
	first, _, err := v.get(ctx, s, name)
	if err == nil && !bytes.Equal(first, data) {
		return fmt.Errorf("run %s has reported otherwise before: %w", runUID, ErrConflict)
	}
	return err
}

// Report is how a run ended; nil when it has not said so.
func (v *Vault) Report(ctx context.Context, s Stack, runUID types.UID) (*run.Report, error) {
	var r run.Report
	_, err := v.getJSON(ctx, s, s.of(runUID, report), &r)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &r, nil
}

// ForgetRun takes away everything of a run, and nothing of what it applied. That its plan was used is forgotten last.
func (v *Vault) ForgetRun(ctx context.Context, s Stack, runUID types.UID) error {
	for _, what := range []string{plan, source, order, report, used} {
		if err := v.store.Delete(ctx, s.of(runUID, what)); err != nil {
			return wrap(err, "forgetting the %s of run %s", what, runUID)
		}
	}
	return nil
}

// Forget takes away everything of a stack.
func (v *Vault) Forget(ctx context.Context, s Stack) error {
	names, err := v.store.List(ctx, s.prefix())
	if err != nil {
		return wrap(err, "listing what is kept of stack %s", s.UID)
	}
	for _, name := range names {
		if err := v.store.Delete(ctx, name); err != nil {
			return wrap(err, "forgetting %s", name)
		}
	}
	return nil
}

// get reads and opens.
func (v *Vault) get(ctx context.Context, s Stack, name string) (data []byte, version string, err error) {
	sealed, version, err := v.store.Read(ctx, name)
	if err != nil {
		return nil, "", wrap(err, "reading %s", name)
	}
	data, err = v.open(ctx, s.Tenant, name, sealed)
	return data, version, err
}

// make seals and writes what must not exist.
func (v *Vault) make(ctx context.Context, s Stack, name string, data []byte) error {
	return v.replace(ctx, s, name, "", data)
}

// replace seals and writes over a version.
func (v *Vault) replace(ctx context.Context, s Stack, name, version string, data []byte) error {
	sealed, err := v.seal(ctx, s.Tenant, name, data)
	if err != nil {
		return err
	}
	_, err = v.store.Write(ctx, name, version, sealed)
	return wrap(err, "writing %s", name)
}

// put seals and writes, over whatever is there.
func (v *Vault) put(ctx context.Context, s Stack, name string, data []byte) error {
	sealed, err := v.seal(ctx, s.Tenant, name, data)
	if err != nil {
		return err
	}
	version := ""
	for range attempts {
		if _, err = v.store.Write(ctx, name, version, sealed); !errors.Is(err, ErrConflict) {
			break
		}
		_, current, readErr := v.store.Read(ctx, name)
		if readErr != nil && !errors.Is(readErr, ErrNotFound) {
			return wrap(readErr, "reading %s", name)
		}
		version = current
	}
	return wrap(err, "writing %s", name)
}

func (v *Vault) getJSON(ctx context.Context, s Stack, name string, into any) (version string, err error) {
	data, version, err := v.get(ctx, s, name)
	if err != nil {
		return "", err
	}
	if json.Unmarshal(data, into) != nil { // its error would quote what is secret
		return "", fmt.Errorf("%s in the vault is not what this operator writes: upgrade the operator", name)
	}
	return version, nil
}

func (v *Vault) putJSON(ctx context.Context, s Stack, name string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return wrap(err, "writing %s", name)
	}
	return v.put(ctx, s, name, data)
}
