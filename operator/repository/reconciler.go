package repository

import (
	"context"
	"errors"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/archive/bucket"
	"github.com/broletto/broletto/operator/concern"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/depot"
	"github.com/broletto/broletto/operator/outcome"
	"github.com/broletto/broletto/operator/s3"
	"github.com/broletto/broletto/operator/volumes"
)

// +kubebuilder:rbac:groups=broletto.dev,resources=backuprepositories,verbs=list;watch
// +kubebuilder:rbac:groups=broletto.dev,resources=backuprepositories/status,verbs=update
// +kubebuilder:rbac:groups=broletto.dev,resources=backuppolicies;consortia;restores;tenants,verbs=list;watch
// +kubebuilder:rbac:groups=broletto.dev,resources=backups,verbs=list;watch;create
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=list;watch

const (
	// interval is how often the store is tried.
	interval = 24 * time.Hour
	// doubted is how often it is tried while something waits for it.
	doubted = time.Minute
	// skew is how far apart its clock and ours may be.
	skew = 5 * time.Minute
	// sweeps is how many files of a tenant are deleted at most, each time.
	sweeps = 10000
	// longest is how long one pass may take.
	longest = 30 * time.Minute
	// soon is when to ask again.
	soon = time.Minute
)

// Reconciler looks after repositories.
type Reconciler struct {
	Client client.Client
	Live   client.Reader
	Depot  *depot.Depot
	Movers *volumes.Movers
	Now    func() time.Time
}

// Reconcile tries the store when that was not done for a day, or something waits for it or about it changed, and deletes from it what was removed
// then. Each time it looks for backups that have no Backup.
func (r *Reconciler) Reconcile(ctx context.Context, b *v1alpha1.BackupRepository) (ctrl.Result, error) {
	if !b.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // backups keep what they need of it in their own status
	}
	before := b.DeepCopy()
	next, err := r.converge(ctx, b)
	return outcome.Settle(ctx, r.Client, before, b, "the store keeps what it is given", next, err)
}

func (r *Reconciler) converge(ctx context.Context, b *v1alpha1.BackupRepository) (next time.Duration, err error) {
	err = r.Client.Get(ctx, client.ObjectKey{Name: b.Spec.Consortium}, &v1alpha1.Consortium{})
	if apierrors.IsNotFound(err) {
		return 0, &outcome.Wait{Reason: v1alpha1.ReasonConsortiumNotFound, Message: "there is no consortium " + b.Spec.Consortium, After: soon}
	}
	if err != nil {
		return 0, fmt.Errorf("reading consortium %s: %w", b.Spec.Consortium, err)
	}
	backups, err := r.backupsOf(ctx, b)
	if err != nil {
		return 0, err
	}
	every, daily := interval, r.rest(b, interval) == 0
	waits, err := r.waits(ctx, backups)
	if err != nil {
		return 0, err
	}
	if waits {
		every = doubted
	}
	r.verified(b, backups)
	store, err := r.Depot.Bucket(ctx, b)
	if err != nil {
		return 0, err
	}
	rest := r.rest(b, every)
	if rest == 0 {
		rest = every
		if err := r.prove(ctx, b, store); err != nil {
			return 0, err
		}
	}
	look, err := r.upkeep(ctx, b, backups, r.Now())
	return min(rest, look, r.catalogue(ctx, b, store, daily)), err
}

// prove tries the store.
func (r *Reconciler) prove(ctx context.Context, b *v1alpha1.BackupRepository, store *bucket.Bucket) error {
	proof, err := store.Prove(ctx, b.Spec.ObjectLock != nil)
	tellLock(b, proof.Locks, err)
	tellRights(b, proof.DeletesVersions, err)
	switch {
	case errors.Is(err, s3.ErrNotLocked), errors.Is(err, s3.ErrUnfit):
		return &outcome.Stall{Reason: v1alpha1.ReasonStoreUnfit, Err: err}
	case err != nil:
		return &outcome.Wait{Reason: v1alpha1.ReasonStoreUnreachable, Message: err.Error(), After: soon}
	case proof.Offset > skew || proof.Offset < -skew:
		return &outcome.Wait{Reason: v1alpha1.ReasonClockWrong, After: soon, Message: fmt.Sprintf(
			"the clocks of the store and of the operator are more than %s apart: set the one that is wrong", skew)}
	}
	b.Status.ProvenAt = &metav1.Time{Time: r.Now().Add(proof.Offset).Truncate(time.Second)}
	return nil
}

// backupsOf are the Backups in a repository. They are the cache's own.
func (r *Reconciler) backupsOf(ctx context.Context, b *v1alpha1.BackupRepository) (out []*v1alpha1.Backup, err error) {
	var all v1alpha1.BackupList
	if err := r.Client.List(ctx, &all, client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency); err != nil {
		return nil, fmt.Errorf("listing the backups in repository %s: %w", b.Name, err)
	}
	for i := range all.Items {
		if o := &all.Items[i]; string(o.Spec.Repository) == b.Name {
			out = append(out, o)
		}
	}
	return out, nil
}

