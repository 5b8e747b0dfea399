// Package pulumi runs stacks with Pulumi, through its automation API. It must never let a program reach what is not in its Work: the
// API's own command would hand on this process's environment, so it is given another.
//
// The engine keeps state in a backend of files in Work.Dir, made anew from Work.State for each call: what a killed engine left there, such
// as a lock, is not seen again.
package pulumi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi/sdk/v3/go/auto"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optdestroy"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optpreview"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optup"

	"github.com/broletto/broletto/operator/engine"
	"github.com/broletto/broletto/operator/engine/leash"
)

// Engine is Pulumi.
type Engine struct {
	// Grace is what an interrupted call gets to end by itself.
	Grace time.Duration

	folder string

	mu      sync.Mutex
	version *semver.Version
}

var _ engine.Engine = (*Engine)(nil)

// DefaultGrace leaves a runner that has five minutes some to save and report.
const DefaultGrace = 3 * time.Minute

// New makes an engine of the pulumi in a folder, which also has the language hosts and providers that there are: none is ever fetched.
func New(folder string) *Engine { return &Engine{Grace: DefaultGrace, folder: folder} }

// stackName is the name of every stack here; its URNs have it, and the project's name.
const stackName = "stack"

// Files of ours in Work.Dir.
const (
	configFile     = "config.yaml"
	passphraseFile = "passphrase"
	planFile       = "plan.json"
	homeFolder     = "home"
	tempFolder     = "tmp"
	backendFolder  = "backend"
)

// file is what is in a plan's File.
type file struct {
	// State is the digest of the state that was planned on. The engine applies a plan as often as it is told to.
	State   string          `json:"state"`
	Destroy bool            `json:"destroy,omitempty"`
	Plan    json.RawMessage `json:"plan,omitempty"`
}

// Prepare writes what the engine reads. Programs need no more than that, so what is wrong with one is seen by Plan.
func (e *Engine) Prepare(ctx context.Context, w engine.Work) error {
	if _, err := project(w.Code); err != nil {
		return err
	}
	if _, err := readState(w.State); err != nil {
		return err
	}
	return errors.Join(furnish(ctx, w), ctx.Err())
}

// Plan previews after a look at the world, and reads what the engine would save of it.
func (e *Engine) Plan(ctx context.Context, w engine.Work, destroy bool) (*engine.Plan, error) {
	c, err := e.begin(ctx, w)
	if err != nil {
		return nil, err
	}
	defer c.end()
	if destroy {
		return c.planDestroy(ctx)
	}
	path := filepath.Join(w.Dir, planFile)
	heard := hear()
	_, err = c.stack.Preview(ctx, optpreview.Plan(path), optpreview.Refresh(), optpreview.ConfigFile(filepath.Join(w.Dir, configFile)),
		optpreview.Color("never"), optpreview.EventStreams(heard.events), optpreview.ProgressStreams(c.log),
		optpreview.ErrorProgressStreams(c.log))
	heard.end()
	if err != nil {
		return nil, failed(ctx, "preview", err, heard, true)
	}
	saved, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	plan, err := read(ctx, saved, c.state, &keyring{passphrase: w.Passphrase})
	if err != nil {
		return nil, fmt.Errorf("reading the plan of pulumi: %w", err)
	}
	plan.File, err = json.Marshal(file{State: c.state.digest, Plan: saved})
	return plan, err
}

// Read reads what the engine saved, which takes no engine.
func (e *Engine) Read(ctx context.Context, w engine.Work, kept []byte) (*engine.Plan, error) {
	var f file
	s, err := readState(w.State)
	switch {
	case err != nil:
		return nil, err
	case json.Unmarshal(kept, &f) != nil || f.Destroy: // its error would quote what is secret
		return nil, &engine.Stale{Err: errors.New("what was kept is no plan of pulumi: plan again")}
	case f.State != s.digest:
		return nil, errStale
	}
	plan, err := read(ctx, f.Plan, s, &keyring{passphrase: w.Passphrase})
	if err != nil {
		return nil, fmt.Errorf("reading the plan of pulumi: %w", err)
	}
	plan.File = kept
	return plan, nil
}

var errStale = &engine.Stale{Err: errors.New("the state is not the one that was planned on: plan again")}

// planDestroy has no plan of the engine's to save: destroying takes none. What it does follows of the state alone.
func (c *call) planDestroy(ctx context.Context) (*engine.Plan, error) {
	plan := &engine.Plan{Outputs: map[string]engine.Values{}}
	if len(c.state.Resources) > 0 {
		heard := hear()
		_, err := c.stack.PreviewDestroy(ctx, optdestroy.ConfigFile(filepath.Join(c.w.Dir, configFile)), optdestroy.Color("never"),
			optdestroy.EventStreams(heard.events), optdestroy.ProgressStreams(c.log), optdestroy.ErrorProgressStreams(c.log))
		heard.end()
		if err != nil {
			return nil, failed(ctx, "destroy preview", err, heard, false)
		}
		keys := &keyring{passphrase: c.w.Passphrase}
		if plan, err = readDestroy(ctx, heard.steps, c.state, keys); err != nil {
			return nil, err
		}
	}
	var err error
	plan.File, err = json.Marshal(file{State: c.state.digest, Destroy: true})
	return plan, err
}

