package broker

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/broletto/broletto/operator/run"
)

const (
	// seats bound what bodies may hold in memory: a body takes one for each seatSize begun. So at most eight bodies are under way.
	seats    = 8
	seatSize = 8 << 20
	// tenantSeats are those that one tenant may take: no runner keeps all others waiting, however slow it is.
	tenantSeats = seats / 2
)

// room is where bodies wait for their turn.
type room struct {
	all *semaphore.Weighted

	mu      sync.Mutex
	tenants map[string]*semaphore.Weighted // as many as have had runs since the start
}

func newRoom() *room {
	return &room{all: semaphore.NewWeighted(seats), tenants: map[string]*semaphore.Weighted{}}
}

// take waits for the seats of a body; size is -1 when it is not known. The seats are given back by leave.
func (r *room) take(ctx context.Context, tenant string, size int64) (leave func(), err error) {
	if size < 0 || size > run.MaxBlob {
		size = run.MaxBlob
	}
	n := max(1, (size+seatSize-1)/seatSize)
	r.mu.Lock()
	own, found := r.tenants[tenant]
	if !found {
		own = semaphore.NewWeighted(tenantSeats)
		r.tenants[tenant] = own
	}
	r.mu.Unlock()
	if err := own.Acquire(ctx, n); err != nil {
		return nil, err
	}
	if err := r.all.Acquire(ctx, n); err != nil {
		own.Release(n)
		return nil, err
	}
	return func() { r.all.Release(n); own.Release(n) }, nil
}
