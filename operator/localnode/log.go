package localnode

import (
	"bytes"
	"os"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// maxLog bounds the log of a pod, in bytes.
	maxLog = 4 << 20
	// maxLine is where a line is broken that does not end.
	maxLine = 16 << 10
)

// logbook is the log of a pod that runs: a file with a line for each of its own, a time before it, as a kubelet keeps it.
type logbook struct {
	mutex   sync.Mutex
	file    *os.File
	size    int
	rest    []byte // of a line that has not ended yet
	full    bool
	over    bool
	changed chan struct{} // closed, and another put here, when there is more
}

func (n *Node) logFile(uid types.UID) string { return n.path("logs", string(uid)+".log") }

func (n *Node) openLog(uid types.UID) (*logbook, error) {
	f, err := os.OpenFile(n.logFile(uid), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	l := &logbook{file: f, changed: make(chan struct{})}
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.logs[uid] = l
	return l, nil
}

// Write takes all that there is: whatever becomes of the log, the process does not wait for it.
func (l *logbook) Write(p []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.rest = append(l.rest, p...)
	for {
		end := bytes.IndexByte(l.rest, '\n')
		switch {
		case end >= 0:
			l.line(l.rest[:end])
			l.rest = l.rest[end+1:]
		case len(l.rest) >= maxLine:
			l.line(l.rest[:maxLine])
			l.rest = l.rest[maxLine:]
		default:
			l.wake()
			return len(p), nil
		}
	}
}

func (l *logbook) line(text []byte) {
	if l.full {
		return
	}
	if l.size+len(text) > maxLog {
		l.full = true
		text = []byte("the local node keeps no more of this log")
	}
	whole := append(append([]byte(time.Now().UTC().Format(time.RFC3339Nano)), ' '), text...)
	if _, err := l.file.Write(append(whole, '\n')); err != nil {
		l.full = true // the disk is; the run matters more
	}
	l.size += len(whole) + 1
}

// end tells readers that there will be no more.
func (l *logbook) end() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if len(l.rest) > 0 {
		l.line(l.rest)
	}
	l.rest, l.over = nil, true
	_ = l.file.Close() // it was written line by line
	l.wake()
}

func (l *logbook) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// news is closed when there is more than now; over: there never will be.
func (l *logbook) news() (more <-chan struct{}, over bool) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.changed, l.over
}
