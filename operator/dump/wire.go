package dump

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// A frame is one byte that says what it is, its length in four bytes, big endian, and so many bytes.
const (
	frameData  = 'd' // of the dump
	frameAlive = 'a' // the program is at work
	frameEnd   = 'e' // the last one: a [verdict]

	maxFrame = 64 << 10
	header   = 5
)

// verdict is how a program ended.
type verdict struct {
	// Failed says why; empty: it has ended well.
	Failed string `json:"failed,omitempty"`
	// Unanswered tells that no server answered, so that it was not begun.
	Unanswered bool `json:"unanswered,omitempty"`
}

// Failure is why a program did not end well.
type Failure struct {
	Message string
	// Unanswered tells that no server answered.
	Unanswered bool
}

func (f *Failure) Error() string { return f.Message }

// ErrBroken surfaces when the other side went without saying how it ended.
var ErrBroken = errors.New("the program beside the mover broke off")

// conn is one side of the socket.
type conn struct {
	*net.UnixConn
	mu sync.Mutex // of writing
}

func (c *conn) send(kind byte, text []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	frame := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(text))) //nolint:gosec // it is at most maxFrame
	_, err := (&net.Buffers{frame, text}).WriteTo(c.UnixConn)
	return err
}

// Write sends a piece of the dump.
func (c *conn) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		piece := p[n:min(n+maxFrame, len(p))]
		if err = c.send(frameData, piece); err == nil {
			n += len(piece)
		}
	}
	return n, err
}

// finish says how it ended.
func (c *conn) finish(v verdict) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return errors.Join(c.send(frameEnd, text), c.CloseWrite())
}

// pieces reads what [conn.Write] sends. It ends with io.EOF when the other side has ended well.
type pieces struct {
	from  io.Reader
	alive func()
	left  int   // of the frame
	err   error // once it is over
}

func (p *pieces) Read(to []byte) (int, error) {
	for p.left == 0 {
		if p.err == nil {
			p.err = p.next()
		}
		if p.err != nil {
			return 0, p.err
		}
	}
	n, err := p.from.Read(to[:min(len(to), p.left)])
	p.left -= n
	if err != nil {
		p.err = broken(err)
	}
	return n, p.err
}

// next reads up to the next piece.
func (p *pieces) next() error {
	var head [header]byte
	if _, err := io.ReadFull(p.from, head[:]); err != nil {
		return broken(err)
	}
	length := binary.BigEndian.Uint32(head[1:])
	if length > maxFrame {
		return fmt.Errorf("%w: it sent a piece of %d bytes", ErrBroken, length)
	}
	switch head[0] {
	case frameData:
		p.left = int(length)
		return nil
	case frameAlive:
		if p.alive != nil {
			p.alive()
		}
		_, err := io.CopyN(io.Discard, p.from, int64(length))
		return broken(err)
	case frameEnd:
	default:
		return fmt.Errorf("%w: it sent something else", ErrBroken)
	}
	text := make([]byte, length)
	if _, err := io.ReadFull(p.from, text); err != nil {
		return broken(err)
	}
	var v verdict
	if err := json.Unmarshal(text, &v); err != nil {
		return fmt.Errorf("%w: it does not say how it ended", ErrBroken)
	}
	if v.Failed != "" {
		return &Failure{v.Failed, v.Unanswered}
	}
	return io.EOF
}

// broken explains an error of the socket. An end that was not announced is none.
func broken(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrBroken, noEOF(err))
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// dialPatience is how long the other side may take to begin.
const dialPatience = time.Minute

// dial connects to a socket that may not be there yet. The connection ends with the context.
func dial(ctx context.Context, socket string) (*conn, error) {
	patient, end := context.WithTimeout(ctx, dialPatience)
	defer end()
	for {
		c, err := (&net.Dialer{}).DialContext(patient, "unix", socket)
		if err == nil {
			return &conn{UnixConn: c.(*net.UnixConn)}, nil
		}
		select {
		case <-patient.Done():
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return nil, fmt.Errorf("%w: %w", ErrBroken, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// incoming is a dump on its way.
type incoming struct {
	pieces
	ctx  context.Context
	c    *conn
	stop func() bool
}

// Read fails with the context's cause when that has ended.
func (i *incoming) Read(p []byte) (int, error) {
	n, err := i.pieces.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && i.ctx.Err() != nil {
		err = context.Cause(i.ctx)
	}
	return n, err
}

// Close has the program ended, if it has not.
func (i *incoming) Close() error {
	i.stop()
	return i.c.Close()
}

// Open has the server at a socket dump its database, and reads what comes. That ends with io.EOF only when all of it came, else with a [Failure],
// [ErrBroken] or the cause of the context. Alive is called when the program says that it is at work.
func Open(ctx context.Context, socket string, alive func()) (io.ReadCloser, error) {
	c, err := dial(ctx, socket)
	if err != nil {
		return nil, err
	}
	return &incoming{pieces: pieces{from: c.UnixConn, alive: alive}, ctx: ctx, c: c, stop: context.AfterFunc(ctx, func() { _ = c.Close() })}, nil
}

// Bring hands a dump to the server at a socket, which brings it back: all of it or, with an error, nothing.
func Bring(ctx context.Context, socket string, from io.Reader, alive func()) error {
	c, err := dial(ctx, socket)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	answer := make(chan error, 1)
	go func() { // it may fail before it has taken everything
		_, err := io.Copy(io.Discard, &pieces{from: c.UnixConn, alive: alive})
		answer <- err // nil: the verdict was a good one
	}()
	source := &noted{Reader: from}
	_, err = io.CopyBuffer(struct{ io.Writer }{c}, source, make([]byte, maxFrame))
	if source.err != nil { // without a last frame nothing is brought back
		return source.err
	}
	if err == nil {
		err = c.finish(verdict{})
	}
	if err != nil { // the reason comes the other way
		_ = c.CloseWrite()
	}
	said := <-answer
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case said != nil:
		return said
	}
	return err
}

// noted keeps the error of a source.
type noted struct {
	io.Reader
	err error
}

func (n *noted) Read(p []byte) (int, error) {
	c, err := n.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		n.err = err
	}
	return c, err
}
