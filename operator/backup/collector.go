package backup

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

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
	floorKeptSeries = prometheus.NewDesc("broletto_backup_floor_kept",
		"Whether a policy does what the consortium asks at least for the data classes of its workspaces (1) or not (0).", []string{"tenant", "policy"}, nil)
	coveredSeries = prometheus.NewDesc("broletto_backup_workspace_covered",
		"Whether a policy backs up a workspace of a data class for which the consortium has a floor (1) or not (0).", []string{"tenant", "workspace", "data_class"}, nil)
)

// Collector exports how policies stand.
func Collector(cache client.Reader) prometheus.Collector {
	return metrics.Collector[*v1alpha1.BackupPolicy]{
		Kind:   "BackupPolicy",
		Series: []*prometheus.Desc{pointKeptSeries, timeKeptSeries, verifiedSeries, drillSeries, drillPassedSeries, floorKeptSeries},
		List:   metrics.Items(cache, func(l *v1alpha1.BackupPolicyList) []v1alpha1.BackupPolicy { return l.Items }),
		Each: func(p *v1alpha1.BackupPolicy, emit metrics.Emit) {
			point, drill := p.Spec.RecoveryPointHours != nil, p.Spec.Drill != nil
			for _, e := range p.Status.Effective {
				point, drill = point || e.RecoveryPointHours != nil, drill || e.DrillEveryDays != nil
			}
			if point {
				emit(pointKeptSeries, metrics.Bool(meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionRecoveryPointKept)), p.Namespace, p.Name)
			}
			if drill {
				emit(timeKeptSeries, metrics.Bool(meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionRecoveryTimeKept)), p.Namespace, p.Name)
			}
			if c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionFloorKept); c != nil {
				emit(floorKeptSeries, metrics.Bool(c.Status == metav1.ConditionTrue), p.Namespace, p.Name)
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

// Coverage exports which workspaces that have to be backed up are. What a drill made is none of them.
func Coverage(cache client.Reader) prometheus.Collector { return coverage{cache} }

type coverage struct{ cache client.Reader }

// Describe implements prometheus.Collector.
func (c coverage) Describe(out chan<- *prometheus.Desc) { out <- coveredSeries }

// Collect implements prometheus.Collector. A cache that cannot be read emits nothing.
func (c coverage) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var consortia v1alpha1.ConsortiumList
	var tenants v1alpha1.TenantList
	var workspaces v1alpha1.WorkspaceList
	var policies v1alpha1.BackupPolicyList
	for _, list := range []client.ObjectList{&consortia, &tenants, &workspaces, &policies} {
		if err := c.cache.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			log.Log.Error(err, "collecting metrics", "kind", "BackupPolicy")
			return
		}
	}
	floored := map[string]bool{} // tenant/class
	for _, t := range tenants.Items {
		for _, o := range consortia.Items {
			for _, f := range o.Spec.BackupFloors {
				if o.Name == t.Spec.Consortium {
					floored[t.Name+"/"+string(f.DataClass)] = true
				}
			}
		}
	}
	covered := map[client.ObjectKey]bool{}
	for _, p := range policies.Items {
		for _, w := range p.Status.Workspaces {
			covered[client.ObjectKey{Namespace: p.Namespace, Name: string(w.Name)}] = true
		}
	}
	for i := range workspaces.Items {
		w := &workspaces.Items[i]
		owner := metav1.GetControllerOf(w)
		if floored[w.Namespace+"/"+string(w.Spec.DataClass)] && (owner == nil || owner.Kind != "Restore") {
			out <- prometheus.MustNewConstMetric(coveredSeries, prometheus.GaugeValue, metrics.Bool(covered[client.ObjectKeyFromObject(w)]), w.Namespace, w.Name, string(w.Spec.DataClass))
		}
	}
}
