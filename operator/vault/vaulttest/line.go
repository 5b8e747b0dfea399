package vaulttest

import (
	"context"
	"math"
	"net"
	"sync"
	"testing"
)

// Line is a connection to a server that a test cuts.
type Line struct {
	listener net.Listener
	server   string

	lock  sync.Mutex
	there int // bytes that still go to the server
	back  int // bytes that still come back
	ends  map[net.Conn]bool
}

// NewLine is a whole line to a server.
func NewLine(t *testing.T, server string) *Line {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &Line{listener: listener, server: server, ends: map[net.Conn]bool{}}
	l.Cut(math.MaxInt, math.MaxInt)
	go l.accept()
	t.Cleanup(func() {
		_ = listener.Close()
		l.Cut(0, 0)
		l.hangUp()
	})
	return l
}

// Addr is where the line begins.
func (l *Line) Addr() string { return l.listener.Addr().String() }

// Cut lets so many more bytes there and back; the next one ends all connections, and new ones end at once.
func (l *Line) Cut(there, back int) {
	l.lock.Lock()
	defer l.lock.Unlock()
	l.there, l.back = there, back
}

// Mend makes the line whole.
func (l *Line) Mend() { l.Cut(math.MaxInt, math.MaxInt) }

func (l *Line) accept() {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		far, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", l.server)
		if err != nil {
			_ = near.Close()
			continue
		}
		l.lock.Lock()
		l.ends[near], l.ends[far] = true, true
		l.lock.Unlock()
		go l.carry(far, near, &l.there)
		go l.carry(near, far, &l.back)
	}
}

func (l *Line) carry(to, from net.Conn, left *int) {
	defer func() { _, _ = to.Close(), from.Close() }()
	chunk := make([]byte, 16<<10)
	for {
		n, err := from.Read(chunk)
		l.lock.Lock()
		goes := min(n, *left)
		*left -= goes
		l.lock.Unlock()
		if _, failed := to.Write(chunk[:goes]); err != nil || failed != nil {
			return
		}
		if goes < n {
			l.Cut(0, 0)
			l.hangUp()
			return
		}
	}
}

func (l *Line) hangUp() {
	l.lock.Lock()
	defer l.lock.Unlock()
	for end := range l.ends {
		_ = end.Close()
	}
	clear(l.ends)
}
