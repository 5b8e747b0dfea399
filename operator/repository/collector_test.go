package repository

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/broletto/broletto/api/v1alpha1"
)

const series = `
# HELP broletto_backup_repository_credentials_restricted Whether the store of a repository was seen to refuse our credentials the deletion of versions (1) or not (0).
# TYPE broletto_backup_repository_credentials_restricted gauge
broletto_backup_repository_credentials_restricted{repository="primario"} 1
broletto_backup_repository_credentials_restricted{repository="senza-blocco"} 0
# HELP broletto_backup_repository_proven_timestamp_seconds When the store of a repository was last tried with success, in seconds since 1970; 0: never.
# TYPE broletto_backup_repository_proven_timestamp_seconds gauge
broletto_backup_repository_proven_timestamp_seconds{repository="muto"} 0
broletto_backup_repository_proven_timestamp_seconds{repository="primario"} 1.7e+09
broletto_backup_repository_proven_timestamp_seconds{repository="senza-blocco"} 1.7e+09
# HELP broletto_backup_repository_worm_proven Whether the store of a repository was seen to keep the object lock that is asked for (1) or not (0).
# TYPE broletto_backup_repository_worm_proven gauge
broletto_backup_repository_worm_proven{repository="muto"} 0
broletto_backup_repository_worm_proven{repository="primario"} 1
`

// TestCollector holds that a store that was never tried is told as such, and that nothing is said of a lock that nobody asked for, or of rights that nobody tried.
func TestCollector(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	named := func(name string, lock *v1alpha1.ObjectLock) *v1alpha1.BackupRepository {
		r := &v1alpha1.BackupRepository{ObjectMeta: metav1.ObjectMeta{Name: name}}
		r.Spec.ObjectLock = lock
		return r
	}
	lock, proven := &v1alpha1.ObjectLock{Mode: v1alpha1.LockCompliance, Days: 1}, &metav1.Time{Time: time.Unix(1_700_000_000, 0)}
	kept, unlocked, silent := named("primario", lock), named("senza-blocco", nil), named("muto", lock)
	kept.Status.ProvenAt, unlocked.Status.ProvenAt = proven, proven
	kept.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionWormProven, Status: metav1.ConditionTrue}, {Type: v1alpha1.ConditionCredentialsRestricted, Status: metav1.ConditionTrue}}
	unlocked.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionWormProven, Status: metav1.ConditionFalse}, {Type: v1alpha1.ConditionCredentialsRestricted, Status: metav1.ConditionFalse}}
	c := Collector(fake.NewClientBuilder().WithScheme(scheme).WithObjects(kept, unlocked, silent).Build())
	if diff := cmp.Diff(series, "\n"+scrape(t, c)); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}
}

// scrape is what Prometheus reads of a collector but for conditions, after the linter of its conventions has seen it.
func scrape(t *testing.T, c prometheus.Collector) string {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, family := range families {
		if strings.HasPrefix(family.GetName(), "broletto_condition_") {
			continue
		}
		if _, err := expfmt.MetricFamilyToText(&text, family); err != nil {
			t.Fatal(err)
		}
	}
	problems, err := promlint.New(strings.NewReader(text.String())).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	return text.String()
}
