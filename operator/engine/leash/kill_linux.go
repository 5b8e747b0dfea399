package leash

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"
)

// patience bounds how long we look for what a kill left: a process in the kernel's hands dies later.
const patience = 5 * time.Second

// kill looks again until there is nothing to be found: who is killed may have forked just before.
func (l *Leash) kill() {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		held := Marked(Variable, l.mark)
		if len(held) == 0 {
			return
		}
		for _, pid := range held {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// Marked are the living processes whose environment says variable=value; others' that we may not read are not among them. A process
// that has ended has no environment, even while nobody has taken note.
func Marked(variable, value string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	want := []byte(variable + "=" + value)
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		environment, err := os.ReadFile("/proc/" + e.Name() + "/environ")
		if err != nil {
			continue
		}
		for v := range bytes.SplitSeq(environment, []byte{0}) {
			if bytes.Equal(v, want) {
				pids = append(pids, pid)
				break
			}
		}
	}
	return pids
}
