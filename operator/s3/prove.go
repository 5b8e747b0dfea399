package s3

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"sync"
)

// racers are how many writes at once the proof makes of each kind.
const racers = 8

// Prove tries on an object of its own whether the store keeps conditions: many do not know them, and take every write. Else [ErrUnfit].
func (b *Bucket) Prove(ctx context.Context) (err error) {
	name := "proof-" + rand.Text()
	defer func() {
		if deleted := b.Delete(ctx, name); err == nil { // else it repeats err
			err = deleted
		}
	}()
	first, err := b.one(ctx, name, "")
	if err != nil {
		return err
	}
	if _, err := b.write(ctx, name, "", "again"); !errors.Is(err, ErrConflict) {
		return unfit("a write with If-None-Match: * over an object", err)
	}
	second, err := b.one(ctx, name, first)
	if err != nil {
		return err
	}
	if _, err := b.write(ctx, name, first, "late"); !errors.Is(err, ErrConflict) {
		return unfit("a write with the If-Match of an old version", err)
	}
	if _, version, err := b.Get(ctx, name, 0); err != nil || version != second {
		return unfit(fmt.Sprintf("reading version %q after version %q was written", version, second), err)
	}
	if found, err := b.List(ctx, name); err != nil || len(found) != 1 {
		return unfit("a listing without the object that was written", err)
	}
	return nil
}

// one has many write at once: exactly one of them may win.
func (b *Bucket) one(ctx context.Context, name, version string) (won string, err error) {
	versions, failures := make([]string, racers), make([]error, racers)
	var all sync.WaitGroup
	for i := range racers {
		all.Go(func() {
			versions[i], failures[i] = b.write(ctx, name, version, rand.Text()) // the same bytes may have the same ETag
		})
	}
	all.Wait()
	winners := 0
	for i, err := range failures {
		switch {
		case err == nil:
			won = versions[i]
			winners++
		case !errors.Is(err, ErrConflict):
			return "", unfit("", err)
		}
	}
	if winners != 1 {
		return "", unfit(fmt.Sprintf("of %d conditional writes at once %d", racers, winners), nil)
	}
	return won, nil
}

func (b *Bucket) write(ctx context.Context, name, version, text string) (newVersion string, err error) {
	return b.Write(ctx, name, version, []byte(text), unlocked)
}

// unfit tells what went through that had to be refused. A failure of another kind proves nothing.
func unfit(what string, err error) error {
	if status(err) == http.StatusNotImplemented {
		return fmt.Errorf("%w: it knows no conditional writes: %w", ErrUnfit, err)
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: %s went through, so that two operators could write over each other: take a store that keeps If-Match and "+
		"If-None-Match", ErrUnfit, what)
}
