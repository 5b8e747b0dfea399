//go:build linux

package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Whether Down leaves the folder, with its logs, or takes it away.
const (
	RemoveFolder = false
	KeepFolder   = true
)

// Down ends the box in dir and everything in it, and cleans up. It fails, and says what, if something is left. Down of nothing succeeds.
func Down(ctx context.Context, dir string, keep bool) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	s, err := readState(dir)
	if errors.Is(err, ErrNoBox) {
		return forget(dir)
	}
	if err != nil {
		return err
	}
	if s.alive() {
		if err := unix.Kill(s.PID, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("ending the box: %w", err)
		}
	}
	for end := time.Now().Add(10 * time.Second); len(s.members()) > 0; {
		if ctx.Err() != nil || time.Now().After(end) {
			return &Error{Object: "the box in " + dir, Cause: fmt.Errorf("processes %s do not end", strings.Join(s.members(), ", ")), WayOut: "look what they wait for in /proc/<number>/stack"}
		}
		<-time.After(10 * time.Millisecond)
	}
	if err := clean(dir, s); err != nil {
		return err
	}
	if keep {
		return nil
	}
	return os.RemoveAll(dir)
}

// forget removes the folder of a box that did not start, and no other.
func forget(dir string) error {
	held, err := os.Open(filepath.Join(dir, lockName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = held.Close() }()
	if err := unix.Flock(int(held.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return &Error{Object: "folder " + dir, Cause: errors.New("a box is about to start there"), WayOut: "wait for it, or interrupt it"}
	}
	return os.RemoveAll(dir)
}

// clean removes what a dead box leaves on the machine, and then the state that knows of it.
func clean(dir string, s state) error {
	err := errors.Join(removeCgroups(s.Cgroups, 10*time.Second), restoreSysctls(s.Sysctls), leftovers(dir, s))
	if err != nil {
		return err
	}
	for _, folder := range []string{"control", "volumes", "local-path", Nodes[0], Nodes[1]} {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, folder)))
	}
	return errors.Join(err, os.Remove(statePath(dir)))
}

// leftovers is an error that names what of a dead box is still there: processes in its namespaces, mounts, cgroups. Its network namespaces
// have no names outside and go with the processes in them.
func leftovers(dir string, s state) error {
	var left []string
	if mounts, err := os.ReadFile("/proc/self/mounts"); err == nil {
		for line := range bytes.Lines(mounts) {
			if bytes.Contains(line, []byte(" "+dir+"/")) {
				left = append(left, "mount "+string(bytes.Fields(line)[1]))
			}
		}
	}
	for _, pid := range s.members() {
		left = append(left, "process "+pid)
	}
	roots, _ := hierarchies()
	for _, root := range roots {
		if _, err := os.Stat(filepath.Join(root, s.Cgroups)); err == nil {
			left = append(left, "control group "+filepath.Join(root, s.Cgroups))
		}
	}
	if len(left) == 0 {
		return nil
	}
	return &Error{Object: "the box in " + dir, Cause: fmt.Errorf("it left %s", strings.Join(left, ", ")), WayOut: "remove these by hand, and report it"}
}
