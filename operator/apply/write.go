package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
)

// ensure brings one object to its desired state and tells whether somebody else had changed or deleted it. A deletion is told
// when it is met, even if the object cannot be made again at once: later it could not be told from one that is late.
func (a *Applier) ensure(ctx context.Context, set Set, o Object, notes map[string]string, recorded []Ref) (repaired bool, err error) {
	d, err := stamp(o, set.Owner, notes)
	if err != nil {
		return false, err
	}
	live, err := a.cached(ctx, d.Ref, d.namespace)
	if err != nil {
		return false, err
	}
	switch {
	case live == nil && innate(d.Ref):
		return set.missed(d.Ref, recorded), a.send(ctx, d)
	case live == nil:
		err = a.create(ctx, d)
		if err == nil {
			return set.missed(d.Ref, recorded), nil
		}
		if !apierrors.IsAlreadyExists(err) && !(apierrors.IsForbidden(err) && a.exists(ctx, d)) {
			return set.missed(d.Ref, recorded), fmt.Errorf("creating %s %s: %w", d.Kind, d.Name, err)
		}
	default:
		if same, err := equal(d, live); err != nil || (same && live.GetDeletionTimestamp().IsZero()) {
			return false, err
		}
	}
	repaired, err = a.change(ctx, set, d)
	if _, terminating := errors.AsType[*Terminating](err); terminating {
		repaired = set.missed(d.Ref, recorded)
	}
	return repaired, err
}

// exists tells whether an object is there that is not in our cache. A quota refuses its creation before anybody looks at its name.
func (a *Applier) exists(ctx context.Context, d desired) bool {
	o, err := a.typed(d.Ref)
	return err == nil && a.Live.Get(ctx, client.ObjectKey{Namespace: d.namespace, Name: d.Name}, o) == nil
}

// create sends a plain creation: half the cost of an apply, and it cannot adopt what is not ours.
func (a *Applier) create(ctx context.Context, d desired) error {
	o, err := a.typed(d.Ref)
	if err != nil {
		return err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(d.content, o); err != nil {
		return err
	}
	return a.Client.Create(ctx, o, client.FieldOwner(FieldManager))
}

// change looks at the object on the API server, since the cache may be behind, and applies what still differs.
func (a *Applier) change(ctx context.Context, set Set, d desired) (repaired bool, err error) {
	live, err := a.typed(d.Ref)
	if err != nil {
		return false, err
	}
	if err := a.Live.Get(ctx, client.ObjectKey{Namespace: d.namespace, Name: d.Name}, live); err != nil {
		return false, fmt.Errorf("reading %s %s: %w", d.Kind, d.Name, err)
	}
	ours := live.GetLabels()[v1alpha1.LabelOwner] == string(set.Owner)
	if !ours && d.namespace == "" {
		return false, &Foreign{d.Ref}
	}
	if !live.GetDeletionTimestamp().IsZero() {
		return false, &Terminating{d.Ref}
	}
	if same, err := equal(d, live); err != nil || same {
		return false, err
	}
	if err := a.takeOver(ctx, d.Kind, live); err != nil {
		return false, fmt.Errorf("taking over %s %s: %w", d.Kind, d.Name, err)
	}
	repaired = d.sameMind(live)
	err = a.send(ctx, d)
	if apierrors.IsInvalid(err) && d.Kind == "RoleBinding" { // what it refers to cannot change, and nothing is lost with it
		err = a.replace(ctx, d, live)
	}
	return repaired && err == nil, err
}

// innate tells whether Kubernetes itself makes the object in every namespace: it is there already, or about to be.
func innate(r Ref) bool { return r.Kind == "ServiceAccount" && r.Name == "default" }

// send applies an object on the server, whether it is there or not.
func (a *Applier) send(ctx context.Context, d desired) error {
	o, err := a.typed(d.Ref)
	if err != nil {
		return err
	}
	content, err := json.Marshal(d.content)
	if err != nil {
		return err
	}
	o.SetNamespace(d.namespace)
	o.SetName(d.Name)
	if err := a.Client.Patch(ctx, o, client.RawPatch(types.ApplyPatchType, content), client.FieldOwner(FieldManager), client.ForceOwnership); err != nil {
		return fmt.Errorf("applying %s %s: %w", d.Kind, d.Name, err)
	}
	return nil
}

// replace makes an object anew which the one that takes its name cannot become.
func (a *Applier) replace(ctx context.Context, d desired, live client.Object) error {
	uid := live.GetUID()
	// The cache may never have held it, since it is not ours: no read may wait for the cache to see it go.
	err := a.Client.Delete(ctx, live, client.Preconditions{UID: &uid}, client.DisableReadYourWritesConsistency)
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	return a.create(ctx, d)
}
