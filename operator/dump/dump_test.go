package dump

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// serve runs a server of shell commands until the test ends.
func serve(t *testing.T, s Server) string {
	t.Helper()
	s.Socket = filepath.Join(t.TempDir(), "s")
	s.Env = append(s.Env, "PATH="+os.Getenv("PATH"))
	if s.Ready == nil {
		s.Ready = []string{"true"}
	}
	ctx, end := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s.Socket
}

func sh(script string) []string { return []string{"sh", "-c", script} }

// open reads a dump to its end.
func open(ctx context.Context, t *testing.T, socket string) ([]byte, error) {
	t.Helper()
	r, err := Open(ctx, socket, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	return io.ReadAll(r)
}

func TestOpen(t *testing.T) {
	t.Parallel()
	all := serve(t, Server{Program: sh("head -c 3000000 /dev/zero; echo end")})
	for range 2 { // a second mover may come
		if got, err := open(t.Context(), t, all); err != nil || !bytes.Equal(got, append(make([]byte, 3000000), "end\n"...)) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
	failing := serve(t, Server{Program: sh("head -c 3000000 /dev/zero; echo 'connection lost' >&2; exit 1")})
	var failed *Failure
	if got, err := open(t.Context(), t, failing); len(got) != 3000000 || !errors.As(err, &failed) || !strings.Contains(failed.Message, "exit status 1: connection lost") {
		t.Errorf("of a program that failed: %d bytes, %v", len(got), err)
	}
	missing := serve(t, Server{Program: []string{"nulla"}})
	if _, err := open(t.Context(), t, missing); !errors.As(err, &failed) || !strings.Contains(failed.Message, "image has no nulla") {
		t.Errorf("of a program that is not there: %v", err)
	}
	silent := serve(t, Server{Ready: sh("echo refused; exit 2"), Program: []string{"true"}, Patience: time.Millisecond})
	if _, err := open(t.Context(), t, silent); !errors.As(err, &failed) || !failed.Unanswered || !strings.Contains(failed.Message, "refused") {
		t.Errorf("without a server: %v", err)
	}
	endless := serve(t, Server{Program: sh("echo begun; exec sleep 1000")})
	ctx, end := context.WithCancelCause(t.Context())
	over := errors.New("it is over")
	r, err := Open(ctx, endless, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	end(over)
	if _, err := io.ReadAll(r); !errors.Is(err, over) {
		t.Errorf("of what was ended: %v", err)
	}
}

// TestBrokenOff: whatever goes without a last word was not whole, and a frame that no server sends is refused.
func TestBrokenOff(t *testing.T) {
	t.Parallel()
	frame := func(kind byte, n int, text string) string {
		return string(binary.BigEndian.AppendUint32([]byte{kind}, uint32(n))) + text
	}
	data := frame(frameData, 4, "dump")
	for name, sent := range map[string]string{
		"nothing":       "",
		"no end":        data,
		"in a piece":    frame(frameData, 5, "dump"),
		"in a header":   data + "d\x00",
		"in an end":     data + frame(frameEnd, 9, "{}"),
		"a large piece": frame(frameData, maxFrame+1, "dump"),
		"another kind":  frame('x', 0, ""),
		"no verdict":    data + frame(frameEnd, 4, "dump"),
	} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "s")
			l, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			go func() {
				if c, err := l.Accept(); err == nil {
					_, _ = io.WriteString(c, sent)
					_ = c.Close()
				}
			}()
			if got, err := open(t.Context(), t, socket); !errors.Is(err, ErrBroken) {
				t.Errorf("it came to %q, %v", got, err)
			}
		})
	}
}

func TestBring(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "out")
	t.Cleanup(func() { // when the programs have ended
		if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("what broke off was brought back: %v", err)
		}
	})
	const kept = `cat > "$OUT.part" && mv "$OUT.part" "$OUT"` // as a transaction would
	env := []string{"OUT=" + out}
	bring := func(s Server, from io.Reader) error {
		s.Loads, s.Env = true, env
		return Bring(t.Context(), serve(t, s), from, nil)
	}
	want := bytes.Repeat([]byte("dump"), 1<<18)
	if err := bring(Server{Program: sh(kept)}, iotest.HalfReader(bytes.NewReader(want))); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes came, %v", len(got), err)
	}
	if err := os.Remove(out); err != nil {
		t.Fatal(err)
	}
	lost := errors.New("the store has lost it")
	if err := bring(Server{Program: sh(kept)}, io.MultiReader(bytes.NewReader(want), iotest.ErrReader(lost))); !errors.Is(err, lost) {
		t.Errorf("of a dump that broke off: %v", err)
	}
	var failed *Failure
	if err := bring(Server{Program: sh("head -c 5 > /dev/null; echo 'role anna does not exist' >&2; exit 1")}, bytes.NewReader(want)); !errors.As(err, &failed) || !strings.Contains(failed.Message, "role anna") {
		t.Errorf("of a program that failed: %v", err)
	}
	if err := bring(Server{Ready: sh("exit 2"), Program: sh(kept), Patience: time.Millisecond}, bytes.NewReader(want)); !errors.As(err, &failed) || !failed.Unanswered {
		t.Errorf("without a server: %v", err)
	}
}
