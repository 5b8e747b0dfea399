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
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/apply"
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
func (t *template) render(c *crowd, c0 client.Client) (homes, workspaces []unit, err error) {
	for i := range c.tenants {
		names := strings.NewReplacer(t.tenant, c.tenantName(i), `"consortium":"`+t.consortium+`"`, `"consortium":"`+c.name+`"`)
		home, err := rename(t.home, names, c0)
		if err != nil {
			return nil, nil, err
		}
		homes = append(homes, home)
		for _, w := range t.workspaces {
			workspace, err := rename(w, names, c0)
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
