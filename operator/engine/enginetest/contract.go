// Package enginetest is the contract of engine.Engine, which every adapter and the fake pass. It imports no adapter.
package enginetest

import (
	"testing"

	"github.com/broletto/broletto/operator/engine"
)

// Subject is an engine under test, with programs in its language. A program is a folder: text by file name.
type Subject struct {
	Engine engine.Engine
	// Env is the environment that the programs need.
	Env map[string]string
	// Left counts what is there in the world, outside of state; nil where programs make nothing there.
	Left func() int
	// Lose changes or removes something that Greeting made, behind the engine's back; nil where that is not possible.
	Lose func()

	// Greeting declares the inputs greeting and password, of which the latter is secret, makes something with the greeting in it, and has
	// the outputs greeting and password, which are those inputs.
	Greeting map[string]string
	// Broken is no program at all.
	Broken map[string]string
	// Demanding does not work without the input wanted, which it does not get.
	Demanding map[string]string
	// Slow makes one thing, and then another that takes a minute at least unless it is interrupted. Begun returns when the
	// second has begun.
	Slow  map[string]string
	Begun func(t *testing.T, w engine.Work)
	// Spy plans the output environment, in which all of its environment is to be found; nil where a program cannot look.
	Spy map[string]string
}

// Run runs the contract. A subject is made for each part of it, so that none sees another's world.
func Run(t *testing.T, factory func(t *testing.T) Subject) {
	t.Run("LifeCycle", func(t *testing.T) { lifeCycle(t, factory(t)) })
	t.Run("Invalid", func(t *testing.T) { invalid(t, factory(t)) })
	t.Run("Interrupted", func(t *testing.T) { interrupted(t, factory(t)) })
	t.Run("Environment", func(t *testing.T) { environment(t, factory(t)) })
}
