package restore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/archive"
	"github.com/broletto/broletto/operator/depot"
	"github.com/broletto/broletto/operator/move"
	"github.com/broletto/broletto/operator/objects"
	"github.com/broletto/broletto/operator/outcome"
	"github.com/broletto/broletto/operator/volumes"
)

// fill has the data of volumes moved back, before anything is there that would use it.
func (r *Reconciler) fill(ctx context.Context, s *scope) error {
	kept, err := volumes.Read(s.manifest.Volumes)
	if err != nil {
		return outcome.Stalled(v1alpha1.ReasonDamaged, "backup %s does not say which volumes it has: %w", s.backup.Name, err)
	}
	if len(kept) == 0 {
		return nil
	}
	if s.Status.Volumes == nil { // what is decided here is written before anything is made that would be found the next time
		if s.Status.Volumes, err = r.decide(ctx, s, kept); err != nil {
			return err
		}
		if s.Spec.Mode == v1alpha1.RestoreDryRun {
			return nil
		}
		if err := r.Client.Status().Update(ctx, s.Restore); err != nil {
			return err
		}
	}
	if s.Spec.Mode == v1alpha1.RestoreDryRun || !slices.ContainsFunc(s.Status.Volumes, func(v v1alpha1.VolumeMove) bool { return v.Database == nil && !volumes.Over(&v) }) {
		return nil
	}
	if err := r.makeClaims(ctx, s); err != nil {
		return err
	}
	for i := range s.Status.Volumes {
		if v := &s.Status.Volumes[i]; v.Database == nil {
			if err := r.step(ctx, s, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// step brings what is to come back of a volume or a database one step on.
func (r *Reconciler) step(ctx context.Context, s *scope, v *v1alpha1.VolumeMove) error {
	port, err := depot.Port(s.from)
	if err != nil {
		return err
	}
	return r.Movers.Step(ctx, volumes.Task{
		Operation: move.Restore, For: client.ObjectKeyFromObject(s.Restore), UID: s.UID, Namespace: s.Status.Namespace, Workspace: s.workspace.UID,
		Claim: v.Name, Database: v.Database, Profile: v1alpha1.ProfileGeneral, User: v.User, Group: v.Group, FSGroup: v.FSGroup, StorePort: port,
	}, v, s.Restore)
}

// load has databases brought back, after the objects among which their servers are.
func (r *Reconciler) load(ctx context.Context, s *scope) error {
	if s.Spec.Mode == v1alpha1.RestoreDryRun {
		return nil
	}
	for i := range s.Status.Volumes {
		v := &s.Status.Volumes[i]
		if v.Database == nil || volumes.Over(v) {
			continue
		}
		if v.Attempt == 0 {
			_, missing, err := r.Movers.Server(ctx, s.Status.Namespace, v.Database)
			if err != nil {
				return err
			}
			if missing != "" {
				v.Phase, v.Message = v1alpha1.VolumeFailed, missing
				continue
			}
		}
		if err := r.step(ctx, s, v); err != nil {
			return err
		}
	}
	return nil
}

// loading tells whether the objects are back, since databases are on their way: then they are not put back again, over what has changed since.
func loading(one *v1alpha1.Restore) bool {
	return slices.ContainsFunc(one.Status.Volumes, func(v v1alpha1.VolumeMove) bool { return v.Database != nil && v.Attempt > 0 })
}

// decide says which volumes are filled: those that are not there, hold nothing yet or are to be replaced, and are not in use.
func (r *Reconciler) decide(ctx context.Context, s *scope, kept []volumes.Kept) (out []v1alpha1.VolumeMove, err error) {
	there, err := r.Movers.Claims(ctx, s.Status.Namespace)
	if err != nil {
		return nil, err
	}
	if err := r.mayFill(ctx, s); err != nil {
		return nil, err
	}
	for _, k := range kept {
		v := k.Move(v1alpha1.VolumeWaiting)
		v.Bytes, v.Files = 0, 0
		if k.Database != nil && s.Spec.Into.NewWorkspace == "" && s.Spec.Into.Conflicts != v1alpha1.ConflictsReplace {
			v.Phase, v.Message = v1alpha1.VolumeSkipped, "the database stays as it is: conflicts: Replace brings the dump back"
		}
		i := slices.IndexFunc(there, func(c volumes.Claim) bool { return c.Name == k.Name })
		if s.Spec.Into.NewWorkspace != "" || i < 0 || !there[i].Bound {
			v.FSGroup = cmp.Or(v.FSGroup, v.Group) // a new volume is root's until the kubelet gives it to the group of a pod
		}
		if i >= 0 && s.Spec.Into.NewWorkspace == "" {
			c := there[i]
			switch {
			case len(c.Pods) > 0 && (s.Spec.Into.Conflicts == v1alpha1.ConflictsReplace || !c.Bound):
				v.Phase, v.Message = v1alpha1.VolumeFailed, "pods use it: "+strings.Join(c.Pods[:min(len(c.Pods), 5)], ", ")+": scale what they are of to 0 and write the restore anew"
			case c.Bound && s.Spec.Into.Conflicts != v1alpha1.ConflictsReplace:
				v.Phase, v.Message = v1alpha1.VolumeSkipped, "it is there already and stays as it is: conflicts: Replace restores its files"
			}
		}
		out = append(out, v)
	}
	return out, nil
}

// mayFill refuses who may not write into volumes: that takes a pod.
func (r *Reconciler) mayFill(ctx context.Context, s *scope) error {
	if r.rehearses(s) {
		return nil
	}
	err := r.Objects.May(s.Status.Namespace, s.requester)(ctx, "create", objects.Resource{Version: "v1", Resource: "pods", Kind: "Pod"})
	if apierrors.IsForbidden(err) {
		return outcome.Stalled(v1alpha1.ReasonNotAllowed, "%s may not make pods in %s, and so not write into its volumes: have somebody write this restore who may", s.requester.Username, s.Status.Namespace)
	}
	return err
}

// makeClaims makes the claims that the backup has, and lets go of volumes that have none: the workspace does not ask for them.
func (r *Reconciler) makeClaims(ctx context.Context, s *scope) error {
	if _, _, err := r.put(ctx, s, false, isClaim); err != nil {
		return err
	}
	there, err := r.Movers.Claims(ctx, s.Status.Namespace)
	if err != nil {
		return err
	}
	for i := range s.Status.Volumes {
		v := &s.Status.Volumes[i]
		if v.Database == nil && !volumes.Over(v) && !slices.ContainsFunc(there, func(c volumes.Claim) bool { return c.Name == v.Name }) {
			v.Phase, v.Message = v1alpha1.VolumeFailed, fmt.Sprintf("there is no claim %s in %s: ask for it in spec.storage.volumes of the workspace, and write the restore anew", v.Name, s.Status.Namespace)
		}
	}
	return nil
}

func isClaim(p archive.Page) bool { return p.String() == "persistentvolumeclaims" }

// clear takes the movers away.
func (r *Reconciler) clear(ctx context.Context, s *scope) error {
	if s.Status.Volumes == nil && !checking(s.Restore) {
		return nil
	}
	_, err := r.Movers.Clear(ctx, s.Status.Namespace, s.UID, nil)
	return err
}

// failedVolumes are those that were not filled, and why: nobody can look into the status of a drill that is over.
func failedVolumes(one *v1alpha1.Restore) (all []string) {
	for _, v := range one.Status.Volumes {
		if v.Phase == v1alpha1.VolumeFailed {
			all = append(all, v.Name+" ("+v.Message+")")
		}
	}
	return all
}
