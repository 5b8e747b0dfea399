// Command torture makes holes in Broletto on purpose, one at a time, and wants to see a test fail for each: a test that passes with the
// hole in it proves nothing. The holes stand in mutants.yaml. No file of the repository is touched: the compiler is given the changed file in
// place of the real one.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/yaml"
)

//go:embed mutants.yaml
var table []byte

// mutant is one hole.
type mutant struct {
	Name    string `json:"name"`    // what is wrong then
	File    string `json:"file"`    // of the repository
	From    string `json:"from"`    // a text that stands in it once
	To      string `json:"to"`      // what stands there instead
	Package string `json:"package"` // whose tests are to see it; ./test/security if none is named
	Test    string `json:"test"`    // which of them is
}

// verdict is what became of a mutant.
type verdict struct {
	caught  bool
	seconds float64
	output  string
}

func main() {
	only := flag.String("only", "", "regular expression: make only the holes whose name matches")
	flag.Parse()
	if err := run(*only); err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		os.Exit(1)
	}
}

func run(only string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	wanted, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	var mutants []mutant
	if err := yaml.UnmarshalStrict(table, &mutants); err != nil {
		return fmt.Errorf("reading mutants.yaml: %w", err)
	}
	caught, made := 0, 0
	var failures []error
	for _, m := range mutants {
		if !wanted.MatchString(m.Name) {
			continue
		}
		made++
		v, err := m.try(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			failures = append(failures, fmt.Errorf("%s: %w", m.Name, err))
		case !v.caught:
			failures = append(failures, fmt.Errorf("%s: nobody noticed: %s of %s passed", m.Name, m.Test, m.Package))
		default:
			caught++
			fmt.Printf("%5.1f s  caught by %-28s %s\n", v.seconds, m.Test, m.Name)
		}
	}
	fmt.Printf("%d holes made, %d caught\n", made, caught)
	return errors.Join(failures...)
}

// try makes the hole and runs the test that is to see it.
func (m *mutant) try(ctx context.Context) (v verdict, err error) {
	if m.Package == "" {
		m.Package = "./test/security"
	}
	dir, err := os.MkdirTemp("", "broletto-torture-")
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	overlay, err := m.overlay(dir)
	if err != nil {
		return v, err
	}
	begun := time.Now()
	command := exec.CommandContext(ctx, "go", "test", "-count=1", "-overlay="+overlay, "-run=^"+m.Test+"$", m.Package)
	output, failed := command.CombinedOutput()
	v.seconds, v.output = time.Since(begun).Seconds(), string(output)
	v.caught = failed != nil && strings.Contains(v.output, "--- FAIL: "+m.Test)
	if failed != nil && !v.caught {
		return v, fmt.Errorf("the test did not run: %w\n%s", failed, v.output)
	}
	if strings.Contains(v.output, "no tests to run") {
		return v, fmt.Errorf("there is no test %s in %s", m.Test, m.Package)
	}
	return v, nil
}

// overlay writes the changed file, and the file that tells the compiler of it.
func (m *mutant) overlay(dir string) (string, error) {
	text, err := os.ReadFile(m.File)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(text), m.From); n != 1 {
		return "", fmt.Errorf("in %s its text stands %d times, not once: mend the row\n%s", m.File, n, m.From)
	}
	real, err := filepath.Abs(m.File)
	if err != nil {
		return "", err
	}
	changed := filepath.Join(dir, filepath.Base(m.File))
	if err := os.WriteFile(changed, []byte(strings.Replace(string(text), m.From, m.To, 1)), 0o600); err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{real: changed}})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, overlay, 0o600)
}
