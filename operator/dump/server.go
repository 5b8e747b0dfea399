package dump

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Server runs a program for each connection to its socket, one at a time.
type Server struct {
	Socket string
	// Ready is a command that ends well when the database's server answers; it is tried for Patience. Program dumps to its standard output or,
	// with Loads, brings back what is on its standard input.
	Ready, Program []string
	Loads          bool
	Patience       time.Duration
	Env            []string     // of both
	Say            func(string) // what failed
}

const (
	// dumpPatience and loadPatience are how long a database's server may take to answer: less than a mover waits for something to move. Who
	// comes back with the restored objects has to be begun first.
	dumpPatience = 2 * time.Minute
	loadPatience = 8 * time.Minute
	// finishing is how long a program may work on when it has all of a dump, as indexes are made last.
	finishing = 2 * time.Hour
	aliveEach = 10 * time.Second
)

// PostgreSQL is a server whose database, host and account are named by the variables of an environment, PGDATABASE, PGHOST, PGUSER and so on.
func PostgreSQL(socket string, loads bool, environ []string, log io.Writer) Server {
	s := Server{Socket: socket, Loads: loads, Ready: []string{"pg_isready", "--timeout=5"}, Patience: dumpPatience}
	s.Env = []string{"LC_ALL=C", "PGCONNECT_TIMEOUT=20", "PGGSSENCMODE=disable", "PGAPPNAME=broletto-mover"}
	s.Say = func(text string) { fmt.Fprintln(log, text) }
	database := ""
	for _, e := range environ {
		if strings.HasPrefix(e, "PG") || strings.HasPrefix(e, "PATH=") {
			s.Env = append(s.Env, strings.TrimRight(e, "\r\n")) // a Secret that was made from a file often has a line's end
		}
		if name, is := strings.CutPrefix(e, "PGDATABASE="); is {
			database = name
		}
	}
	s.Program = []string{"pg_dump", "--format=custom", "--compress=0", "--no-password", "--lock-wait-timeout=300000"} // the store compresses
	if loads {
		s.Patience = loadPatience
		s.Program = []string{
			"pg_restore", "--dbname=" + database, "--clean", "--if-exists", "--no-owner", "--single-transaction", "--exit-on-error", "--no-password",
		}
	}
	return s
}

// Serve serves until the context ends.
func (s Server) Serve(ctx context.Context) error {
	if err := os.Remove(s.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.Socket, Net: "unix"})
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	for {
		c, err := l.AcceptUnix()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("listening at %s: %w", s.Socket, err)
		}
		v := s.one(ctx, &conn{UnixConn: c})
		if v.Failed != "" && s.Say != nil {
			s.Say(v.Failed)
		}
	}
}

// one runs the program for a connection, and says how it ended.
func (s Server) one(ctx context.Context, c *conn) (v verdict) {
	defer func() { _ = c.Close() }()
	ctx, end := context.WithCancel(ctx)
	defer end()
	if v = s.await(ctx, c); v.Failed == "" {
		v = s.run(ctx, end, c)
	}
	if c.finish(v) == nil { // what it has not read yet would take the last frame with it
		_ = c.SetReadDeadline(time.Now().Add(aliveEach))
		_, _ = io.Copy(io.Discard, c.UnixConn)
	}
	return v
}

// await waits until the database's server answers.
func (s Server) await(ctx context.Context, c *conn) verdict {
	until := time.Now().Add(s.Patience)
	for {
		cmd := s.command(ctx, s.Ready)
		out, err := cmd.CombinedOutput()
		if err == nil {
			return verdict{}
		}
		if left := time.Until(until); left <= 0 || ctx.Err() != nil || errors.Is(err, exec.ErrNotFound) {
			return verdict{Failed: fmt.Sprintf("no server answers: %s", reason(s.Ready[0], err, out)), Unanswered: true}
		}
		if c.send(frameAlive, nil) != nil { // nobody waits any more
			return verdict{Failed: "the mover has gone"}
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(2*time.Second, s.Patience)):
		}
	}
}

func (s Server) command(ctx context.Context, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // whoever starts us says which
	cmd.Env, cmd.WaitDelay, cmd.SysProcAttr = s.Env, 5*time.Second, &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

// run runs the program between its pipe and the socket. A mover that goes ends it.
func (s Server) run(ctx context.Context, end context.CancelFunc, c *conn) verdict {
	cmd, said := s.command(ctx, s.Program), &tail{}
	cmd.Stderr = said
	if s.Loads {
		return s.load(end, c, cmd, said)
	}
	cmd.Stdout = struct{ io.Writer }{c}
	go func() { // a mover says nothing, and so reading ends when it goes
		_, _ = io.Copy(io.Discard, c.UnixConn)
		end()
	}()
	return outcome(cmd.Run(), cmd, said)
}

// load feeds the program. Only when all of the dump has come does its input end: else it is killed, and its transaction with it.
func (s Server) load(end context.CancelFunc, c *conn, cmd *exec.Cmd, said *tail) verdict {
	in, err := cmd.StdinPipe()
	if err != nil {
		return verdict{Failed: err.Error()}
	}
	if err := cmd.Start(); err != nil {
		return outcome(err, cmd, said)
	}
	ended := make(chan error, 1)
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		from := &noted{Reader: &pieces{from: c.UnixConn}}
		_, err := io.Copy(in, from)
		if from.err != nil {
			end()
			return
		}
		if err == nil {
			_ = in.Close()
		}
	}()
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(aliveEach)
	defer tick.Stop()
	var late <-chan time.Time
	for {
		select {
		case err := <-ended:
			return outcome(err, cmd, said)
		case <-fed:
			fed, late = nil, time.After(finishing)
		case <-late:
			end()
		case <-tick.C:
			if fed == nil && c.send(frameAlive, nil) != nil {
				end()
			}
		}
	}
}

// outcome is how a program ended.
func outcome(err error, cmd *exec.Cmd, said *tail) verdict {
	if err == nil {
		return verdict{}
	}
	return verdict{Failed: reason(cmd.Args[0], err, said.text)}
}

// reason is what a program said at its end.
func reason(program string, err error, said []byte) string {
	text := string(bytes.TrimSpace(said))
	if errors.Is(err, exec.ErrNotFound) {
		return "the mover's image has no " + program + ": make it with PostgreSQL's client programs, as docs/install.md says"
	}
	if text == "" {
		return fmt.Sprintf("%s: %v", program, err)
	}
	return fmt.Sprintf("%s: %v: %s", program, err, strings.ToValidUTF8(text, "\uFFFD"))
}

// tail keeps the end of what is written.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-512):]
	return len(p), nil
}
