//go:build unix && !linux

package localnode

import (
	"os/exec"
	"syscall"
)

// canJail: only Linux has namespaces.
const canJail = false

func jailable() error { return nil }

func lockUp(*exec.Cmd, jail) (func(), error) { return func() {}, nil }

// dieWithParent does nothing: only Linux has a signal for it.
func dieWithParent(*syscall.SysProcAttr) {}

// fell kills what is still in the process's group; what has left it is the runner's to end.
func fell(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

func sweep(pid int) { fell(pid) }
