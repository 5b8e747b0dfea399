package mover

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"syscall"
	"time"

	"github.com/broletto/broletto/operator/move"
)

// stream is what a command writes. It ends well only when the command does: else a dump that broke off would look whole.
type stream struct {
	io.ReadCloser
	ctx    context.Context
	cmd    *exec.Cmd
	said   tail
	waited bool
	err    error
}

func startStream(ctx context.Context, order move.Stream) (io.ReadCloser, error) {
	s := &stream{ctx: ctx, cmd: exec.CommandContext(ctx, order.Command[0], order.Command[1:]...)}
	s.cmd.Env, s.cmd.Stderr, s.cmd.WaitDelay = append([]string{}, order.Env...), &s.said, 5*time.Second
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.cmd.Cancel = func() error { return syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) }
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	s.ReadCloser = out
	return s, nil
}

func (s *stream) Read(p []byte) (int, error) {
	if s.waited {
		return 0, s.err
	}
	n, err := s.ReadCloser.Read(p)
	if err != nil {
		s.wait(err)
		err = s.err
	}
	return n, err
}

// wait notes how the command ended.
func (s *stream) wait(read error) {
	s.waited, s.err = true, read
	err := s.cmd.Wait()
	switch {
	case s.ctx.Err() != nil:
		s.err = context.Cause(s.ctx)
	case err != nil:
		s.err = as(move.FailureSource, fmt.Errorf("%s: %w: %s", s.cmd.Args[0], err, bytes.TrimSpace(s.said.text)))
	}
}

// Close ends a command that has not ended by itself.
func (s *stream) Close() error {
	if !s.waited {
		_ = s.cmd.Cancel()
		s.wait(errors.New("nobody reads it any more"))
	}
	return nil
}

// tail keeps the end of what is written.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-512):]
	return len(p), nil
}