// Apply applies the saved plan. The state is copied to Work.State whenever the engine has written it.
func (e *Engine) Apply(ctx context.Context, w engine.Work, plan *engine.Plan) error {
	var f file
	if err := json.Unmarshal(plan.File, &f); err != nil {
		return fmt.Errorf("reading the plan: %w", err)
	}
	c, err := e.begin(ctx, w)
	if err != nil {
		return err
	}
	defer c.end()
	if f.State != c.state.digest {
		return errStale
	}
	if f.Destroy && len(c.state.Resources) == 0 {
		return nil
	}
	path := filepath.Join(w.Dir, planFile)
	if err := write(path, f.Plan); err != nil {
		return err
	}
	following := follow(c.checkpoint, w)
	heard := hear()
	verb := "up"
	if f.Destroy {
		verb = "destroy"
		_, err = c.stack.Destroy(ctx, optdestroy.ConfigFile(filepath.Join(w.Dir, configFile)), optdestroy.Color("never"),
			optdestroy.ShowSecrets(false), optdestroy.EventStreams(heard.events), optdestroy.ProgressStreams(c.log),
			optdestroy.ErrorProgressStreams(c.log))
	} else {
		_, err = c.stack.Up(ctx, optup.Plan(path), optup.Refresh(), optup.ConfigFile(filepath.Join(w.Dir, configFile)),
			optup.Color("never"), optup.ShowSecrets(false), optup.SuppressOutputs(), optup.EventStreams(heard.events),
			optup.ProgressStreams(c.log), optup.ErrorProgressStreams(c.log))
	}
	heard.end()
	c.end() // whatever is left of it writes no more state after this
	if copied := following.end(); copied != nil {
		return errors.Join(err, fmt.Errorf("the state of pulumi, which is in %s: %w", c.checkpoint, copied))
	}
	if err != nil {
		return failed(ctx, verb, err, heard, false)
	}
	return nil
}

// Outputs are read from the state, which has them encrypted.
func (e *Engine) Outputs(ctx context.Context, w engine.Work) (map[string]json.RawMessage, error) {
	s, err := readState(w.State)
	if err != nil {
		return nil, err
	}
	return s.outputs(ctx, &keyring{passphrase: w.Passphrase})
}

// call is one call of the port.
type call struct {
	w          engine.Work
	log        io.Writer
	state      *state
	checkpoint string
	stack      auto.Stack
	leash      *leash.Leash
	ended      bool
}

func (c *call) end() {
	if !c.ended {
		c.ended = true
		c.leash.Release()
	}
}

func (e *Engine) begin(ctx context.Context, w engine.Work) (_ *call, err error) {
	name, err := project(w.Code)
	if err != nil {
		return nil, err
	}
	c := &call{w: w, log: io.Discard, leash: leash.Hold(ctx, e.Grace)}
	defer func() {
		if err != nil {
			c.end()
		}
	}()
	if w.Log != nil {
		c.log = &guarded{to: w.Log}
	}
	if c.state, err = readState(w.State); err != nil {
		return nil, err
	}
	c.state.tellPending(c.log)
	if c.checkpoint, err = c.state.spread(filepath.Join(w.Dir, backendFolder), name); err != nil {
		return nil, err
	}
	cmd := &command{path: filepath.Join(e.folder, "pulumi"), env: e.environment(w, c.leash), grace: e.Grace, leash: c.leash}
	if cmd.version, err = e.versionOf(ctx, cmd, w.Code); err != nil {
		return nil, err
	}
	workspace, err := auto.NewLocalWorkspace(ctx, auto.WorkDir(w.Code), auto.Pulumi(cmd))
	if err != nil {
		return nil, err
	}
	if c.stack, err = auto.SelectStack(ctx, stackName, workspace); err != nil {
		return nil, failed(ctx, "stack select", err, nil, false)
	}
	return c, nil
}

// versionOf asks once.
func (e *Engine) versionOf(ctx context.Context, cmd *command, dir string) (semver.Version, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.version != nil {
		return *e.version, nil
	}
	out, _, _, err := cmd.Run(ctx, dir, nil, nil, nil, nil, "version")
	if err != nil {
		return semver.Version{}, fmt.Errorf("asking %s for its version: %w", cmd.path, err)
	}
	v, err := semver.ParseTolerant(out)
	if err != nil {
		return semver.Version{}, fmt.Errorf("the version of %s: %w", cmd.path, err)
	}
	e.version = &v
	return v, nil
}

// environment is all that the engine sees.
func (e *Engine) environment(w engine.Work, held *leash.Leash) map[string]string {
	env := map[string]string{"HOME": filepath.Join(w.Dir, homeFolder), "TMPDIR": filepath.Join(w.Dir, tempFolder)}
	maps.Copy(env, w.Env)
	path := e.folder // language hosts and providers are found on PATH
	if w.Env["PATH"] != "" && w.Env["PATH"] != e.folder {
		path += string(os.PathListSeparator) + w.Env["PATH"]
	}
	maps.Copy(env, map[string]string{
		"PATH":                          path,
		"PULUMI_HOME":                   filepath.Join(w.Dir, homeFolder),
		"PULUMI_BACKEND_URL":            "file://" + filepath.Join(w.Dir, backendFolder),
		"PULUMI_CONFIG_PASSPHRASE_FILE": filepath.Join(w.Dir, passphraseFile),
		"PULUMI_SKIP_UPDATE_CHECK":      "true",
		"PULUMI_AUTOMATION_API":         "true",
		"PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION":   "true",
		"PULUMI_DIY_BACKEND_DISABLE_CHECKPOINT_BACKUPS": "true",
		leash.Variable: held.Mark(),
	})
	return env
}

// write writes for us alone: plans and states hold secrets.
func write(path string, data []byte) error { return os.WriteFile(path, data, 0o600) }

// guarded lets both streams be written at once.
type guarded struct {
	mu sync.Mutex
	to io.Writer
}

func (g *guarded) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.to.Write(p)
}
