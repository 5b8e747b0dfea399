package repository

import (
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
)

// verified tells whether the backups of the repository were read back lately, and are whole. Whoever makes backups reads them.
func (r *Reconciler) verified(b *v1alpha1.BackupRepository, backups []*v1alpha1.Backup) {
	var damaged, overdue []string
	since := r.Now().Add(-2 * b.VerifyEvery())
	for _, o := range backups {
		if o.Status.VerifiedAt == nil || !o.DeletionTimestamp.IsZero() {
			continue
		}
		if len(o.Status.Lost) > 0 {
			damaged = append(damaged, o.Namespace+"/"+o.Name)
		} else if o.Status.ReadAt == nil || o.Status.ReadAt.Time.Before(since) {
			overdue = append(overdue, o.Namespace+"/"+o.Name)
		}
	}
	report := func(reason, format string, names []string) {
		slices.Sort(names)
		condition.Report(b, v1alpha1.ConditionVerified, false, reason, fmt.Sprintf(format, strings.Join(names[:min(len(names), named)], ", ")))
	}
	switch {
	case len(damaged) > 0:
		report(v1alpha1.ReasonDamaged, "%s cannot be read back as they were written: the status of each says what is lost; look at the store", damaged)
	case len(overdue) > 0:
		report(v1alpha1.ReasonOverdue, "%s were not read back for two cycles: the operator's log says why", overdue)
	default:
		condition.Report(b, v1alpha1.ConditionVerified, true, v1alpha1.ReasonSucceeded, "")
	}
}

// turned tells whether a backup was found damaged, or is no longer.
func turned(before, now client.Object) bool {
	return len(before.(*v1alpha1.Backup).Status.Lost) > 0 != (len(now.(*v1alpha1.Backup).Status.Lost) > 0)
}
