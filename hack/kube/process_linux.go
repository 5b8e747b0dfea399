package kube

import "syscall"

// dieWithParent has the kernel kill the child when we die, even of SIGKILL.
func dieWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }
