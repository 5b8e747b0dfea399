// Package terraform runs stacks with Terraform or OpenTofu, which are driven alike. It must never let code reach what is not in its Work:
// no provider but the mirror's, no environment but the one given, no state but the one file.
package terraform

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/hashicorp/terraform-exec/tfexec"
	tfjson "github.com/hashicorp/terraform-json"

	"github.com/broletto/broletto/operator/engine"
	"github.com/broletto/broletto/operator/engine/leash"
)

// Engine is Terraform or OpenTofu.
type Engine struct {
	// Grace is what an interrupted call gets to end by itself.
	Grace time.Duration

	binary, mirror string

	mu   sync.Mutex
	last *tfexec.Terraform // of the Work before: it has asked for the engine's version
}

var _ engine.Engine = (*Engine)(nil)

// DefaultGrace leaves a runner that has five minutes some to save and report.
const DefaultGrace = 3 * time.Minute

// New makes an engine of the terraform or tofu at path binary, with the providers of the filesystem mirror in folder mirror and no others.
func New(binary, mirror string) *Engine {
	return &Engine{Grace: DefaultGrace, binary: binary, mirror: mirror}
}

// Files of ours in Work.Dir.
const (
	settingsFile = "settings.tfrc"
	inputsFile   = "inputs.tfvars.json"
	planFile     = "plan"
	dataFolder   = "data"
	homeFolder   = "home"
	// lockFile is the author's choice of versions and hashes. Its hashes are seldom those of the mirror's unpacked providers, with
	// which init would refuse to work; and what the mirror has is chosen by whoever runs the platform.
	lockFile = ".terraform.lock.hcl"
	// sumFile holds the digest of the lock file as init wrote it.
	sumFile = "lock.sum"
)

// Prepare writes settings and inputs, and initializes the code. What is wrong with it beyond that is seen by Plan.
func (e *Engine) Prepare(ctx context.Context, w engine.Work) error {
	if err := e.furnish(w); err != nil {
		return err
	}
	c, err := e.begin(ctx, w)
	if err != nil {
		return err
	}
	defer c.end()
	c.loud()
	if err := c.tf.Init(ctx); err != nil {
		return c.failed(ctx, "init", err, always)
	}
	return trust(w)
}

// hashes are those of one provider in a lock file.
var hashes = regexp.MustCompile(`(?ms)^ *hashes = \[.*?\]\n`)

// trust notes which providers init has found, and takes their hashes out of the lock file: every command would read all of a provider to
// compare it with what init has read of the same file in this run.
func trust(w engine.Work) error {
	path := filepath.Join(w.Code, lockFile)
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // no providers, no lock file
		return err
	}
	sum := sha256.Sum256(text)
	if err := write(filepath.Join(w.Dir, sumFile), sum[:]); err != nil || text == nil {
		return err
	}
	return write(path, hashes.ReplaceAll(text, nil))
}

// Plan plans, and reads the plan from its JSON.
func (e *Engine) Plan(ctx context.Context, w engine.Work, destroy bool) (*engine.Plan, error) {
	c, err := e.begin(ctx, w)
	if err != nil {
		return nil, err
	}
	defer c.end()
	file := filepath.Join(w.Dir, planFile)
	c.loud()
	_, err = c.tf.Plan(ctx, tfexec.Out(file), stateOf(w), tfexec.Lock(false), tfexec.Destroy(destroy),
		tfexec.VarFile(filepath.Join(w.Dir, inputsFile)))
	if err != nil {
		return nil, c.explain(ctx, c.failed(ctx, "plan", err, ofAuthor))
	}
	plan, err := c.show(ctx, file)
	if err != nil {
		return nil, err
	}
	sum, err := os.ReadFile(filepath.Join(w.Dir, sumFile))
	if err != nil {
		return nil, err
	}
	plan.File, err = os.ReadFile(file)
	plan.File = append(sum, plan.File...)
	return plan, err
}

// show reads a plan's file.
func (c *call) show(ctx context.Context, file string) (*engine.Plan, error) {
	c.quiet() // it prints secrets
	shown, err := c.tf.ShowPlanFile(ctx, file, tfexec.JSONNumber(true))
	if err != nil {
		return nil, c.failed(ctx, "show", err, never)
	}
	plan, err := read(shown)
	if err != nil {
		return nil, fmt.Errorf("reading the plan of %s: %w", c.name, err)
	}
	return plan, nil
}

