package pulumi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi/sdk/v3/go/auto"

	"github.com/broletto/broletto/operator/engine/leash"
)

// command runs the CLI for the automation API. Its own one differs in what matters to us: it hands on this process's environment, and
// kills ten seconds after an interrupt, whatever is being made.
type command struct {
	path    string
	env     map[string]string
	grace   time.Duration
	leash   *leash.Leash
	version semver.Version
}

var _ auto.PulumiCommand = (*command)(nil)

// Version is that of the CLI.
func (c *command) Version() semver.Version { return c.version }

// Run runs the CLI, with nothing in its environment but ours and what the API adds.
func (c *command) Run(ctx context.Context, dir string, stdin io.Reader, outs, errs []io.Writer, more []string, args ...string) (
	string, string, int, error,
) {
	const unknown = -2 // the API's word for no exit code
	if !slices.Contains(args, "--non-interactive") {
		args = append([]string{"--non-interactive"}, args...)
	}
	cmd := exec.CommandContext(ctx, c.path, args...)
	cmd.Dir, cmd.Stdin, cmd.Env = dir, stdin, c.environ(more)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = c.grace
	var stdout, stderr bounded
	var copies sync.WaitGroup
	var ends []*os.File
	pipe := func(to ...io.Writer) (io.Writer, error) {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		ends = append(ends, w)
		copies.Go(func() {
			defer func() { _ = r.Close() }()
			_, _ = io.Copy(io.MultiWriter(to...), r)
		})
		return w, nil
	}
	var err error
	if cmd.Stdout, err = pipe(append([]io.Writer{&stdout}, outs...)...); err == nil {
		cmd.Stderr, err = pipe(append([]io.Writer{&stderr}, errs...)...)
	}
	if err == nil {
		err = cmd.Start()
	}
	for _, w := range ends {
		_ = w.Close()
	}
	if cmd.Process != nil {
		err = cmd.Wait()
		// A plugin that outlives the engine holds the pipes open: we would wait for it for ever.
		c.leash.Kill()
	}
	copies.Wait()
	code := unknown
	if exit, is := errors.AsType[*exec.ExitError](err); is {
		code = exit.ExitCode()
	} else if err == nil {
		code = 0
	}
	return stdout.String(), stderr.String(), code, err
}

// maxKept is how many bytes of each stream are kept for the API, which reads versions, answers and errors there, and no state.
const maxKept = 4 << 20

// bounded keeps the beginning of what is written, and takes the rest as well.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	_, _ = b.Buffer.Write(p[:min(len(p), maxKept-b.Len())]) // it never fails
	return len(p), nil
}

// environ lets ours win over what the API adds.
func (c *command) environ(more []string) []string {
	env := map[string]string{}
	for _, entry := range more {
		name, value, _ := strings.Cut(entry, "=")
		env[name] = value
	}
	maps.Copy(env, c.env)
	var all []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		all = append(all, name+"="+env[name])
	}
	return all
}
