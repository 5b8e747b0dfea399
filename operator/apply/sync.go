// Package apply brings a set of objects to its desired state: a root namespace and what lies in it. It knows no kind
// of ours.
//
// What is missing is created, what differs is applied on the server with one field manager, what is already right is
// not sent, what is no longer wanted is pruned. The root carries an inventory of the set, written before anything
// new is created, so that a crash leaves a stale entry and never an orphan. Nothing is written or deleted that does not carry our
// owner's UID, but for two cases: objects that Kubernetes itself makes in every namespace are taken over, and an
// object in the set's namespace, which is ours, makes way when it takes a name that we need.
package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
)

// FieldManager is the name under which we own fields.
const FieldManager = "broletto"

// Set is all that one owner wants: a root, and objects in the namespace that the root is. Objects are created in the order in
// which they stand: guardrails first, rights last.
type Set struct {
	Owner   types.UID
	Root    Object
	Objects []Object

	// Made and Unfinished are what the owner says of the time before: that the root stood, and that objects may never have. They tell
	// what somebody deleted from what is only late.
	Made, Unfinished bool
}

// missed tells whether an object that is not there was there before.
func (s Set) missed(ref Ref, recorded []Ref) bool {
	if ref == Reference(s.Root) {
		return s.Made
	}
	return !s.Unfinished && slices.Contains(recorded, ref)
}

// Foreign says that an object which we would have to make exists already and is not ours. Nothing was written.
type Foreign struct{ Ref }

// Error names the object.
func (f *Foreign) Error() string {
	return fmt.Sprintf("%s %s exists already and is not ours", strings.ToLower(f.Kind), f.Name)
}

// Terminating says that an object which we want is being deleted by somebody: it can be made again when it is gone.
type Terminating struct{ Ref }

// Error names the object.
func (t *Terminating) Error() string {
	return fmt.Sprintf("%s %s is being deleted", strings.ToLower(t.Kind), t.Name)
}

// Applier writes sets. Client reads from the cache and sees its own writes; Live reads from the API server.
type Applier struct {
	Client client.Client
	Live   client.Reader
}

// Sync brings the set to its desired state and returns what of it had drifted: changed or deleted by somebody else.
func (a *Applier) Sync(ctx context.Context, set Set) (drifted []Ref, err error) {
	recorded, err := a.recorded(ctx, set)
	if err != nil {
		return nil, err
	}
	want := refs(set)
	repaired, err := a.ensure(ctx, set, set.Root, withInventory(union(recorded, want)), nil)
	if repaired {
		drifted = append(drifted, Reference(set.Root))
	}
	if err != nil {
		return drifted, err
	}
	applied := a.objects(ctx, set, recorded, &drifted)
	survivors, pruned := a.prune(ctx, set, recorded, want) // rights of the past go even when something new fails
	if err := errors.Join(applied, pruned); err != nil {
		return drifted, err
	}
	if left := union(survivors, want); len(left) < len(union(recorded, want)) {
		_, err = a.ensure(ctx, set, set.Root, withInventory(left), nil)
	}
	return drifted, err
}

// recorded returns the inventory that the root carries now.
func (a *Applier) recorded(ctx context.Context, set Set) ([]Ref, error) {
	live, err := a.cached(ctx, Reference(set.Root), "")
	if err != nil || live == nil {
		return nil, err
	}
	if live.GetLabels()[v1alpha1.LabelOwner] != string(set.Owner) {
		return nil, &Foreign{Reference(set.Root)}
	}
	return Inventory(live), nil
}

