package service

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/acting"
	"github.com/broletto/broletto/operator/apply"
	"github.com/broletto/broletto/operator/outcome"
)

// soon is when to look again at what the cluster does by itself: rights that spread, objects that go.
const soon = time.Second

// pair is an object as it is wanted and as it is; live is nil when there is none.
type pair struct {
	want, live *unstructured.Unstructured
	same       bool  // nothing is to be written
	byHand     bool  // somebody else changed or deleted it
	refused    error // what the API server says to it, asked before it is sent: at rest nothing is sent that is refused
}

// compare reads every wanted object, as the workspace's account. It writes nothing.
func (r *Instances) compare(ctx context.Context, i *v1alpha1.ServiceInstance, wanted []*unstructured.Unstructured, settled bool) ([]pair, error) {
	recorded := inventory(i)
	out := make([]pair, 0, len(wanted))
	for _, want := range wanted {
		p := pair{want: want}
		live, err := r.look(ctx, i, refOf(want))
		if err != nil {
			return nil, err
		}
		known := slices.ContainsFunc(recorded, refOf(want).sameObject)
		if live == nil {
			p.byHand = settled && known
			out = append(out, p)
			continue
		}
		if !isOurs(i, live, known) {
			return nil, outcome.Stalled(v1alpha1.ReasonObjectConflict, "%s exists in %s and is not this instance's: delete or rename it, or ask for the service in another workspace",
				refOf(want).short(), want.GetNamespace())
		}
		if live.GetDeletionTimestamp() != nil {
			return nil, &outcome.Wait{Reason: v1alpha1.ReasonProvisioning, After: soon, Message: refOf(want).short() + " is being deleted; it is made again when it is gone"}
		}
		p.live = live
		if err := r.judge(ctx, &p); err != nil {
			return nil, err
		}
		made := live.GetAnnotations()[annotationMade]
		p.byHand = !p.same && settled && (made == "" || made == want.GetAnnotations()[annotationMade])
		out = append(out, p)
	}
	return out, nil
}

// look reads an object in the instance's workspace; nil when it is not there.
func (r *Instances) look(ctx context.Context, i *v1alpha1.ServiceInstance, ref Ref) (*unstructured.Unstructured, error) {
	live := &unstructured.Unstructured{}
	live.SetAPIVersion(ref.APIVersion)
	live.SetKind(ref.Kind)
	err := r.Acting.Get(acting.In(ctx, i.TargetNamespace()), client.ObjectKey{Namespace: i.TargetNamespace(), Name: ref.Name}, live)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case apierrors.IsForbidden(err):
		return nil, &outcome.Wait{Reason: v1alpha1.ReasonProvisioning, After: soon, Message: "the rights of account " + acting.Service.Name() + " in " + i.TargetNamespace() + " are not in force yet"}
	case meta.IsNoMatchError(err):
		return nil, outcome.Stalled(v1alpha1.ReasonInvalidManifest, "this cluster has no %s of %s: ask the platform to install it, or to offer the service without", ref.Kind, ref.APIVersion)
	case err != nil:
		return nil, fmt.Errorf("reading %s in %s: %w", ref.short(), i.TargetNamespace(), err)
	}
	return live, nil
}

// isOurs tells whether an object was made for the instance: its label says so or, where somebody took the label away, our inventory and its
// writer do.
func isOurs(i *v1alpha1.ServiceInstance, live *unstructured.Unstructured, recorded bool) bool {
	owner, labelled := live.GetLabels()[labelInstance]
	written := slices.ContainsFunc(live.GetManagedFields(), func(f metav1.ManagedFieldsEntry) bool {
		return f.Manager == fieldManager && f.Operation == metav1.ManagedFieldsOperationApply
	})
	return owner == string(i.UID) || (!labelled && recorded && written)
}

// judge finds whether applying would change anything. What cannot be seen by comparing, since the API server writes it in another way, it is asked.
func (r *Instances) judge(ctx context.Context, p *pair) error {
	if p.same = apply.Contains(p.want.Object, p.live.Object); p.same {
		return nil
	}
	tried, err := r.try(ctx, *p)
	switch {
	case malformed(err) && remade(p.want):
	case malformed(err) || apierrors.IsForbidden(err) || apierrors.IsConflict(err):
		p.refused = explained(err, refOf(p.want).short(), p.want.GetNamespace())
	case err != nil:
		return err
	default:
		p.same = equality.Semantic.DeepEqual(substance(tried), substance(p.live))
	}
	return nil
}

// remade tells whether an object cannot change, and is made anew.
func remade(o *unstructured.Unstructured) bool { return o.GetKind() == "Job" || o.GetKind() == "Pod" }

