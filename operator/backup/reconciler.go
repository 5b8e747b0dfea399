package backup

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/acting"
	"github.com/broletto/broletto/operator/archive"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/depot"
	"github.com/broletto/broletto/operator/hooks"
	"github.com/broletto/broletto/operator/objects"
	"github.com/broletto/broletto/operator/outcome"
	"github.com/broletto/broletto/operator/volumes"
)

// Finalizer keeps a Backup until the repository has forgotten it.
const Finalizer = "broletto.dev/backup"

// Backups makes backups, reads them back, and removes them.
type Backups struct {
	Client  client.Client
	Live    client.Reader
	Depot   *depot.Depot
	Objects *objects.Client
	Movers  *volumes.Movers
	Hooks   *hooks.Runner
	Now     func() time.Time

	passes  passes
	reading sync.Mutex // one backup is read back again at a time
	rounds  rounds
}

// scope is one pass over one backup; each field says who fills it.
type scope struct {
	*v1alpha1.Backup
	workspace  *v1alpha1.Workspace        // place
	tenant     *v1alpha1.Tenant           // open
	from       *v1alpha1.BackupRepository // open
	repository archive.Repository         // open
	manifest   *archive.Manifest          // find, or read
}

// Reconcile makes a backup, once, and looks at it again when its time is over.
func (r *Backups) Reconcile(ctx context.Context, b *v1alpha1.Backup) (ctrl.Result, error) {
	if !b.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, b)
	}
	if controllerutil.AddFinalizer(b, Finalizer) {
		if err := r.Client.Update(ctx, b); err != nil {
			return ctrl.Result{}, err
		}
	}
	before := b.DeepCopy()
	defer r.passes.leave(b.UID)
	next, err := r.converge(ctx, b)
	if idle(b, err) {
		r.passes.leave(b.UID) // before the status is written, which has the next one look
	}
	tell(b)
	depot.Log(ctx, err)
	if b.Status.VerifiedAt != nil { // what is damaged goes in its time, too
		over, failed := r.expire(ctx, b)
		err = cmp.Or(failed, err)
		next = sooner(next, over)
	}
	return outcome.Settle(ctx, r.Client, before, b, "everything was read back from the store and is as it was written", next, err)
}

// converge makes the backup, or reads it back again, and says when to look at it next.
func (r *Backups) converge(ctx context.Context, b *v1alpha1.Backup) (time.Duration, error) {
	if b.Status.VerifiedAt != nil {
		next := r.readAgain(ctx, b)
		return next, lost(b)
	}
	s := &scope{Backup: b}
	for _, phase := range []func(context.Context, *scope) error{r.await, r.admit, r.open, r.find, r.place, r.hold, r.move, r.read, r.release, r.clear, r.verify} {
		if err := phase(ctx, s); err != nil {
			return 0, r.giveUp(ctx, s, err)
		}
	}
	_, next := turn(b, s.from.VerifyEvery(), r.Now())
	return next, lost(b)
}

// sooner is the sooner of two times to look again, of which 0 is never.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// expire deletes a backup whose keepDays are over, and says when to look again; 0: never. Where a policy made it, that looks after it.
func (r *Backups) expire(ctx context.Context, b *v1alpha1.Backup) (time.Duration, error) {
	if b.Spec.KeepDays == nil || b.Labels[v1alpha1.LabelPolicy] != "" {
		return 0, nil
	}
	var all v1alpha1.BackupList
	if err := r.Client.List(ctx, &all, client.InNamespace(b.Namespace)); err != nil {
		return 0, fmt.Errorf("listing the backups of %s: %w", b.Namespace, err)
	}
	over, next := outlived(b, all.Items, r.Now())
	if !over {
		return next, nil
	}
	if err := r.Client.Delete(ctx, b.DeepCopy(), client.Preconditions{UID: &b.UID}); client.IgnoreNotFound(err) != nil {
		return 0, fmt.Errorf("removing backup %s, which is kept no longer: %w", b.Name, err)
	}
	return 0, nil
}

// lost is the verdict on a backup that was read back.
func lost(b *v1alpha1.Backup) error {
	if len(b.Status.Lost) == 0 {
		return nil
	}
	return outcome.Stalled(v1alpha1.ReasonDamaged, "what was written cannot be read back: status.lost says what; the rest can be restored. Make another backup, and have the platform look at repository %s", b.Spec.Repository)
}

// open opens the tenant's part of the repository.
func (r *Backups) open(ctx context.Context, s *scope) (err error) {
	if s.from, s.tenant, err = r.Depot.Find(ctx, s.Spec.Repository, s.Namespace); err != nil || moving(s.Backup) {
		return err
	}
	s.repository, err = r.Depot.Open(ctx, s.from, s.tenant)
	return err
}

