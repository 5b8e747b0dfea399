package apply

import (
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// takeOver makes us the owner of the fields that an apply is to remove when it does not name them: those that we wrote by
// creation and, in kinds that are exact, those of everybody outside metadata, however they were written. It changes no content.
func (a *Applier) takeOver(ctx context.Context, kind string, live client.Object) error {
	entries, err := ownership(live.GetManagedFields(), !open[kind] && kind != "Namespace" && kind != "ServiceAccount")
	if err != nil || entries == nil {
		return err
	}
	patch, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/metadata/managedFields", "value": entries},
		{"op": "replace", "path": "/metadata/resourceVersion", "value": live.GetResourceVersion()}, // else a conflict
	})
	if err != nil {
		return err
	}
	return a.Client.Patch(ctx, live.DeepCopyObject().(client.Object), client.RawPatch(types.JSONPatchType, patch))
}

// ownership is what the managed fields are to be, nil when they are so already. Subresources are their writers'.
func ownership(entries []metav1.ManagedFieldsEntry, exact bool) (out []metav1.ManagedFieldsEntry, err error) {
	ours, metadata := fieldpath.NewSet(), fieldpath.NewSet(fieldpath.MakePathOrDie("metadata"))
	applied, taken := metav1.ManagedFieldsEntry{Manager: FieldManager, Operation: metav1.ManagedFieldsOperationApply, FieldsType: "FieldsV1"}, false
	for _, entry := range entries {
		fields, content := &fieldpath.Set{}, &fieldpath.Set{}
		if err := fields.FromJSON(entry.FieldsV1.GetRawReader()); err != nil {
			return nil, fmt.Errorf("reading the fields of %s: %w", entry.Manager, err)
		}
		switch {
		case entry.Subresource != "":
		case entry.Manager == FieldManager:
			content = fields
			taken = taken || entry.Operation != metav1.ManagedFieldsOperationApply
		case exact:
			content = fields.RecursiveDifference(metadata)
			taken = taken || !content.Empty()
		}
		if !content.Empty() {
			ours, applied.APIVersion, applied.Time = ours.Union(content), entry.APIVersion, entry.Time
			fields = fields.Difference(content)
		}
		if !fields.Empty() {
			entry.FieldsV1, err = encoded(fields)
			out = append(out, entry)
		}
		if err != nil {
			return nil, err
		}
	}
	if !taken {
		return nil, nil
	}
	applied.FieldsV1, err = encoded(ours)
	return append(out, applied), err
}

func encoded(fields *fieldpath.Set) (*metav1.FieldsV1, error) {
	text, err := fields.ToJSON()
	out := &metav1.FieldsV1{}
	out.SetRawBytes(text)
	return out, err
}