// try applies an object as a dry run.
func (r *Instances) try(ctx context.Context, p pair) (*unstructured.Unstructured, error) {
	tried := p.want.DeepCopy()
	return tried, r.patch(ctx, tried, client.ForceOwnership, client.DryRunAll)
}

func (r *Instances) patch(ctx context.Context, o *unstructured.Unstructured, options ...client.PatchOption) error {
	text, err := json.Marshal(o.Object)
	if err != nil {
		return err
	}
	return r.Acting.Patch(acting.In(ctx, o.GetNamespace()), o, client.RawPatch(types.ApplyPatchType, text), append(options, client.FieldOwner(fieldManager))...)
}

// substance is an object without what every write changes.
func substance(o *unstructured.Unstructured) map[string]any {
	out := o.DeepCopy().Object
	for _, field := range []string{"resourceVersion", "managedFields", "generation", "uid", "creationTimestamp"} {
		unstructured.RemoveNestedField(out, "metadata", field)
	}
	delete(out, "status")
	return out
}

// send applies an object. One that is not there yet is not forced upon: if somebody makes it at this moment, it is theirs.
func (r *Instances) send(ctx context.Context, p pair) error {
	if p.refused != nil {
		return p.refused
	}
	var options []client.PatchOption
	if p.live != nil {
		options = append(options, client.ForceOwnership)
	}
	err := r.patch(ctx, p.want.DeepCopy(), options...)
	if malformed(err) && p.live != nil && remade(p.want) {
		if err := r.delete(ctx, p.live); err != nil {
			return err
		}
		return &outcome.Wait{Reason: v1alpha1.ReasonProvisioning, After: soon, Message: refOf(p.want).short() + " is made anew"}
	}
	return explained(err, refOf(p.want).short(), p.want.GetNamespace())
}

// malformed tells whether the API server takes an object for none of its kind. Of a field of another type, an apply says so in words alone.
func malformed(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || (err != nil && strings.Contains(err.Error(), "failed to create typed patch object"))
}

// explained turns what the API server answered into what a person or the clock can do about it.
func explained(err error, what, namespace string) error {
	switch {
	case err == nil:
		return nil
	case apierrors.IsConflict(err):
		return outcome.Stalled(v1alpha1.ReasonObjectConflict, "%s in %s was made by somebody else: delete or rename it", what, namespace)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return &outcome.Wait{Reason: v1alpha1.ReasonWorkspaceNotReady, Message: namespace + " is being deleted"}
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "quota"):
		return &outcome.Wait{Reason: v1alpha1.ReasonNoRoom, After: 30 * soon, Message: fmt.Sprintf("%s does not fit the quota of %s: %v; free some, or raise the workspace's quota", what, namespace, err)}
	case apierrors.IsForbidden(err):
		return outcome.Stalled(v1alpha1.ReasonNotAllowed, "%s in %s is refused: %w; ask the platform to correct the offering", what, namespace, err)
	case malformed(err):
		return outcome.Stalled(v1alpha1.ReasonInvalidManifest, "%s in %s is refused: %w; ask the platform to correct the offering", what, namespace, err)
	}
	return fmt.Errorf("applying %s in %s: %w", what, namespace, err)
}

func (r *Instances) delete(ctx context.Context, o *unstructured.Unstructured) error {
	uid := o.GetUID()
	err := r.Acting.Delete(acting.In(ctx, o.GetNamespace()), o, client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting %s in %s: %w", refOf(o).short(), o.GetNamespace(), err)
	}
	return nil
}

// prune deletes what the inventory names and nobody wants, if it is the instance's, and returns what is still there.
func (r *Instances) prune(ctx context.Context, i *v1alpha1.ServiceInstance, wanted []Ref) (survivors []Ref, err error) {
	for _, ref := range inventory(i) {
		if slices.ContainsFunc(wanted, ref.sameObject) {
			continue
		}
		live, err := r.look(ctx, i, ref)
		if err != nil {
			return nil, err
		}
		if live == nil || !isOurs(i, live, true) {
			continue
		}
		survivors = append(survivors, ref)
		if live.GetDeletionTimestamp() == nil {
			if err := r.delete(ctx, live); err != nil {
				return nil, err
			}
		}
	}
	return survivors, nil
}

func inventory(i *v1alpha1.ServiceInstance) (out []Ref) {
	for _, text := range i.Status.Objects {
		if ref, ok := ParseRef(text); ok {
			out = append(out, ref)
		}
	}
	return out
}

// texts are references as status.objects holds them: sorted, each object once.
func texts(refs ...Ref) (out []string) {
	for _, ref := range refs {
		out = append(out, ref.String())
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func refs(objects []*unstructured.Unstructured) (out []Ref) {
	for _, o := range objects {
		out = append(out, refOf(o))
	}
	return out
}
