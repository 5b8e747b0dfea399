package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestBuildOnceForAllProcesses(t *testing.T) {
	root, source := t.TempDir(), tinySource(t, tinyProgram)
	count := filepath.Join(t.TempDir(), "count")
	// A slow build makes sure that the others come while it runs.
	wrapGo(t, "echo built >> "+count+"\nsleep 1\nexec $go \"$@\"")

	const processes = 8
	outputs := make([]bytes.Buffer, processes)
	var all sync.WaitGroup
	for i := range processes {
		cmd := helper(t, "build", root, source)
		cmd.Stdout, cmd.Stderr = &outputs[i], &outputs[i]
		all.Go(func() {
			if err := cmd.Run(); err != nil {
				t.Errorf("process %d: %v\n%s", i, err, &outputs[i])
			}
		})
	}
	all.Wait()

	builds, _ := os.ReadFile(count)
	if got := strings.Count(string(builds), "built"); got != 1 {
		t.Errorf("%d builds, want 1", got)
	}
	var waited int
	for i := range outputs {
		waited += strings.Count(outputs[i].String(), "waiting for another process that builds tiny")
	}
	if waited != processes-1 {
		t.Errorf("%d processes said that they wait, want %d", waited, processes-1)
	}
}

func TestKilledBuildLeavesNoBinary(t *testing.T) {
	root, source := t.TempDir(), tinySource(t, tinyProgram)
	b, _ := tinyBuilder(t, root, tinyModule(source, "tiny"))
	path := os.Getenv("PATH")
	// Writes half a binary to where it was told, and hangs.
	wrapGo(t, `while [ "$1" != -o ]; do shift; done; printf half > "$2"; exec sleep 60`)
	cmd := helper(t, "build", root, source)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	half := func() []string {
		found, _ := filepath.Glob(filepath.Join(b.dir(), "tiny.build-*", "tiny"))
		return found
	}
	eventually(t, "half a binary is written", func() bool { return len(half()) == 1 })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if exists(filepath.Join(b.dir(), "tiny")) {
		t.Error("half a binary has the final name")
	}

	t.Setenv("PATH", path)
	dir, err := b.all(t.Context(), []string{"tiny"})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(filepath.Join(dir, "tiny")).CombinedOutput(); err != nil || string(out) != "whole\n" {
		t.Errorf("got %q, %v from the binary, want whole", out, err)
	}
	if len(half()) != 0 {
		t.Errorf("leftovers %v", half())
	}
}

func TestBuildGivesUpWithItsContext(t *testing.T) {
	root, source := t.TempDir(), tinySource(t, tinyProgram)
	b, out := tinyBuilder(t, root, tinyModule(source, "tiny"))
	b.heartbeat = 20 * time.Millisecond

	t.Run("while building", func(t *testing.T) {
		pid := filepath.Join(t.TempDir(), "pid")
		wrapGo(t, "echo $$ > "+pid+"; exec sleep 60")
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			eventually(t, "the build runs", func() bool { return exists(pid) })
			time.Sleep(100 * time.Millisecond)
			cancel()
		}()
		begun := time.Now()
		if _, err := b.all(ctx, []string{"tiny"}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want that it is cancelled", err)
		}
		if took := time.Since(begun); took > 4*time.Second {
			t.Errorf("took %s", took)
		}
		if !strings.Contains(out.String(), "still building tiny") {
			t.Errorf("no heartbeat in %q", out)
		}
	})
	t.Run("while waiting", func(t *testing.T) {
		held, err := tryLock(filepath.Join(b.dir(), "tiny.lock"))
		if held == nil {
			t.Fatal("the lock was not free:", err)
		}
		defer func() { _ = held.Close() }()
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
		defer cancel()
		if _, err := b.all(ctx, []string{"tiny"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline", err)
		}
		if got := strings.Count(out.String(), "waiting for another process"); got != 1 {
			t.Errorf("said %d times that it waits, want once", got)
		}
	})
}

