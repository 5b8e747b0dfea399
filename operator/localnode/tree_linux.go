package localnode

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// dieWithParent has the kernel kill the child when we die, even of SIGKILL.
func dieWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }

// relative is a process as /proc shows it.
type relative struct{ pid, parent, session int }

// relatives are all processes that can be seen.
func relatives() (all []relative) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // gone meanwhile
		}
		// The name may hold anything; the last parenthesis ends it.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) < 4 || fields[0] == "Z" {
			continue
		}
		parent, _ := strconv.Atoi(fields[1])  // a number, always
		session, _ := strconv.Atoi(fields[3]) // as well
		all = append(all, relative{pid, parent, session})
	}
	return all
}

// descendants are those of a process, whatever sessions they made.
func descendants(pid int) []int {
	all := relatives()
	found := []int{pid}
	for i := 0; i < len(found); i++ {
		for _, r := range all {
			if r.parent == found[i] && !slices.Contains(found, r.pid) {
				found = append(found, r.pid)
			}
		}
	}
	return found[1:]
}

// fell kills the descendants of a process that lives, and holds it: first all are stopped, so that none makes another while they are counted.
func fell(pid int) {
	_ = syscall.Kill(pid, syscall.SIGSTOP) // it is ours, and not waited for yet
	stopped := map[int]bool{}
	for again := true; again; {
		again = false
		for _, d := range descendants(pid) {
			if !stopped[d] {
				stopped[d], again = true, true
				_ = syscall.Kill(d, syscall.SIGSTOP) // it may have ended
			}
		}
	}
	for d := range stopped {
		_ = syscall.Kill(d, syscall.SIGKILL) // the same
	}
}

// sweep kills what is left of the session that a process led. What left that, too, was the process's to end: it is its children's reaper.
func sweep(leader int) {
	for again := true; again; {
		again = false
		for _, r := range relatives() {
			if r.session == leader {
				again = true
				_ = syscall.Kill(r.pid, syscall.SIGKILL) // it may have ended
			}
		}
	}
}
