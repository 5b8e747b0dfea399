//go:build unix && !linux

package localnode

import "syscall"

// dieWithParent does nothing: only Linux has a signal for it.
func dieWithParent(*syscall.SysProcAttr) {}

// fell kills what is still in the process's group; what has left it is the runner's to end.
func fell(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

func sweep(pid int) { fell(pid) }
