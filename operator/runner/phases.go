package runner

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/broker/client"
	"github.com/broletto/broletto/operator/engine"
	"github.com/broletto/broletto/operator/run"
)

// Folders of a run, below Runner.Work.
const (
	codeFolder   = "code"
	engineFolder = "engine"
	homeFolder   = "home"
	tmpFolder    = "tmp"
	stateFolder  = "state" // as in run.DefaultState
	stateFile    = "state.json"
)

// claim fetches the order, and readies folders and environment for it.
func (s *scope) claim(ctx context.Context) error {
	patient, cancel := context.WithTimeout(ctx, min(lockPatience, cmp.Or(s.Patience, lockPatience)))
	defer cancel()
	order, err := s.Broker.Order(patient)
	for locked(err) && client.Pause(patient, 2*time.Second) == nil {
		if order, err = s.Broker.Order(patient); err != nil && patient.Err() != nil {
			break
		}
	}
	if err != nil {
		return err
	}
	s.order = order
	s.learn()
	if s.engine = s.Engines[order.Engine]; s.engine == nil {
		return as(v1alpha1.FailureSource, fmt.Errorf("the platform's runner has no engine %s: use another one in spec.engine, or ask the platform for an image with it", order.Engine))
	}
	for _, folder := range []string{codeFolder, engineFolder, homeFolder, tmpFolder, stateFolder} {
		if err := os.MkdirAll(filepath.Join(s.Work, folder), 0o700); err != nil {
			return fmt.Errorf("making the run's folders: %w", err)
		}
	}
	s.code = filepath.Join(s.Work, codeFolder)
	s.work = engine.Work{
		Code: s.code, Dir: filepath.Join(s.Work, engineFolder), State: filepath.Join(s.Work, stateFolder, stateFile),
		Inputs: order.Inputs, Secret: order.Secret, Passphrase: run.Passphrase(order.Key), Log: s.log,
	}
	s.work.Env, err = s.environment()
	return err
}

// learn adds all secrets of the order to those that are redacted.
func (s *scope) learn() {
	for _, name := range s.order.Secret {
		s.redact.addJSON(s.order.Inputs[name])
	}
	if s.order.Source != nil {
		for name, value := range s.order.Source.Credentials {
			if name != "known_hosts" && name != "ca.crt" && name != "username" {
				s.redact.add(string(value))
			}
		}
	}
	s.redact.add(string(s.order.Key))
	s.redact.add(run.Passphrase(s.order.Key))
	for _, path := range []string{s.Broker.Token, filepath.Join(s.Account, "token")} {
		if token, err := os.ReadFile(path); err == nil {
			s.redact.add(string(token))
		}
	}
}

// fetch gets the code: a new one from its source, or the one that was kept.
func (s *scope) fetch(ctx context.Context) error {
	if s.order.Operation == v1alpha1.OperationPlan || s.order.Operation == v1alpha1.OperationConverge {
		if s.order.Source == nil {
			return errors.New("the order has no source, which is the operator's mistake")
		}
		revision, err := s.Fetch(ctx, *s.order.Source, s.code)
		if err != nil {
			return fmt.Errorf("fetching the source: %w", err)
		}
		s.report.Revision = revision
		if s.packed, err = run.Pack(s.code); err != nil { // before an engine writes there
			return as(v1alpha1.FailureSource, err)
		}
		return nil
	}
	data, err := s.Broker.Get(ctx, run.PathSource)
	if errors.Is(err, client.ErrNone) {
		return s.without(ctx)
	}
	if err != nil {
		return err
	}
	return run.Unpack(bytes.NewReader(data), s.code, run.DefaultLimits)
}

// without says what follows when no source is kept.
func (s *scope) without(ctx context.Context) error {
	if s.order.Operation == v1alpha1.OperationApply {
		return as(v1alpha1.FailureOutOfDate, errors.New("the source of the approved plan is not kept any more: approve a new one"))
	}
	if _, err := s.Broker.Get(ctx, run.PathState); errors.Is(err, client.ErrNone) && s.order.Operation == v1alpha1.OperationDestroy {
		s.report.Plan = &v1alpha1.PlanSummary{Digest: run.Digest(s.order.Key, nil, nil)}
		return errNothing
	} else if err != nil && !errors.Is(err, client.ErrNone) {
		return err
	}
	return errors.New("no source is kept although something was applied, so nothing can be said of it: apply once more, or set spec.deletionPolicy to Orphan")
}

// check refuses hostile code. What was kept is looked at again: rules may have come since.
func (s *scope) check(context.Context) error {
	return as(v1alpha1.FailureSource, s.Check(s.code, s.order))
}

