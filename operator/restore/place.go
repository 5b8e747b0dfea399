package restore

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/acting"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/objects"
	"github.com/broletto/broletto/operator/outcome"
	"github.com/broletto/broletto/operator/volumes"
)

// place finds the workspace that the restore goes into, or makes it, and the account that writes there.
func (r *Reconciler) place(ctx context.Context, s *scope) error {
	workspace := &v1alpha1.Workspace{}
	where := client.ObjectKey{Namespace: s.Namespace, Name: s.Target()}
	least, err := r.least(ctx, s)
	if err != nil {
		return err
	}
	err = r.Client.Get(ctx, where, workspace)
	switch {
	case client.IgnoreNotFound(err) != nil:
		return fmt.Errorf("reading workspace %s: %w", where.Name, err)
	case err != nil && s.Spec.Into.NewWorkspace == "":
		return outcome.Stalled(v1alpha1.ReasonWorkspaceNotFound, "there is no workspace %s to restore into: write it, or set into.newWorkspace", where.Name)
	case err == nil && s.Spec.Into.NewWorkspace != "" && !made(s.Restore, workspace):
		return outcome.Stalled(v1alpha1.ReasonWorkspaceExists, "workspace %s is there already: choose another name, or set into.workspace and say what becomes of conflicts", where.Name)
	case err != nil:
		return r.makeWorkspace(ctx, s, least)
	case workspace.Spec.DataClass.Below(least) && !isDrill(s.Restore):
		return outcome.Stalled(v1alpha1.ReasonDataClassTooLow, "workspace %s is of data class %s, and what backup %s holds is %s: raise its spec.dataClass, or write another restore with into.newWorkspace",
			where.Name, workspace.Spec.DataClass, s.backup.Name, least)
	case !condition.True(workspace, v1alpha1.ConditionReady) || !workspace.DeletionTimestamp.IsZero():
		return &outcome.Wait{Reason: v1alpha1.ReasonWorkspaceNotReady, Message: "workspace " + where.Name + " is not ready: its status says why"}
	}
	s.workspace, s.Status.Namespace = workspace, workspace.TargetNamespace()
	return acting.Maker{Client: r.Client, Live: r.Live}.Make(ctx, acting.Backup, s.Status.Namespace, workspace.UID)
}

// least is the lowest data class of which the workspace may be: that of the backup, or of the workspace it was made of as that is classed now.
func (r *Reconciler) least(ctx context.Context, s *scope) (v1alpha1.DataClass, error) {
	var was struct {
		DataClass v1alpha1.DataClass `json:"dataClass"`
	}
	if err := json.Unmarshal(s.manifest.Spec, &was); err != nil {
		return "", outcome.Stalled(v1alpha1.ReasonDamaged, "backup %s does not say how its workspace was: %w; take another backup", s.backup.Name, err)
	}
	source := &v1alpha1.Workspace{}
	if err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: s.manifest.Workspace}, source); client.IgnoreNotFound(err) != nil {
		return "", fmt.Errorf("reading workspace %s: %w", s.manifest.Workspace, err)
	}
	if was.DataClass.Below(source.Spec.DataClass) {
		return source.Spec.DataClass, nil
	}
	return was.DataClass, nil
}

// annotationRestore holds the UID of the Restore that made a workspace.
const annotationRestore = "broletto.dev/restore"

func made(one *v1alpha1.Restore, w *v1alpha1.Workspace) bool {
	return w.Annotations[annotationRestore] == string(one.UID)
}

// makeWorkspace makes the new workspace, of a class, if whoever asked may make one.
func (r *Reconciler) makeWorkspace(ctx context.Context, s *scope, class v1alpha1.DataClass) error {
	if !r.rehearses(s) {
		err := r.Objects.May(s.Namespace, s.requester)(ctx, "create", objects.Resource{Group: v1alpha1.GroupVersion.Group, Version: v1alpha1.GroupVersion.Version, Resource: "workspaces", Kind: "Workspace"})
		if apierrors.IsForbidden(err) {
			return outcome.Stalled(v1alpha1.ReasonNotAllowed, "%s may not make workspaces in %s: have somebody write this restore who may", s.requester.Username, s.Namespace)
		}
		if err != nil {
			return err
		}
	}
	kept, err := volumes.Read(s.manifest.Volumes)
	var w *v1alpha1.Workspace
	if err == nil {
		w, err = fresh(s.Restore, s.manifest.Workspace, s.manifest.Spec, kept)
	}
	if err != nil {
		return outcome.Stalled(v1alpha1.ReasonDamaged, "backup %s does not say how its workspace was: %w; make a workspace and restore into that", s.backup.Name, err)
	}
	w.Spec.DataClass = class
	if s.Spec.Mode == v1alpha1.RestoreDryRun {
		return outcome.Stalled(v1alpha1.ReasonWorkspaceNotFound, "a dry run makes no workspace, and without it nobody can say what would be refused: make workspace %s first and set into.workspace", w.Name)
	}
	if err := r.Client.Create(ctx, w); err != nil && !apierrors.IsAlreadyExists(err) {
		return r.refused(err, w.Name)
	}
	return &outcome.Wait{Reason: v1alpha1.ReasonWorkspaceNotReady, Message: "workspace " + w.Name + " is being made", After: soon}
}

// refused tells what only a person can help with.
func (r *Reconciler) refused(err error, name string) error {
	if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) {
		return outcome.Stalled(v1alpha1.ReasonNotAllowed, "workspace %s cannot be made: %w", name, err)
	}
	return fmt.Errorf("making workspace %s: %w", name, err)
}

// fresh is the new workspace: as the backup has it. Under another name it lacks its hosts, which the one that was backed up serves, and volumes
// that the backup does not hold; under the same one, it is what was lost. A drill's is cut off from everything, and goes with the drill.
func fresh(one *v1alpha1.Restore, was string, spec json.RawMessage, kept []volumes.Kept) (*v1alpha1.Workspace, error) {
	w := &v1alpha1.Workspace{ObjectMeta: metav1.ObjectMeta{Namespace: one.Namespace, Name: one.Target(), Annotations: map[string]string{annotationRestore: string(one.UID)}}}
	if err := json.Unmarshal(spec, &w.Spec); err != nil {
		return nil, err
	}
	if isDrill(one) || w.Name != was {
		w.Spec.Network.Hosts, w.Spec.Network.Exposure, w.Spec.Storage = nil, v1alpha1.ExposureNone, filled(w.Spec.Storage, kept)
	}
	if !isDrill(one) {
		return w, nil
	}
	w.Labels = map[string]string{v1alpha1.LabelPolicy: one.Labels[v1alpha1.LabelPolicy]}
	w.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(one, v1alpha1.GroupVersion.WithKind("Restore"))}
	w.Spec.Environment, w.Spec.DisplayName, w.Spec.Access, w.Spec.DeletionPolicy = v1alpha1.Test, "", nil, v1alpha1.DeletionDelete
	w.Spec.Network = v1alpha1.WorkspaceNetwork{Exposure: v1alpha1.ExposureNone}
	return w, nil
}

// filled are the volumes that the backup holds.
func filled(asked *v1alpha1.WorkspaceStorage, kept []volumes.Kept) *v1alpha1.WorkspaceStorage {
	if asked == nil {
		return nil
	}
	out := &v1alpha1.WorkspaceStorage{Volumes: slices.DeleteFunc(slices.Clone(asked.Volumes), func(v v1alpha1.Volume) bool {
		return !slices.ContainsFunc(kept, func(k volumes.Kept) bool { return k.Name == v.Name })
	})}
	if len(out.Volumes) == 0 {
		return nil
	}
	return out
}
