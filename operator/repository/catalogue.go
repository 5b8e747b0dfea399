package repository

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/archive"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/depot"
	"github.com/broletto/broletto/operator/outcome"
)

// stock is what was found of a repository's tenants.
type stock struct {
	lost    []string // tenants that have backups there, and no key here
	full    []string // tenants who may have no more Backups
	damaged []string // files that are no manifests as the tenant's key signed them
	missing []string // records of drills that a policy names
	failed  error    // what could not be looked at
}

// catalogue has a Backup for every backup that the bucket has of the consortium's tenants, and tells whether that is so; with sweep, it deletes what
// was removed before. It says when to look again.
func (r *Reconciler) catalogue(ctx context.Context, b *v1alpha1.BackupRepository, store archive.Store, sweep bool) time.Duration {
	var s stock
	var tenants v1alpha1.TenantList
	if err := r.Client.List(ctx, &tenants, client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency); err != nil {
		s.failed = fmt.Errorf("listing tenants: %w", err)
	}
	for i := range tenants.Items {
		if t := &tenants.Items[i]; t.Spec.Consortium == b.Spec.Consortium && t.DeletionTimestamp.IsZero() {
			s.failed = errors.Join(s.failed, r.look(ctx, b, t, store, sweep, &s))
		}
	}
	if s.failed != nil {
		ctrl.LoggerFrom(ctx).Error(s.failed, "looking through a backup repository") // it costs room, or time, and no backup
	}
	return s.tell(b)
}

// look looks through the part of one tenant.
func (r *Reconciler) look(ctx context.Context, b *v1alpha1.BackupRepository, t *v1alpha1.Tenant, store archive.Store, sweep bool, s *stock) error {
	a, err := r.Depot.Known(ctx, b, t, store)
	if stall, is := errors.AsType[*outcome.Stall](err); errors.Is(err, depot.ErrKeyLost) || is && stall.Reason == v1alpha1.ReasonKeyLost {
		s.lost = append(s.lost, t.Name)
		return nil
	}
	if errors.Is(err, depot.ErrNoKey) {
		return nil
	}
	if err != nil {
		return err
	}
	if sweep {
		_, err = a.Sweep(ctx, sweeps)
	}
	return errors.Join(err, r.adopt(ctx, b, t, a, s), r.miss(ctx, b, t, a, s))
}

// miss looks whether the records of the tenant's last drills are there. What they say is for whoever verifies all of them.
func (r *Reconciler) miss(ctx context.Context, b *v1alpha1.BackupRepository, t *v1alpha1.Tenant, a archive.Repository, s *stock) error {
	var policies v1alpha1.BackupPolicyList
	if err := r.Client.List(ctx, &policies, client.InNamespace(t.Name), client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("listing the backup policies of %s: %w", t.Name, err)
	}
	var want []string
	for i := range policies.Items {
		for _, e := range depot.Evidence(&policies.Items[i], b.Name, r.Now()) {
			want = append(want, e.Name)
		}
	}
	if want == nil {
		return nil
	}
	there, err := a.DrillNames(ctx) // after the policies: they name what was written before
	if err != nil {
		return err
	}
	s.missing = append(s.missing, slices.DeleteFunc(want, func(name string) bool { return there[name] })...)
	return nil
}

// adopt makes Backups of those that have none, the newest first. What was removed on purpose stays so: its removal is in the bucket before its Backup
// goes. So manifests are listed first, then Backups, and removals are read last.
func (r *Reconciler) adopt(ctx context.Context, b *v1alpha1.BackupRepository, t *v1alpha1.Tenant, a archive.Repository, s *stock) error {
	home := &corev1.Namespace{}
	if err := r.Client.Get(ctx, client.ObjectKey{Name: t.Name}, home); err != nil || !home.DeletionTimestamp.IsZero() {
		return client.IgnoreNotFound(err) // the tenant's becoming Ready is watched
	}
	places, strange, err := a.Places(ctx)
	if err != nil {
		return err
	}
	s.damaged = append(s.damaged, strange...)
	known, err := standing(ctx, r.Client, b, t)
	if err != nil {
		return err
	}
	places = slices.DeleteFunc(places, func(p archive.Place) bool { return known.places[p] })
	if len(places) == 0 {
		return nil
	}
	if known, err = standing(ctx, r.Live, b, t); err != nil {
		return err
	}
	for _, p := range places {
		if known.places[p] {
			continue
		}
		m, err := a.Kept(ctx, p)
		switch {
		case errors.Is(err, archive.ErrNotFound):
			continue
		case errors.Is(err, archive.ErrDamaged):
			s.damaged = append(s.damaged, archive.Record{Tenant: t.Name, Workspace: p.Workspace, Sequence: p.Sequence}.File())
			continue
		case err != nil:
			return err
		case known.uids[m.UID]: // it is being made
			continue
		}
		if err := r.make(ctx, found(b, m)); apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota") {
			s.full = append(s.full, t.Name)
			return nil
		} else if err != nil {
			return fmt.Errorf("making backup %s of %s: %w", m.Name, t.Name, err)
		}
	}
	return nil
}

