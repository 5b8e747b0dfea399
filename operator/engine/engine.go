// Package engine is the port between a runner and what runs a stack's code. Adapters are in the folders below; each passes the contract
// in enginetest. An adapter runs a tenant's code: it lives in a runner, never in the operator.
package engine

import (
	"context"
	"encoding/json"
	"io"

	"github.com/broletto/broletto/operator/run"
)

// Engine plans and applies the code in a folder. Each call runs the engine's own process, interrupts it when ctx is done, waits for its
// grace, then kills it with all its children. No call writes outside Work.Dir and Work.Code, and none changes the environment of this process.
type Engine interface {
	// Prepare readies a folder: providers, modules, the stack's state. Preparing twice is harmless. What is wrong with the code is an [Invalid],
	// here or of Plan.
	Prepare(ctx context.Context, w Work) error
	// Plan finds what is to be done; with destroy, what is to be done so that nothing is left. It changes nothing outside, and a plan of
	// what is as it should be is empty. State stays as it is but for what the engine refreshed.
	Plan(ctx context.Context, w Work, destroy bool) (*Plan, error)
	// Read is what a plan's File says, as Plan said it of the same state; not of a plan to destroy. What an approval is about is digested of the
	// very bytes that are applied. A file that is no plan, or none of this Work, is a [Stale].
	Read(ctx context.Context, w Work, file []byte) (*Plan, error)
	// Apply does what a plan of the same Work says, and nothing else: if state or world have moved so that the engine can tell, it is an
	// error. Work.State is written as the engine goes on, so that what was done is known also after a failure.
	Apply(ctx context.Context, w Work, plan *Plan) error
	// Outputs are the outputs of the state, also the secret ones.
	Outputs(ctx context.Context, w Work) (map[string]json.RawMessage, error)
}

// Work is a stack on this machine.
type Work struct {
	// Code is the folder of the code; it may be written to.
	Code string
	// Dir is a folder for what the engine keeps beside the code; empty at first, private to the run.
	Dir string
	// State is the path of the state file; absent when there is none yet.
	State string
	// Inputs are the input variables.
	Inputs map[string]json.RawMessage
	// Secret are the names among Inputs that are secret.
	Secret []string
	// Env is the whole environment of the engine and its children, but for what the adapter sets.
	Env map[string]string
	// Passphrase encrypts what the engine itself encrypts in its state.
	Passphrase string
	// Log takes what engine prints; the runner redacts it.
	Log io.Writer
}

// Plan is what an engine would do.
type Plan struct {
	// File is what Apply and Read need; nobody else reads it.
	File []byte
	// Changes are the resources that something happens to, in any order.
	Changes []Change
	// Outputs are the outputs that change, by name, with their canonical value before and after.
	Outputs map[string]Values
	// Providers are the names of the providers that the plan wants, as the engine prints them.
	Providers []string
}

// Change is what happens to one resource.
type Change = run.Change

// Values are a value before and after, secrets included.
type Values = run.Values

// Invalid says that code or inputs are wrong: nothing was touched, and only their author can help.
type Invalid struct{ Err error }

// Error is the cause's message.
func (i *Invalid) Error() string { return i.Err.Error() }

// Unwrap returns the cause.
func (i *Invalid) Unwrap() error { return i.Err }

// Stale says that the plan is not what the engine would do now.
type Stale struct{ Err error }

// Error is the cause's message.
func (s *Stale) Error() string { return s.Err.Error() }

// Unwrap returns the cause.
func (s *Stale) Unwrap() error { return s.Err }
