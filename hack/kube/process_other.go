//go:build unix && !linux

package kube

import "syscall"

// dieWithParent does nothing: only Linux has a signal for it. The lock that the children inherit tells the next Start.
func dieWithParent(*syscall.SysProcAttr) {}
