package runner

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Guard readies this process for a tenant's code beside it. Orphans come to it, so that [Reap] finds them whatever they did to hide; its
// memory and environment are closed to processes of the same user; and no core is written, which would hold secrets.
func Guard() error {
	err := errors.Join(
		unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0),
		unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0),
		unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}),
	)
	if err != nil {
		return fmt.Errorf("guarding the runner against the code that it runs: %w", err)
	}
	return nil
}

// reapPatience bounds how long [Reap] looks: a process in the kernel's hands dies later.
const reapPatience = 10 * time.Second

// Reap kills all that descends from this process, and takes note of their ends. Call it when nothing is wanted to run any more.
func Reap() {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(reapPatience); time.Now().Before(end); <-tick.C {
		left := descendants(os.Getpid())
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			// Of a descendant that is no child yet this fails: it will be one, when its parent is gone.
			_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
		}
	}
}

// descendants are the children of a process, theirs, and so on, the ended among them of whom nobody took note.
func descendants(of int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	children := map[int][]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if parent, ok := parentOf(e.Name()); ok {
			children[parent] = append(children[parent], pid)
		}
	}
	var all []int
	for next := children[of]; len(next) > 0; next = next[1:] {
		all = append(all, next[0])
		next = append(next, children[next[0]]...)
	}
	return all
}

// parentOf reads /proc/<pid>/stat: "pid (name) state parent …", where the name may have anything in it.
func parentOf(pid string) (int, bool) {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0, false
	}
	parent, err := strconv.Atoi(string(fields[1]))
	return parent, err == nil
}
