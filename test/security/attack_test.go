package security

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// attack is a request with effect, and the refusal that it meets.
type attack struct {
	reason string
	do     stage.Request
	want   string // a part of the refusal; empty: any refusal
}

// identities are all that a tenant has, once had, or never had.
func (w *town) identities() map[string]*rest.Config {
	w.Helper()
	return map[string]*rest.Config{
		"administrator": w.administrator(), "member": w.member(), "viewer": w.viewer(), "account": w.account(), "removed": w.removed(),
		"anonymous": w.anonymous(), "neighbour": w.neighbour(), "tool": cluster.Account(w, w.own.Name, "flux"),
		"pod": cluster.Account(w, w.site.TargetNamespace(), "default"),
	}
}

// suffers makes every attack as somebody, wants each refused, and wants not one byte of the targets changed.
func (w *town) suffers(who string, cfg *rest.Config, attacks map[string]attack, targets ...client.Object) {
	w.Helper()
	before := w.bytes(targets)
	c := cluster.Client(w, cfg)
	for _, what := range slices.Sorted(maps.Keys(attacks)) {
		a := attacks[what]
		err := a.do(w.Context(), c)
		if unserved(err) {
			continue // a form that the resource does not have
		}
		if !refusal(err) || !strings.Contains(err.Error(), a.want) {
			w.Errorf("%s: %s (%s): want it refused by %q, got: %v", who, what, a.reason, a.want, err)
		}
	}
	if diff := cmp.Diff(before, w.bytes(targets)); diff != "" {
		w.Errorf("%s left a trace (-before +after):\n%s", who, diff)
	}
}

// suffersAll makes every attack as all identities. Each is refused, some before the words come that the attacks name: those are forgotten.
func (w *town) suffersAll(attacks map[string]attack, targets ...client.Object) {
	w.Helper()
	for name, a := range attacks {
		a.want = ""
		attacks[name] = a
	}
	for who, cfg := range w.identities() {
		w.suffers(who, cfg, attacks, targets...)
	}
}

// refusal tells whether an error is an answer: a no for a reason, and not a failure of the API server.
func refusal(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsMethodNotSupported(err) ||
		apierrors.IsUnauthorized(err) || apierrors.IsUnsupportedMediaType(err) || apierrors.IsNotFound(err) || apierrors.IsRequestEntityTooLargeError(err)
}

// on is the same town for a subtest.
func (w *town) on(t *testing.T) *town {
	moved := *w
	moved.Stage = w.On(t)
	return &moved
}

// bytes are objects as the API server stores them, by kind and name.
func (w *town) bytes(objects []client.Object) map[string]string {
	w.Helper()
	out := map[string]string{}
	for _, o := range objects {
		text, err := json.Marshal(w.live(o).Object)
		if err != nil {
			w.Fatal(err)
		}
		out[w.kindOf(o)+" "+client.ObjectKeyFromObject(o).String()] = string(text)
	}
	return out
}

func (w *town) kindOf(o client.Object) string {
	w.Helper()
	gvk, err := apiutil.GVKForObject(o, w.Admin.Scheme())
	if err != nil {
		w.Fatal(err)
	}
	return gvk.Kind
}

// live is an object as the API server has it.
func (w *town) live(o client.Object) *unstructured.Unstructured {
	w.Helper()
	gvk, err := apiutil.GVKForObject(o, w.Admin.Scheme())
	if err != nil {
		w.Fatal(err)
	}
	out := &unstructured.Unstructured{}
	out.SetGroupVersionKind(gvk)
	if err := w.Admin.Get(w.Context(), client.ObjectKeyFromObject(o), out); err != nil {
		w.Fatal(err)
	}
	return out
}

// deletions are all ways to delete an object.
func deletions(o client.Object) map[string]stage.Request {
	out := map[string]stage.Request{}
	for _, p := range []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan} {
		out["delete, "+string(p)] = func(ctx context.Context, c client.Client) error {
			return c.Delete(ctx, o.DeepCopyObject().(client.Object), client.PropagationPolicy(p), client.GracePeriodSeconds(0))
		}
	}
	return out
}

// add names attacks by the change and the form.
func add(to map[string]attack, change, reason, want string, forms map[string]stage.Request) {
	for form, do := range forms {
		to[change+", "+strings.TrimSpace(form)] = attack{reason, do, want}
	}
}

// unserved is the answer to a form that a resource does not have.
func unserved(err error) bool {
	return apierrors.IsMethodNotSupported(err) || apierrors.ReasonForError(err) == metav1.StatusReasonUnsupportedMediaType || apierrors.IsNotFound(err)
}

func namespaceNamed(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

var errNotYet = errors.New("not yet")

// unstructuredGeneration is the generation that a controller has seen.
func unstructuredGeneration(o map[string]any) (int64, bool, error) {
	return unstructured.NestedInt64(o, "status", "observedGeneration")
}

// peersOf are the labels by which a network policy opens namespaces.
func peersOf(w *town, o *networkingv1.NetworkPolicy) (out []map[string]string) {
	w.Helper()
	w.Read(o)
	for _, rule := range o.Spec.Ingress {
		for _, peer := range rule.From {
			if peer.NamespaceSelector != nil {
				out = append(out, peer.NamespaceSelector.MatchLabels)
			}
		}
	}
	for _, rule := range o.Spec.Egress {
		for _, peer := range rule.To {
			if peer.NamespaceSelector != nil {
				out = append(out, peer.NamespaceSelector.MatchLabels)
			}
		}
	}
	return out
}

func nested(o *unstructured.Unstructured, path ...string) (string, bool, error) {
	return unstructured.NestedString(o.Object, path...)
}

// notOurs selects what Broletto did not make.
var notOurs = func() labels.Selector {
	requirement, err := labels.NewRequirement(v1alpha1.LabelOwner, selection.DoesNotExist, nil)
	if err != nil {
		panic(err) // the label is a constant
	}
	return labels.NewSelector().Add(*requirement)
}()

// gone is nil where there is no such object any more.
func gone(ctx context.Context, c client.Client, o client.Object) error {
	err := c.Get(ctx, client.ObjectKeyFromObject(o), o.DeepCopyObject().(client.Object))
	if err == nil {
		return errNotYet
	}
	return client.IgnoreNotFound(err)
}
