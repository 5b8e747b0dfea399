package backup

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/metrics"
)

var (
	pointKeptSeries = prometheus.NewDesc("broletto_backup_recovery_point_kept",
		"Whether every workspace of a policy has a verified backup as young as promised (1) or not (0).", []string{"tenant", "policy"}, nil)
	timeKeptSeries = prometheus.NewDesc("broletto_backup_recovery_time_kept",
		"Whether the last drill of every workspace of a policy passed in time (1) or not (0).", []string{"tenant", "policy"}, nil)
	verifiedSeries = prometheus.NewDesc("broletto_backup_verified_timestamp_seconds",
		"When the data of the last verified backup of a workspace were read, in seconds since 1970.", []string{"tenant", "policy", "workspace"}, nil)
	drillSeries = prometheus.NewDesc("broletto_backup_drill_seconds",
		"How long the last drill of a workspace took to restore.", []string{"tenant", "policy", "workspace"}, nil)
	drillPassedSeries = prometheus.NewDesc("broletto_backup_drill_passed",
		"Whether the last drill of a workspace passed (1) or not (0).", []string{"tenant", "policy", "workspace"}, nil)
)

// Collector exports how policies stand.
func Collector(cache client.Reader) prometheus.Collector {
	return metrics.Collector[*v1alpha1.BackupPolicy]{
		Kind:   "BackupPolicy",
		Series: []*prometheus.Desc{pointKeptSeries, timeKeptSeries, verifiedSeries, drillSeries, drillPassedSeries},
		List:   metrics.Items(cache, func(l *v1alpha1.BackupPolicyList) []v1alpha1.BackupPolicy { return l.Items }),
		Each: func(p *v1alpha1.BackupPolicy, emit metrics.Emit) {
			if p.Spec.RecoveryPointHours != nil {
				emit(pointKeptSeries, metrics.Bool(meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionRecoveryPointKept)), p.Namespace, p.Name)
			}
			if p.Spec.Drill != nil {
				emit(timeKeptSeries, metrics.Bool(meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionRecoveryTimeKept)), p.Namespace, p.Name)
			}
			for _, w := range p.Status.Workspaces {
				if w.VerifiedAt != nil {
					emit(verifiedSeries, float64(w.VerifiedAt.Unix()), p.Namespace, p.Name, string(w.Name))
				}
				if w.Drill != nil {
					emit(drillSeries, float64(w.Drill.Seconds), p.Namespace, p.Name, string(w.Name))
					emit(drillPassedSeries, metrics.Bool(*w.Drill.Passed), p.Namespace, p.Name, string(w.Name))
				}
			}
		},
	}
}
