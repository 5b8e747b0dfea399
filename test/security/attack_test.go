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
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"

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

// forms are all ways to write one change, given as YAML of a merge patch: of the object itself and of its subresources.
func (w *town) forms(o client.Object, change string, subresources ...string) map[string]stage.Request {
	w.Helper()
	live, patch := w.live(o), map[string]any{}
	if err := yaml.Unmarshal([]byte(w.names(change)), &patch); err != nil {
		w.Fatalf("%s: %v", change, err)
	}
	out := map[string]stage.Request{}
	for _, sub := range append([]string{""}, subresources...) {
		out["update "+sub] = func(ctx context.Context, c client.Client) error {
			edited := w.live(o) // of the latest version: a conflict is no answer
			merge(edited.Object, patch)
			if sub == "" {
				return c.Update(ctx, edited)
			}
			return c.SubResource(sub).Update(ctx, live.DeepCopy(), client.WithSubResourceBody(edited))
		}
		for name, p := range map[string]client.Patch{
			"JSON patch ":            raw(w.T, types.JSONPatchType, operations("", live.Object, patch)),
			"merge patch ":           raw(w.T, types.MergePatchType, patch),
			"strategic merge patch ": raw(w.T, types.StrategicMergePatchType, patch),
			"server-side apply ":     raw(w.T, types.ApplyPatchType, applied(live, patch)),
		} {
			if name == "server-side apply " && len(named(patch)) == 0 {
				continue // it takes nothing that it never gave
			}
			out[name+sub] = func(ctx context.Context, c client.Client) error { return patching(ctx, c, live.DeepCopy(), sub, p) }
		}
	}
	return out
}

func patching(ctx context.Context, c client.Client, o client.Object, sub string, p client.Patch) error {
	var options []client.PatchOption
	if p.Type() == types.ApplyPatchType {
		options = append(options, client.FieldOwner("eve"), client.ForceOwnership)
	}
	if sub == "" {
		return c.Patch(ctx, o, p, options...)
	}
	var all []client.SubResourcePatchOption
	for _, option := range options {
		all = append(all, option.(client.SubResourcePatchOption))
	}
	return c.SubResource(sub).Patch(ctx, o, p, all...)
}

func raw(t testing.TB, kind types.PatchType, content any) client.Patch {
	t.Helper()
	text, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	return client.RawPatch(kind, text)
}

// merge does what a merge patch does.
func merge(into, patch map[string]any) {
	for key, value := range patch {
		inner, deeper := value.(map[string]any)
		outer, there := into[key].(map[string]any)
		switch {
		case value == nil:
			delete(into, key)
		case deeper && there:
			merge(outer, inner)
		default:
			into[key] = value
		}
	}
}

// operations are a merge patch as a JSON patch.
func operations(path string, live, patch map[string]any) (out []map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(patch)) {
		at := path + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
		inner, deeper := patch[key].(map[string]any)
		outer, there := live[key].(map[string]any)
		_, known := live[key]
		switch {
		case deeper && there:
			out = append(out, operations(at, outer, inner)...)
		case patch[key] != nil:
			out = append(out, map[string]any{"op": "add", "path": at, "value": patch[key]})
		case known:
			out = append(out, map[string]any{"op": "remove", "path": at})
		}
	}
	return out
}

// named is what a merge patch sets, without what it takes away.
func named(patch map[string]any) map[string]any {
	out := map[string]any{}
	for key, value := range patch {
		if inner, deeper := value.(map[string]any); deeper {
			if value = named(inner); len(named(inner)) == 0 {
				continue
			}
		}
		if value != nil {
			out[key] = value
		}
	}
	return out
}

func applied(live *unstructured.Unstructured, patch map[string]any) map[string]any {
	out := map[string]any{"apiVersion": live.GetAPIVersion(), "kind": live.GetKind(), "metadata": map[string]any{"name": live.GetName(), "namespace": live.GetNamespace()}}
	merge(out, named(patch))
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

// statusForms are those of the forms that write the status.
func statusForms(forms map[string]stage.Request) map[string]stage.Request {
	maps.DeleteFunc(forms, func(form string, _ stage.Request) bool { return !strings.HasSuffix(form, " status") })
	return forms
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
