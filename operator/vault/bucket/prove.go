package bucket

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/broletto/broletto/operator/vault"
)

// racers are how many writes at once the proof makes of each kind.
const racers = 8

// prove tries on objects of its own whether the store keeps conditions: many do not know them, and take every write.
func (s *store) prove(ctx context.Context) (err error) {
	name := "proof-" + rand.Text()
	defer func() {
		if deleted := s.Delete(ctx, name); err == nil { // else it repeats err
			err = deleted
		}
	}()
	first, err := s.one(ctx, name, "")
	if err != nil {
		return err
	}
	if _, err := s.Write(ctx, name, "", []byte("again")); !errors.Is(err, vault.ErrConflict) {
		return unfit("a write with If-None-Match: * over an object", err)
	}
	second, err := s.one(ctx, name, first)
	if err != nil {
		return err
	}
	if _, err := s.Write(ctx, name, first, []byte("late")); !errors.Is(err, vault.ErrConflict) {
		return unfit("a write with the If-Match of an old version", err)
	}
	if _, version, err := s.Read(ctx, name); err != nil || version != second {
		return unfit(fmt.Sprintf("reading version %q after version %q was written", version, second), err)
	}
	if names, err := s.List(ctx, name); err != nil || len(names) != 1 {
		return unfit("a listing without the object that was written", err)
	}
	return nil
}

// one has many write at once: exactly one of them may win.
func (s *store) one(ctx context.Context, name, version string) (won string, err error) {
	versions, failures := make([]string, racers), make([]error, racers)
	var all sync.WaitGroup
	for i := range racers {
		all.Go(func() {
			versions[i], failures[i] = s.Write(ctx, name, version, []byte(rand.Text())) // the same bytes may have the same ETag
		})
	}
	all.Wait()
	winners := 0
	for i, err := range failures {
		switch {
		case err == nil:
			won = versions[i]
			winners++
		case !errors.Is(err, vault.ErrConflict):
			return "", unfit("", err)
		}
	}
	if winners != 1 {
		return "", unfit(fmt.Sprintf("of %d conditional writes at once %d", racers, winners), nil)
	}
	return won, nil
}

// unfit tells what went through that had to be refused. A failure of another kind proves nothing.
func unfit(what string, err error) error {
	if status(err) == http.StatusNotImplemented {
		return fmt.Errorf("%w: it knows no conditional writes: %w", vault.ErrUnfit, err)
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: %s went through, so that two operators could write over each other's states: take a store that keeps If-Match and "+
		"If-None-Match, or keep states in Secrets", vault.ErrUnfit, what)
}
