package repository

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/depot"
	"github.com/broletto/broletto/operator/move"
	"github.com/broletto/broletto/operator/outcome"
	"github.com/broletto/broletto/operator/volumes"
)

const (
	// maintainEvery is how often the volumes of a tenant are maintained.
	maintainEvery = 24 * time.Hour
	// mostUpkeep is how many are looked after: a status has no room for more.
	mostUpkeep = 1000
)

// upkeep has movers maintain the volumes of each tenant, and read them back, one mover at a time in a repository. It says when to look again.
func (r *Reconciler) upkeep(ctx context.Context, b *v1alpha1.BackupRepository, backups []*v1alpha1.Backup, now time.Time) (time.Duration, error) {
	if err := r.lookedAfter(ctx, b, backups); err != nil {
		return 0, err
	}
	next := interval
	all := b.Status.Volumes                                                                         // sorted in place
	slices.SortStableFunc(all, func(x, y v1alpha1.VolumeUpkeep) int { return under(y) - under(x) }) // what was begun comes first
	defer func() {
		slices.SortFunc(all, func(x, y v1alpha1.VolumeUpkeep) int {
			return cmp.Or(cmp.Compare(x.Tenant, y.Tenant), cmp.Compare(x.Generation, y.Generation))
		})
		tellVolumes(b)
	}()
	port, err := depot.Port(b)
	if err != nil {
		return 0, err
	}
	for i := range all {
		u := &all[i]
		operation, rest := due(u, b.VerifyEvery(), now)
		if rest > 0 {
			next = min(next, rest)
			continue
		}
		err := r.lookAfter(ctx, b, u, operation, port)
		if wait, is := errors.AsType[*outcome.Wait](err); is {
			return cmp.Or(wait.After, time.Minute), nil // the repository is Ready all the same
		}
		if err != nil { // whoever wants something back from the repository is not held up by it
			ctrl.LoggerFrom(ctx).Error(err, "looking after volumes", "repository", b.Name, "tenant", u.Tenant, "generation", u.Generation)
			u.Failed = condition.Cut(err.Error(), 1024)
			return time.Minute, nil
		}
		return time.Millisecond, nil // the next one
	}
	return next, nil
}

func under(u v1alpha1.VolumeUpkeep) int {
	if u.Mover != nil {
		return 1
	}
	return 0
}

// due is what is to be done next, and when; rest 0: now.
func due(u *v1alpha1.VolumeUpkeep, verifyEvery time.Duration, now time.Time) (move.Operation, time.Duration) {
	left := func(at *metav1.Time, every time.Duration) time.Duration {
		if at == nil {
			return 0
		}
		return min(max(every-now.Sub(at.Time), 0), every)
	}
	if u.Mover != nil {
		return move.Operation(u.Mover.Name), 0
	}
	maintain, verify := left(u.MaintainedAt, maintainEvery), left(u.VerifiedAt, verifyEvery)
	if u.Damaged != "" { // nothing is changed in it any more; it is read to be restored
		return move.Verify, max(verify, left(u.MaintainedAt, maintainEvery))
	}
	if verify < maintain {
		return move.Verify, verify
	}
	return move.Maintain, maintain
}

// lookedAfter adds the volumes that backups have, and lets go of those of tenants that are no more.
func (r *Reconciler) lookedAfter(ctx context.Context, b *v1alpha1.BackupRepository, backups []*v1alpha1.Backup) error {
	var tenants v1alpha1.TenantList
	if err := r.Client.List(ctx, &tenants, client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency); err != nil {
		return fmt.Errorf("listing tenants: %w", err)
	}
	b.Status.Volumes = slices.DeleteFunc(b.Status.Volumes, func(u v1alpha1.VolumeUpkeep) bool {
		return !slices.ContainsFunc(tenants.Items, func(t v1alpha1.Tenant) bool { return t.Name == u.Tenant })
	})
	for _, one := range backups {
		if one.Status.VerifiedAt == nil {
			continue
		}
		for _, v := range one.Status.Volumes {
			known := slices.ContainsFunc(b.Status.Volumes, func(u v1alpha1.VolumeUpkeep) bool { return u.Tenant == one.Namespace && u.Generation == v.Generation })
			if v.Phase == v1alpha1.VolumeDone && v.Generation > 0 && !known && len(b.Status.Volumes) < mostUpkeep {
				b.Status.Volumes = append(b.Status.Volumes, v1alpha1.VolumeUpkeep{Tenant: one.Namespace, Generation: v.Generation})
			}
		}
	}
	return nil
}

