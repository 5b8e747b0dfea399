package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/broker/client"
	"github.com/broletto/broletto/operator/engine"
	"github.com/broletto/broletto/operator/run"
)

const (
	// lockPatience is how long the lock of the state is waited for: a run before this one may be about to give it back.
	lockPatience = time.Minute
	// savePatience is how long a last state, and then a report, is tried to be delivered at least, and a third of it when the run was ended, as a
	// pod has but its grace. A run that ends by itself has more time: what is left of its own, and [run.Overtime].
	savePatience = 150 * time.Second
	// overtimeRest is what of the overtime is left for the report when the state has taken the rest.
	overtimeRest = 30 * time.Second
	// saveEvery is how often the state is looked at while an engine applies.
	saveEvery = 500 * time.Millisecond
	// logBound is how many bytes of an engine's output are shown.
	logBound = 1 << 20
)

// Fetch puts a source into an empty folder, and says which revision it was.
type Fetch func(ctx context.Context, s run.Source, dir string) (revision string, err error)

// Check refuses what no source may hold.
type Check func(dir string, o run.Order) error

// Runner does one run.
type Runner struct {
	Broker  *Client
	Engines map[v1alpha1.EngineName]engine.Engine
	Fetch   Fetch
	Check   Check
	// Work is a folder to write to; what it holds is taken away at the end.
	Work string
	// Account is the folder with token, ca.crt and namespace by which the stack's code reaches the API server at Host and Port.
	Account, Host, Port string
	// Path is where the stack's code finds programs.
	Path string
	// Log takes what an engine prints, redacted.
	Log io.Writer
	// Reap ends all processes that an engine has left; nil: there is nothing to be done.
	Reap func()
	// Patience is how long state and report are tried to be delivered at the end. Default: as long as the pod may live.
	Patience time.Duration

	beatEvery, saveEvery time.Duration // as their constants say, but in tests
}

// What ends an engine before its time.
var (
	errStopped = errors.New("the run was asked to stop")
	errEnded   = errors.New("the runner was told to end, as when its node is drained")
	// errNothing ends a run well: there was nothing to be done.
	errNothing  = errors.New("nothing was ever applied")
	errDeadline = errors.New("the run took longer than spec.timeoutMinutes: raise it, or split the stack")
)

// scope is one run.
type scope struct {
	*Runner
	redact *redactor
	log    *redacting
	order  run.Order     // claim
	code   string        // claim
	engine engine.Engine // claim
	work   engine.Work   // claim
	packed []byte        // fetch: the source as it is kept
	plan   *engine.Plan  // decide
	saver  *saver        // restore
	report run.Report
}

// Run claims the order, does it and reports. An error is a run without a report; how the run itself went stands in the report.
func (r *Runner) Run(ctx context.Context) error {
	own := *r
	s := &scope{Runner: &own, redact: newRedactor()}
	s.log = newRedacting(s.redact, r.Log, logBound)
	s.beatEvery, s.saveEvery = cmp.Or(s.beatEvery, run.BeatEvery), cmp.Or(s.saveEvery, saveEvery)
	defer s.clean()
	live, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	defer context.AfterFunc(ctx, func() { stop(errEnded) })()

	err := s.claim(live)
	if err == nil {
		err = s.do(live, stop)
	}
	if s.Reap != nil {
		s.Reap()
	}
	s.log.Flush()
	if err != nil {
		s.report.Failure = s.failure(live, err)
		s.say("the run failed (%s): %s", s.report.Failure.Class, s.report.Failure.Message)
	}
	s.hide()
	// Whatever ended the run: its end is told.
	last, cancel := s.lastly(live)
	defer cancel()
	return s.Broker.Report(last, s.report)
}

// lastly is a context for what is told at the end, also of what was ended. Then less time is left: an engine takes most of a pod's grace.
func (s *scope) lastly(ctx context.Context) (context.Context, context.CancelFunc) {
	patience := cmp.Or(s.Patience, savePatience)
	short := patience / 3
	ended := func() bool { return ctx.Err() != nil && !errors.Is(context.Cause(ctx), errDeadline) }
	if ended() {
		return context.WithTimeout(context.WithoutCancel(ctx), short)
	}
	if s.Patience == 0 { // a broker that is gone for long costs no state
		patience = max(patience, time.Until(s.order.Deadline.Add(run.Overtime-overtimeRest)))
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	context.AfterFunc(ctx, func() {
		if ended() {
			time.AfterFunc(short, cancel)
		}
	})
	return last, cancel
}

// do is the run, under its deadline and with signs of life.
func (s *scope) do(ctx context.Context, stop context.CancelCauseFunc) error {
	ctx, cancel := context.WithDeadlineCause(ctx, s.order.Deadline, errDeadline)
	defer cancel()
	beating, quiet := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); s.beat(beating, stop) }()
	defer func() { quiet(); <-done }()
	for _, phase := range []func(context.Context) error{s.fetch, s.check, s.restore, s.prepare, s.decide, s.judge, s.keep, s.apply} {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err := phase(ctx)
		if errors.Is(err, errNothing) {
			return nil
		}
		if err != nil {
			if ctx.Err() != nil { // whatever it says, that is why
				return errors.Join(context.Cause(ctx), err)
			}
			return err
		}
	}
	return nil
}

