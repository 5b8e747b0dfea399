package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/apply"
	"github.com/broletto/broletto/operator/condition"
)

// plainAgent is the plain client's user agent.
const plainAgent = "plain"

// unit is what one writer writes one after the other: a tenant, its home and its workspaces' manifests, or a workspace's namespace.
type unit []client.Object

// template is what Broletto made of one tenant, in the order in which a client writes it.
type template struct {
	tenant     string // its name, which is part of every name and value that differs between tenants
	consortium string
	home       unit
	workspaces []unit
}

// capture reads back everything that was made of a crowd's first tenant, manifests included.
func (b *bench) capture(ctx context.Context, c *crowd) (*template, error) {
	t := &template{tenant: c.tenantName(0), consortium: c.name}
	tenant := &v1alpha1.Tenant{}
	if err := b.admin.Get(ctx, client.ObjectKey{Name: t.tenant}, tenant); err != nil {
		return nil, err
	}
	home, err := b.contents(ctx, t.tenant)
	if err != nil {
		return nil, err
	}
	// Workspaces go before the quota of their home: what it counts, the API server refuses until the controller manager has counted.
	t.home = unit{tenant, home[0]}
	var workspaces v1alpha1.WorkspaceList
	if err := b.admin.List(ctx, &workspaces, client.InNamespace(t.tenant)); err != nil {
		return nil, err
	}
	for i := range workspaces.Items {
		t.home = append(t.home, &workspaces.Items[i])
		made, err := b.contents(ctx, workspaces.Items[i].TargetNamespace())
		if err != nil {
			return nil, err
		}
		t.workspaces = append(t.workspaces, made)
	}
	t.home = append(t.home, home[1:]...)
	return t, nil
}

// contents is a namespace and what its inventory names.
func (b *bench) contents(ctx context.Context, namespace string) (unit, error) {
	ns := &corev1.Namespace{}
	if err := b.admin.Get(ctx, client.ObjectKey{Name: namespace}, ns); err != nil {
		return nil, err
	}
	out := unit{ns}
	for _, ref := range apply.Inventory(ns) {
		o, err := newObject(b.admin, ref.APIVersion, ref.Kind)
		if err != nil {
			return nil, err
		}
		if err := b.admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, o); err != nil {
			return nil, fmt.Errorf("reading what the inventory of %s names: %w", namespace, err)
		}
		out = append(out, o)
	}
	return out, nil
}

// render is the template for another crowd: the same objects under other names, without what the API server adds.
func (t *template) render(c *crowd, kinds client.Client) (homes, workspaces []unit, err error) {
	for i := range c.tenants {
		names := strings.NewReplacer(t.tenant, c.tenantName(i), `consortium":"`+t.consortium+`"`, `consortium":"`+c.name+`"`)
		home, err := rename(t.home, names, kinds)
		if err != nil {
			return nil, nil, err
		}
		homes = append(homes, home)
		for _, w := range t.workspaces {
			workspace, err := rename(w, names, kinds)
			if err != nil {
				return nil, nil, err
			}
			workspaces = append(workspaces, workspace)
		}
	}
	return homes, workspaces, nil
}

func rename(u unit, names *strings.Replacer, c client.Client) (unit, error) {
	out := make(unit, 0, len(u))
	for _, o := range u {
		gvk, err := c.GroupVersionKindFor(o)
		if err != nil {
			return nil, err
		}
		text, err := json.Marshal(o)
		if err != nil {
			return nil, err
		}
		renamed, err := newObject(c, gvk.GroupVersion().String(), gvk.Kind)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(names.Replace(string(text))), renamed); err != nil {
			return nil, err
		}
		strip(renamed)
		out = append(out, renamed)
	}
	return out, nil
}

// strip takes away what the API server and the operator's other writes added: what is left can be created.
func strip(o client.Object) {
	o.SetUID("")
	o.SetResourceVersion("")
	o.SetGeneration(0)
	o.SetCreationTimestamp(metav1.Time{})
	o.SetManagedFields(nil)
	o.SetFinalizers(nil)
	switch o := o.(type) {
	case *v1alpha1.Tenant:
		o.Status = v1alpha1.TenantStatus{}
	case *v1alpha1.Workspace:
		o.Status = v1alpha1.WorkspaceStatus{}
	}
}

