package security

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/broletto/broletto/test/stage"
)

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

// statusForms are those of the forms that write the status.
func statusForms(forms map[string]stage.Request) map[string]stage.Request {
	maps.DeleteFunc(forms, func(form string, _ stage.Request) bool { return !strings.HasSuffix(form, " status") })
	return forms
}
