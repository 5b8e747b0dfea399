package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
)

// patience bounds a phase; each takes seconds.
const patience = 5 * time.Minute

// hosting is how long it took until a crowd was Ready.
type hosting struct {
	total   time.Duration
	tenants time.Duration   // until the last tenant was Ready
	waits   []time.Duration // of each workspace, from its creation to Ready; sorted
}

// crier writes manifests as their authors do, several at a time, and remembers when.
type crier struct {
	queue chan client.Object

	lock    sync.Mutex
	written map[client.ObjectKey]time.Time // workspaces
}

// host writes a crowd's manifests, each tenant's workspaces as soon as the tenant is Ready, and waits until all are.
func (b *bench) host(ctx context.Context, c *crowd) (hosting, error) {
	ctx, stop := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not Ready within %s", patience))
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	tenants, err := b.admin.Watch(ctx, &v1alpha1.TenantList{})
	if err != nil {
		return hosting{}, fmt.Errorf("watching tenants: %w", err)
	}
	defer tenants.Stop()
	workspaces, err := b.admin.Watch(ctx, &v1alpha1.WorkspaceList{})
	if err != nil {
		return hosting{}, fmt.Errorf("watching workspaces: %w", err)
	}
	defer workspaces.Stop()
	writer := &crier{queue: make(chan client.Object, 1+c.tenants*(1+c.workspaces)), written: map[client.ObjectKey]time.Time{}}
	defer close(writer.queue)
	begun := time.Now()
	if err := b.admin.Create(ctx, c.consortium.DeepCopy()); err != nil {
		return hosting{}, fmt.Errorf("writing the consortium: %w", err)
	}
	for range b.writers {
		go writer.work(ctx, cancel, b.admin)
	}
	for i := range c.tenants {
		writer.queue <- c.newTenant(i)
	}
	return await(ctx, c, begun, writer, tenants, workspaces)
}

// work writes what is queued, until the queue is closed.
func (w *crier) work(ctx context.Context, cancel context.CancelCauseFunc, c client.Client) {
	for o := range w.queue {
		if _, ok := o.(*v1alpha1.Workspace); ok {
			w.lock.Lock()
			w.written[client.ObjectKeyFromObject(o)] = time.Now()
			w.lock.Unlock()
		}
		if err := c.Create(ctx, o); err != nil {
			cancel(fmt.Errorf("writing %s: %w", client.ObjectKeyFromObject(o), err))
		}
	}
}

// await follows a crowd until all of it is Ready.
func await(ctx context.Context, c *crowd, begun time.Time, writer *crier, tenants, workspaces watch.Interface) (hosting, error) {
	var out hosting
	ready := map[client.ObjectKey]bool{}
	for len(ready) < c.tenants*(1+c.workspaces) {
		var event watch.Event
		var open bool
		select {
		case <-ctx.Done():
			return out, fmt.Errorf("%d of %d are Ready: %w", len(ready), c.tenants*(1+c.workspaces), context.Cause(ctx))
		case event, open = <-tenants.ResultChan():
		case event, open = <-workspaces.ResultChan():
		}
		o, ok := event.Object.(condition.Object)
		if !open || !ok {
			return out, fmt.Errorf("a watch ended: %v", event)
		}
		key := client.ObjectKeyFromObject(o)
		if !c.has(o) || ready[key] || !condition.True(o, v1alpha1.ConditionReady) {
			continue
		}
		ready[key] = true
		out.total = time.Since(begun)
		if key.Namespace != "" {
			writer.lock.Lock()
			out.waits = append(out.waits, time.Since(writer.written[key]))
			writer.lock.Unlock()
			continue
		}
		out.tenants = out.total
		for i := range c.workspaces {
			writer.queue <- c.newWorkspace(key.Name, i)
		}
	}
	slices.Sort(out.waits)
	return out, nil
}