func TestBuildErrors(t *testing.T) {
	good := tinySource(t, tinyProgram)
	cases := map[string]struct {
		reason  string
		name    string
		source  string
		prepare func(t *testing.T)
		cause   error
		want    []string
	}{
		"no go command": {
			reason:  "the first thing that a newcomer lacks",
			prepare: func(t *testing.T) { t.Setenv("PATH", t.TempDir()) },
			cause:   ErrNoGo,
			want:    []string{"tiny", "https://go.dev/dl", "KUBEBUILDER_ASSETS"},
		},
		"disk full while building": {
			reason: "the linker says so in prose only",
			prepare: func(t *testing.T) {
				wrapGo(t, "echo 'link: mapping output file failed: no space left on device' >&2; exit 1")
			},
			cause: ErrNoSpace,
			want:  []string{"BROLETTO_CACHE", "GOCACHE"},
		},
		"does not compile": {
			reason: "the compiler's words are the explanation",
			source: tinySource(t, "package main\n\nfunc main() { nonsense() }\n"),
			want:   []string{"go build of tiny v1.36.3", "undefined: nonsense"},
		},
		"network down": {
			reason:  "the modules come from somewhere",
			prepare: func(t *testing.T) { wrapGo(t, "echo 'go: dial tcp: lookup proxy: no such host' >&2; exit 1") },
			want:    []string{"check the network", "no such host"},
		},
		"unknown binary": {
			reason: "a typing mistake",
			name:   "tinny",
			want:   []string{`"tinny"`, "choose from tiny"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if c.source == "" {
				c.source = good
			}
			if c.name == "" {
				c.name = "tiny"
			}
			if c.prepare != nil {
				c.prepare(t)
			}
			b, _ := tinyBuilder(t, t.TempDir(), tinyModule(c.source, "tiny"))
			_, err := b.all(t.Context(), []string{c.name})
			wantError(t, err, c.cause, c.want...)
			if exists(filepath.Join(b.dir(), c.name)) {
				t.Error("a binary is there")
			}
		})
	}
}

// wantError checks what an error is, and that it is an *Error that says what is needed.
func wantError(t *testing.T, err, cause error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if cause != nil && !errors.Is(err, cause) {
		t.Errorf("the error is not %q: %v", cause, err)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("no %q in the error: %v", text, err)
		}
	}
}

func TestTooLittleSpaceIsToldBeforehand(t *testing.T) {
	b, out := tinyBuilder(t, t.TempDir(), tinyModule(tinySource(t, tinyProgram), "tiny"))
	b.modules[0].programs[0].space = math.MaxUint64
	_, err := b.all(t.Context(), []string{"tiny"})
	wantError(t, err, ErrNoSpace, "MiB needed", "set GOCACHE")
	if strings.Contains(out.String(), "building") {
		t.Error("it began to build")
	}
}

func TestWarmCacheNeedsNothing(t *testing.T) {
	b, _ := tinyBuilder(t, t.TempDir(), tinyModule(tinySource(t, tinyProgram), "tiny"))
	write(t, filepath.Join(b.dir(), "tiny"), "", 0o755)
	t.Setenv("PATH", t.TempDir())
	if dir, err := b.all(t.Context(), []string{"tiny"}); err != nil || dir != b.dir() {
		t.Errorf("got %s, %v; want %s", dir, err, b.dir())
	}
}

func TestKeyNamesWhatShapesTheBinaries(t *testing.T) {
	base := key(modules, this)
	if again := key(modules, this); again != base {
		t.Errorf("two keys of one thing: %s, %s", base, again)
	}
	changes := map[string]func(m *module){
		"go.mod":  func(m *module) { m.mod = append([]byte("// new\n"), m.mod...) },
		"go.sum":  func(m *module) { m.sum = append([]byte("\n"), m.sum...) },
		"flags":   func(m *module) { m.stamp = "example.com/version." },
		"program": func(m *module) { m.programs = []program{{name: "other"}} },
		"setting": func(m *module) { m.set = "example.com/version.dev=no" },
		"source":  func(m *module) { m.digest = "other" },
	}
	for name, change := range changes {
		changed := append([]module(nil), modules...)
		change(&changed[0])
		if key(changed, this) == base {
			t.Errorf("another %s has the same key", name)
		}
	}
}

func TestVersionsComeFromTheModuleFiles(t *testing.T) {
	for _, m := range slices.Concat(modules, nodeModules, engineModules, storeModules, backupModules) {
		if v := m.version(); v == "v0.0.0" || !bytes.Contains(m.sum, []byte(m.path+" "+v+" ")) {
			t.Errorf("%s: version %s is not in its go.sum", m.path, v)
		}
	}
	flags := fmt.Sprint(modules[0].arguments())
	v := modules[0].version()
	for _, want := range []string{"gitVersion=" + v, "gitMajor=1 ", "gitMinor=" + strings.Split(v, ".")[1] + "]"} {
		if !strings.Contains(flags, want) {
			t.Errorf("no %q in %s", want, flags)
		}
	}
	flags = fmt.Sprint(engineModules[1].arguments())
	if want := "version.Version=" + engineModules[1].version() + "]"; !strings.Contains(flags, want) {
		t.Errorf("no %q in %s", want, flags)
	}
}

