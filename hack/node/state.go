//go:build linux

package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// state is what state.json says about a box, so that any process can end it and clean up after it.
type state struct {
	PID        int               `json:"pid"`        // of the process that holds the box, as the machine numbers it
	Started    string            `json:"started"`    // its start in the kernel's clock: a number that is used again does not mean another process
	Port       int               `json:"port"`       // on 127.0.0.1, of the API server
	Namespaces []string          `json:"namespaces"` // as /proc names them: who is in one of them is in the box
	Cgroups    string            `json:"cgroups"`    // name of the groups below each controller
	Sysctls    map[string]string `json:"sysctls"`    // as they were
}

// Error says what is wrong with which thing, and what to do about it.
type Error struct {
	Object string
	Cause  error
	WayOut string
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %v; %s", e.Object, e.Cause, e.WayOut) }

func (e *Error) Unwrap() error { return e.Cause }

// Causes to tell apart with errors.Is.
var (
	ErrNoBox   = errors.New("no box runs there")
	ErrRunning = errors.New("a box runs there")
)

func statePath(dir string) string { return filepath.Join(dir, "state.json") }

func readState(dir string) (state, error) {
	var s state
	text, err := os.ReadFile(statePath(dir))
	if errors.Is(err, os.ErrNotExist) {
		return s, &Error{Object: "folder " + dir, Cause: ErrNoBox, WayOut: "start one with `make node`"}
	}
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, &Error{Object: statePath(dir), Cause: err, WayOut: "end the box's processes by hand and remove the folder"}
	}
	return s, nil
}

// write replaces the file as a whole.
func (s state) write(dir string) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(statePath(dir)+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(statePath(dir)+".new", statePath(dir))
}

// alive tells whether the process that holds the box is still there. One that has ended and that nobody has waited for is not.
func (s state) alive() bool {
	if s.PID == 0 {
		return false
	}
	started, dead, err := startOf(s.PID)
	return err == nil && !dead && started == s.Started
}

// members are the processes in the box, as the machine numbers them, but for those that have ended and that nobody has waited for.
func (s state) members() []string {
	found := map[string]bool{}
	links, _ := filepath.Glob("/proc/[0-9]*/ns/*")
	for _, link := range links {
		if namespace, err := os.Readlink(link); err != nil || !slices.Contains(s.Namespaces, namespace) {
			continue
		}
		pid := strings.Split(link, "/")[2]
		if number, err := strconv.Atoi(pid); err == nil {
			_, dead, err := startOf(number)
			found[pid] = err == nil && !dead
		}
	}
	maps.DeleteFunc(found, func(_ string, lives bool) bool { return !lives })
	return sortedKeys(found)
}

// startOf is when a process started, from /proc/<pid>/stat: field 22, in clock ticks since the machine did. The name, field 2, stands in
// parentheses and may hold anything.
func startOf(pid int) (started string, dead bool, err error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", false, err
	}
	_, rest, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return "", false, fmt.Errorf("process %d: unexpected stat %q", pid, text)
	}
	return fields[19], fields[0] == "Z" || fields[0] == "X", nil
}
