package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/broletto/broletto/operator/broker/client"
	"github.com/broletto/broletto/operator/run"
)

// saver brings each whole new state to the broker, in order: a state is only followed by another when the broker has answered for it, as
// a second attempt has to be of the same bytes.
type saver struct {
	broker  *Client
	path    string
	every   time.Duration
	serial  int64  // of saved
	saved   []byte // what the broker has
	pending []byte // what it was sent and has not answered for

	mu    sync.Mutex
	dirty bool // there is a state that the broker may not have
}

// follow saves until ctx is done. When the broker refuses, the run has lost the state: its engine is interrupted.
func (s *saver) follow(ctx context.Context, interrupt context.CancelCauseFunc) {
	for client.Pause(ctx, s.every) == nil {
		err := s.save(ctx)
		var refused *run.Problem
		if errors.As(err, &refused) && ctx.Err() == nil {
			interrupt(fmt.Errorf("the broker refused a state, so the engine was interrupted: %w", err))
			return
		}
	}
}

// last saves what is there after the engine has ended.
func (s *saver) last(ctx context.Context) error {
	for {
		before := s.serial
		if err := s.save(ctx); err != nil {
			return err
		}
		if s.serial == before {
			break
		}
	}
	if data, err := os.ReadFile(s.path); err == nil && !json.Valid(data) {
		s.mark(true)
		return errors.New("the engine left it half written; the last whole one is kept")
	}
	return nil
}

// save brings one state, if there is a new one that is whole, or the one before if it may have been brought.
func (s *saver) save(ctx context.Context) error {
	if s.pending == nil {
		data, err := os.ReadFile(s.path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // none was made, or the engine is about to put a new one in its place
		}
		if err != nil {
			return fmt.Errorf("reading the state: %w", err)
		}
		if bytes.Equal(data, s.saved) || !json.Valid(data) { // no JSON: being written
			return nil
		}
		if err := tooLarge(len(data)); err != nil {
			s.mark(true)
			return fmt.Errorf("the state is too large: %w", err)
		}
		s.pending = data
	}
	s.mark(true)
	if err := s.broker.PutState(ctx, s.serial+1, lineage(s.pending), s.pending); err != nil {
		return err
	}
	s.serial, s.saved, s.pending = s.serial+1, s.pending, nil
	s.mark(false)
	return nil
}

func (s *saver) mark(dirty bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dirty = dirty
}

// unsaved tells whether there is a state that the broker may not have.
func (s *saver) unsaved() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dirty
}

// lineage is what OpenTofu and Terraform write into each state of one line; others have none.
func lineage(state []byte) string {
	var head struct {
		Lineage string `json:"lineage"`
	}
	_ = json.Unmarshal(state, &head) // it is JSON; what is no object has no lineage
	return head.Lineage
}