func newObject(c client.Client, apiVersion, kind string) (client.Object, error) {
	o, err := c.Scheme().New(schema.FromAPIVersionAndKind(apiVersion, kind))
	if err != nil {
		return nil, err
	}
	return o.(client.Object), nil
}

// plainRun is one run of the plain client.
type plainRun struct {
	total   time.Duration
	objects int
	patched int64 // default service accounts that the controller manager had made first
}

// plain writes the same objects as Broletto makes, manifests included, as fast as a client can: one POST each, nothing read, no
// status, nothing waited for. Homes go before workspaces. It acts as the people do on manifests and as the operator does on the rest.
func (b *bench) plain(ctx context.Context, c *crowd, t *template) (plainRun, error) {
	homes, workspaces, err := t.render(c, b.admin)
	if err != nil {
		return plainRun{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &plainWriter{bench: b, cancel: cancel}
	begun := time.Now()
	w.write(ctx, c.consortium.DeepCopy())
	w.all(ctx, homes)
	w.all(ctx, workspaces)
	run := plainRun{total: time.Since(begun), objects: int(w.written.Load()), patched: w.patched.Load()}
	return run, context.Cause(ctx)
}

type plainWriter struct {
	*bench
	cancel           context.CancelCauseFunc // ends the run with its first error
	written, patched atomic.Int64
}

// all writes units, several at a time, and returns when the last is written.
func (w *plainWriter) all(ctx context.Context, units []unit) {
	queue := make(chan unit, len(units))
	for _, u := range units {
		queue <- u
	}
	close(queue)
	var writers sync.WaitGroup
	for range w.writers {
		writers.Go(func() {
			for u := range queue {
				for _, o := range u {
					w.write(ctx, o)
				}
			}
		})
	}
	writers.Wait()
}

func (w *plainWriter) write(ctx context.Context, o client.Object) {
	c := w.plainOperator
	if _, ours := o.(condition.Object); ours {
		c = w.plainAdmin
	}
	err := c.Create(ctx, o)
	if _, isAccount := o.(*corev1.ServiceAccount); isAccount && apierrors.IsAlreadyExists(err) {
		w.patched.Add(1)
		err = patchAccount(ctx, c, o)
	}
	if err != nil {
		w.cancel(fmt.Errorf("writing %s: %w", client.ObjectKeyFromObject(o), err))
		return
	}
	w.written.Add(1)
}

// patchAccount completes a service account that the controller manager made first: one request, nothing read before.
func patchAccount(ctx context.Context, c client.Client, o client.Object) error {
	patch, err := json.Marshal(map[string]any{
		"metadata":                     map[string]any{"labels": o.GetLabels(), "annotations": o.GetAnnotations()},
		"automountServiceAccountToken": false,
	})
	if err != nil {
		return err
	}
	return c.Patch(ctx, o, client.RawPatch(types.MergePatchType, patch))
}

// clear takes a crowd away that no operator looks after, and waits until its namespaces are gone.
func (b *bench) clear(ctx context.Context, c *crowd) error {
	ctx, stop := context.WithTimeoutCause(ctx, patience, fmt.Errorf("the plain client's namespaces are not gone after %s", patience))
	defer stop()
	manifests := unit{c.consortium.DeepCopy()}
	for i := range c.tenants {
		tenant := c.newTenant(i)
		manifests = append(manifests, tenant)
		for j := range c.workspaces {
			manifests = append(manifests, c.newWorkspace(tenant.Name, j))
		}
	}
	for _, o := range manifests {
		released := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
		if err := errors.Join(b.admin.Patch(ctx, o, released), b.admin.Delete(ctx, o)); err != nil {
			return fmt.Errorf("deleting %s: %w", client.ObjectKeyFromObject(o), err)
		}
	}
	return b.clearNamespaces(ctx, c)
}

func (b *bench) clearNamespaces(ctx context.Context, c *crowd) error {
	for {
		left, err := b.namespaces(ctx, c)
		if err != nil || len(left) == 0 {
			return err
		}
		for _, ns := range left {
			if err := b.plainOperator.Delete(ctx, &ns); client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("deleting namespace %s: %w", ns.Name, err)
			}
		}
		if err := pause(ctx, 2*time.Second); err != nil {
			return err
		}
	}
}
