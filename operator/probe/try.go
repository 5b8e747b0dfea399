package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"sync"
	"syscall"
	"time"
)

// Outcome is how an attempt ended.
type Outcome string

// Outcomes. Who reads them decides what they prove: see docs/doctor.md.
const (
	// Open means that a probe's server answered our question: packets pass both ways.
	Open Outcome = "open"
	// Connected means that TCP connected, and no probe's server answered: another service, or a proxy on the way.
	Connected Outcome = "connected"
	// Refused means that a packet came back that says no: nobody listens there, or a network policy rejects instead of dropping.
	Refused Outcome = "refused"
	// Timeout means that nothing came back: packets were dropped, or nobody is there.
	Timeout Outcome = "timeout"
	// Unreachable means that the network, or the kernel of the sender, says that there is no way.
	Unreachable Outcome = "unreachable"
	// Failed means that nothing could be tried, such as a name that resolves to no address.
	Failed Outcome = "failed"
)

// Result is what one attempt saw.
type Result struct {
	Target       string  `json:"target"`
	Open         bool    `json:"open"`
	Outcome      Outcome `json:"outcome"`
	AnsweredBy   string  `json:"answeredBy,omitempty"`
	Error        string  `json:"error,omitempty"`
	Milliseconds int64   `json:"milliseconds"` // of the last attempt
	Waited       int64   `json:"waited"`       // milliseconds until the last attempt began
	InRow        int     `json:"inRow"`        // how many attempts in a row, this one the last, ended as wanted
}

// Closed tells whether no packet got through, or only one that says no. What failed otherwise is neither open nor closed.
func (r Result) Closed() bool {
	return r.Outcome == Refused || r.Outcome == Timeout || r.Outcome == Unreachable
}

const (
	// sendings is how often a question is sent by UDP within one attempt: datagrams get lost also where all is open.
	sendings = 4
	// pause lies between two attempts at one target.
	pause = 250 * time.Millisecond
	// maxError bounds the text of an error in bytes: many results have to fit into a termination message of 4 KiB.
	maxError = 120
)

// Try tries all targets at once, each within the timeout, and returns the results in their order.
func Try(ctx context.Context, targets []string, timeout time.Duration) []Result {
	return TryUntil(ctx, targets, timeout, Until{})
}

// Until is what ends attempts at a target.
type Until struct {
	Wanted func(Result) bool // nil: anything
	Times  int               // in a row; 0: once
	Within time.Duration     // no attempt begins later
}

// TryUntil tries each target again until the results are what is wanted, or the time is over: a network policy takes a moment to be in
// force, and a packet may get lost where all is open.
func TryUntil(ctx context.Context, targets []string, timeout time.Duration, until Until) []Result {
	results := make([]Result, len(targets))
	var all sync.WaitGroup
	begin := time.Now()
	for i, target := range targets {
		all.Go(func() {
			for row := 0; ; {
				waited := time.Since(begin)
				results[i] = attempt(ctx, target, timeout)
				results[i].Waited = waited.Milliseconds()
				if row++; until.Wanted != nil && !until.Wanted(results[i]) {
					row = 0
				}
				results[i].InRow = row
				if row >= max(until.Times, 1) || time.Since(begin) >= until.Within {
					return
				}
				select {
				case <-ctx.Done():
					return
				case <-time.After(pause):
				}
			}
		})
	}
	all.Wait()
	return results
}

// Check says whether a target can be tried.
func Check(target string) error {
	u, err := url.Parse(target)
	if err != nil {
		return err
	}
	if (u.Scheme != "tcp" && u.Scheme != "udp") || u.Port() == "" || u.Hostname() == "" || u.Path != "" || u.RawQuery != "" {
		return fmt.Errorf("target %.100q: want tcp://ADDRESS:PORT or udp://ADDRESS:PORT", target)
	}
	return nil
}

func attempt(ctx context.Context, target string, timeout time.Duration) Result {
	result := Result{Target: target, Outcome: Failed}
	begin := time.Now()
	err := Check(target)
	if err == nil {
		u, _ := url.Parse(target) // Check has parsed it
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		result.AnsweredBy, result.Outcome, err = exchange(ctx, u.Scheme, u.Host)
	}
	result.Open = result.Outcome == Open
	result.Milliseconds = time.Since(begin).Milliseconds()
	if err != nil {
		result.Error = err.Error()[:min(len(err.Error()), maxError)]
	}
	return result
}

// exchange asks and waits for the answer.
func exchange(ctx context.Context, network, address string) (name string, outcome Outcome, err error) {
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return "", classify(err), err
	}
	defer func() { _ = connection.Close() }() // what there was to learn is learnt
	deadline, _ := ctx.Deadline()
	if err := connection.SetDeadline(deadline); err != nil {
		return "", Failed, err
	}
	defer context.AfterFunc(ctx, func() { _ = connection.SetDeadline(time.Unix(1, 0)) })() // also when somebody stops us
	question := ask()
	if network == "udp" {
		name, err = exchangeUDP(connection, question, time.Until(deadline)/sendings)
	} else {
		name, err = exchangeTCP(connection, question)
	}
	switch {
	case err == nil:
		return name, Open, nil
	case network == "tcp":
		return "", Connected, err
	default:
		return "", classify(err), err
	}
}

func exchangeTCP(connection net.Conn, question string) (string, error) {
	if _, err := io.WriteString(connection, question); err != nil {
		return "", err
	}
	text, err := bufio.NewReader(io.LimitReader(connection, maxMessage)).ReadString('\n')
	if name, ok := answered(question, text); ok {
		return name, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = errors.New("what answered is no probe")
	}
	return "", err
}

// exchangeUDP sends until an answer comes. What else comes is passed over: the answer may follow.
func exchangeUDP(connection net.Conn, question string, every time.Duration) (string, error) {
	buffer := make([]byte, maxMessage)
	var refused error
	for range sendings {
		again := time.Now().Add(every)
		if _, err := io.WriteString(connection, question); err != nil {
			return "", err
		}
		if err := connection.SetReadDeadline(again); err != nil {
			return "", err
		}
		for {
			n, err := connection.Read(buffer)
			if name, ok := answered(question, string(buffer[:n])); ok {
				return name, nil
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				refused = err
				break
			}
			if err != nil {
				return "", err
			}
		}
	}
	return "", refused
}

// classify tells how an attempt ended that got no connection, or no answer by UDP.
func classify(err error) Outcome {
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &dns):
		return Failed
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET):
		return Refused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return Unreachable
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return Timeout
	default:
		return Failed
	}
}