// beat tells the broker that the runner lives, until it is quiet. Whom the broker does not know any more has lost the state to another.
func (s *scope) beat(ctx context.Context, stop context.CancelCauseFunc) {
	for client.Pause(ctx, s.beatEvery) == nil {
		b, err := s.Broker.Beat(ctx)
		var refused *run.Problem
		var passing *client.Passing
		switch {
		case errors.As(err, &passing):
		case errors.As(err, &refused):
			stop(fmt.Errorf("the broker does not take this run for alive: %w", refused))
		case err == nil && b.Stop:
			stop(errStopped)
		}
	}
}

// failure says of an error whose turn it is, without a secret in it.
func (s *scope) failure(ctx context.Context, err error) *v1alpha1.RunFailure {
	class := classOf(err)
	if class == v1alpha1.FailureEngine && ctx.Err() != nil {
		class = v1alpha1.FailureInfrastructure
	}
	return run.Failure(class, s.redact.Text(err.Error()))
}

// classified is a failure of a class that its error does not tell by itself.
type classified struct {
	class v1alpha1.FailureClass
	error
}

func (c *classified) Unwrap() error { return c.error }

// as gives a failure its class, unless something in it already has one.
func as(class v1alpha1.FailureClass, err error) error {
	if err == nil {
		return nil
	}
	return &classified{class, err}
}

func classOf(err error) v1alpha1.FailureClass {
	var (
		invalid *engine.Invalid
		stale   *engine.Stale
		problem *run.Problem
		hostile *run.Hostile
		known   *classified
		turn    interface{ Class() v1alpha1.FailureClass }
	)
	switch {
	case errors.Is(err, errDeadline):
		return v1alpha1.FailureDeadline
	case errors.Is(err, errEnded), errors.Is(err, errStopped):
		return v1alpha1.FailureInfrastructure
	case errors.As(err, &problem):
		return problem.Class
	case errors.As(err, &invalid):
		return v1alpha1.FailureInput
	case errors.As(err, &stale):
		return v1alpha1.FailureOutOfDate
	case errors.As(err, &hostile):
		return v1alpha1.FailureSource
	case errors.As(err, &turn):
		return turn.Class()
	case errors.As(err, &known):
		return known.class
	}
	return v1alpha1.FailureInfrastructure
}

// say puts a line into the log, also when the engine has filled its share.
func (s *scope) say(format string, args ...any) {
	_, _ = fmt.Fprintln(s.Log, s.redact.Text(fmt.Sprintf(format, args...)))
}

// hide takes secrets out of what is reported, but for the outputs, which are kept as secret.
func (s *scope) hide() {
	if p := s.report.Plan; p != nil {
		for i := range p.Resources {
			p.Resources[i].Address = v1alpha1.ResourceAddress(s.redact.Text(string(p.Resources[i].Address)))
		}
		for i := range p.Replaced {
			p.Replaced[i] = v1alpha1.ResourceAddress(s.redact.Text(string(p.Replaced[i])))
		}
	}
}

// clean takes away what the run has written. A state that could not be saved stays.
func (s *scope) clean() {
	entries, err := os.ReadDir(s.Work)
	if err != nil {
		return
	}
	for _, e := range entries {
		if s.saver != nil && s.saver.unsaved() && e.Name() == stateFolder {
			continue
		}
		path := filepath.Join(s.Work, e.Name())
		makeWritable(path)
		_ = os.RemoveAll(path) // what a pod leaves goes with the pod
	}
}

// makeWritable makes folders writable, as code may have taken that away from what holds its secrets.
func makeWritable(path string) {
	_ = filepath.WalkDir(path, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(p, 0o700) //nolint:gosec // a folder
		}
		return nil
	})
}

// locked tells whether another run holds the state.
func locked(err error) bool {
	var p *run.Problem
	return errors.As(err, &p) && p.Class == v1alpha1.FailureLocked
}

// tooLarge tells whether the broker found something too large.
func tooLarge(n int) error {
	if n <= run.MaxBlob {
		return nil
	}
	return as(v1alpha1.FailureEngine, fmt.Errorf("%s: %d MiB, and at most %d are kept: split the stack",
		http.StatusText(http.StatusRequestEntityTooLarge), n>>20, run.MaxBlob>>20))
}
