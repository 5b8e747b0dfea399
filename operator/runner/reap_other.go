//go:build !linux

package runner

// Guard does nothing: only Linux runs tenants' code.
func Guard() error { return nil }

// Reap does nothing: only Linux knows descendants.
func Reap() {}
