package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
)

// fair is one measurement of the catalogue: how many tenants ask, and how often each.
type fair struct {
	name          string
	tenants, each int

	crowd    *crowd
	hosted   time.Duration   // from the first instance's creation to the last one's Ready
	waits    []time.Duration // of each instance, from its creation to Ready; sorted
	requests int             // mutating ones of the operator
	plain    time.Duration   // of the plain client, for the same objects
}

// measureCatalogue has one tenant ask for 120 services and 15 tenants for ten each, and a plain client write the same objects in the same
// control plane, with no operator running: each instance, and the ConfigMap that is made of it.
func measureCatalogue(ctx context.Context, o options, out io.Writer) (err error) {
	b, done, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	if _, err := b.warmUp(ctx); err != nil {
		return fmt.Errorf("warming up: %w", err)
	}
	fairs := []*fair{{name: "one", tenants: 1, each: 120}, {name: "many", tenants: 15, each: 10}}
	p, _, err := b.start(ctx)
	if err != nil {
		return err
	}
	guarded, cancel := p.guard(ctx)
	defer cancel()
	for at, f := range fairs {
		b.say("the catalogue: %d tenants with %d instances each", f.tenants, f.each)
		if err := b.hold(guarded, f, 500000+1000*at); err != nil {
			return errors.Join(fmt.Errorf("%w\n%s", err, p.tail()), p.stop())
		}
	}
	if err := p.stop(); err != nil {
		return err
	}
	for _, f := range fairs {
		if err := b.plainFair(ctx, f); err != nil {
			return err
		}
	}
	return printFairs(out, fairs)
}

