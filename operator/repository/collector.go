package repository

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/metrics"
)

var (
	wormProven = prometheus.NewDesc("broletto_backup_repository_worm_proven",
		"Whether the store of a repository was seen to keep the object lock that is asked for (1) or not (0).", []string{"repository"}, nil)
	restricted = prometheus.NewDesc("broletto_backup_repository_credentials_restricted",
		"Whether the store of a repository was seen to refuse our credentials the deletion of versions (1) or not (0).", []string{"repository"}, nil)
	provenAt = prometheus.NewDesc("broletto_backup_repository_proven_timestamp_seconds",
		"When the store of a repository was last tried with success, in seconds since 1970; 0: never.", []string{"repository"}, nil)
)

// Collector exports repositories.
func Collector(cache client.Reader) prometheus.Collector {
	return metrics.Collector[*v1alpha1.BackupRepository]{
		Kind:   "BackupRepository",
		Series: []*prometheus.Desc{wormProven, restricted, provenAt},
		List:   metrics.Items(cache, func(l *v1alpha1.BackupRepositoryList) []v1alpha1.BackupRepository { return l.Items }),
		Each: func(r *v1alpha1.BackupRepository, emit metrics.Emit) {
			if r.Spec.ObjectLock != nil {
				emit(wormProven, metrics.Bool(meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionWormProven)), r.Name)
			}
			if c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionCredentialsRestricted); c != nil {
				emit(restricted, metrics.Bool(c.Status == metav1.ConditionTrue), r.Name)
			}
			at := int64(0)
			if r.Status.ProvenAt != nil {
				at = r.Status.ProvenAt.Unix()
			}
			emit(provenAt, float64(at), r.Name)
		},
	}
}
