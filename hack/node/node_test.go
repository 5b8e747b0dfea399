//go:build linux

package node

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// asRoot skips what only root may do, but never in CI.
func asRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("CI has to run this as root")
	}
	t.Skip("needs root")
}

func TestMissingSaysWhatAndHow(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := Missing("/var/lib/box")
	for _, want := range []string{"nft", "nftables", "conntrack", "busybox-static", "libseccomp-dev", "hack/packages", "/var/lib of its own", "--dir"} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

func TestDownOfNothingSucceeds(t *testing.T) {
	dir := t.TempDir()
	if err := Down(t.Context(), dir, RemoveFolder); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("what is no box was removed: %v", err)
	}
	if err := Order(t.Context(), dir, "open", ""); !errors.Is(err, ErrNoBox) {
		t.Errorf("an order to nobody: %v", err)
	}
}

func TestDownForgetsWhatDidNotStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "box")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	held, err := holdDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := Down(t.Context(), dir, RemoveFolder); err == nil {
		t.Error("a folder was taken from a box that is about to start")
	}
	if _, err := holdDir(dir); !errors.Is(err, ErrRunning) {
		t.Errorf("a second box in the folder: %v", err)
	}
	if err := errors.Join(held.Close(), Down(t.Context(), dir, RemoveFolder)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
}

// TestNumberUsedAgain shows that Down never takes another process for the one that held the box.
func TestNumberUsedAgain(t *testing.T) {
	started, dead, err := startOf(os.Getpid())
	if err != nil || dead {
		t.Fatal(dead, err)
	}
	if s := (state{PID: os.Getpid(), Started: started}); !s.alive() {
		t.Error("we are dead")
	}
	if s := (state{PID: os.Getpid(), Started: started + "1"}); s.alive() {
		t.Error("somebody with our number is taken for us")
	}
}

// TestLeftoversAreFound looks for a process by its namespace, as Down does.
func TestLeftoversAreFound(t *testing.T) {
	asRoot(t)
	cmd := exec.CommandContext(t.Context(), "unshare", "--net", "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	defer end()
	ours, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	s := state{Cgroups: cgroupPrefix + "none"}
	for deadline := time.Now().Add(10 * time.Second); ; {
		namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid))
		if err == nil && namespace != ours {
			s.Namespaces = []string{namespace}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("unshare made no namespace", err)
		}
		<-time.After(10 * time.Millisecond)
	}
	if err := leftovers(t.TempDir(), s); err == nil || !strings.Contains(err.Error(), strconv.Itoa(cmd.Process.Pid)) {
		t.Errorf("process %d was not found: %v", cmd.Process.Pid, err)
	}
	end()
	if err := leftovers(t.TempDir(), s); err != nil {
		t.Error(err)
	}
}

func TestCgroupsComeAndGo(t *testing.T) {
	asRoot(t)
	name := fmt.Sprintf("broletto-test-%d", os.Getpid())
	if err := makeCgroups(name, []string{"one", "two"}); err != nil {
		t.Fatal(err)
	}
	roots, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range roots {
		pod := filepath.Join(root, name, "one", "pod") // as a kubelet would make
		if err := errors.Join(os.Mkdir(pod, 0o755), inherit(pod)); err != nil {
			t.Error(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "sleep", "0.5")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(roots[0], name, "one", "pod", "cgroup.procs")
	if err := os.WriteFile(inside, []byte(strconv.Itoa(cmd.Process.Pid)), 0o644); err != nil {
		t.Errorf("nothing can run in a group that was made: %v", err)
	}
	go func() { _ = cmd.Wait() }()
	if err := removeCgroups(name, 5*time.Second); err != nil {
		t.Error(err)
	}
	for _, root := range roots {
		if _, err := os.Stat(filepath.Join(root, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", root, err)
		}
	}
}

func TestOnlyOurCgroupsAreRemoved(t *testing.T) {
	for _, name := range []string{"", ".", "user.slice", "broletto-1/..", "../broletto-1"} {
		if err := removeCgroups(name, 0); err == nil {
			t.Errorf("%q was accepted", name)
		}
	}
}

func TestUnitsStopAndStartAgain(t *testing.T) {
	us := &units{dir: t.TempDir()}
	if err := os.Mkdir(filepath.Join(us.dir, "log"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, script := range map[string]string{
		"policy-node-1": "echo here; exec sleep 60", "policy-node-2": "exec sleep 60",
		"stubborn-node-2": "trap '' TERM; while :; do sleep 1; done", "kubelet-node-1": "exit 3",
	} {
		if err := us.run(&unit{name: name, command: []string{"sh", "-c", script}}); err != nil {
			t.Fatal(err)
		}
	}
	b := &box{units: units{}}
	b.units.dir, b.units.all = us.dir, us.all
	if _, err := us.matching("nobody"); err == nil || !strings.Contains(err.Error(), "policy-node-1") {
		t.Errorf("an unknown unit: %v; want the known ones", err)
	}
	before, err := us.matching("policy-node-1")
	if err != nil {
		t.Fatal(err)
	}
	first := before[0].running.Process.Pid
	logged(t, us.dir, "policy-node-1", "here\n")
	if err := b.restart(t.Context(), "policy-*"); err != nil {
		t.Fatal(err)
	}
	if now := before[0].running; now == nil || now.Process.Pid == first {
		t.Error("restart left the process")
	}
	logged(t, us.dir, "policy-node-1", "here\nhere\n")
	if err := b.stopUnits(t.Context(), "*"); err != nil {
		t.Fatal(err)
	}
	for _, u := range us.all {
		if u.running != nil {
			t.Errorf("%s runs", u.name)
		}
	}
}

// logged waits until a unit has printed just that.
func logged(t *testing.T, dir, unit, want string) {
	t.Helper()
	var text []byte
	for end := time.Now().Add(10 * time.Second); string(text) != want; <-time.After(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s printed %q, want %q", unit, text, want)
		}
		text, _ = os.ReadFile(filepath.Join(dir, "log", unit+".log"))
	}
}

func TestForwardLeadsInside(t *testing.T) {
	listen := func() net.Listener {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	inside, outside := listen(), listen()
	defer func() { _ = outside.Close() }()
	go func() {
		c, err := inside.Accept()
		if err != nil {
			return
		}
		question, _ := io.ReadAll(c)
		_, _ = c.Write([]byte("you said " + string(question)))
		_ = c.Close()
	}()
	go forward(outside, inside.Addr().String())
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp4", outside.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.Write([]byte("ciao"))
	_ = c.(*net.TCPConn).CloseWrite()
	if answer, err := io.ReadAll(c); string(answer) != "you said ciao" {
		t.Errorf("answer %q %v", answer, err)
	}
}