// restore puts the state in its place.
func (s *scope) restore(ctx context.Context) error {
	s.saver = &saver{broker: s.Broker, path: s.work.State, every: s.saveEvery, serial: s.order.Serial}
	if s.order.Serial == 0 {
		return nil
	}
	data, err := s.Broker.Get(ctx, run.PathState)
	if errors.Is(err, client.ErrNone) {
		return nil
	}
	if err != nil {
		return err
	}
	s.saver.saved = data
	if err := os.WriteFile(s.work.State, data, 0o600); err != nil {
		return fmt.Errorf("writing the state: %w", err)
	}
	return nil
}

func (s *scope) prepare(ctx context.Context) error {
	return as(v1alpha1.FailureEngine, s.engine.Prepare(ctx, s.work))
}

// decide makes the plan, or takes the one that was approved.
func (s *scope) decide(ctx context.Context) (err error) {
	if s.order.Operation == v1alpha1.OperationApply {
		return s.recall(ctx)
	}
	s.plan, err = s.engine.Plan(ctx, s.work, s.order.Operation == v1alpha1.OperationDestroy)
	return as(v1alpha1.FailureEngine, err)
}

// recall takes the plan that was kept. What its file does is read and digested anew: that, neither its name nor what was said of it, is what
// was approved.
func (s *scope) recall(ctx context.Context) error {
	data, err := s.Broker.Get(ctx, run.PathPlan)
	if errors.Is(err, client.ErrNone) {
		return as(v1alpha1.FailureOutOfDate, errors.New("the approved plan is not kept any more: approve a new one"))
	}
	if err != nil {
		return err
	}
	s.plan, err = s.engine.Read(ctx, s.work, data)
	return as(v1alpha1.FailureEngine, err)
}

// judge digests the plan, sums it up, and refuses it if it has to be.
func (s *scope) judge(context.Context) error {
	digest := run.Digest(s.order.Key, s.plan.Changes, s.plan.Outputs)
	summary := run.Summarize(s.plan.Changes, s.plan.Outputs, digest)
	s.report.Plan = &summary
	s.say("plan: %d to add, %d to change, %d to destroy", summary.Adds, summary.Changes, summary.Destroys)
	if s.order.Operation == v1alpha1.OperationLook {
		return nil // nobody applies it
	}
	if s.order.Operation == v1alpha1.OperationApply && digest != s.order.Approved {
		return as(v1alpha1.FailureOutOfDate, fmt.Errorf("the plan that was kept has digest %s, and %s was approved: approve a new plan", digest, s.order.Approved))
	}
	if f := run.Refuse(s.order, s.plan.Changes); f != nil {
		return as(f.Class, errors.New(f.Message))
	}
	return nil
}

// keep keeps source and plan for the run that applies them.
func (s *scope) keep(ctx context.Context) error {
	if s.order.Operation != v1alpha1.OperationPlan {
		return nil
	}
	if err := tooLarge(len(s.plan.File)); err != nil {
		return fmt.Errorf("the plan is too large: %w", err)
	}
	if err := s.Broker.Put(ctx, run.PathSource, s.packed); err != nil {
		return err
	}
	return s.Broker.Put(ctx, run.PathPlan, s.plan.File)
}

// apply applies what was decided. A plan that does nothing is applied too: it makes the source the one that was applied last.
func (s *scope) apply(ctx context.Context) error {
	if !slices.Contains([]v1alpha1.Operation{v1alpha1.OperationApply, v1alpha1.OperationConverge, v1alpha1.OperationDestroy}, s.order.Operation) {
		return nil
	}
	if err := s.Broker.Applying(ctx, s.packed); err != nil {
		return err
	}
	s.report.Applied = true
	err := as(v1alpha1.FailureEngine, s.applyAndSave(ctx))
	s.report.Serial = s.saver.serial
	if err != nil {
		return err
	}
	s.report.Outputs, err = s.engine.Outputs(ctx, s.work)
	return as(v1alpha1.FailureEngine, err)
}

// applyAndSave saves states while the engine applies, and the last one after it has ended, however it has.
func (s *scope) applyAndSave(ctx context.Context) error {
	engineCtx, interrupt := context.WithCancelCause(ctx)
	defer interrupt(nil)
	saving, enough := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() { defer close(done); s.saver.follow(saving, interrupt) }()
	err := s.engine.Apply(engineCtx, s.work, s.plan)
	if s.Reap != nil { // before the last look at the state: nobody writes to it any more
		s.Reap()
	}
	enough()
	<-done
	if cause := context.Cause(engineCtx); err != nil && cause != nil {
		err = errors.Join(cause, err)
	}
	last, cancel := s.lastly(ctx)
	defer cancel()
	if failed := s.saver.last(last); failed != nil {
		return errors.Join(fmt.Errorf("the state after the run is not saved (what was made may be unknown to the next run): %w", failed), err)
	}
	return err
}