// known are the Backups of a tenant in a repository.
type known struct {
	places map[archive.Place]bool
	uids   map[string]bool
}

func standing(ctx context.Context, from client.Reader, b *v1alpha1.BackupRepository, t *v1alpha1.Tenant) (k known, err error) {
	var all v1alpha1.BackupList
	if err := from.List(ctx, &all, client.InNamespace(t.Name), client.UnsafeDisableDeepCopy); err != nil {
		return k, fmt.Errorf("listing the backups of %s: %w", t.Name, err)
	}
	k = known{map[archive.Place]bool{}, map[string]bool{}}
	for i := range all.Items {
		o := &all.Items[i]
		k.uids[string(o.UID)] = true
		if n := o.Sequence(); n > 0 && string(o.Spec.Repository) == b.Name {
			k.places[archive.Place{Workspace: string(o.Spec.Workspace), Sequence: n}] = true
		}
	}
	return k, nil
}

// found is the Backup of a manifest. Whoever makes backups reads it back.
func found(b *v1alpha1.BackupRepository, m *archive.Manifest) *v1alpha1.Backup {
	out := &v1alpha1.Backup{ObjectMeta: metav1.ObjectMeta{
		Namespace: m.Tenant, Name: m.Name, Annotations: map[string]string{v1alpha1.AnnotationSequence: strconv.FormatInt(m.Sequence, 10)},
	}}
	out.Spec = v1alpha1.BackupSpec{Workspace: v1alpha1.WorkspaceName(m.Workspace), Repository: v1alpha1.RepositoryName(b.Name)}
	if m.Policy != "" {
		out.Labels = map[string]string{v1alpha1.LabelPolicy: m.Policy}
	}
	if m.KeepDays > 0 {
		out.Spec.KeepDays = &m.KeepDays
	}
	return out
}

// longestName is how much of a name is left when something is added that makes it another one.
const longestName = 110

// make makes a Backup, under another name where somebody has taken its own.
func (r *Reconciler) make(ctx context.Context, o *v1alpha1.Backup) error {
	err := r.Client.Create(ctx, o.DeepCopy())
	if apierrors.IsAlreadyExists(err) {
		o.GenerateName, o.Name = o.Name[:min(len(o.Name), longestName)]+"-", ""
		err = r.Client.Create(ctx, o)
	}
	return err
}

const (
	// later is when to look again whether there is room.
	later = time.Hour
	// named is how many tenants or files a condition names.
	named = 8
)

// tell reports what was found, and says when to look again.
func (s stock) tell(b *v1alpha1.BackupRepository) time.Duration {
	report := func(reason, format string, names []string) {
		slices.Sort(names)
		condition.Report(b, v1alpha1.ConditionCatalogued, false, reason, fmt.Sprintf(format, strings.Join(names[:min(len(names), named)], ", "), b.Name))
	}
	switch {
	case len(s.lost) > 0:
		report(v1alpha1.ReasonKeyLost, "there are backups of %s, whose key is not here: bring it back with broletto restore-keys %s", s.lost)
		return soon
	case s.failed != nil:
		if meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionCatalogued) == nil {
			condition.Doubt(b, v1alpha1.ConditionCatalogued, v1alpha1.ReasonStoreUnreachable, "it could not be looked through: the operator's log says why")
		}
		return soon
	case len(s.full) > 0:
		report(v1alpha1.ReasonQuotaExceeded, "%s may have no more Backups, and has more in repository %s: raise limits.backups", s.full)
		return later
	case len(s.damaged) > 0:
		report(v1alpha1.ReasonDamaged, "%s is not as it was written: look in the bucket of %s for an older version, or move it out", s.damaged)
		return interval
	}
	if len(s.missing) > 0 {
		report(v1alpha1.ReasonRecordMissing, "%s is gone, of which a policy's status says that a drill is recorded there: look in the bucket of %s for an older version", s.missing)
		return interval
	}
	condition.Report(b, v1alpha1.ConditionCatalogued, true, v1alpha1.ReasonSucceeded, "")
	return interval
}