// offering is awarded and makes one ConfigMap of an instance.
func (f *fair) offering() *v1alpha1.ServiceOffering {
	return &v1alpha1.ServiceOffering{ObjectMeta: metav1.ObjectMeta{Name: f.name}, Spec: v1alpha1.ServiceOfferingSpec{
		Consortium: f.name, Version: "1.0.0",
		Procurement: v1alpha1.Procurement{Authority: "provincia", State: v1alpha1.ProcurementAwarded, AwardedOn: "2018-10-01"},
		Parameters:  &apiextensionsv1.JSON{Raw: []byte(`{"type":"object","required":["nome"],"properties":{"nome":{"type":"string","maxLength":63}}}`)},
		Provisions: v1alpha1.Provisions{Manifests: []apiextensionsv1.JSON{{
			Raw: []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"${nome}"},"data":{"nome":"${nome}"}}`),
		}}},
	}}
}

// instances are those of all tenants, named after who writes them.
func (f *fair) instances(by string) (out []client.Object) {
	for t := range f.tenants {
		for n := range f.each {
			name := fmt.Sprintf("%s-%03d", by, n)
			out = append(out, &v1alpha1.ServiceInstance{
				ObjectMeta: metav1.ObjectMeta{Namespace: f.crowd.tenantName(t), Name: name},
				Spec: v1alpha1.ServiceInstanceSpec{
					Offering: v1alpha1.OfferingName(f.name), Workspace: "sito-000", Quantity: 1,
					Parameters: map[string]apiextensionsv1.JSON{"nome": {Raw: []byte(`"` + name + `"`)}},
				},
			})
		}
	}
	return out
}

// hold hosts the tenants, writes the instances and waits until all are Ready.
func (b *bench) hold(ctx context.Context, f *fair, codes int) (err error) {
	if f.crowd, err = newCrowd(f.name, codes, f.tenants, 1); err != nil {
		return err
	}
	f.crowd.tenant.Spec.Limits.ObjectsPerWorkspace = new(int32(1000)) // for what the plain client writes too
	if _, err := b.host(ctx, f.crowd); err != nil {
		return err
	}
	if err := b.admin.Create(ctx, f.offering()); err != nil {
		return err
	}
	mark, err := b.calm(ctx)
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not Ready within %s", patience))
	defer stop()
	written := map[client.ObjectKey]time.Time{}
	var lock sync.Mutex
	begun, instances := time.Now(), f.instances("svc")
	failed := make(chan error, 1)
	go func() {
		failed <- b.each(ctx, instances, func(o client.Object) error {
			lock.Lock()
			written[client.ObjectKeyFromObject(o)] = time.Now()
			lock.Unlock()
			return b.admin.Create(ctx, o)
		})
	}()
	since := func(key client.ObjectKey) time.Duration {
		lock.Lock()
		defer lock.Unlock()
		return time.Since(written[key])
	}
	if err := b.follow(ctx, f, len(instances), failed, since); err != nil {
		return err
	}
	f.hosted = time.Since(begun)
	slices.Sort(f.waits)
	events, err := b.quiet(ctx, mark, isWork)
	for _, e := range only(events, isOperator) {
		if e.Mutating() {
			f.requests++
		}
	}
	return err
}

// follow waits until all instances are Ready. A watch that the API server ends is begun anew: it tells first of all that is there.
func (b *bench) follow(ctx context.Context, f *fair, all int, failed <-chan error, since func(client.ObjectKey) time.Duration) error {
	ready := map[client.ObjectKey]bool{}
	for len(ready) < all {
		changes, err := b.admin.Watch(ctx, &v1alpha1.ServiceInstanceList{})
		if err != nil {
			return fmt.Errorf("watching instances, of which %d of %d are Ready: %w", len(ready), all, errors.Join(err, context.Cause(ctx)))
		}
		err = f.until(ctx, ready, all, changes.ResultChan(), failed, since)
		changes.Stop()
		if err != nil {
			return err
		}
	}
	return nil
}

// until notes which instances are Ready, until all are or the watch ends.
func (f *fair) until(
	ctx context.Context, ready map[client.ObjectKey]bool, all int, events <-chan watch.Event, failed <-chan error, since func(client.ObjectKey) time.Duration,
) error {
	for len(ready) < all {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d instances are Ready: %w", len(ready), all, context.Cause(ctx))
		case err := <-failed:
			if err != nil {
				return err
			}
		case event := <-events:
			i, isInstance := event.Object.(*v1alpha1.ServiceInstance)
			if !isInstance {
				return nil
			}
			if key := client.ObjectKeyFromObject(i); f.crowd.has(i) && !ready[key] && condition.True(i, v1alpha1.ConditionReady) {
				ready[key] = true
				f.waits = append(f.waits, since(key))
			}
		}
	}
	return nil
}

// each does something to every object, several at a time, and returns the first error.
func (b *bench) each(ctx context.Context, all []client.Object, do func(client.Object) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan client.Object, len(all))
	for _, o := range all {
		queue <- o
	}
	close(queue)
	var writers sync.WaitGroup
	for range b.writers {
		writers.Go(func() {
			for o := range queue {
				if err := do(o); err != nil {
					cancel(fmt.Errorf("writing %s: %w", client.ObjectKeyFromObject(o), err))
				}
			}
		})
	}
	writers.Wait()
	return context.Cause(ctx)
}

// plainFair writes what a fair comes to, one POST each.
func (b *bench) plainFair(ctx context.Context, f *fair) error {
	var all []client.Object
	for _, o := range f.instances("pln") {
		all = append(all, o, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: o.GetNamespace() + "--sito-000", Name: o.GetName(),
				Labels:      map[string]string{"broletto.dev/instance": "11111111-2222-3333-4444-555555555555"},
				Annotations: map[string]string{"broletto.dev/made": "0123456789abcdef"},
			},
			Data: map[string]string{"nome": o.GetName()},
		})
	}
	begun := time.Now()
	err := b.each(ctx, all, func(o client.Object) error { return b.plainAdmin.Create(ctx, o) })
	f.plain = time.Since(begun)
	return err
}

func printFairs(out io.Writer, fairs []*fair) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "tenants\tinstances each\tall Ready after\tmedian\tlast\tplain client\tratio\twrites per instance\t")
	for _, f := range fairs {
		n := len(f.waits)
		fmt.Fprintf(w, "%d\t%d\t%.1fs\t%.2fs\t%.2fs\t%.1fs\t%.1f\t%.1f\t\n", f.tenants, f.each, f.hosted.Seconds(),
			f.waits[n/2].Seconds(), f.waits[n-1].Seconds(), f.plain.Seconds(), f.hosted.Seconds()/f.plain.Seconds(), float64(f.requests)/float64(n))
	}
	return w.Flush()
}