func TestAssets(t *testing.T) {
	script := func(version string) string { return "#!/bin/sh\necho Kubernetes " + version + "\n" }
	cases := map[string]struct {
		reason string
		assets map[string]string
		built  bool
		cause  error
		want   []string
	}{
		"complete": {
			reason: "nothing to build, whatever the version",
			assets: map[string]string{"etcd": "", "kube-apiserver": script("v1.30.0"), "kube-controller-manager": ""},
		},
		"as setup-envtest makes it": {
			reason: "the controller manager is built",
			assets: map[string]string{"etcd": "", "kube-apiserver": script("v1.36.9")},
			built:  true,
		},
		"of another minor release": {
			reason: "a controller manager newer than the API server is not supported",
			assets: map[string]string{"etcd": "", "kube-apiserver": script("v1.35.2")},
			want:   []string{"no kube-controller-manager there", "v1.36.3 would not fit its kube-apiserver v1.35.2", "unset KUBEBUILDER_ASSETS"},
		},
		"without etcd": {
			reason: "a wrong path, most likely",
			assets: map[string]string{"kube-apiserver": script("v1.36.3")},
			want:   []string{"no etcd there", "unset KUBEBUILDER_ASSETS"},
		},
		"broken": {
			reason: "of another architecture, for example",
			assets: map[string]string{"etcd": "", "kube-apiserver": "#!/bin/sh\nexit 1\n"},
			want:   []string{"kube-apiserver: exit status 1", "unset KUBEBUILDER_ASSETS"},
		},
	}
	source := tinySource(t, tinyProgram)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			assets := t.TempDir()
			for file, text := range c.assets {
				write(t, filepath.Join(assets, file), text, 0o755)
			}
			b, out := tinyBuilder(t, t.TempDir(), tinyModule(source, serverNames...))
			for range 2 { // the second time finds the links
				dir, err := b.fromAssets(t.Context(), assets, serverNames)
				if c.want != nil {
					wantError(t, err, c.cause, append(c.want, assets)...)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				for _, name := range serverNames {
					got, _ := os.ReadFile(filepath.Join(dir, name))
					if text, given := c.assets[name]; given && string(got) != text {
						t.Errorf("%s is not the one of the assets", name)
					} else if !given && len(got) == 0 {
						t.Errorf("%s was not built", name)
					}
				}
			}
			if said := strings.Contains(out.String(), "KUBEBUILDER_ASSETS has no kube-controller-manager"); said != c.built {
				t.Errorf("told that it builds: %v, want %v", said, c.built)
			}
		})
	}
}

// TestEditedSource builds a program of a source that says something else than what was downloaded, and none of one that has nothing to be edited.
func TestEditedSource(t *testing.T) {
	source := tinySource(t, tinyProgram)
	for name, c := range map[string]struct{ from, want string }{
		"once":  {`println("whole")`, ""},
		"never": {`println("half")`, "0 times"},
		"twice": {"main", "2 times"},
	} {
		t.Run(name, func(t *testing.T) {
			modules := tinyModule(source, "tiny")
			modules[0].edits = []edit{{file: "cmd/main.go", from: c.from, to: `println("edited")`}}
			b, _ := tinyBuilder(t, t.TempDir(), modules)
			dir, err := b.all(t.Context(), []string{"tiny"})
			if c.want != "" {
				wantError(t, err, nil, "example.com/tiny v1.36.3", c.want, "hack/kube/engines.go")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(filepath.Join(dir, "tiny")).CombinedOutput(); err != nil || string(out) != "edited\n" {
				t.Errorf("got %q, %v from the binary, want edited", out, err)
			}
			if text, err := os.ReadFile(filepath.Join(source, "cmd", "main.go")); err != nil || string(text) != tinyProgram {
				t.Errorf("the source itself is now %q, %v", text, err)
			}
			if plain := tinyModule(source, "tiny"); key(plain, this) == key(modules, this) {
				t.Error("the edit has no say in where the program is kept")
			}
		})
	}
}
