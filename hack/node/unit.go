//go:build linux

package node

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// unit is a process that the box runs, and can stop and start again.
type unit struct {
	name    string
	network string // of which network namespace; empty: the box's own
	command []string
	path    []string // folders to look for programs in, before the usual ones

	wanted  bool // to run: when it ends by itself, it is started again
	running *exec.Cmd
	ended   chan struct{} // closed when running has ended
}

// units are those of a box, in the order in which they were added.
type units struct {
	sync.Mutex
	dir string
	all []*unit
}

// run adds a unit and starts it.
func (us *units) run(u *unit) error {
	us.Lock()
	defer us.Unlock()
	us.all = append(us.all, u)
	return us.start(u)
}

// start starts a unit that does not run. What it prints goes to its log.
func (us *units) start(u *unit) error {
	u.wanted = true
	if u.running != nil {
		return nil
	}
	log, err := os.OpenFile(filepath.Join(us.dir, "log", u.name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the process has a descriptor of its own
	command := u.command
	if u.network != "" {
		command = append([]string{"nsenter", "--net=/run/netns/" + u.network, "--"}, command...)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env, cmd.Dir = environment(u.path...), us.dir
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", u.name, err)
	}
	ended := make(chan struct{})
	u.running, u.ended = cmd, ended
	go func() {
		_ = cmd.Wait() // how it ended stands in its log
		us.Lock()
		u.running = nil
		us.Unlock()
		close(ended)
		<-time.After(unitPause)
		us.again(u)
	}()
	return nil
}

// unitPause lies between the end of a unit that ended by itself and its new start: a kubelet ends when its containerd is not there yet.
const unitPause = time.Second

// again starts a unit that is to run and does not.
func (us *units) again(u *unit) {
	us.Lock()
	defer us.Unlock()
	if !u.wanted {
		return
	}
	if err := us.start(u); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// unitGrace is how long a unit has between being asked to end and being killed.
const unitGrace = 3 * time.Second

// stop ends a unit and waits for it.
func (us *units) stop(u *unit) {
	us.Lock()
	u.wanted = false
	cmd, ended := u.running, u.ended
	us.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(unix.SIGTERM)
	select {
	case <-ended:
	case <-time.After(unitGrace):
		_ = cmd.Process.Kill()
		<-ended
	}
}

// matching are the units whose name matches a pattern, such as "*-node-2"; none is an error.
func (us *units) matching(pattern string) ([]*unit, error) {
	us.Lock()
	defer us.Unlock()
	var found []*unit
	for _, u := range us.all {
		if ok, err := filepath.Match(pattern, u.name); err != nil {
			return nil, err
		} else if ok {
			found = append(found, u)
		}
	}
	if len(found) == 0 {
		var names []string
		for _, u := range us.all {
			names = append(names, u.name)
		}
		slices.Sort(names)
		return nil, fmt.Errorf("no unit is called %s; there are %s", pattern, strings.Join(names, ", "))
	}
	return found, nil
}
