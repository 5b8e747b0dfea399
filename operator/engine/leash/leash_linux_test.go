package leash_test

import (
	"bufio"
	"context"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/broletto/broletto/operator/engine/leash"
)

// start runs a script on the leash, in a process group of its own as an engine's plugins are, and waits until it says ready.
func start(t *testing.T, l *leash.Leash, script string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Env = []string{"PATH=/bin:/usr/bin", leash.Variable + "=" + l.Mark()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal("the script has not said that it is ready: ", err)
	}
	return cmd
}

func TestReleaseKillsWhatIsLeft(t *testing.T) {
	l, other := leash.Hold(t.Context(), time.Hour), leash.Hold(t.Context(), time.Hour)
	// The first is left behind by its parent, the second heeds no signal that can be heeded.
	orphan := start(t, l, `sleep 600 >/dev/null & echo ready`)
	deaf := start(t, l, `trap '' INT TERM; echo ready; while :; do sleep 600; done`)
	bystander := start(t, other, `echo ready; exec sleep 600`)
	if err := orphan.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := len(leash.Marked(leash.Variable, l.Mark())); n < 2 {
		t.Fatalf("%d processes are on the leash, want the orphan and the deaf one at least", n)
	}
	l.Release()
	if pids := leash.Marked(leash.Variable, l.Mark()); len(pids) > 0 {
		t.Errorf("still alive: %v", pids)
	}
	_ = deaf.Wait()
	if pids := leash.Marked(leash.Variable, other.Mark()); len(pids) != 1 {
		t.Errorf("on the other leash: %v, want one", pids)
	}
	other.Release()
	_ = bystander.Wait()
}

func TestGraceEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	l := leash.Hold(ctx, time.Millisecond)
	deaf := start(t, l, `trap '' INT TERM; echo ready; while :; do sleep 600; done`)
	cancel()
	_ = deaf.Wait() // without a kill this would take as long as the test may
	l.Release()
}
