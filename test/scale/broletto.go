package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/apply"
)

// broletto has a fresh operator process host the tenants, and measures it then, at rest and after a restart.
func (b *bench) broletto(ctx context.Context, r *report) error {
	c, err := newCrowd("host", 100000, b.tenants, b.workspaces)
	if err != nil {
		return err
	}
	if _, err := b.calm(ctx); err != nil {
		return err
	}
	p, _, err := b.start(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = p.stop() }() // its error was told if it was the first
	guarded, cancel := p.guard(ctx)
	defer cancel()
	b.say("Broletto: %d tenants with %d workspaces each", b.tenants, b.workspaces)
	if err := b.load(guarded, r, p, c); err != nil {
		return fmt.Errorf("%w\n%s", err, p.tail())
	}
	b.say("at rest for %s", b.rest)
	if err := b.atRest(guarded, r, p); err != nil {
		return err
	}
	if b.pairs > 0 {
		b.say("creations in guarded namespaces and beside them")
		if err := b.latency(guarded, r, c); err != nil {
			return err
		}
	}
	b.say("restart")
	return b.restart(ctx, r, p)
}

// load hosts a crowd, waits until the operator has nothing left to do, and reads back what it made.
func (b *bench) load(ctx context.Context, r *report, p *process, c *crowd) error {
	samples, err := p.samples(ctx, b.scraper)
	if err != nil {
		return err
	}
	mark, err := b.mark()
	if err != nil {
		return err
	}
	before := readCPU()
	hosted, err := b.host(ctx, c)
	if err != nil {
		return err
	}
	used := readCPU().since(before)
	events, err := b.since(mark)
	if err != nil {
		return err
	}
	r.addHosting(hosted, used, events)
	if events, err = b.quiet(ctx, mark, isWork); err != nil {
		return err
	}
	after, err := p.samples(ctx, b.scraper)
	if err != nil {
		return err
	}
	made, err := b.made(ctx, c)
	if err != nil {
		return err
	}
	r.addRequests(only(events, isOperator), made)
	r.addSamples(samples, after)
	return nil
}

func (b *bench) atRest(ctx context.Context, r *report, p *process) error {
	mark, err := b.mark()
	if err != nil {
		return err
	}
	if err := pause(ctx, b.rest); err != nil {
		return err
	}
	events, err := b.since(mark)
	if err != nil {
		return err
	}
	r.Rest = restReport{Seconds: b.rest.Seconds(), traffic: count(only(events, isOperator))}
	r.Memory.Peak, r.Memory.AtRest = p.memory()
	return nil
}

// restart stops the operator and starts it again: what it then asks for, and until when.
func (b *bench) restart(ctx context.Context, r *report, p *process) error {
	begun := time.Now()
	if err := p.stop(); err != nil {
		return err
	}
	r.Restart.StopSeconds = time.Since(begun).Seconds()
	p, asked, err := b.start(ctx)
	if err != nil {
		return err
	}
	r.Restart.traffic = count(asked)
	r.Restart.QuietSeconds = latest(p.begun, only(asked, isWork)).Sub(p.begun).Seconds()
	r.Memory.RestartPeak, _ = p.memory()
	return p.stop()
}

// made counts the objects that Broletto made for a crowd, by namespace, which is one of them, and compares them with what its inventories say.
func (b *bench) made(ctx context.Context, c *crowd) (map[string]int, error) {
	namespaces, err := b.namespaces(ctx, c)
	if err != nil {
		return nil, err
	}
	if want := c.tenants * (1 + c.workspaces); len(namespaces) != want {
		return nil, fmt.Errorf("%d namespaces were made, not %d", len(namespaces), want)
	}
	made, kinds := map[string]int{}, map[schema.GroupVersionKind]bool{}
	for _, ns := range namespaces {
		made[ns.Name] = 1
		for _, ref := range apply.Inventory(&ns) {
			kinds[schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)] = true
		}
	}
	for kind := range kinds {
		if err := b.countKind(ctx, kind, made); err != nil {
			return nil, err
		}
	}
	for _, ns := range namespaces {
		if inventory := apply.Inventory(&ns); made[ns.Name] != 1+len(inventory) {
			err = errors.Join(err, fmt.Errorf("in namespace %s lie %d objects of ours, its inventory names %d", ns.Name, made[ns.Name]-1, len(inventory)))
		}
	}
	return made, err
}

// countKind adds the objects of a kind that are ours to the counts of those namespaces that have one.
func (b *bench) countKind(ctx context.Context, kind schema.GroupVersionKind, made map[string]int) error {
	empty, err := b.admin.Scheme().New(kind.GroupVersion().WithKind(kind.Kind + "List"))
	if err != nil {
		return err
	}
	list := empty.(client.ObjectList)
	if err := b.admin.List(ctx, list, client.HasLabels{v1alpha1.LabelOwner}); err != nil {
		return fmt.Errorf("reading back what was made: %w", err)
	}
	return meta.EachListItem(list, func(o runtime.Object) error {
		if namespace := o.(client.Object).GetNamespace(); made[namespace] > 0 {
			made[namespace]++
		}
		return nil
	})
}

// namespaces are a crowd's.
func (b *bench) namespaces(ctx context.Context, c *crowd) (out []corev1.Namespace, err error) {
	var all corev1.NamespaceList
	err = b.admin.List(ctx, &all, client.HasLabels{v1alpha1.LabelTenant})
	for _, ns := range all.Items {
		if c.has(&ns) {
			out = append(out, ns)
		}
	}
	return out, err
}
