package kube

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// alive says whether a process exists. A zombie is none: nothing of it is left but its status.
func alive(pid int) bool {
	if status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status"); err == nil {
		return !strings.Contains(string(status), "State:\tZ")
	}
	return syscall.Kill(pid, 0) == nil
}

func TestProcessesDieWithUs(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has a signal for it")
	}
	cmd := helper(t, "spawn")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var children [2]int
	if _, err := fmt.Fscan(out, &children[0], &children[1]); err != nil {
		t.Fatal(err)
	}
	// Give the threads that asked for them time to end.
	time.Sleep(200 * time.Millisecond)
	for _, child := range children {
		if !alive(child) {
			t.Error("a child died before its parent")
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for _, child := range children {
		eventually(t, "a child is gone", func() bool { return !alive(child) })
	}
}

// run starts a shell script as a process of a data folder.
func run(t *testing.T, script string) *process {
	t.Helper()
	d, err := openDataDir(t.Context(), filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.close(); err != nil {
			t.Error(err)
		}
	})
	binary := filepath.Join(t.TempDir(), "server")
	write(t, binary, "#!/bin/sh\n"+script+"\n", 0o755)
	p, err := startProcess(d.path, d.held, binary, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.stop(0) })
	return p
}

func TestStopKillsWhatDoesNotEnd(t *testing.T) {
	p := run(t, `trap "" TERM; echo ready; while :; do sleep 0.05; done`)
	eventually(t, "it ignores the signal", func() bool { return strings.Contains(tailFile(p.log), "ready") })
	begun := time.Now()
	p.stop(200 * time.Millisecond)
	if took := time.Since(begun); took < 200*time.Millisecond || took > 5*time.Second {
		t.Errorf("took %s, want just over the grace", took)
	}
	if alive(p.cmd.Process.Pid) {
		t.Error("it lives")
	}
	p.stop(time.Hour) // of a process that has ended returns at once
}

func TestEndedProcessShowsTheEndOfItsLog(t *testing.T) {
	p := run(t, `for i in $(seq 1 30); do echo "line $i"; done; echo "bind: address already in use" >&2; exit 3`)
	<-p.done
	err := p.ended()
	wantError(t, err, ErrPortTaken, "server: exit status 3", p.log, "line 30", "line 22")
	if strings.Contains(err.Error(), "line 21") {
		t.Errorf("more than %d lines: %v", tailLines, err)
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 3 {
		t.Errorf("no exit status in %v", err)
	}
}

func TestTail(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"empty":         {"", ""},
		"short":         {"a\nb\n", "a\nb"},
		"without break": {"a\nb", "a\nb"},
		"long":          {strings.Repeat("a\n", 50), strings.TrimSuffix(strings.Repeat("a\n", tailLines), "\n")},
		"wide":          {strings.Repeat("a", 1000), strings.Repeat("a", 400) + "..."},
	} {
		if got := tail(c.text); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
