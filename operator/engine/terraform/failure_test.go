package terraform

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/broletto/broletto/operator/engine"
)

func exitError(t *testing.T) error {
	t.Helper()
	err := exec.Command("/bin/sh", "-c", "exit 1").Run()
	if _, is := errors.AsType[*exec.ExitError](err); !is {
		t.Fatal(err)
	}
	return err
}

type printed struct {
	error
	text string
}

func (p printed) Error() string { return "exit status 1\n" + p.text }
func (p printed) Unwrap() error { return p.error }

func TestWhoseTurnItIs(t *testing.T) {
	const warning = "\nWarning: Deprecated flag: -state\n\nUse something else.\n"
	for name, c := range map[string]struct {
		reason, text string
		blame        blame
		invalid      bool
		stale        bool
		want         string
	}{
		"variable":  {"the author's", warning + "\nError: No value for required variable\n\n  on main.tf line 1:\n", ofAuthor, true, false, "No value"},
		"provider":  {"anybody's", "\nError: configmaps is forbidden\n", ofAuthor, false, false, "tofu plan: configmaps is forbidden"},
		"boxed":     {"read too", "╷\n│ Error: Invalid index\n│ \n│   on main.tf\n╵\n", ofAuthor, true, false, "Invalid index\non main.tf"},
		"stale":     {"planned before", "\nError: Saved plan is stale\n\nThe given plan file\n", never, false, true, "stale"},
		"version":   {"planned by another", "\nError: Failed to load plan\n\nplan file was created by Terraform 1.9.0, but", never, false, true, "1.9.0"},
		"anything":  {"init's", "\nError: Failed to query available provider packages\n", always, true, false, "query"},
		"no titles": {"a crash", "panic: oh no\n", ofAuthor, false, false, "oh no"},
	} {
		t.Run(name, func(t *testing.T) {
			err := (&call{name: "tofu"}).failed(t.Context(), "plan", printed{exitError(t), c.text}, c.blame)
			var invalid *engine.Invalid
			var stale *engine.Stale
			if errors.As(err, &invalid) != c.invalid || errors.As(err, &stale) != c.stale {
				t.Errorf("%s: %T", c.reason, err)
			}
			if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "Deprecated") {
				t.Errorf("%s: %q, want %q in it and no warning", c.reason, err, c.want)
			}
		})
	}
}

func TestInterruptedIsNoVerdict(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := (&call{name: "tofu"}).failed(ctx, "init", printed{exitError(t), "\nError: operation canceled\n"}, always)
	var invalid *engine.Invalid
	if !errors.Is(err, context.Canceled) || errors.As(err, &invalid) {
		t.Errorf("%T %v", err, err)
	}
}

func TestChatterLeavesOutOurFlag(t *testing.T) {
	var kept strings.Builder
	c := &chatter{to: &kept}
	for line := range strings.Lines("one\n╷\n│ Warning: Deprecated flag: -state\n│ \n│ Use `path`:\n│ https://example.org\n╵\ntwo\n") {
		if _, err := c.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if got := kept.String(); strings.Contains(got, "Deprecated") || !strings.HasPrefix(got, "one\n") || !strings.HasSuffix(got, "two\n") {
		t.Errorf("%q", got)
	}
}

// What cannot be written is printed instead, by an engine that means well.
func TestChatterLeavesOutTheState(t *testing.T) {
	for name, dump := range map[string]string{
		"in one line": `{"version":4,"resources":[{"password":"pianta"}]}` + "\n",
		"in many":     "{\n  \"version\": 4,\n  \"password\": \"pianta\"\n}\n",
	} {
		var kept strings.Builder
		c := &chatter{to: &kept}
		for line := range strings.Lines("one\n" + dump + "\ntwo\n") {
			if _, err := c.Write([]byte(line)); err != nil {
				t.Fatal(err)
			}
		}
		if got := kept.String(); got != "one\n[the state is left out]\n\ntwo\n" {
			t.Errorf("%s: %q", name, got)
		}
	}
	if text, _ := digest("Error: no space left\n" + `{"password":"pianta"}` + "\n"); text != "no space left" {
		t.Errorf("%q", text)
	}
}

// An engine that prints for ever takes no memory, and ends: at once when it prints errors, which are held, else at the deadline.
func TestEndlessOutput(t *testing.T) {
	for stream, want := range map[string]string{"1": "was interrupted", "2": "it printed more than 4 MiB of errors"} {
		binary := filepath.Join(t.TempDir(), "tofu")
		script := `#!/bin/sh
[ "$1" = version ] && { echo '{"terraform_version": "1.12.6"}'; exit; }
trap "" INT TERM
yes "there is no end to it, and nobody reads it" >&` + stream + "\n"
		if err := os.WriteFile(binary, []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		e := New(binary, t.TempDir())
		e.Grace = 10 * time.Millisecond
		w := engine.Work{Code: t.TempDir(), Dir: t.TempDir(), Env: map[string]string{"PATH": os.Getenv("PATH")}, Log: io.Discard}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		err := e.Prepare(ctx, w)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("stream %s: %v, want %q", stream, err, want)
		}
		var m runtime.MemStats
		if runtime.ReadMemStats(&m); m.HeapSys > 128<<20 {
			t.Errorf("stream %s: %d MiB of memory", stream, m.HeapSys>>20)
		}
	}
}
