package terraform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"

	"github.com/broletto/broletto/operator/engine"
)

// blame says whether what a command printed is about code and inputs.
type blame func(titles []string) bool

// always: init does nothing but look for the modules and providers that the code names.
func always([]string) bool { return true }

func never([]string) bool { return false }

// ofAuthor knows errors of evaluation by their titles: a plan's other errors come from providers, and may go away by themselves. They
// are the same in both engines.
func ofAuthor(titles []string) bool { return slices.ContainsFunc(titles, isAuthors) }

var authors = []string{
	"No value for required variable", "Invalid value for variable", "Invalid value for input variable", "Value for undeclared variable",
	"Unsupported attribute", "Unsupported argument", "Missing required argument", "Invalid index", "Invalid function argument",
	"Error in function call", "Invalid for_each argument", "Invalid count argument", "Invalid template interpolation value",
	"Incorrect attribute value type", "Incorrect condition type", "Inconsistent conditional result types", "Invalid operand",
	"Attempt to index null value", "Attempt to get attribute from null value", "Iteration over null value", "Null value found in list",
	"Resource precondition failed", "Module output value precondition failed", "Output refers to sensitive values",
	"Invalid reference", "Reference to undeclared resource", "Reference to undeclared input variable", "Cycle:",
	"Instance cannot be destroyed",
}

func isAuthors(title string) bool {
	return slices.ContainsFunc(authors, func(known string) bool { return strings.HasPrefix(title, known) })
}

// stales are the titles with which an engine refuses a plan that is not of this state, or not of these providers or this engine.
var stales = []string{
	"Saved plan is stale", "Saved plan does not match the given state", "Inconsistent dependency lock file",
	"Provider dependency changed since", "Invalid plan file",
}

func isStale(title string) bool {
	return slices.ContainsFunc(stales, func(known string) bool { return strings.HasPrefix(title, known) })
}

// failed is the error of one command. An interrupted one is no verdict on anything, whatever it printed.
func (c *call) failed(ctx context.Context, verb string, err error, b blame) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s was interrupted: %w", c.name, verb, ctx.Err())
	}
	if c.flood.ended() {
		return fmt.Errorf("%s %s was killed: it printed more than %d MiB of errors", c.name, verb, maxErrors>>20)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("%s %s: %w", c.name, verb, err)
	}
	text, titles := digest(err.Error())
	failure := fmt.Errorf("%s %s: %s", c.name, verb, text)
	switch {
	case !exit.Exited(): // killed, by nobody we know
		return fmt.Errorf("%s %s: %w", c.name, verb, err)
	case slices.ContainsFunc(titles, isStale) || strings.Contains(text, "plan file was created by"):
		return &engine.Stale{Err: failure}
	case b(titles):
		return &engine.Invalid{Err: failure}
	}
	return failure
}

// digest takes the errors out of what a command printed, warnings and all, and their titles.
func digest(printed string) (text string, titles []string) {
	lines := strings.Split(printed, "\n")
	var kept []string
	keep := false
	for _, line := range lines {
		line = strings.TrimSpace(strings.Trim(line, "│╷╵ "))
		if title, ok := strings.CutPrefix(line, "Error: "); ok {
			titles, keep = append(titles, title), true
			line = title
		} else if strings.HasPrefix(line, "Warning: ") {
			keep = false
		}
		if keep && line != "" && line[0] != '{' { // that would be the state
			kept = append(kept, line)
		}
	}
	if len(kept) == 0 {
		return strings.TrimSpace(printed), nil
	}
	return strings.Join(kept, "\n"), titles
}

// maxErrors is how many bytes a command may print on standard error.
const maxErrors = 4 << 20

// flood passes on what is printed until it is too much.
type flood struct {
	mu   sync.Mutex
	to   io.Writer
	left int
	over func() // called once
}

// Write never fails before it is too much: what reads from the engine would stop reading.
func (f *flood) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left < 0 {
		return 0, errFlood
	}
	if f.left -= len(p); f.left < 0 {
		f.over()
		return 0, errFlood
	}
	return f.to.Write(p)
}

func (f *flood) ended() bool {
	if f == nil { // no command has run
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.left < 0
}

var errFlood = errors.New("more is printed than is taken")

// chatter leaves out the state, which the engine prints where it cannot write it, with values that nobody knows to redact; and a warning
// about how we call the engine, which nobody who reads the log can do anything about: where the state is, is said on the command line, as a
// backend block of ours would have to be among the code, and its path would enter the plan.
type chatter struct {
	mu   sync.Mutex // both streams are written at once
	to   io.Writer
	skip bool
	dump bool // of the state
}

// Write gets whole lines.
func (c *chatter) Write(line []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dump || line[0] == '{' { // nothing else begins with one
		began := !c.dump
		c.dump = !bytes.HasPrefix(line, []byte("}")) && !(began && bytes.HasSuffix(bytes.TrimSpace(line), []byte("}")))
		if began {
			_, err := io.WriteString(c.to, "[the state is left out]\n")
			return len(line), err
		}
		return len(line), nil
	}
	text := strings.TrimSpace(strings.Trim(strings.TrimSpace(string(line)), "│╷╵"))
	if strings.HasPrefix(text, "Warning: Deprecated flag: -state") {
		c.skip = true
	}
	if !c.skip {
		return c.to.Write(line)
	}
	if strings.HasPrefix(text, "https://") {
		c.skip = false
	}
	return len(line), nil
}
