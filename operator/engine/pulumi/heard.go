package pulumi

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/auto/events"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"

	"github.com/broletto/broletto/operator/engine"
)

// heard is what the engine tells as it goes on.
type heard struct {
	events     chan events.EngineEvent
	quit, done chan struct{}

	steps  []apitype.StepEventMetadata
	errors []apitype.DiagnosticEvent
}

// maxHeard is how many errors are heard: nobody reads more.
const maxHeard = 100

func hear() *heard {
	h := &heard{events: make(chan events.EngineEvent), quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(h.done)
		for {
			select {
			case e, more := <-h.events:
				if !more {
					return
				}
				h.note(e)
			case <-h.quit:
				return
			}
		}
	}()
	return h
}

func (h *heard) note(e events.EngineEvent) {
	if e.ResourcePreEvent != nil {
		h.steps = append(h.steps, e.ResourcePreEvent.Metadata)
	}
	if d := e.DiagnosticEvent; d != nil && d.Severity == "error" && len(h.errors) < maxHeard {
		h.errors = append(h.errors, *d)
	}
}

// end is after the call, when the API sends no more. It does not close the channel if the engine failed before it had anything to tell.
func (h *heard) end() {
	close(h.quit)
	<-h.done
}

// failed is the error of one command. An interrupted one is no verdict on anything.
func failed(ctx context.Context, verb string, err error, h *heard, planning bool) error {
	if ctx.Err() != nil {
		return fmt.Errorf("pulumi %s was interrupted: %w", verb, ctx.Err())
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && !exit.Exited() {
		return fmt.Errorf("pulumi %s: %w", verb, exit) // killed, by nobody we know
	}
	if errors.As(err, &exit) && verb == "up" && h != nil && len(h.errors) == 0 && len(h.steps) > 0 {
		// Of outputs that are not as planned the engine says nothing, it only fails.
		return &engine.Stale{Err: errors.New("pulumi up: the program has not the outputs that were planned: plan again")}
	}
	text := err.Error()
	var authors bool
	if h != nil && len(h.errors) > 0 {
		text, authors = told(h.errors)
	} else {
		// It has not come as far as to run the program: the project or its configuration is wrong, or something of ours.
		authors = strings.Contains(text, "missing configuration") || strings.Contains(text, "Missing required configuration") ||
			strings.Contains(text, "Pulumi.yaml") || strings.Contains(text, "could not unmarshal")
	}
	failure := fmt.Errorf("pulumi %s: %s", verb, text)
	switch {
	case strings.Contains(text, "violates plan"), strings.Contains(text, "not allowed by the plan"),
		strings.Contains(text, "no plan for resource"):
		return &engine.Stale{Err: failure}
	case planning && authors:
		return &engine.Invalid{Err: failure}
	}
	return failure
}

// told is what the engine said of errors, and whether all of them are of the program: what it says of the stack as a whole, or of a
// resource that cannot be as the program wants it. The rest comes from providers, and may go away by itself.
func told(diagnostics []apitype.DiagnosticEvent) (text string, authors bool) {
	authors = true
	var lines []string
	for _, d := range diagnostics {
		message := strings.TrimSpace(d.Message)
		if kind := typeOf(d.URN); d.URN != "" && kind != stackType {
			message = d.URN + ": " + message
			if !strings.Contains(message, "has a problem") && !strings.Contains(message, "not a valid") {
				authors = false
			}
		}
		lines = append(lines, message)
	}
	return strings.Join(lines, "\n"), authors
}
