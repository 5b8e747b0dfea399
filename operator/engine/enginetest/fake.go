package enginetest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/broletto/broletto/operator/engine"
	"github.com/broletto/broletto/operator/run"
)

// Fake is an engine of no process and no world: its resources are in its state alone. It runs [FakeProgram]s.
type Fake struct{}

var _ engine.Engine = Fake{}

// FakeFile is the file of a [FakeProgram], as JSON.
const FakeFile = "program.json"

// FakeProgram is code for the [Fake]. A value is a text, or the name of an input after an =, or =env for the environment.
type FakeProgram struct {
	// Needs are the inputs without which it does not work.
	Needs []string `json:"needs,omitempty"`
	// Resources are made in this order, and deleted in the reverse one.
	Resources []FakeResource    `json:"resources,omitempty"`
	Outputs   map[string]string `json:"outputs,omitempty"`
}

// FakeResource is a resource of a [FakeProgram], of type fake.
type FakeResource struct {
	Name  string `json:"name"`
	Value string `json:"value,omitempty"`
	// Slow takes a minute to make, or until it is interrupted, after the file [FakeBegun] is in Work.Dir.
	Slow bool `json:"slow,omitempty"`
	// Fails is why it cannot be made.
	Fails string `json:"fails,omitempty"`
	// Prints is what making it prints, as a value.
	Prints string `json:"prints,omitempty"`
}

// FakeBegun is the file by which a slow resource tells that it has begun.
const FakeBegun = "begun"

// fakeState is what the fake keeps. Serial and lineage are where Terraform's are.
type fakeState struct {
	Serial    int64                      `json:"serial"`
	Lineage   string                     `json:"lineage"`
	Resources []fakeThing                `json:"resources"`
	Outputs   map[string]json.RawMessage `json:"outputs"`
}

type fakeThing struct {
	Name  string          `json:"name"`
	Value json.RawMessage `json:"value"`
}

// fakePlan is what is in a plan's file.
type fakePlan struct {
	State   string                     `json:"state"` // the digest of the state that it is made for
	Steps   []fakeStep                 `json:"steps"`
	Outputs map[string]json.RawMessage `json:"outputs"`
}

type fakeStep struct {
	Action   string          `json:"action"`
	Resource FakeResource    `json:"resource"`
	Value    json.RawMessage `json:"value,omitempty"`
	Prints   json.RawMessage `json:"prints,omitempty"`
}

// Prepare reads the program.
func (f Fake) Prepare(ctx context.Context, w engine.Work) error {
	if _, err := load(w); err != nil {
		return err
	}
	return ctx.Err()
}

// Plan compares program and state.
func (f Fake) Plan(ctx context.Context, w engine.Work, destroy bool) (*engine.Plan, error) {
	program, err := load(w)
	if err != nil {
		return nil, err
	}
	state, sum, err := recall(w)
	if err != nil {
		return nil, err
	}
	if destroy {
		program = &FakeProgram{}
	}
	todo := fakePlan{State: sum, Outputs: map[string]json.RawMessage{}}
	step := func(r FakeResource, action string, want json.RawMessage) {
		todo.Steps = append(todo.Steps, fakeStep{Action: action, Resource: r, Value: want, Prints: value(w, r.Prints)})
	}
	for _, r := range program.Resources {
		want := value(w, r.Value)
		switch has := state.find(r.Name); {
		case has == nil:
			step(r, run.ActionCreate, want)
		case string(has.Value) != string(want):
			step(r, run.ActionUpdate, want)
		}
	}
	for _, has := range slices.Backward(state.Resources) {
		if !slices.ContainsFunc(program.Resources, func(r FakeResource) bool { return r.Name == has.Name }) {
			step(FakeResource{Name: has.Name}, run.ActionDelete, nil)
		}
	}
	for name, text := range program.Outputs {
		todo.Outputs[name] = value(w, text)
	}
	file, err := json.Marshal(todo)
	if err != nil {
		return nil, err
	}
	return f.Read(ctx, w, file)
}

// Read reads a plan's steps.
func (f Fake) Read(ctx context.Context, w engine.Work, file []byte) (*engine.Plan, error) {
	var todo fakePlan
	state, sum, err := recall(w)
	switch {
	case err != nil:
		return nil, err
	case json.Unmarshal(file, &todo) != nil || todo.State != sum:
		return nil, errStale
	}
	plan := &engine.Plan{File: file, Outputs: map[string]engine.Values{}, Providers: []string{"fake"}}
	for _, s := range todo.Steps {
		v := engine.Values{After: s.Value}
		if has := state.find(s.Resource.Name); has != nil {
			v.Before = has.Value
		}
		plan.Changes = append(plan.Changes, engine.Change{Address: "fake." + s.Resource.Name, Type: "fake", Actions: []string{s.Action}, Values: v})
	}
	compareOutputs(plan.Outputs, state.Outputs, todo.Outputs)
	return plan, ctx.Err()
}

