package volumes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/archive"
	"github.com/broletto/broletto/operator/broker"
	"github.com/broletto/broletto/operator/depot"
	"github.com/broletto/broletto/operator/move"
)

// Orders are what movers are told, through the broker. They are made when they are asked for, and kept nowhere.
type Orders struct {
	Client client.Client // with its cache of our kinds, and of Jobs that carry [v1alpha1.LabelRun]
	Live   client.Reader
	Depot  *depot.Depot
}

var _ broker.Movers = (*Orders)(nil)

// work is what a mover works for.
type work struct {
	job        *batchv1.Job
	home       string // namespace
	workspace  string // that the data is of
	repository v1alpha1.RepositoryName
	volume     v1alpha1.VolumeMove
	operation  move.Operation
	existing   move.Existing
	compare    bool // it is a drill
	question   *move.Question
}

// Order is what the mover in a pod has to do.
func (o *Orders) Order(ctx context.Context, m broker.Mover) (move.Order, error) {
	w, err := o.find(ctx, m)
	if err != nil {
		return move.Order{}, err
	}
	if w.operation == move.Check { // of the store it learns nothing
		out := move.Order{Operation: w.operation, Question: w.question, StallSeconds: w.question.Seconds + overtime}
		return out, out.Complete()
	}
	r, t, err := o.Depot.Find(ctx, w.repository, w.home)
	if err != nil {
		return move.Order{}, err
	}
	out := move.Order{
		Operation: w.operation,
		Source:    move.Source{Tenant: w.home, Workspace: w.workspace, Volume: w.volume.Name},
		Path:      move.DataFolder, Config: move.ConfigFolder, Cache: move.CacheFolder, CacheBytes: cacheBytes,
		Profile:  move.Profile(w.job.Annotations[annotationProfile]),
		Deadline: w.job.CreationTimestamp.Add(longest * time.Second),
		Existing: w.existing, Compare: w.compare,
	}
	if out.Store, out.Password, out.LockDays, err = o.Depot.Volumes(ctx, r, t, w.volume.Generation); err != nil {
		return move.Order{}, err
	}
	if w.volume.Database != nil {
		out.Path, out.Stream = "", &move.Stream{Name: dumpName, Socket: move.DumpSocket}
	}
	switch w.operation {
	case move.Backup:
		out.Backup = string(m.For)
	case move.Restore:
		out.Snapshots = []string{w.volume.Snapshot}
	case move.Verify: // all of it
	case move.Check: // it is answered by now
	case move.Maintain:
		out.Others = true
		if out.Keep, err = o.kept(ctx, r, t, w.volume.Generation); err != nil {
			return move.Order{}, err
		}
	}
	return out, out.Complete()
}

