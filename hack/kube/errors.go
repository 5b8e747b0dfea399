package kube

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// Causes to tell apart with errors.Is.
var (
	ErrNoGo       = errors.New("the go command is not on PATH")
	ErrNoSpace    = errors.New("not enough free space")
	ErrPortTaken  = errors.New("already in use")
	ErrDirInUse   = errors.New("in use by another control plane")
	ErrForeignDir = errors.New("not written by this package")
	ErrOtherDir   = errors.New("written by another version")
	ErrTimeout    = errors.New("not ready in time")
)

// Error says what is wrong with which thing, and what to do about it.
type Error struct {
	Object string // the binary, port, folder or module that the error is about
	Cause  error
	WayOut string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: %v; %s", e.Object, e.Cause, e.WayOut)
}

func (e *Error) Unwrap() error { return e.Cause }

// ProcessError says that a process of the control plane ended by itself, or never became ready.
type ProcessError struct {
	Name  string // for example "kube-apiserver"
	Cause error  // an *exec.ExitError, or ErrTimeout with the last answer
	Log   string // path of the log
	Tail  string // its last lines
	Hint  *Error // the known trouble that the tail shows, or nil
}

func (e *ProcessError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %v", e.Name, e.Cause)
	if e.Hint != nil {
		fmt.Fprintf(&b, " (%v)", e.Hint)
	}
	fmt.Fprintf(&b, "; the end of its log, %s:\n%s", e.Log, indent(e.Tail))
	return b.String()
}

// Unwrap lets errors.Is find both what happened and why.
func (e *ProcessError) Unwrap() []error {
	if e.Hint == nil {
		return []error{e.Cause}
	}
	return []error{e.Cause, e.Hint}
}

// troubles maps what programs print to what it means. Programs say it in prose only, so prose is what we match.
var troubles = []struct {
	text, object string
	cause        error
	wayOut       string
}{
	{"address already in use", "a port on 127.0.0.1", ErrPortTaken,
		"another process took it a moment ago; start again, or choose another port"},
	{"no space left on device", "the disk", ErrNoSpace,
		"free some space, or move the cache with BROLETTO_CACHE and GOCACHE, and the data with Options.Dir"},
}

// diagnose returns the known trouble in the output of a program, or nil.
func diagnose(output string) *Error {
	for _, t := range troubles {
		if strings.Contains(output, t.text) {
			return &Error{Object: t.object, Cause: t.cause, WayOut: t.wayOut}
		}
	}
	return nil
}

// tailLines is how much of a log an error carries: enough for a panic's message, little enough to read.
const tailLines = 10

// tail returns the last lines of text, each cut to a length that a terminal can show.
func tail(text string) string {
	const width = 400
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	lines = lines[max(0, len(lines)-tailLines):]
	for i, line := range lines {
		if len(line) > width {
			lines[i] = line[:width] + "..."
		}
	}
	return strings.Join(lines, "\n")
}

// tailFile is tail for a file that may be large or missing.
func tailFile(path string) string {
	const enough = 64 << 10
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err.Error()
	}
	buf := make([]byte, min(info.Size(), enough))
	n, _ := f.ReadAt(buf, info.Size()-int64(len(buf)))
	return tail(string(buf[:n]))
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(text, "\n", "\n    ")
}