// waits tells whether a Backup or a Restore waits for the store: it may have stopped to be what it was.
func (r *Reconciler) waits(ctx context.Context, backups []*v1alpha1.Backup) (bool, error) {
	var restores v1alpha1.RestoreList
	if err := r.Client.List(ctx, &restores, client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency); err != nil {
		return false, fmt.Errorf("listing restores: %w", err)
	}
	here := map[client.ObjectKey]bool{}
	for _, o := range backups {
		if unanswered(o) {
			return true, nil
		}
		here[client.ObjectKeyFromObject(o)] = true
	}
	for i := range restores.Items {
		if one := &restores.Items[i]; unanswered(one) && here[client.ObjectKey{Namespace: one.Namespace, Name: one.Spec.Backup}] {
			return true, nil
		}
	}
	return false, nil
}

// unanswered tells whether an object waits for a store that did not do what it was asked.
func unanswered(o condition.Object) bool {
	c := meta.FindStatusCondition(*o.GetConditions(), v1alpha1.ConditionReady)
	return c != nil && c.Reason == v1alpha1.ReasonStoreUnreachable
}

// rest is how long the last proof still holds; 0: it holds no more.
func (r *Reconciler) rest(b *v1alpha1.BackupRepository, interval time.Duration) time.Duration {
	if b.Status.ProvenAt == nil || !condition.True(b, v1alpha1.ConditionReady) {
		return 0
	}
	age := r.Now().Sub(b.Status.ProvenAt.Time)
	if age < -skew || age >= interval {
		return 0
	}
	return min(interval-age, interval)
}

// tellLock reports whether the lock was seen to hold. A store that did not answer says nothing about it.
func tellLock(b *v1alpha1.BackupRepository, locks bool, err error) {
	switch {
	case b.Spec.ObjectLock == nil:
		condition.Report(b, v1alpha1.ConditionWormProven, false, v1alpha1.ReasonNotAsked,
			"spec.objectLock is absent: whoever holds the store's credentials can delete backups")
	case locks:
		condition.Report(b, v1alpha1.ConditionWormProven, true, v1alpha1.ReasonLockKept, "")
	case errors.Is(err, s3.ErrNotLocked):
		condition.Report(b, v1alpha1.ConditionWormProven, false, v1alpha1.ReasonStoreUnfit, err.Error())
	case meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionWormProven) == nil:
		condition.Doubt(b, v1alpha1.ConditionWormProven, v1alpha1.ReasonStoreUnreachable, "the store did not answer")
	}
}

// tellRights reports whether our credentials can do more harm than they need to. A store that did not answer, or is unfit, says nothing about it.
func tellRights(b *v1alpha1.BackupRepository, deletes bool, err error) {
	switch {
	case err != nil && !errors.Is(err, s3.ErrNotLocked):
	case deletes:
		condition.Report(b, v1alpha1.ConditionCredentialsRestricted, false, v1alpha1.ReasonMayDeleteVersions,
			"whoever has the credentials of s3.credentialsSecret can delete for good what is not locked: have the bucket keep versions, and deny them s3:DeleteObjectVersion, as docs/backup.md has it")
	default:
		condition.Report(b, v1alpha1.ConditionCredentialsRestricted, true, v1alpha1.ReasonDeletionRefused, "")
	}
}

// SetupWithManager watches repositories, what begins to wait for one or turns out to be damaged, movers that look after one, and tenants, whose
// backups may be there already. Secrets are not watched: what lacks one is looked at every few minutes.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	ofTenant := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		t := o.(*v1alpha1.Tenant)
		return concern.Requests(ctx, r.Client, &v1alpha1.BackupRepositoryList{}, "", func(b *v1alpha1.BackupRepository) bool { return b.Spec.Consortium == t.Spec.Consortium })
	})
	comes := predicate.Funcs{
		DeleteFunc: func(event.DeleteEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, now := e.ObjectOld.(*v1alpha1.Tenant), e.ObjectNew.(*v1alpha1.Tenant)
			return before.Generation != now.Generation || !condition.True(before, v1alpha1.ConditionReady) && condition.True(now, v1alpha1.ConditionReady)
		},
	}
	waits := predicate.NewPredicateFuncs(func(o client.Object) bool {
		one, is := o.(condition.Object)
		return is && unanswered(one)
	})
	turns := predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool { return turned(e.ObjectOld, e.ObjectNew) },
		DeleteFunc: func(e event.DeleteEvent) bool { return len(e.Object.(*v1alpha1.Backup).Status.Lost) > 0 },
	}
	ofMover := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request { return volumes.ForRepository(o) })
	of := func(b *v1alpha1.Backup) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: client.ObjectKey{Name: string(b.Spec.Repository)}}}
	}
	ofBackup := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request { return of(o.(*v1alpha1.Backup)) })
	ofRestore := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		b := &v1alpha1.Backup{}
		if err := r.Client.Get(ctx, client.ObjectKey{Namespace: o.GetNamespace(), Name: o.(*v1alpha1.Restore).Spec.Backup}, b); err != nil {
			return nil // it has gone, and with it the wait
		}
		return of(b)
	})
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.BackupRepository{}, builder.WithPredicates(predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))).
		Watches(&v1alpha1.Tenant{}, ofTenant, builder.WithPredicates(comes)).
		Watches(&v1alpha1.Backup{}, ofBackup, builder.WithPredicates(predicate.Or[client.Object](waits, turns))).
		Watches(&v1alpha1.Restore{}, ofRestore, builder.WithPredicates(waits)).
		Watches(&batchv1.Job{}, ofMover).
		Watches(&corev1.Pod{}, ofMover).
		WithOptions(controller.Options{MaxConcurrentReconciles: 2, ReconciliationTimeout: longest}).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}
