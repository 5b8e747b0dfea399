package backup

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/archive"
	"github.com/broletto/broletto/operator/depot"
	"github.com/broletto/broletto/operator/move"
	"github.com/broletto/broletto/operator/outcome"
	"github.com/broletto/broletto/operator/volumes"
)

// moving tells whether a mover is at a volume: then there is no manifest yet, and the store needs not be asked for one.
func moving(b *v1alpha1.Backup) bool {
	return slices.ContainsFunc(b.Status.Volumes, func(v v1alpha1.VolumeMove) bool { return v.Job != "" && !volumes.Over(&v) })
}

// move has the volumes moved into the repository, one after the other, and then the databases. What cannot be moved is left out.
func (r *Backups) move(ctx context.Context, s *scope) error {
	if s.manifest != nil {
		return nil
	}
	claims, err := r.wanted(ctx, s)
	if err != nil {
		return err
	}
	port, err := depot.Port(s.from)
	if err != nil {
		return err
	}
	under := moving(s.Backup)
	generation := int32(1)
	if !under && len(claims) > 0 {
		if generation, err = s.repository.Generation(ctx); err != nil {
			return depot.Unanswered(s.from, err)
		}
	}
	s.Status.Volumes = volumesOf(s.Status.Volumes, claims, generation)
	for i := range s.Status.Volumes {
		v := &s.Status.Volumes[i]
		if volumes.Over(v) {
			continue
		}
		c := claims[slices.IndexFunc(claims, func(c volumes.Claim) bool { return c.Name == v.Name })]
		if v.Job == "" {
			v.Database = c.Database
		}
		t := volumes.Task{
			Database: v.Database, Operation: move.Backup, For: client.ObjectKeyFromObject(s.Backup), UID: s.UID, Namespace: s.TargetNamespace(), Workspace: s.workspace.UID,
			Claim: c.Name, Profile: c.Profile, Node: c.Node, Holder: c.Holder, User: c.User, Group: c.Group, FSGroup: c.FSGroup, StorePort: port,
		}
		if v.Job != "" { // the pod that used it may be gone since
			t.User, t.Group, t.FSGroup = v.User, v.Group, v.FSGroup
		}
		if err := r.Movers.Step(ctx, t, v, s.Backup); err != nil {
			return err
		}
		if volumes.Damaged(v) && v.Attempt < volumes.Attempts {
			if err := r.renew(ctx, s, v); err != nil {
				return err
			}
			return &outcome.Wait{Reason: v1alpha1.ReasonMovingVolumes, Message: "what the repository had of " + v.Name + " is damaged: all of it is written anew", After: time.Millisecond}
		}
	}
	if under { // the store was not asked
		return &outcome.Wait{Reason: v1alpha1.ReasonMovingVolumes, Message: "the volumes are in the repository; the objects follow", After: time.Millisecond}
	}
	return nil
}

// wanted are the volumes of the workspace, and the databases of the backup's policy.
func (r *Backups) wanted(ctx context.Context, s *scope) ([]volumes.Claim, error) {
	claims, err := r.Movers.Claims(ctx, s.TargetNamespace())
	if err != nil {
		return nil, err
	}
	var before v1alpha1.BackupList
	if err := r.Client.List(ctx, &before, client.InNamespace(s.Namespace), client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency); err != nil {
		return nil, fmt.Errorf("listing the backups of %s: %w", s.Namespace, err)
	}
	readers(claims, before.Items, s.Spec)
	policy, err := r.policyOf(ctx, s.Backup)
	if err != nil {
		return nil, err
	}
	databases, err := r.Movers.Databases(ctx, s.TargetNamespace(), policy.Spec.Databases)
	return append(claims, databases...), err
}

// readers has volumes that no pod uses now read as the pod that used them when the last backup was made: what it keeps to itself is its own.
func readers(claims []volumes.Claim, backups []v1alpha1.Backup, of v1alpha1.BackupSpec) {
	for i := range claims {
		c, last := &claims[i], int64(0)
		for _, b := range backups {
			if len(c.Pods) > 0 || b.Spec.Workspace != of.Workspace || b.Spec.Repository != of.Repository || b.Status.Sequence <= last {
				continue
			}
			for _, v := range b.Status.Volumes {
				if v.Name == c.Name && v.Phase == v1alpha1.VolumeDone && v.User != 0 {
					last, c.User, c.Group, c.FSGroup = b.Status.Sequence, v.User, v.Group, v.FSGroup
				}
			}
		}
	}
}

// renew has a volume written into a new generation: what lies in the damaged one is not built on.
func (r *Backups) renew(ctx context.Context, s *scope, v *v1alpha1.VolumeMove) error {
	next, err := r.Depot.Renew(ctx, s.from, s.tenant, v.Generation, v.Message)
	if err != nil {
		return err
	}
	*v = v1alpha1.VolumeMove{Name: v.Name, Database: v.Database, Phase: v1alpha1.VolumeWaiting, Generation: next, Attempt: v.Attempt + 1, From: v.From}
	return nil
}

// volumesOf are the volumes of a backup: those that are there now, and those that a mover was at already.
func volumesOf(before []v1alpha1.VolumeMove, claims []volumes.Claim, generation int32) (out []v1alpha1.VolumeMove) {
	for _, c := range claims {
		v := v1alpha1.VolumeMove{Name: c.Name, Database: c.Database, Phase: v1alpha1.VolumeWaiting, Generation: generation}
		if i := slices.IndexFunc(before, func(b v1alpha1.VolumeMove) bool { return b.Name == c.Name }); i >= 0 {
			v = before[i]
		}
		if v.Job == "" && !volumes.Over(&v) {
			v.Message = unmovable(c)
			if v.Message != "" {
				v.Phase = v1alpha1.VolumeFailed
			}
		}
		out = append(out, v)
	}
	for _, v := range before {
		if slices.ContainsFunc(claims, func(c volumes.Claim) bool { return c.Name == v.Name }) {
			continue
		}
		if !volumes.Over(&v) {
			v.Phase, v.Message = v1alpha1.VolumeFailed, "the claim was deleted while the backup was made"
			if v.Database != nil {
				v.Message = "the policy was deleted, or names it no longer, while the backup was made"
			}
		}
		out = append(out, v)
	}
	return out[:min(len(out), 256)]
}

// unmovable says why nothing can be read of a volume; empty: it can.
func unmovable(c volumes.Claim) string {
	switch {
	case c.Database != nil:
		return c.Missing
	case !c.Bound:
		return "the claim is not bound to a volume yet: it holds nothing"
	case c.Block:
		return "it is a raw device, and files alone are backed up: keep a dump of it on another volume"
	}
	return ""
}

// leftOut are the volumes that are not in the backup, or not whole.
func leftOut(all []v1alpha1.VolumeMove) (out []archive.LeftOut) {
	for _, v := range all {
		if v.Phase == v1alpha1.VolumeFailed || v.Message != "" {
			what := "persistentvolumeclaims/" + v.Name
			if v.Database != nil {
				what = v.Name
			}
			out = append(out, archive.LeftOut{What: what, Why: v.Message})
		}
	}
	return out
}

// clear takes the movers away when what they did is in a manifest.
func (r *Backups) clear(ctx context.Context, s *scope) error {
	if s.Status.Volumes == nil {
		return nil
	}
	if _, err := r.Movers.Clear(ctx, s.TargetNamespace(), s.UID, s.Status.Volumes); err != nil {
		return fmt.Errorf("taking the movers of backup %s away: %w", s.Name, err)
	}
	return nil
}
