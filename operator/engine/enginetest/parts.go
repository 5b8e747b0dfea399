package enginetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/broletto/broletto/operator/engine"
	"github.com/broletto/broletto/operator/engine/leash"
	"github.com/broletto/broletto/operator/run"
)

// lifeCycle is a stack's, from nothing to nothing.
func lifeCycle(t *testing.T, s Subject) {
	b := lay(t, s, s.Greeting, "")
	b.greet("buongiorno", "first-secret-8841")
	b.prepare()
	b.prepare() // harmless

	first, second := b.plan(false), b.plan(false)
	if does(first, run.ActionCreate) == 0 || does(first, run.ActionUpdate)+does(first, run.ActionDelete) > 0 {
		t.Errorf("a plan of new code creates, and does nothing else: %+v", first.Changes)
	}
	if one, two := digestOf(first), digestOf(second); one != two {
		t.Errorf("two plans of the same have digests %s and %s:\n%+v\n%+v", one, two, first, second)
	}
	if b.Left != nil && b.Left() > 0 {
		t.Error("planning made something")
	}

	// An approval is applied by another runner than planned. It knows the file alone.
	other := b.elsewhere()
	again, err := other.Engine.Read(t.Context(), other.w, first.File)
	if err != nil {
		t.Fatal(err)
	}
	if one, two := digestOf(first), digestOf(again); one != two {
		t.Errorf("a plan's file says otherwise than the plan, %s and %s:\n%+v\n%+v", one, two, first, again)
	}
	for what, file := range map[string][]byte{"nothing": nil, "half a file": first.File[:len(first.File)/2]} {
		if p, err := other.Engine.Read(t.Context(), other.w, file); err == nil {
			t.Errorf("%s is read as a plan: %+v", what, p)
		}
	}
	other.apply(again)
	b.wantOutputs("buongiorno", "first-secret-8841")
	b.wantLeft(true)
	b.wantEmpty("a plan of what was just applied", b.plan(false))
	b.wantRefused("a plan that was applied", first)
	b.wantRefused("a plan of what was before", second)

	b.change(first)
	if s.Lose != nil {
		s.Lose()
		drift := b.plan(false)
		if len(drift.Changes) == 0 {
			t.Error("a plan does not see what was changed behind the engine's back")
		}
		b.apply(drift)
		b.wantEmpty("a plan of what was mended", b.plan(false))
	}
	b.end()
	b.wantTidy()
	for _, secret := range []string{"first-secret-8841", "second-secret-8842"} {
		if strings.Contains(b.log.String(), secret) {
			t.Errorf("secret %s is in the log, and the code does not print it", secret)
		}
	}
}

// change changes the inputs, each alone.
func (b *bench) change(first *engine.Plan) {
	b.t.Helper()
	b.greet("buonasera", "first-secret-8841")
	b.prepare()
	update := b.plan(false)
	if len(update.Changes) == 0 || len(update.Outputs) == 0 {
		b.t.Errorf("a plan with another input changes nothing, or no output: %+v, %+v", update.Changes, update.Outputs)
	}
	if digestOf(update) == digestOf(first) {
		b.t.Error("another plan has the same digest")
	}
	b.apply(update)
	b.wantOutputs("buonasera", "first-secret-8841")

	b.greet("buonasera", "second-secret-8842")
	b.prepare()
	one := b.plan(false)
	if empty(one) {
		b.t.Error("a plan with another secret is empty")
	}
	b.greet("buonasera", "other-secret-8843")
	b.prepare()
	if other := b.plan(false); digestOf(one) == digestOf(other) {
		b.t.Error("plans with different secrets have the same digest")
	}
	b.greet("buonasera", "second-secret-8842")
	b.prepare()
	b.apply(one)
	b.wantOutputs("buonasera", "second-secret-8842")
}