// find finds what an earlier pass wrote.
func (r *Backups) find(ctx context.Context, s *scope) error {
	if moving(s.Backup) {
		return nil
	}
	var m *archive.Manifest
	var err error
	if n := s.Sequence(); n > 0 {
		m, err = s.repository.Read(ctx, string(s.Spec.Workspace), n)
	} else {
		m, err = s.repository.Find(ctx, string(s.Spec.Workspace), string(s.UID), s.CreationTimestamp.Add(-time.Hour))
	}
	if archive.Broken(err) {
		if s.Sequence() > 0 && s.DeletionTimestamp.IsZero() { // it was found in the bucket, and is none that could be made
			return outcome.Stalled(v1alpha1.ReasonDamaged, "its manifest is gone or is not what was written: delete this backup, and have the platform look at repository %s", s.Spec.Repository)
		}
		return nil // what is damaged holds no Backup back from being deleted
	}
	if err != nil {
		return depot.Unanswered(s.from, err)
	}
	s.manifest = m
	return nil
}

// place looks at the workspace, and makes the account that reads it.
func (r *Backups) place(ctx context.Context, s *scope) error {
	if s.manifest != nil {
		return nil
	}
	s.workspace = &v1alpha1.Workspace{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: string(s.Spec.Workspace)}, s.workspace)
	switch {
	case client.IgnoreNotFound(err) != nil:
		return fmt.Errorf("reading workspace %s: %w", s.Spec.Workspace, err)
	case err != nil || !s.workspace.DeletionTimestamp.IsZero():
		return outcome.Stalled(v1alpha1.ReasonWorkspaceGone, "there is no workspace %s to back up: delete this backup", s.Spec.Workspace)
	case s.workspace.Status.Namespace == "":
		return &outcome.Wait{Reason: v1alpha1.ReasonWorkspaceNotReady, Message: "workspace " + s.workspace.Name + " is not ready: its status says why"}
	}
	return acting.Maker{Client: r.Client, Live: r.Live}.Make(ctx, acting.Backup, s.TargetNamespace(), s.workspace.UID)
}

// read reads the workspace into the repository. Nothing counts before the manifest is there.
func (r *Backups) read(ctx context.Context, s *scope) error {
	if s.manifest != nil {
		return nil
	}
	backup, err := s.repository.Begin(ctx, s.workspace.Name)
	if err != nil {
		return depot.Unanswered(s.from, err)
	}
	defer backup.Stop()
	if err := r.distrust(ctx, s, backup); err != nil {
		return err
	}
	about := archive.About{UID: string(s.UID), Name: s.Name, Policy: s.Labels[v1alpha1.LabelPolicy]}
	if s.Spec.KeepDays != nil {
		about.KeepDays = *s.Spec.KeepDays
	}
	if about.Spec, err = json.Marshal(s.workspace.Spec); err != nil {
		return err
	}
	var failed error // of the store, not of the cluster
	left, err := r.Objects.Collect(ctx, s.TargetNamespace(), r.administrators(s), func(resource objects.Resource, o *unstructured.Unstructured) error {
		line, err := json.Marshal(o.Object)
		if err != nil {
			return err
		}
		failed = backup.Add(ctx, archive.Resource(resource), o.GetName(), bytes.TrimSpace(line))
		return failed
	})
	if failed != nil {
		return depot.Unanswered(s.from, failed)
	}
	if err != nil {
		return fmt.Errorf("reading workspace %s: %w", s.workspace.Name, err)
	}
	for _, l := range left {
		about.LeftOut = append(about.LeftOut, archive.LeftOut(l))
	}
	about.LeftOut = append(about.LeftOut, leftOut(s.Status.Volumes)...)
	if about.Volumes, err = volumes.Keep(s.Status.Volumes); err != nil {
		return err
	}
	about.LeftOut = append(about.LeftOut, unheld(s.Status.Hooks)...)
	if s.manifest, err = backup.Commit(ctx, about); err != nil {
		return depot.Unanswered(s.from, err)
	}
	s.Status.Written = int64(backup.Written())
	return nil
}

// distrust has pages written anew that an earlier backup of the workspace is known to have lost.
func (r *Backups) distrust(ctx context.Context, s *scope, backup *archive.Backup) error {
	var all v1alpha1.BackupList
	if err := r.Client.List(ctx, &all, client.InNamespace(s.Namespace), client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency); err != nil {
		return fmt.Errorf("listing the backups of %s: %w", s.Namespace, err)
	}
	round := &archive.Round{}
	for _, b := range all.Items {
		if b.Spec.Workspace != s.Spec.Workspace || b.Spec.Repository != s.Spec.Repository || len(b.Status.Lost) == 0 {
			continue
		}
		m, err := s.repository.Read(ctx, string(b.Spec.Workspace), b.Status.Sequence)
		if archive.Broken(err) {
			continue // it names no pages any more
		}
		if err != nil {
			return depot.Unanswered(s.from, err)
		}
		_, lost, err := s.repository.VerifyIn(ctx, m, round)
		if err != nil {
			return depot.Unanswered(s.from, err)
		}
		for _, l := range lost {
			backup.Distrust(l.Page.Page)
		}
	}
	return nil
}

