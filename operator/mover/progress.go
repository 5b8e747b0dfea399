package mover

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/broletto/broletto/operator/move"
)

// progress is how far an operation is, and ends one on which nothing moves.
type progress struct {
	bytes, files, total atomic.Int64
	mu                  sync.Mutex // of the report, too
	end                 context.CancelCauseFunc
}

// add counts what was done.
func (p *progress) add(bytes, files int64) {
	p.bytes.Add(bytes)
	p.files.Add(files)
}

// watch tells how far the operation is each so often, and ends it when nothing has moved for too long.
func (p *progress) watch(ctx context.Context, m *meter, every, stall time.Duration, tell func(move.Progress)) {
	if every <= 0 || every > stall/2 {
		every = stall / 2
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	lastMove, moved := time.Now(), int64(-1)
	told := time.Now()
	var before int64
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if sum := p.bytes.Load() + p.files.Load() + m.moved.Load(); sum != moved {
				lastMove, moved = now, sum
			} else if now.Sub(lastMove) >= stall {
				p.end(fmt.Errorf("%w for %s: is the store reachable, and has it room?", errStalled, stall))
				return
			}
			tell(p.line(before, now.Sub(told)))
			before, told = p.bytes.Load(), now
		}
	}
}

func (p *progress) line(before int64, since time.Duration) move.Progress {
	l := move.Progress{Bytes: p.bytes.Load(), Files: p.files.Load(), TotalBytes: p.total.Load()}
	l.BytesPerSecond = int64(float64(l.Bytes-before) / since.Seconds())
	if left := l.TotalBytes - l.Bytes; left > 0 && l.BytesPerSecond > 0 {
		l.SecondsLeft = left / l.BytesPerSecond
	}
	return l
}