// end destroys, twice.
func (b *bench) end() {
	b.t.Helper()
	plan := b.plan(true)
	if does(plan, run.ActionDelete) == 0 || does(plan, run.ActionUpdate)+does(plan, run.ActionCreate) > 0 {
		b.t.Errorf("a plan to destroy deletes, and does nothing else: %+v", plan.Changes)
	}
	other := b.elsewhere()
	other.apply(plan)
	b.wantLeft(false)
	again := other.plan(true)
	b.wantEmpty("a plan to destroy nothing", again)
	other.apply(again)

	fresh := lay(b.t, b.Subject, b.Greeting, "") // without any state
	fresh.greet("buongiorno", "first-secret-8841")
	fresh.prepare()
	never := fresh.plan(true)
	fresh.wantEmpty("a plan to destroy what never was", never)
	fresh.apply(never)
	if outputs := fresh.outputs(); len(outputs) > 0 {
		b.t.Errorf("outputs of nothing: %v", outputs)
	}
}

// elsewhere is the same stack on another machine: code and folder anew, the same state.
func (b *bench) elsewhere() *bench {
	b.t.Helper()
	other := lay(b.t, b.Subject, b.Greeting, b.w.State)
	other.w.Inputs, other.w.Secret = b.w.Inputs, b.w.Secret
	other.prepare()
	return other
}

// wantRefused wants a plan to be told stale, and nothing done.
func (b *bench) wantRefused(what string, plan *engine.Plan) {
	b.t.Helper()
	before := b.state()
	err := b.Engine.Apply(b.t.Context(), b.w, plan)
	if _, stale := errors.AsType[*engine.Stale](err); !stale {
		b.t.Errorf("%s is applied: error %v, want a Stale", what, err)
	}
	if !bytes.Equal(before, b.state()) {
		b.t.Errorf("%s changed the state", what)
	}
}

func invalid(t *testing.T, s Subject) {
	for name, program := range map[string]map[string]string{"broken": s.Broken, "demanding": s.Demanding} {
		b := lay(t, s, program, "")
		err := s.Engine.Prepare(t.Context(), b.w)
		if err == nil {
			_, err = s.Engine.Plan(t.Context(), b.w, false)
		}
		if _, invalid := errors.AsType[*engine.Invalid](err); !invalid {
			t.Errorf("%s: error %v, want an Invalid", name, err)
		}
	}
	if s.Left != nil && s.Left() > 0 {
		t.Error("something was made")
	}
}

// interrupted wants an interrupted apply to keep what it did, and to leave no process.
func interrupted(t *testing.T, s Subject) {
	b := lay(t, s, s.Slow, "")
	b.prepare()
	plan := b.plan(false)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Engine.Apply(ctx, b.w, plan) }()
	s.Begun(t, b.w)
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want that of the context", err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("apply goes on after its context is done")
	}
	if pids := leash.Marked(mine, b.w.Env[mine]); len(pids) > 0 {
		t.Errorf("processes outlived the call: %v", pids)
	}

	// Another runner, which has the state alone, knows what there is.
	again := lay(t, s, s.Slow, b.w.State)
	again.prepare()
	undo := again.plan(true)
	if does(undo, run.ActionDelete) == 0 {
		t.Errorf("state does not know what was made: %s", b.state())
	}
	again.apply(undo)
	again.wantLeft(false)
}

// environment wants programs to see what a Work gives them, and nothing of ours.
func environment(t *testing.T, s Subject) {
	if s.Spy == nil {
		t.Skip("programs cannot look at their environment")
	}
	canary := rand.Text()
	t.Setenv("BROLETTO_CANARY", canary)
	b := lay(t, s, s.Spy, "")
	b.w.Env["BROLETTO_GIVEN"] = "given-" + canary[:4]
	b.prepare()
	seen := string(b.plan(false).Outputs["environment"].After)
	if strings.Contains(seen, canary) {
		t.Error("a program sees our environment")
	}
	if !strings.Contains(seen, "BROLETTO_GIVEN=given-"+canary[:4]) {
		t.Errorf("a program does not see the environment it was given, but %s", seen)
	}
}

// wantTidy wants nothing beside the folders of the work, and beside the state.
func (b *bench) wantTidy() {
	b.t.Helper()
	for dir, want := range map[string]int{filepath.Dir(b.w.Code): 3, filepath.Dir(b.w.State): 1} {
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != want {
			b.t.Errorf("something was written beside the folders of the work: %v, %v", entries, err)
		}
	}
}
