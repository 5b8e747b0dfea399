package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// cpu is processor time in seconds by who used it: this process, by the name of "client", its children, and all others on the machine together.
// It is empty where the system has no /proc.
type cpu map[string]float64

const (
	// others is who else uses the machine; the more they do, the less the times mean.
	others = "others"
	// ended are this process's children that have ended, with all that those waited for: runs of stacks, and a shell's.
	ended = "ended"
)

// readCPU reads what has been used until now.
func readCPU() cpu {
	used := cpu{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is well formed
	self := strconv.Itoa(os.Getpid())
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		pid, rest, _ := strings.Cut(string(text), " (")
		name, rest, _ := strings.Cut(rest, ") ")
		fields := strings.Fields(rest) // state, parent, …; 11 and 12 are user and system time
		if len(fields) < 13 || (pid != self && fields[1] != self) {
			continue
		}
		if pid == self {
			name = "client"
		}
		used[name] += ticks(fields[11]) + ticks(fields[12])
	}
	var children syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_CHILDREN, &children) == nil {
		used[ended] = seconds(children.Utime) + seconds(children.Stime)
	}
	if text, err := os.ReadFile("/proc/stat"); err == nil {
		used[others] = -used.ours()
		total, _, _ := strings.Cut(string(text), "\n")
		for i, field := range strings.Fields(total) { // cpu, user, nice, system, idle, iowait, interrupts, stolen …
			if i >= 1 && i <= 8 && i != 4 && i != 5 {
				used[others] += ticks(field)
			}
		}
	}
	return used
}

func seconds(t syscall.Timeval) float64 { return float64(t.Nano()) / 1e9 }

// ticks turns the kernel's hundredths of a second, which are numbers always, into seconds.
func ticks(text string) float64 {
	n, _ := strconv.ParseFloat(text, 64)
	return n / 100
}

// since is what was used after another reading.
func (c cpu) since(before cpu) cpu {
	out := cpu{}
	for name, used := range c {
		out[name] = used - before[name]
	}
	return out
}

// ours is what all but others used.
func (c cpu) ours() (total float64) {
	for name, used := range c {
		if name != others {
			total += used
		}
	}
	return total
}
