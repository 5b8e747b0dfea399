package guard

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// Reconciler keeps all policies in force. What it reconciles is one thing, whichever of them changed.
type Reconciler struct {
	Client   client.Client
	Events   events.EventRecorder
	Policies []client.Object
	Revision string
}

// Reconcile looks at every policy and binding and puts right what is not as it should be.
func (r *Reconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	var failures []error
	for _, want := range r.Policies {
		repaired, err := r.keep(ctx, want)
		if repaired {
			r.Events.Eventf(want, nil, corev1.EventTypeWarning, "DriftRepaired", "Repair",
				"%s %s was changed or deleted; it is as it should be again", kindOf(want), want.GetName())
		}
		if err != nil && !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) { // then the cache is behind: its event brings us back
			failures = append(failures, fmt.Errorf("keeping %s %s: %w", kindOf(want), want.GetName(), err))
		}
	}
	return ctrl.Result{}, errors.Join(failures...)
}

// keep puts one policy right and tells whether it had to.
func (r *Reconciler) keep(ctx context.Context, want client.Object) (repaired bool, err error) {
	state, live, err := look(ctx, r.Client, want, r.Revision)
	if err != nil {
		return false, err
	}
	fixed := want.DeepCopyObject().(client.Object)
	switch state {
	case missing:
		fixed.SetAnnotations(map[string]string{AnnotationRevision: r.Revision})
		return true, r.Client.Create(ctx, fixed)
	case changed:
		fixed.SetResourceVersion(live.GetResourceVersion())
		fixed.SetLabels(live.GetLabels())
		fixed.SetAnnotations(live.GetAnnotations())
		return true, r.Client.Update(ctx, fixed)
	case foreign:
		log.FromContext(ctx).Info("a policy is of another version of Broletto and is left as it is",
			"kind", kindOf(want), "policy", want.GetName(), "revision", live.GetAnnotations()[AnnotationRevision], "ours", r.Revision)
	case unserved, inForce:
	}
	return false, nil
}

// state is what a look at a policy finds.
type state int

const (
	inForce  state = iota // as we want it
	missing               // not there
	changed               // there, and not as we want it
	foreign               // of another revision of config/policies
	unserved              // of a kind that this cluster does not have
)

// look finds out how a policy stands. live is nil where there is none.
func look(ctx context.Context, c client.Reader, want client.Object, revision string) (state, client.Object, error) {
	live := kinds[kindOf(want)]()
	err := c.Get(ctx, client.ObjectKeyFromObject(want), live)
	switch {
	case meta.IsNoMatchError(err):
		return unserved, nil, nil
	case apierrors.IsNotFound(err):
		return missing, nil, nil
	case err != nil:
		return 0, nil, err
	}
	equal, err := same(want, live)
	switch of := live.GetAnnotations()[AnnotationRevision]; {
	case err != nil || equal:
		return inForce, live, err
	case of != "" && of != revision:
		return foreign, live, nil
	default:
		return changed, live, nil
	}
}

func kindOf(o client.Object) string { return o.GetObjectKind().GroupVersionKind().Kind }