// Read shows a plan's file.
func (e *Engine) Read(ctx context.Context, w engine.Work, kept []byte) (*engine.Plan, error) {
	file, err := unseal(w, kept)
	if err != nil {
		return nil, err
	}
	c, err := e.begin(ctx, w)
	if err != nil {
		return nil, err
	}
	defer c.end()
	plan, err := c.show(ctx, file)
	if err != nil {
		return nil, err
	}
	plan.File = kept
	return plan, nil
}

// unseal writes a kept plan to the file that the engine reads, if it was made with the providers that there are.
func unseal(w engine.Work, kept []byte) (file string, err error) {
	sum, err := os.ReadFile(filepath.Join(w.Dir, sumFile))
	if err != nil {
		return "", err
	}
	content, same := bytes.CutPrefix(kept, sum)
	if !same {
		return "", &engine.Stale{Err: errors.New("the providers are not those that the plan was made with: plan again")}
	}
	file = filepath.Join(w.Dir, planFile)
	return file, write(file, content)
}

// explain lets the engine say what is wrong with code that cannot be planned. It is not asked before: it would start all providers once more.
func (c *call) explain(ctx context.Context, failure error) error {
	c.quiet() // it prints JSON, which is below
	if verdict, err := c.tf.Validate(ctx); ctx.Err() == nil && err == nil && !verdict.Valid {
		return invalid(verdict)
	}
	return failure
}

// Apply applies the plan's file. The engine writes state as each resource is done.
func (e *Engine) Apply(ctx context.Context, w engine.Work, plan *engine.Plan) error {
	file, err := unseal(w, plan.File)
	if err != nil {
		return err
	}
	c, err := e.begin(ctx, w)
	if err != nil {
		return err
	}
	defer c.end()
	c.loud()
	// No lock: the state is this run's alone, and a lock would outlive a kill. No backup: it would be outside the folders of the Work.
	err = c.tf.Apply(ctx, tfexec.DirOrPlan(file), stateOf(w), tfexec.Lock(false), tfexec.Backup("-"))
	if err != nil {
		return c.failed(ctx, "apply", err, never)
	}
	return nil
}

// stateVersion is that of the states whose outputs we know where to find.
const stateVersion = 4

// Outputs are read from the state.
func (e *Engine) Outputs(ctx context.Context, w engine.Work) (map[string]json.RawMessage, error) {
	text, err := os.ReadFile(w.State)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]json.RawMessage{}, nil
	}
	if err != nil {
		return nil, err
	}
	var state struct {
		Version int `json:"version"`
		Outputs map[string]struct {
			Value json.RawMessage `json:"value"`
		} `json:"outputs"`
	}
	if json.Unmarshal(text, &state) != nil || state.Version != stateVersion { // its error would quote what is secret
		return e.ask(ctx, w)
	}
	outputs := make(map[string]json.RawMessage, len(state.Outputs))
	for name, o := range state.Outputs {
		var compact bytes.Buffer
		if err := json.Compact(&compact, o.Value); err != nil {
			return nil, fmt.Errorf("output %s in the state is not JSON", name)
		}
		outputs[name] = compact.Bytes()
	}
	return outputs, nil
}

// ask asks the engine for the outputs of a state that only it can read.
func (e *Engine) ask(ctx context.Context, w engine.Work) (map[string]json.RawMessage, error) {
	c, err := e.begin(ctx, w)
	if err != nil {
		return nil, err
	}
	defer c.end()
	c.quiet() // it prints secrets
	metas, err := c.tf.Output(ctx, stateOf(w))
	if err != nil {
		return nil, c.failed(ctx, "output", err, never)
	}
	outputs := make(map[string]json.RawMessage, len(metas))
	for name, meta := range metas {
		outputs[name] = meta.Value
	}
	return outputs, nil
}

func (e *Engine) name() string { return filepath.Base(e.binary) }

