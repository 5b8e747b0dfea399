//go:build unix

package localnode

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/broletto/broletto/operator/localnode/jail"
)

// leftover bounds the wait for output of what outlives its process, where nothing is known to have ended with it.
const leftover = 5 * time.Second

// process is a pod's.
type process struct {
	cmd    *exec.Cmd
	jailed bool
	done   chan struct{} // closed when it and all that it started are gone
	code   int32
	signal int32
}

// spawn starts the process of a pod, which dies with this one.
func (n *Node) spawn(p *plan, output io.Writer) (*process, error) {
	cmd := &exec.Cmd{
		Path: n.Runner, Args: []string{n.Runner}, Env: p.env, Dir: p.work, Stdout: output, Stderr: output,
		WaitDelay: leftover, SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	dieWithParent(cmd.SysProcAttr)
	release := func() {}
	if n.jailed() {
		var err error
		if release, err = jail.Lock(cmd, p.jail); err != nil {
			return nil, err
		}
	}
	out := &process{cmd: cmd, jailed: n.jailed(), done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Whose death the kernel watches is the thread that forked, not the process: it stays until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer release()
		err := cmd.Start()
		started <- err
		if err == nil {
			out.ended(cmd.Wait())
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", n.Runner, err)
	}
	return out, nil
}

// ended tells how the process ended, after everything that it left is gone.
func (p *process) ended(err error) {
	if !p.jailed {
		sweep(p.cmd.Process.Pid)
	}
	p.code = int32(p.cmd.ProcessState.ExitCode())
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		p.signal = int32(status.Signal())
		p.code = 128 + p.signal
	}
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited && !errors.Is(err, exec.ErrWaitDelay) && p.code == 0 {
		p.code = 255 // it could not be waited for
	}
	close(p.done)
}

// interrupt asks it to end.
func (p *process) interrupt() { _ = p.cmd.Process.Signal(syscall.SIGTERM) } // fails only when it has ended

// kill ends it, and all that it started: with the first process of its PID namespace the kernel ends the rest.
func (p *process) kill() {
	if !p.jailed {
		fell(p.cmd.Process.Pid)
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	}
}
