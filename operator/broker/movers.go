package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"k8s.io/apimachinery/pkg/types"

	"github.com/broletto/broletto/operator/move"
)

// Mover is the pod of a mover, as the API server vouches for it.
type Mover struct {
	Namespace, Pod string
	// For is the UID of the object that it works for, and Job that of its Job.
	For, Job types.UID
}

// ErrNotAMover says that a pod is not of a mover that has something to do.
var ErrNotAMover = errors.New("the pod is of no mover with an order")

// ErrLater says that a mover has an order soon.
var ErrLater = errors.New("the order is not ready yet: ask again")

// Movers know what movers are to do. Errors that wrap [ErrNotAMover] refuse; they are told.
type Movers interface {
	Order(ctx context.Context, m Mover) (move.Order, error)
	Tell(ctx context.Context, m Mover, p move.Progress) error
}

// move answers movers.
func (b *Broker) move(h func(http.ResponseWriter, *http.Request, Mover) error) http.Handler {
	return b.serve(func(w http.ResponseWriter, r *http.Request) (string, error) {
		if b.Movers == nil {
			return "", forbidden("there are no movers here")
		}
		p, err := b.callers.caller(r)
		if err != nil {
			return "", err
		}
		m := Mover{Namespace: p.namespace, Pod: p.name, For: p.run, Job: p.job}
		err = h(w, r, m)
		switch {
		case errors.Is(err, ErrNotAMover):
			err = forbidden("pod %s/%s: %v", p.namespace, p.name, err)
		case errors.Is(err, ErrLater):
			err = later("pod %s/%s: %v", p.namespace, p.name, err)
		}
		return p.namespace + "/" + p.name, err
	})
}

func (b *Broker) moveOrder(w http.ResponseWriter, r *http.Request, m Mover) error {
	o, err := b.Movers.Order(r.Context(), m)
	if err != nil {
		return err
	}
	return answerJSON(w, http.StatusOK, o)
}

func (b *Broker) moveProgress(w http.ResponseWriter, r *http.Request, m Mover) error {
	data, err := io.ReadAll(io.LimitReader(r.Body, move.MaxProgress+1))
	if err != nil {
		return fmt.Errorf("reading the progress: %w", err)
	}
	var p move.Progress
	if len(data) > move.MaxProgress || json.Unmarshal(data, &p) != nil {
		return forbidden("a progress is JSON of at most %d bytes", move.MaxProgress)
	}
	if err := b.Movers.Tell(r.Context(), m, p); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
