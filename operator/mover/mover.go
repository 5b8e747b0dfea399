package mover

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kopia/kopia/repo/logging"

	"github.com/broletto/broletto/operator/move"
)

// grace is how long an operation that was ended may take to leave things in order. Then it is left to itself.
const grace = 20 * time.Second

// Mover does one order.
type Mover struct {
	// Tell takes how far it is, every TellEvery (default: 5 s). Say takes lines for people.
	Tell      func(move.Progress)
	TellEvery time.Duration
	Say       func(string)

	unsafe bool                                         // see session
	pause  func(ctx context.Context, attempt int) error // between attempts
}

// Run does an order and reports. A context that ends interrupts it.
func (m Mover) Run(ctx context.Context, o move.Order) move.Report {
	begun := time.Now()
	if m.Tell == nil {
		m.Tell = func(move.Progress) {}
	}
	if m.Say == nil {
		m.Say = func(string) {}
	}
	if m.pause == nil {
		m.pause = pause
	}
	s := &session{order: o, meter: newMeter(), progress: &progress{}, redact: newRedactor(o), report: move.Report{Operation: o.Operation}, unsafe: m.unsafe, pause: m.pause}
	err := o.Complete()
	s.order = o
	live := context.WithoutCancel(ctx)
	if err != nil {
		err = as(move.FailureOrder, err)
	} else {
		live, err = m.guarded(ctx, s)
	}
	s.progress.mu.Lock() // what did not end may still write
	defer s.progress.mu.Unlock()
	report := s.report
	report.Requests, report.StoreTime, report.Seconds = s.meter.requests(), s.meter.time, time.Since(begun).Seconds()
	if err != nil {
		report.Failure = s.failure(live, err)
	}
	return report
}

// guarded does an order until it is done, or nothing moves, or its time is over, or the mover is to end.
func (m Mover) guarded(ctx context.Context, s *session) (live context.Context, err error) {
	log := newEngineLog(s.redact, m.Say)
	base := logging.WithLogger(context.WithoutCancel(ctx), log.factory())
	live, end := context.WithCancelCause(base)
	defer end(nil)
	s.progress.end = end
	defer context.AfterFunc(ctx, func() { end(errInterrupted) })()
	if d := s.order.Deadline; !d.IsZero() {
		timer := time.AfterFunc(time.Until(d), func() { end(fmt.Errorf("%w: give the operation more time, or the volume less data", errDeadline)) })
		defer timer.Stop()
	}
	watched, quiet := context.WithCancel(live)
	defer quiet()
	stall := time.Duration(s.order.StallSeconds) * time.Second
	every := m.TellEvery
	if every == 0 {
		every = 5 * time.Second
	}
	go s.progress.watch(watched, s.meter, every, stall, m.Tell)

	// What is under way may need the store a little longer to leave things in order.
	hard, cut := context.WithCancelCause(base)
	defer cut(nil)
	defer context.AfterFunc(live, func() { time.AfterFunc(grace/2, func() { cut(context.Cause(live)) }) })()
	done := make(chan error, 1)
	go func() {
		err := s.do(live, hard)
		if said := log.lastError(); err != nil && errors.Is(err, errIncomplete) && said != "" {
			err = fmt.Errorf("%w: %s", err, said)
		}
		done <- err
	}()
	select {
	case err = <-done:
		return live, err
	case <-live.Done():
	}
	select {
	case err = <-done:
	case <-time.After(grace): // kopia may not look whether it is to end; the process ends anyway
		err = errors.New("it did not end")
	}
	return live, err
}

// do is the operation. The second context lives on for a while when the first has ended.
func (s *session) do(ctx, hard context.Context) error {
	if s.order.Operation == move.Check { // it has no store
		return s.check(ctx)
	}
	defer s.close(hard)
	if err := s.connect(ctx); err != nil {
		return err
	}
	if err := s.open(hard); err != nil {
		return s.opening(err)
	}
	switch s.order.Operation {
	case move.Backup:
		return s.backup(ctx, hard)
	case move.Restore:
		return s.restore(ctx)
	case move.Verify:
		return s.verify(ctx)
	default:
		return s.maintain(ctx)
	}
}

// opening explains why a repository could not be opened.
func (s *session) opening(err error) error {
	if classOf(err) == move.FailureDamaged && !s.exists() {
		return as(move.FailureOrder, errors.New("there is no repository in the order's store"))
	}
	return err
}

func (s *session) exists() bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := s.store.GetMetadata(ctx, formatBlob)
	return err == nil
}

// alive tells whether the process is there that a session's folder is named after.
func alive(folder string) bool {
	parts := strings.Split(filepath.Base(folder), "-")
	if len(parts) < 2 {
		return false
	}
	pid, err := strconv.Atoi(parts[1])
	return err == nil && (pid == os.Getpid() || syscall.Kill(pid, 0) == nil)
}
