package mover

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"

	"github.com/broletto/broletto/operator/move"
)

// What ends an operation before its time.
var (
	errStalled     = errors.New("nothing has moved")
	errDeadline    = errors.New("the deadline has passed")
	errInterrupted = errors.New("the mover was told to end")
)

// failed is a failure of a class.
type failed struct {
	class move.Class
	error
}

func (f *failed) Unwrap() error { return f.error }

// as gives a failure its class, unless something in it has one.
func as(class move.Class, err error) error {
	if err == nil || classOf(err) != "" {
		return err
	}
	return &failed{class, err}
}

// classOf says whose turn it is; empty where the error does not tell.
func classOf(err error) move.Class {
	var f *failed
	var store *storeError
	switch {
	case errors.As(err, &f):
		return f.class
	case errors.Is(err, errStalled):
		return move.FailureStalled
	case errors.Is(err, errDeadline):
		return move.FailureDeadline
	case errors.Is(err, errInterrupted):
		return move.FailureInterrupted
	case errors.Is(err, errDenied), errors.Is(err, repo.ErrInvalidPassword):
		return move.FailureDenied
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return move.FailureSpace
	case errors.As(err, &store):
		return move.FailureStore
	case errors.Is(err, snapshot.ErrSnapshotNotFound):
		return move.FailureOrder
	case damaged(err):
		return move.FailureDamaged
	}
	return ""
}

// damaged tells whether an error says that the store has lost or changed something.
func damaged(err error) bool {
	for _, e := range []error{blob.ErrBlobNotFound, blob.ErrInvalidRange, content.ErrContentNotFound, object.ErrObjectNotFound} {
		if errors.Is(err, e) {
			return true
		}
	}
	for _, text := range []string{
		"unable to decrypt", "decryption failed", "message authentication failed", "invalid checksum", "unable to decompress", "malformed", "invalid content",
		"can't parse format blob", "derive format encryption key", "deserialize blob config", "error creating format provider", // what the repository is
	} {
		if strings.Contains(err.Error(), text) {
			return true
		}
	}
	return false
}

// failure puts an error into the report's words.
func (s *session) failure(ctx context.Context, err error) *move.Failure {
	if cause := context.Cause(ctx); cause != nil && classOf(cause) != "" && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	class := classOf(err)
	if class == "" {
		class = move.FailureStore
	}
	return &move.Failure{Class: class, Message: s.redact.text(err.Error())}
}

// problem notes an entry that failed.
func (s *session) problem(path string, err error) {
	s.progress.mu.Lock()
	defer s.progress.mu.Unlock()
	s.report.Failed++
	if len(s.report.Problems) < move.MaxProblems {
		s.report.Problems = append(s.report.Problems, move.Problem{Path: short(path), Message: s.redact.text(err.Error())})
	}
}

// short bounds a text, and makes one line of it.
func short(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
	if len(text) > move.MaxMessage {
		text = strings.ToValidUTF8(text[:move.MaxMessage-3], "") + "..."
	}
	return text
}
