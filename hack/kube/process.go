//go:build unix

package kube

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// Spawn starts cmd in a process group of its own, so that a Ctrl-C in the terminal reaches us alone and we stop things
// in order; where the system can, it dies with us. The channel gets the result of Wait.
func Spawn(cmd *exec.Cmd) (<-chan error, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(cmd.SysProcAttr)
	started, exited := make(chan error), make(chan error, 1)
	go func() {
		// The parent whose death the kernel watches is the thread that forked, not the process. Staying on
		// the thread until the child has ended keeps the runtime from retiring it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			exited <- cmd.Wait()
		}
	}()
	return exited, <-started
}

// signalGroup sends a signal to a process and to all that it started.
func signalGroup(p *os.Process, s syscall.Signal) error {
	err := syscall.Kill(-p.Pid, s)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// process is a running part of the control plane.
type process struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended; err is set then
	err  error
}

// startProcess runs a binary in dir with its output in logs/<name>.log. It inherits the lock on dir: as long as
// any part lives, nobody else starts on the same data.
func startProcess(dir string, held *os.File, binary string, args []string) (*process, error) {
	name := filepath.Base(binary)
	p := &process{name: name, log: filepath.Join(dir, "logs", name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the process has a descriptor of its own
	p.cmd = exec.Command(binary, args...)
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.ExtraFiles = []*os.File{held}
	exited, err := Spawn(p.cmd)
	if err != nil {
		return nil, &Error{Object: binary, Cause: err, WayOut: "remove it to have it built again"}
	}
	go func() {
		p.err = <-exited
		close(p.done)
	}()
	return p, nil
}

// end is closed when the process has ended; nil, and so never closed, of one that is not ours.
func (p *process) end() <-chan struct{} {
	if p == nil {
		return nil
	}
	return p.done
}

// ended returns the error of a process that has ended by itself, or nil while it runs.
func (p *process) ended() error {
	select {
	case <-p.done:
		cause := p.err
		if cause == nil {
			cause = errors.New("exited with status 0")
		}
		return p.failure(cause)
	default:
		return nil
	}
}

// failure is cause with the end of the log.
func (p *process) failure(cause error) error {
	text := tailFile(p.log)
	return &ProcessError{Name: p.name, Cause: cause, Log: p.log, Tail: text, Hint: diagnose(text)}
}

// stop ends a process and waits until it is gone. It signals the process alone: none of these starts others, and
// unlike a group's number, an os.Process cannot come to mean another process.
func (p *process) stop(grace time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails only when it has ended
	select {
	case <-p.done:
	case <-time.After(grace):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}
