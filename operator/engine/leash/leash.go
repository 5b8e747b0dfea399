// Package leash holds the processes of one call of an engine together, whatever they do: an engine's plugins leave its process group, and
// outlive it when it is killed. What they all inherit is their environment, so that is what they are known by.
//
// It is no jail. A program that empties its environment slips the leash; the runner, to whom orphans come, kills those too.
package leash

import (
	"context"
	"crypto/rand"
	"time"
)

// Variable marks what a call has started.
const Variable = "BROLETTO_CALL"

// Leash is one call's.
type Leash struct {
	mark string
	stop context.CancelFunc
	done chan struct{}
}

// Hold makes a leash. Once ctx is done, all on it get grace to end by themselves, then they are killed.
func Hold(ctx context.Context, grace time.Duration) *Leash {
	watch, stop := context.WithCancel(context.Background())
	l := &Leash{mark: rand.Text(), stop: stop, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		select {
		case <-watch.Done():
			return
		case <-ctx.Done():
		}
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-watch.Done():
		case <-timer.C:
			l.kill()
		}
	}()
	return l
}

// Mark is the value of [Variable] in the environment of what is to be held.
func (l *Leash) Mark() string { return l.mark }

// Release kills what is left. The call is over.
func (l *Leash) Release() {
	l.stop()
	<-l.done
	l.kill()
}

// Kill kills what is on the leash now. The call goes on.
func (l *Leash) Kill() { l.kill() }