// administrators are what those may do whom the tenant names: what they may make and the account may not read is told.
func (r *Backups) administrators(s *scope) (all []objects.May) {
	for _, a := range s.tenant.Spec.Administrators {
		user := authenticationv1.UserInfo{Groups: []string{"system:authenticated"}}
		switch a.Kind {
		case v1alpha1.SubjectGroup:
			user.Groups = append(user.Groups, a.Name)
		case v1alpha1.SubjectUser:
			user.Username = a.Name
		case v1alpha1.SubjectServiceAccount:
			user.Username = "system:serviceaccount:" + s.Namespace + ":" + a.Name
		}
		all = append(all, r.Objects.May(s.TargetNamespace(), user))
	}
	return all
}

// verify reads everything back from the store.
func (r *Backups) verify(ctx context.Context, s *scope) error {
	found, lost, err := s.repository.Verify(ctx, s.manifest)
	if err != nil && !archive.Broken(err) {
		return depot.Unanswered(s.from, err)
	}
	s.Status.Lost = lostNames(lost, err)
	s.Status.ReadAt, s.Status.BytesRead = &metav1.Time{Time: r.Now().Truncate(time.Second)}, found.Bytes
	m := s.manifest
	s.Status.Sequence, s.Status.Manifest = m.Sequence, m.Hash.String()
	s.Status.Objects, s.Status.Bytes = int32(min(m.Objects, 1<<31-1)), found.Bytes //nolint:gosec // it is bounded
	s.Status.StartedAt = &metav1.Time{Time: m.Started.Truncate(time.Second)}
	s.Status.VerifiedAt = &metav1.Time{Time: m.Finished.Truncate(time.Second)}
	if s.Status.Volumes == nil { // a crash has forgotten them, or another cluster made the backup
		kept, err := volumes.Read(m.Volumes)
		if err != nil {
			return err
		}
		for _, k := range kept {
			s.Status.Volumes = append(s.Status.Volumes, k.Move(v1alpha1.VolumeDone))
		}
	}
	s.Status.LeftOut = nil
	for _, l := range m.LeftOut[:min(len(m.LeftOut), depot.Named)] {
		s.Status.LeftOut = append(s.Status.LeftOut, depot.LeftOut(l.What, l.Why))
	}
	return nil
}

// tell reports whether the backup has all of its workspace.
func tell(b *v1alpha1.Backup) {
	switch {
	case b.Status.VerifiedAt == nil:
	case len(b.Status.LeftOut) > 0:
		condition.Report(b, v1alpha1.ConditionWhole, false, v1alpha1.ReasonLeftOut, "not all of the workspace is in it: status.leftOut says what, and why")
	default:
		condition.Report(b, v1alpha1.ConditionWhole, true, v1alpha1.ReasonSucceeded, "")
	}
}

// finalize has the repository forget the backup. Where the tenant's home goes as a whole, or the repository was taken out of the cluster,
// what is in the bucket stays: a tenant that was deleted by mistake has its backups still.
func (r *Backups) finalize(ctx context.Context, b *v1alpha1.Backup) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(b, Finalizer) {
		return ctrl.Result{}, nil
	}
	before := b.DeepCopy()
	err := r.forget(ctx, b)
	if err == nil {
		controllerutil.RemoveFinalizer(b, Finalizer)
		return ctrl.Result{}, client.IgnoreNotFound(r.Client.Update(ctx, b))
	}
	depot.Log(ctx, err)
	return outcome.Settle(ctx, r.Client, before, b, "", 0, err)
}

func (r *Backups) forget(ctx context.Context, b *v1alpha1.Backup) error {
	home := &corev1.Namespace{}
	err := r.Client.Get(ctx, client.ObjectKey{Name: b.Namespace}, home)
	if apierrors.IsNotFound(err) || (err == nil && !home.DeletionTimestamp.IsZero()) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading namespace %s: %w", b.Namespace, err)
	}
	if err := r.letGo(ctx, b); err != nil {
		return err
	}
	if gone, err := r.Movers.Clear(ctx, b.TargetNamespace(), b.UID, b.Status.Volumes); err != nil || !gone {
		return cmp.Or(err, error(&outcome.Wait{Reason: v1alpha1.ReasonDeleting, Message: "a mover is at a volume still: it is being ended", After: time.Second}))
	}
	b.Status.Volumes = nil
	s := &scope{Backup: b}
	err = r.open(ctx, s)
	if stall, is := errors.AsType[*outcome.Stall](err); is && (stall.Reason == v1alpha1.ReasonRepositoryNotFound || stall.Reason == v1alpha1.ReasonNotAHomeNamespace) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := r.find(ctx, s); err != nil || s.manifest == nil {
		return err
	}
	if err := s.repository.Remove(ctx, s.manifest); err != nil {
		return depot.Unanswered(s.from, err)
	}
	return nil
}
