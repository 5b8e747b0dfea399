package terraform_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/broletto/broletto/operator/engine"
	"github.com/broletto/broletto/operator/engine/enginetest"
	"github.com/broletto/broletto/operator/engine/terraform"
)

const long = `
resource "terraform_data" "first" { input = "here" }
resource "terraform_data" "second" {
  input = terraform_data.first.output
  provisioner "local-exec" { command = "sleep 3" }
}
resource "terraform_data" "third" {
  input = terraform_data.second.output
  provisioner "local-exec" { command = "sleep 600" }
}
`

// OpenTofu as we build it writes its state every other second while it applies, so that a kill costs no more than that.
func TestKilledOpenTofuKnowsWhatItMade(t *testing.T) {
	t.Parallel()
	e := terraform.New(enginetest.Binary(t, "tofu"), "/nonexistent")
	dir := t.TempDir()
	w := engine.Work{
		Code: filepath.Join(dir, "code"), Dir: filepath.Join(dir, "dir"), State: filepath.Join(dir, "state"), Log: io.Discard,
		Env: map[string]string{"PATH": "/bin:/usr/bin"},
	}
	if err := os.Mkdir(w.Code, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.Code, "main.tf"), []byte(long), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := e.Prepare(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	plan, err := e.Plan(t.Context(), w, false)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- e.Apply(t.Context(), w, plan) }()
	await(t, func() bool {
		select {
		case err := <-ended:
			t.Fatal("it has ended by itself: ", err)
		default:
		}
		return sleeps(w.Code, "600")
	})
	killEngine(t, w.Code)
	if err := <-ended; err == nil {
		t.Error("a killed engine has applied its plan")
	}
	state, err := os.ReadFile(w.State)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{`"name": "first"`, `"name": "second"`} {
		if !bytes.Contains(state, []byte(name)) {
			t.Errorf("what was made before is not all in the state: no %s in\n%s", name, state)
		}
	}
}

// processes are those that work in a folder, with their arguments, by their id.
func processes(dir string) map[int][]string {
	all := map[int][]string{}
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, entry := range entries {
		if at, err := os.Readlink(entry + "/cwd"); err != nil || at != dir {
			continue
		}
		line, _ := os.ReadFile(entry + "/cmdline")
		pid, _ := strconv.Atoi(filepath.Base(entry))
		all[pid] = strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
	}
	return all
}

// sleeps tells whether a program in a folder sleeps for so many seconds.
func sleeps(dir, seconds string) bool {
	for _, args := range processes(dir) {
		if args[0] == "sleep" && args[len(args)-1] == seconds {
			return true
		}
	}
	return false
}

func killEngine(t *testing.T, dir string) {
	t.Helper()
	for pid, args := range processes(dir) {
		if filepath.Base(args[0]) == "tofu" && len(args) > 1 && args[1] == "apply" {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("no engine is at work")
}