var errStale = &engine.Stale{Err: errors.New("the state is not the one that was planned for: plan again")}

func compareOutputs(changed map[string]engine.Values, before, after map[string]json.RawMessage) {
	for name, v := range after {
		if string(before[name]) != string(v) {
			changed[name] = engine.Values{Before: before[name], After: v}
		}
	}
	for name, v := range before {
		if _, stays := after[name]; !stays {
			changed[name] = engine.Values{Before: v}
		}
	}
}

// Apply takes the steps of the plan, and writes the state after each.
func (f Fake) Apply(ctx context.Context, w engine.Work, plan *engine.Plan) error {
	var todo fakePlan
	if err := json.Unmarshal(plan.File, &todo); err != nil {
		return fmt.Errorf("reading the plan: %w", err)
	}
	state, sum, err := recall(w)
	if err != nil {
		return err
	}
	if sum != todo.State {
		return errStale
	}
	for _, s := range todo.Steps {
		if err := s.take(ctx, w, state); err != nil {
			return err
		}
		if err := state.save(w); err != nil {
			return err
		}
		if w.Log != nil {
			_, _ = fmt.Fprintf(w.Log, "fake.%s: %s\n", s.Resource.Name, s.Action)
		}
	}
	state.Outputs = todo.Outputs
	return state.save(w)
}

// Outputs are those in the state.
func (f Fake) Outputs(ctx context.Context, w engine.Work) (map[string]json.RawMessage, error) {
	state, _, err := recall(w)
	if err != nil {
		return nil, err
	}
	return state.Outputs, ctx.Err()
}

func (s fakeStep) take(ctx context.Context, w engine.Work, state *fakeState) error {
	if len(s.Prints) > 0 && w.Log != nil {
		_, _ = io.WriteString(w.Log, string(s.Prints)+"\n")
	}
	if s.Resource.Slow && s.Action != run.ActionDelete {
		if err := os.WriteFile(filepath.Join(w.Dir, FakeBegun), nil, 0o600); err != nil {
			return err
		}
		timer := time.NewTimer(time.Minute)
		defer timer.Stop()
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("fake.%s was interrupted: %w", s.Resource.Name, err)
	}
	if s.Resource.Fails != "" {
		return fmt.Errorf("fake.%s: %s", s.Resource.Name, s.Resource.Fails)
	}
	switch has := state.find(s.Resource.Name); {
	case s.Action == run.ActionDelete:
		state.Resources = slices.DeleteFunc(state.Resources, func(t fakeThing) bool { return t.Name == s.Resource.Name })
	case has == nil:
		state.Resources = append(state.Resources, fakeThing{s.Resource.Name, s.Value})
	default:
		has.Value = s.Value
	}
	return nil
}

func load(w engine.Work) (*FakeProgram, error) {
	text, err := os.ReadFile(filepath.Join(w.Code, FakeFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &engine.Invalid{Err: err}
	}
	if err != nil {
		return nil, err
	}
	var program FakeProgram
	if err := json.Unmarshal(text, &program); err != nil {
		return nil, &engine.Invalid{Err: fmt.Errorf("%s: %w", FakeFile, err)}
	}
	for _, name := range program.Needs {
		if _, given := w.Inputs[name]; !given {
			return nil, &engine.Invalid{Err: fmt.Errorf("input %s is missing: set it", name)}
		}
	}
	return &program, nil
}

func value(w engine.Work, text string) json.RawMessage {
	name, refers := strings.CutPrefix(text, "=")
	switch {
	case text == "":
		return nil
	case !refers:
		return quote(text)
	case name == "env":
		var all []string
		for name, v := range w.Env {
			all = append(all, name+"="+v)
		}
		slices.Sort(all)
		return quote(strings.Join(all, "\n"))
	}
	if v, given := w.Inputs[name]; given {
		return v
	}
	return json.RawMessage("null")
}

// recall reads the state, and its digest.
func recall(w engine.Work) (*fakeState, string, error) {
	state := &fakeState{Outputs: map[string]json.RawMessage{}}
	text, err := os.ReadFile(w.State)
	if errors.Is(err, fs.ErrNotExist) {
		state.Lineage = rand.Text()
		return state, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	if err := json.Unmarshal(text, state); err != nil {
		return nil, "", fmt.Errorf("reading the state: %w", err)
	}
	sum := sha256.Sum256(text)
	return state, hex.EncodeToString(sum[:]), nil
}

func (s *fakeState) find(name string) *fakeThing {
	i := slices.IndexFunc(s.Resources, func(t fakeThing) bool { return t.Name == name })
	if i < 0 {
		return nil
	}
	return &s.Resources[i]
}

func (s *fakeState) save(w engine.Work) error {
	s.Serial++
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(w.State, text, 0o600)
}