// kept are the snapshots that a tenant's backups have in a generation. While a manifest cannot be read, nobody knows.
func (o *Orders) kept(ctx context.Context, r *v1alpha1.BackupRepository, t *v1alpha1.Tenant, generation int32) (ids []string, err error) {
	a, err := o.Depot.Open(ctx, r, t)
	if err != nil {
		return nil, err
	}
	places, _, err := a.Places(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range places {
		manifest, err := a.Kept(ctx, p)
		if errors.Is(err, archive.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading which snapshots backup %d of %s has: %w", p.Sequence, p.Workspace, err)
		}
		all, err := Read(manifest.Volumes)
		if err != nil {
			return nil, err
		}
		for _, k := range all {
			if k.Generation == generation {
				ids = append(ids, k.Snapshot)
			}
		}
	}
	return ids, nil
}

// Tell notes how far a mover is, on its Job.
func (o *Orders) Tell(ctx context.Context, m broker.Mover, p move.Progress) error {
	w, err := o.find(ctx, m)
	if err != nil {
		return err
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": w.job.UID, "annotations": map[string]string{annotationProgress: string(text)}}})
	if err != nil {
		return err
	}
	if err := o.Client.Patch(ctx, w.job.DeepCopy(), client.RawPatch(types.MergePatchType, patch)); err != nil {
		return fmt.Errorf("noting how far Job %s/%s is: %w", w.job.Namespace, w.job.Name, err)
	}
	return nil
}

// find finds what a pod works for. Whoever has no volume left to move is refused.
func (o *Orders) find(ctx context.Context, m broker.Mover) (*work, error) {
	for _, reader := range []client.Reader{o.Client, o.Live} { // a cache may be behind
		w, err := o.look(ctx, reader, m)
		if err != nil || w != nil {
			return w, err
		}
	}
	return nil, fmt.Errorf("%w: nothing that it would work for is under way", broker.ErrNotAMover)
}

func (o *Orders) look(ctx context.Context, reader client.Reader, m broker.Mover) (*work, error) {
	var jobs batchv1.JobList
	if err := reader.List(ctx, &jobs, client.InNamespace(m.Namespace), client.MatchingLabels{v1alpha1.LabelRun: string(m.For)}); err != nil {
		return nil, fmt.Errorf("listing the movers in %s: %w", m.Namespace, err)
	}
	i := slices.IndexFunc(jobs.Items, func(j batchv1.Job) bool { return j.UID == m.Job })
	if i < 0 {
		return nil, nil
	}
	w := &work{job: &jobs.Items[i]}
	w.home, _, _ = strings.Cut(m.Namespace, "--")
	operation, name, _ := strings.Cut(w.job.Annotations[annotationTask], "/")
	w.operation = move.Operation(operation)
	volumes, err := o.volumes(ctx, reader, m, w, client.ObjectKey{Namespace: w.home, Name: name})
	if err != nil || volumes == nil {
		return nil, err
	}
	claim := w.job.Annotations[annotationClaim]
	at := slices.IndexFunc(volumes, func(v v1alpha1.VolumeMove) bool { return v.Name == claim })
	switch {
	case at >= 0 && volumes[at].Job == m.Job && !Over(&volumes[at]):
		w.volume = volumes[at]
		return w, nil
	case at >= 0 && volumes[at].Job != m.Job && reader == o.Live: // it is about to be noted, or another mover's turn
		return nil, broker.ErrLater
	}
	return nil, nil
}

// volumes are those of the Backup or Restore, as far as it is under way.
func (o *Orders) volumes(ctx context.Context, reader client.Reader, m broker.Mover, w *work, where client.ObjectKey) ([]v1alpha1.VolumeMove, error) {
	switch w.operation {
	case move.Backup:
		b, err := find[*v1alpha1.Backup](ctx, reader, &v1alpha1.BackupList{}, where)
		if b == nil || b.UID != m.For || b.TargetNamespace() != m.Namespace || b.Status.VerifiedAt != nil || !b.DeletionTimestamp.IsZero() {
			return nil, err
		}
		w.workspace, w.repository = string(b.Spec.Workspace), b.Spec.Repository
		return b.Status.Volumes, nil
	case move.Restore:
		one, err := find[*v1alpha1.Restore](ctx, reader, &v1alpha1.RestoreList{}, where)
		if one == nil || one.UID != m.For || one.Status.Namespace != m.Namespace || one.Status.FinishedAt != nil || !one.DeletionTimestamp.IsZero() {
			return nil, err
		}
		b, err := find[*v1alpha1.Backup](ctx, reader, &v1alpha1.BackupList{}, client.ObjectKey{Namespace: where.Namespace, Name: one.Spec.Backup})
		if b == nil {
			return nil, err
		}
		w.workspace, w.repository, w.existing = string(b.Spec.Workspace), b.Spec.Repository, move.Keep
		w.compare = one.Labels[v1alpha1.LabelPolicy] != ""
		if one.Spec.Into.Conflicts == v1alpha1.ConflictsReplace {
			w.existing = move.Replace
		}
		return one.Status.Volumes, nil
	case move.Check:
		one, err := find[*v1alpha1.Restore](ctx, reader, &v1alpha1.RestoreList{}, where)
		if one == nil || one.UID != m.For || one.Status.Namespace != m.Namespace || one.Status.FinishedAt != nil || !one.DeletionTimestamp.IsZero() {
			return nil, err
		}
		for i := range one.Status.Checks {
			if c := &one.Status.Checks[i]; c.Name == w.job.Annotations[annotationClaim] && c.HTTP != nil && c.Mover != nil {
				w.question = question(one, c)
				return []v1alpha1.VolumeMove{*c.Mover}, nil
			}
		}
	case move.Maintain, move.Verify:
		r, err := find[*v1alpha1.BackupRepository](ctx, reader, &v1alpha1.BackupRepositoryList{}, client.ObjectKey{Name: where.Name})
		if r == nil || r.UID != m.For || m.Namespace != o.Depot.Namespace {
			return nil, err
		}
		w.repository = v1alpha1.RepositoryName(r.Name)
		for _, u := range r.Status.Volumes {
			if claim := UpkeepClaim(u); u.Mover != nil && claim == w.job.Annotations[annotationClaim] {
				w.home = u.Tenant
				v := *u.Mover
				v.Name = claim
				return []v1alpha1.VolumeMove{v}, nil
			}
		}
	}
	return nil, nil
}

// question is what a check of a drill asks, in the workspace that it was restored into.
func question(one *v1alpha1.Restore, c *v1alpha1.CheckRun) *move.Question {
	return &move.Question{
		URL:    fmt.Sprintf("%s://%s.%s.svc:%d%s", strings.ToLower(string(c.HTTP.Scheme)), c.HTTP.Service, one.Status.Namespace, c.HTTP.Port, c.HTTP.Path),
		Status: int(c.HTTP.Status), Seconds: int(c.TimeoutSeconds),
	}
}

// find is the object of a name, which is the cache's own; nil: there is none. The operator may list our kinds, and get none of them by itself.
func find[O client.Object](ctx context.Context, reader client.Reader, all client.ObjectList, where client.ObjectKey) (found O, err error) {
	err = reader.List(ctx, all, client.InNamespace(where.Namespace), client.UnsafeDisableDeepCopy)
	if err == nil {
		err = meta.EachListItem(all, func(item runtime.Object) error {
			if o, is := item.(O); is && o.GetName() == where.Name {
				found = o
			}
			return nil
		})
	}
	if err != nil {
		return found, fmt.Errorf("looking for %s: %w", where, err)
	}
	return found, nil
}
