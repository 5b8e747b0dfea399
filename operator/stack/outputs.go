package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/outcome"
)

// publish puts the outputs of what was applied last into the Secret that the stack names, and nowhere else. A Secret that is not the stack's
// is left alone.
func (r *Reconciler) publish(ctx context.Context, s *v1alpha1.Stack, runs []*v1alpha1.StackRun) error {
	last := newest(runs, func(r *v1alpha1.StackRun) bool { return r.Status.Phase == v1alpha1.RunSucceeded && applies(r) })
	if last == nil {
		return nil
	}
	if err := r.move(ctx, s); err != nil || s.Spec.OutputsTo == nil {
		return err
	}
	report, err := r.Vault.Report(ctx, of(s), last.UID)
	if err != nil || report == nil {
		return wrapped(err, "reading the outputs of run %s", last.Name)
	}
	want := outputs(s, s.Status.OutputsTo, report.Outputs)
	var live corev1.Secret
	err = r.Live.Get(ctx, client.ObjectKeyFromObject(want), &live)
	switch {
	case apierrors.IsNotFound(err):
		return wrapped(r.Client.Create(ctx, want, client.DisableReadYourWritesConsistency), "creating Secret %s in %s", want.Name, want.Namespace)
	case err != nil:
		return fmt.Errorf("reading Secret %s in %s: %w", want.Name, want.Namespace, err)
	case live.Labels[v1alpha1.LabelOwner] != string(s.UID):
		return outcome.Stalled(v1alpha1.ReasonOutputsConflict,
			"Secret %s in %s exists and is not this stack's, so it is left alone: delete it, or name another one in spec.outputsTo", want.Name, want.Namespace)
	case maps.EqualFunc(live.Data, want.Data, slices.Equal) && live.Labels[v1alpha1.LabelStack] == s.Name:
		return nil
	}
	live.Data, live.Labels[v1alpha1.LabelStack] = want.Data, s.Name
	return wrapped(r.Client.Update(ctx, &live, client.DisableReadYourWritesConsistency), "writing Secret %s in %s", want.Name, want.Namespace)
}

// move deletes the Secret that the outputs were in, once the stack names another one or none. Where they are to be stands in the status
// before they are there, or nobody would look for them afterwards.
func (r *Reconciler) move(ctx context.Context, s *v1alpha1.Stack) error {
	to := outputsTo(s)
	if s.Status.OutputsTo == to {
		return nil
	}
	if err := r.unpublish(ctx, s); err != nil {
		return err
	}
	if s.Status.OutputsTo = to; to == "" {
		return nil
	}
	return &outcome.Wait{Reason: v1alpha1.ReasonApplying, Message: "the outputs go to Secret " + to, After: soon}
}

// outputsTo is the Secret that a stack names for its outputs; empty: none.
func outputsTo(s *v1alpha1.Stack) string {
	if s.Spec.OutputsTo == nil {
		return ""
	}
	return string(s.Spec.OutputsTo.Secret)
}

// unpublish deletes the Secret with the outputs, if it is the stack's.
func (r *Reconciler) unpublish(ctx context.Context, s *v1alpha1.Stack) error {
	if s.Status.OutputsTo == "" {
		return nil
	}
	return r.discard(ctx, s, outputs(s, s.Status.OutputsTo, nil))
}

// notKey is what no key of a Secret may hold.
var notKey = regexp.MustCompile(`[^-._a-zA-Z0-9]`)

// outputs are a Secret with one key for each: text as it is, all else as JSON.
func outputs(s *v1alpha1.Stack, name string, values map[string]json.RawMessage) *corev1.Secret {
	out := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.TargetNamespace(), Name: name, Labels: map[string]string{
			v1alpha1.LabelOwner: string(s.UID), v1alpha1.LabelStack: s.Name,
		}},
		Data: map[string][]byte{},
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		var text string
		value := []byte(values[key])
		if json.Unmarshal(value, &text) == nil && string(value) != "null" {
			value = []byte(text)
		}
		out.Data[notKey.ReplaceAllString(key, "_")] = value
	}
	return out
}

func newest(runs []*v1alpha1.StackRun, match func(*v1alpha1.StackRun) bool) *v1alpha1.StackRun {
	for _, r := range slices.Backward(runs) {
		if match(r) {
			return r
		}
	}
	return nil
}

func wrapped(err error, format string, values ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(values, err)...)
}
