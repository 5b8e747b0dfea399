package enginetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/broletto/broletto/operator/engine"
	"github.com/broletto/broletto/operator/run"
)

// passphrase is of the length of real ones.
const passphrase = "5f0c1a9be0c14b3bb1b8a3a0b0f55ad6"

// key makes the digests of these tests.
var key = []byte("0123456789abcdef0123456789abcdef")

// bench is one stack on this machine.
type bench struct {
	t *testing.T
	Subject
	w   engine.Work
	log *lines
}

// lay lays out a stack as a runner does: the state where it is, all else new.
func lay(t *testing.T, s Subject, program map[string]string, state string) *bench {
	t.Helper()
	root := t.TempDir()
	log := &lines{}
	w := engine.Work{
		Code: filepath.Join(root, "code"), Dir: filepath.Join(root, "dir"), State: state,
		Env: map[string]string{mine: filepath.Base(filepath.Dir(root)) + filepath.Base(root)}, Passphrase: passphrase, Log: log,
	}
	maps.Copy(w.Env, s.Env)
	if state == "" {
		w.State = filepath.Join(root, "state", "state.json")
		if err := os.Mkdir(filepath.Dir(w.State), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{w.Code, w.Dir} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range program {
		if err := os.WriteFile(filepath.Join(w.Code, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("what the engine printed:\n%s", log)
		}
	})
	return &bench{t: t, Subject: s, w: w, log: log}
}

// mine marks what a test has started, for [bench.lonely].
const mine = "BROLETTO_TEST_CALL"

func (b *bench) greet(greeting, password string) {
	b.w.Inputs = map[string]json.RawMessage{"greeting": quote(greeting), "password": quote(password)}
	b.w.Secret = []string{"password"}
}

func (b *bench) prepare() {
	b.t.Helper()
	if err := b.Engine.Prepare(b.t.Context(), b.w); err != nil {
		b.t.Fatalf("prepare: %v", err)
	}
}

func (b *bench) plan(destroy bool) *engine.Plan {
	b.t.Helper()
	plan, err := b.Engine.Plan(b.t.Context(), b.w, destroy)
	if err != nil {
		b.t.Fatalf("plan: %v", err)
	}
	for _, c := range plan.Changes {
		if c.Address == "" || c.Type == "" || len(c.Actions) == 0 {
			b.t.Errorf("a change lacks address, type or actions: %+v", c)
		}
	}
	return plan
}

func (b *bench) apply(plan *engine.Plan) {
	b.t.Helper()
	if err := b.Engine.Apply(b.t.Context(), b.w, plan); err != nil {
		b.t.Fatalf("apply: %v", err)
	}
}

func (b *bench) outputs() map[string]any {
	b.t.Helper()
	raw, err := b.Engine.Outputs(b.t.Context(), b.w)
	if err != nil {
		b.t.Fatalf("outputs: %v", err)
	}
	outputs := map[string]any{}
	for name, value := range raw {
		var v any
		if err := json.Unmarshal(value, &v); err != nil {
			b.t.Fatalf("output %s is no JSON: %v", name, err)
		}
		outputs[name] = v
	}
	return outputs
}

func (b *bench) wantOutputs(greeting, password string) {
	b.t.Helper()
	want := map[string]any{"greeting": greeting, "password": password}
	if diff := cmp.Diff(want, b.outputs()); diff != "" {
		b.t.Errorf("outputs (-want +got):\n%s", diff)
	}
}

func (b *bench) state() []byte {
	b.t.Helper()
	data, err := os.ReadFile(b.w.State)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.t.Fatal(err)
	}
	return data
}

// wantEmpty wants a plan that has nothing to do.
func (b *bench) wantEmpty(what string, plan *engine.Plan) {
	b.t.Helper()
	if !empty(plan) {
		b.t.Errorf("%s is not empty: %+v, outputs %+v", what, plan.Changes, plan.Outputs)
	}
}

func (b *bench) wantLeft(want bool) {
	b.t.Helper()
	if b.Left == nil {
		return
	}
	if n := b.Left(); (n > 0) != want {
		b.t.Errorf("%d things are there, want some: %t", n, want)
	}
}

func empty(plan *engine.Plan) bool { return len(plan.Changes) == 0 && len(plan.Outputs) == 0 }

// does counts the changes with an action.
func does(plan *engine.Plan, action string) int {
	n := 0
	for _, c := range plan.Changes {
		for _, a := range c.Actions {
			if a == action {
				n++
			}
		}
	}
	return n
}

func digestOf(plan *engine.Plan) string { return string(run.Digest(key, plan.Changes, plan.Outputs)) }

func quote(s string) json.RawMessage {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return text
}

// lines is a log that many write.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}