// objects applies the set's objects in order and stops at the first error: rights come after the guardrails they need.
func (a *Applier) objects(ctx context.Context, set Set, recorded []Ref, drifted *[]Ref) error {
	for _, o := range set.Objects {
		repaired, err := a.ensure(ctx, set, o, nil, recorded)
		if repaired {
			*drifted = append(*drifted, Reference(o))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Remove deletes the root of a set, and with it everything in it, and tells whether it is gone. A root that is not ours is none.
func (a *Applier) Remove(ctx context.Context, set Set) (gone bool, err error) {
	live, err := a.cached(ctx, Reference(set.Root), "")
	if err != nil || live == nil || live.GetLabels()[v1alpha1.LabelOwner] != string(set.Owner) {
		return err == nil, err
	}
	if !live.GetDeletionTimestamp().IsZero() {
		return false, nil
	}
	uid := live.GetUID()
	err = a.Client.Delete(ctx, live, client.Preconditions{UID: &uid})
	return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
}

// Exists tells whether the root of a set is there and ours.
func (a *Applier) Exists(ctx context.Context, set Set) (bool, error) {
	live, err := a.cached(ctx, Reference(set.Root), "")
	return live != nil && live.GetLabels()[v1alpha1.LabelOwner] == string(set.Owner), err
}

// prune deletes what the inventory names and the set no longer wants, if it is ours, and returns what is still there.
func (a *Applier) prune(ctx context.Context, set Set, recorded, want []Ref) (survivors []Ref, err error) {
	var failures []error
	for _, ref := range recorded {
		if slices.Contains(want, ref) {
			continue
		}
		gone, err := a.remove(ctx, set, ref)
		if err != nil {
			failures = append(failures, fmt.Errorf("removing %s %s: %w", ref.Kind, ref.Name, err))
		}
		if !gone {
			survivors = append(survivors, ref)
		}
	}
	return survivors, errors.Join(failures...)
}

// remove deletes an object that is ours and tells whether it is gone, or never was ours.
func (a *Applier) remove(ctx context.Context, set Set, ref Ref) (gone bool, err error) {
	live, err := a.typed(ref)
	if err != nil {
		return false, err
	}
	key := client.ObjectKey{Namespace: *set.Root.GetName(), Name: ref.Name}
	if err := a.Live.Get(ctx, key, live); err != nil {
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	}
	if live.GetLabels()[v1alpha1.LabelOwner] != string(set.Owner) {
		return true, nil
	}
	uid := live.GetUID()
	err = a.Client.Delete(ctx, live, client.Preconditions{UID: &uid})
	return apierrors.IsNotFound(err) || (err == nil && len(live.GetFinalizers()) == 0), client.IgnoreNotFound(err)
}

// cached reads an object from the cache; nil when it is not there.
func (a *Applier) cached(ctx context.Context, ref Ref, namespace string) (client.Object, error) {
	o, err := a.typed(ref)
	if err != nil {
		return nil, err
	}
	err = a.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, o)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading %s %s: %w", ref.Kind, ref.Name, err)
	}
	return o, nil
}

func (a *Applier) typed(ref Ref) (client.Object, error) {
	o, err := a.Client.Scheme().New(ref.gvk())
	if err != nil {
		return nil, err
	}
	return o.(client.Object), nil
}

func equal(d desired, live client.Object) (bool, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(live)
	if err != nil {
		return false, fmt.Errorf("reading %s %s: %w", d.Kind, d.Name, err)
	}
	return matches(d.Kind, d.content, content), nil
}

// Inventory reads what the root of a set says is in it. What cannot be read is passed over.
func Inventory(root metav1.Object) []Ref {
	var out []Ref
	for text := range strings.FieldsSeq(root.GetAnnotations()[annotationInventory]) {
		if ref, ok := parseRef(text); ok {
			out = append(out, ref)
		}
	}
	return out
}

func withInventory(refs []Ref) map[string]string {
	texts := make([]string, 0, len(refs))
	for _, ref := range refs {
		texts = append(texts, ref.String())
	}
	return map[string]string{annotationInventory: strings.Join(texts, " ")}
}

func refs(set Set) []Ref {
	out := make([]Ref, 0, len(set.Objects))
	for _, o := range set.Objects {
		out = append(out, Reference(o))
	}
	return out
}

// union is sorted and holds each reference once.
func union(a, b []Ref) []Ref {
	out := slices.Concat(a, b)
	slices.SortFunc(out, func(x, y Ref) int { return strings.Compare(x.String(), y.String()) })
	return slices.Compact(out)
}