// furnish puts into Work.Dir what the engine reads there.
func (e *Engine) furnish(w engine.Work) error {
	for _, dir := range []string{dataFolder, homeFolder} {
		if err := os.MkdirAll(filepath.Join(w.Dir, dir), 0o700); err != nil {
			return err
		}
	}
	// Nothing but the mirror: no registry is asked, so this is also the list of what is allowed. In the engine's own language, as what it
	// does not understand here it warns of and does without.
	settings := fmt.Appendf(nil, "disable_checkpoint = true\nprovider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", e.mirror)
	inputs := []byte("{}")
	if len(w.Inputs) > 0 {
		var err error
		if inputs, err = json.Marshal(w.Inputs); err != nil {
			return fmt.Errorf("encoding the inputs: %w", err)
		}
	}
	if err := write(filepath.Join(w.Dir, settingsFile), settings); err != nil {
		return err
	}
	if err := write(filepath.Join(w.Dir, inputsFile), inputs); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(w.Code, lockFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// write writes for us alone: plans and inputs hold secrets.
func write(path string, data []byte) error { return os.WriteFile(path, data, 0o600) }

// call is one call of the port: a few commands.
type call struct {
	name  string
	tf    *tfexec.Terraform
	log   io.Writer
	leash *leash.Leash
	flood *flood // of the command that runs
}

func (e *Engine) begin(ctx context.Context, w engine.Work) (*call, error) {
	tf, err := e.instance(w)
	if err != nil {
		return nil, err
	}
	if err := tf.SetWaitDelay(e.Grace); err != nil {
		return nil, err
	}
	held := leash.Hold(ctx, e.Grace)
	c := &call{name: e.name(), tf: tf, log: io.Discard, leash: held}
	if w.Log != nil {
		c.log = &chatter{to: w.Log}
	}
	// Engine and provider would make certificates for each other at each start of a provider, six times a run, for a fifth of its processor
	// time. They speak over a socket in TMPDIR that only the run's own user can open, and whoever is that user is the same stack's code.
	err = cmp.Or(tf.SetEnv(environment(w, held)), tf.SetDisablePluginTLS(true))
	if err != nil {
		c.end()
		return nil, fmt.Errorf("the environment of %s: %w", c.name, err)
	}
	c.quiet()
	if _, _, err := tf.Version(ctx, false); err != nil { // the rest is asked of the instance, not of the binary again
		defer c.end()
		return nil, c.failed(ctx, "version", err, never)
	}
	return c, nil
}

// instance is the one of the call before, if that was of the same Work: the engine is asked once for its version.
func (e *Engine) instance(w engine.Work) (*tfexec.Terraform, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.last != nil && e.last.WorkingDir() == w.Code {
		return e.last, nil
	}
	tf, err := tfexec.NewTerraform(w.Code, e.binary)
	e.last = tf
	return tf, err
}

// environment is all that the engine sees: tfexec hands on this process's where none is set.
func environment(w engine.Work, held *leash.Leash) map[string]string {
	env := map[string]string{"HOME": filepath.Join(w.Dir, homeFolder)} // unset, it would be looked up in /etc/passwd
	maps.Copy(env, w.Env)
	env["TF_CLI_CONFIG_FILE"] = filepath.Join(w.Dir, settingsFile)
	env["TF_DATA_DIR"] = filepath.Join(w.Dir, dataFolder)
	env["CHECKPOINT_DISABLE"] = "1"
	env[leash.Variable] = held.Mark()
	return env
}

func (c *call) end() { c.leash.Release() }

// loud and quiet say whether what the next commands print is for the log. What they print as JSON never is. What they print on standard
// error always comes with the error.
func (c *call) loud() {
	c.tf.SetStdout(c.log)
	c.tf.SetStderr(c.bound(c.log))
}

func (c *call) quiet() {
	c.tf.SetStdout(io.Discard)
	c.tf.SetStderr(c.bound(io.Discard))
}

// bound kills the engine when it has printed more errors than anybody reads: all are held in memory, for the error of the command.
func (c *call) bound(to io.Writer) io.Writer {
	c.flood = &flood{to: to, left: maxErrors, over: c.leash.Kill}
	return c.flood
}

// invalid makes an error of a verdict's diagnostics.
func invalid(verdict *tfjson.ValidateOutput) error {
	if verdict.Valid {
		return nil
	}
	var errs []error
	for _, d := range verdict.Diagnostics {
		if d.Severity != tfjson.DiagnosticSeverityError {
			continue
		}
		where := ""
		if d.Range != nil {
			where = fmt.Sprintf("%s:%d: ", d.Range.Filename, d.Range.Start.Line)
		}
		text := where + d.Summary
		if d.Detail != "" {
			text += ": " + d.Detail
		}
		errs = append(errs, errors.New(text))
	}
	if len(errs) == 0 {
		errs = append(errs, errors.New("the code is not valid"))
	}
	return &engine.Invalid{Err: errors.Join(errs...)}
}

// stateOf names the state's file. A backend block, which upstream would rather have, could be overridden by the code.
func stateOf(w engine.Work) *tfexec.StateOption {
	return tfexec.State(w.State) //nolint:staticcheck // see above
}
