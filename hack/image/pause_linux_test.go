package image

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPause makes it the first process of a namespace, leaves it an orphan that then dies, and tells it to end.
func TestPause(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root makes a namespace of processes")
	}
	binary := filepath.Join(t.TempDir(), "pause")
	if err := (Program{Dir: ".", Package: "./cmd/pause"}).Build(t.Context(), binary); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	pause := exec.CommandContext(ctx, binary)
	pause.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if err := pause.Start(); err != nil {
		t.Fatal(err)
	}
	pid := strconv.Itoa(pause.Process.Pid)
	if out, err := exec.CommandContext(ctx, "nsenter", "-p", "-t", pid, "sh", "-c", "sleep 60 >/dev/null 2>&1 &").CombinedOutput(); err != nil {
		t.Fatalf("leaving an orphan: %v: %s", err, out)
	}
	orphan, err := strconv.Atoi(children(t, pid))
	if err != nil {
		t.Fatalf("pause was given no orphan: %v", err)
	}
	if err := syscall.Kill(orphan, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for children(t, pid) != "" && ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond)
	}
	if ctx.Err() != nil {
		t.Error("pause leaves the dead where they are")
	}
	if err := pause.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := pause.Wait(); err != nil {
		t.Errorf("told to end, pause says %v", err)
	}
}

func children(t *testing.T, pid string) string {
	t.Helper()
	list, err := os.ReadFile(fmt.Sprintf("/proc/%[1]s/task/%[1]s/children", pid))
	if err != nil {
		t.Skipf("this kernel does not tell the children of a process: %v", err)
	}
	return strings.TrimSpace(string(list))
}