// lookAfter brings one mover on, and notes what came of it. A damaged generation is followed by another; the damaged one stays to be read.
func (r *Reconciler) lookAfter(ctx context.Context, b *v1alpha1.BackupRepository, u *v1alpha1.VolumeUpkeep, operation move.Operation, port int32) error {
	if u.Mover == nil {
		u.Mover = &v1alpha1.VolumeMove{Name: string(operation), Phase: v1alpha1.VolumeWaiting, Generation: u.Generation}
	}
	t := volumes.Task{
		Operation: operation, For: client.ObjectKeyFromObject(b), UID: b.UID, Namespace: r.Depot.Namespace, Workspace: b.UID,
		Claim: volumes.UpkeepClaim(*u), Profile: v1alpha1.ProfileGeneral, User: volumes.Nobody, Group: volumes.Nobody, StorePort: port,
	}
	if err := r.Movers.Step(ctx, t, u.Mover, b); err != nil {
		return err
	}
	now := &metav1.Time{Time: r.Now().Truncate(time.Second)}
	u.Failed = ""
	switch done := u.Mover.Phase == v1alpha1.VolumeDone; {
	case operation == move.Maintain:
		u.MaintainedAt = now
	case done:
		u.VerifiedAt, u.BytesRead, u.Damaged = now, u.Mover.Received, ""
	default:
		u.VerifiedAt = now
	}
	if u.Mover.Phase == v1alpha1.VolumeFailed {
		u.Failed = u.Mover.Message
		if volumes.Damaged(u.Mover) {
			u.Damaged, u.Failed = u.Mover.Message, ""
			if err := r.renew(ctx, b, u); err != nil {
				return err
			}
		}
		ctrl.LoggerFrom(ctx).Info("looking after volumes failed", "repository", b.Name, "tenant", u.Tenant, "generation", u.Generation, "operation", operation, "why", u.Mover.Message)
	}
	u.Mover = nil
	_, err := r.Movers.Clear(ctx, r.Depot.Namespace, b.UID, nil)
	return err
}

// renew has the next backups of a tenant's volumes begin anew.
func (r *Reconciler) renew(ctx context.Context, b *v1alpha1.BackupRepository, u *v1alpha1.VolumeUpkeep) error {
	t := &v1alpha1.Tenant{}
	if err := r.Client.Get(ctx, client.ObjectKey{Name: u.Tenant}, t); err != nil {
		return client.IgnoreNotFound(err)
	}
	_, err := r.Depot.Renew(ctx, b, t, u.Generation, u.Damaged)
	return err
}

// tellVolumes reports whether what volumes hold was found as it was written.
func tellVolumes(b *v1alpha1.BackupRepository) {
	var damaged []string
	for _, u := range b.Status.Volumes {
		if u.Damaged != "" {
			damaged = append(damaged, fmt.Sprintf("%s (generation %d)", u.Tenant, u.Generation))
		}
	}
	switch {
	case len(b.Status.Volumes) == 0:
		condition.Withdraw(b, v1alpha1.ConditionVolumesIntact)
	case damaged != nil:
		condition.Report(b, v1alpha1.ConditionVolumesIntact, false, v1alpha1.ReasonDamaged, fmt.Sprintf(
			"volumes of %v were found lost or changed: status.volumes says what; new backups begin a new generation, and what is whole can be restored", damaged[:min(len(damaged), 10)]))
	default:
		condition.Report(b, v1alpha1.ConditionVolumesIntact, true, v1alpha1.ReasonSucceeded, "")
	}
}
