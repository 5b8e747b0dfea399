// Package stack plans, applies, looks after and destroys what a comune describes as code: it decides which run is next and hands it to
// a Job. It must never run an engine, never let two runs of a stack overlap, never apply what nobody approved, and never show a value of an
// input, an output or a resource.
package stack
