// Package demo runs "broletto demo" as one who tries it does, as a process of its own on a control plane of its own: what it prints, how it
// ends, what it leaves behind, and what it says when it cannot go on.
package demo

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const (
	// soon is what a machine that does other things as well needs for one thing.
	soon = 20 * time.Second
	// long is what it needs for a control plane to start or end.
	long = time.Minute
)

// broletto is the path of the command.
var broletto string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "broletto-demo-")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		err = build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/demo:", err)
		return 1
	}
	broletto = filepath.Join(dir, "broletto")
	return m.Run()
}

// build builds the command, and the runner beside it, where the demo looks for it, as the Makefile does: it stands alone in its image.
func build(dir string) error {
	for _, program := range []string{"broletto", "broletto-runner"} {
		command := exec.Command("go", "build", "-ldflags", "-s -w", "-o", filepath.Join(dir, program), "github.com/broletto/broletto/operator/cmd/"+program)
		if program == "broletto-runner" {
			command.Env = append(os.Environ(), "CGO_ENABLED=0")
		}
		if out, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w\n%s", program, err, out)
		}
	}
	return nil
}
