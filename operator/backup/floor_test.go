package backup

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
)

// TestEffective: the stricter wins, each rule by itself, whoever asks for it; and what the floor changes is said.
func TestEffective(t *testing.T) {
	t.Parallel()
	hours, days := func(n int32) *int32 { return &n }, func(n int32) *v1alpha1.Drill { return &v1alpha1.Drill{EveryDays: n} }
	kept := v1alpha1.Retention{Last: 3, Daily: 7, Weekly: 4, Monthly: 6, Yearly: 1}
	for name, c := range map[string]struct {
		reason string
		policy v1alpha1.BackupPolicySpec
		floor  v1alpha1.BackupFloor
		want   v1alpha1.EffectiveRules
		raised string
	}{
		"no rule": {
			"a floor may ask for copies alone",
			v1alpha1.BackupPolicySpec{Retention: kept, RecoveryPointHours: hours(26), Drill: days(30)}, v1alpha1.BackupFloor{Copies: 2},
			v1alpha1.EffectiveRules{Retention: kept, RecoveryPointHours: hours(26), DrillEveryDays: hours(30)}, "",
		},
		"all of the floor": {
			"the policy promises nothing",
			v1alpha1.BackupPolicySpec{Retention: v1alpha1.Retention{Last: 1}},
			v1alpha1.BackupFloor{Retention: &kept, RecoveryPointHours: hours(26), DrillEveryDays: hours(30)},
			v1alpha1.EffectiveRules{Retention: kept, RecoveryPointHours: hours(26), DrillEveryDays: hours(30)},
			"retention.last 3 instead of 1, retention.daily 7 instead of 0, retention.weekly 4 instead of 0, retention.monthly 6 instead of 0, retention.yearly 1 instead of 0, recoveryPointHours 26, drill.everyDays 30",
		},
		"all of the policy": {
			"it asks for more",
			v1alpha1.BackupPolicySpec{Retention: kept, RecoveryPointHours: hours(26), Drill: days(30)},
			v1alpha1.BackupFloor{Retention: &v1alpha1.Retention{Last: 1, Daily: 6}, RecoveryPointHours: hours(27), DrillEveryDays: hours(31)},
			v1alpha1.EffectiveRules{Retention: kept, RecoveryPointHours: hours(26), DrillEveryDays: hours(30)}, "",
		},
		"of each": {
			"field by field",
			v1alpha1.BackupPolicySpec{Retention: v1alpha1.Retention{Last: 1, Daily: 30, Monthly: 1}, RecoveryPointHours: hours(48), Drill: days(7)},
			v1alpha1.BackupFloor{Retention: &v1alpha1.Retention{Last: 2, Daily: 14, Monthly: 12}, RecoveryPointHours: hours(26), DrillEveryDays: hours(90)},
			v1alpha1.EffectiveRules{Retention: v1alpha1.Retention{Last: 2, Daily: 30, Monthly: 12}, RecoveryPointHours: hours(26), DrillEveryDays: hours(7)},
			"retention.last 2 instead of 1, retention.monthly 12 instead of 1, recoveryPointHours 26 instead of 48",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.floor.DataClass, c.want.DataClass = v1alpha1.DataClassCritical, v1alpha1.DataClassCritical
			got := effective(&c.policy, c.floor)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			if got := strings.Join(raised(&c.policy, got), ", "); got != c.raised {
				t.Errorf("%s: it says %q, want %q", c.reason, got, c.raised)
			}
		})
	}
}

// TestUnkept: what of a floor only a person can keep.
func TestUnkept(t *testing.T) {
	t.Parallel()
	now := instant(t, "2027-03-10T12:00:00+01:00")
	in := func(domain string, days int32, proven bool) *v1alpha1.BackupRepository {
		r := &v1alpha1.BackupRepository{}
		r.Spec.FailureDomain = domain
		if days > 0 {
			r.Spec.ObjectLock = &v1alpha1.ObjectLock{Mode: v1alpha1.LockCompliance, Days: days}
		}
		condition.Report(r, v1alpha1.ConditionWormProven, proven, "x", "")
		return r
	}
	copies := func(n int32) v1alpha1.BackupFloor { return v1alpha1.BackupFloor{Copies: n} }
	lock := func(n, days int32) v1alpha1.BackupFloor {
		return v1alpha1.BackupFloor{Copies: n, ObjectLockDays: &days}
	}
	hours := func(n int32) v1alpha1.BackupFloor { return v1alpha1.BackupFloor{RecoveryPointHours: &n} }
	for name, c := range map[string]struct {
		schedule     string
		repositories []*v1alpha1.BackupRepository
		floor        v1alpha1.BackupFloor
		want         string
	}{
		"nothing asked":              {"30 2 * * *", []*v1alpha1.BackupRepository{in("a", 0, false)}, copies(0), ""},
		"no copy":                    {"30 2 * * *", []*v1alpha1.BackupRepository{in("a", 0, false)}, copies(1), v1alpha1.ReasonTooFewCopies},
		"a copy":                     {"30 2 * * *", []*v1alpha1.BackupRepository{in("a", 0, false), in("b", 0, false)}, copies(1), ""},
		"a copy in the same domain":  {"30 2 * * *", []*v1alpha1.BackupRepository{in("a", 0, false), in("a", 0, false)}, copies(1), v1alpha1.ReasonTooFewCopies},
		"copies in one domain":       {"30 2 * * *", []*v1alpha1.BackupRepository{in("a", 0, false), in("b", 0, false), in("b", 0, false)}, copies(2), v1alpha1.ReasonTooFewCopies},
		"a copy that is not there":   {"30 2 * * *", []*v1alpha1.BackupRepository{in("a", 0, false), nil}, copies(1), v1alpha1.ReasonTooFewCopies},
		"no lock":                    {"30 2 * * *", []*v1alpha1.BackupRepository{in("a", 0, false)}, lock(0, 14), v1alpha1.ReasonLockTooShort},
		"no repository":              {"30 2 * * *", []*v1alpha1.BackupRepository{nil}, lock(0, 14), v1alpha1.ReasonLockTooShort},
		"a short lock":               {"30 2 * * *", []*v1alpha1.BackupRepository{in("a", 13, true)}, lock(0, 14), v1alpha1.ReasonLockTooShort},
		"a lock that is not proven":  {"30 2 * * *", []*v1alpha1.BackupRepository{in("a", 14, false)}, lock(0, 14), v1alpha1.ReasonLockTooShort},
		"a lock":                     {"30 2 * * *", []*v1alpha1.BackupRepository{in("a", 14, true)}, lock(0, 14), ""},
		"a copy without one":         {"30 2 * * *", []*v1alpha1.BackupRepository{in("a", 14, true), in("b", 0, true)}, lock(1, 14), v1alpha1.ReasonTooFewCopies},
		"another copy without one":   {"30 2 * * *", []*v1alpha1.BackupRepository{in("a", 14, true), in("b", 0, true), in("c", 14, true)}, lock(1, 14), ""},
		"each night":                 {"30 2 * * *", []*v1alpha1.BackupRepository{in("a", 0, false)}, hours(26), ""},
		"each night, clock set back": {"30 2 * * *", []*v1alpha1.BackupRepository{in("a", 0, false)}, hours(24), v1alpha1.ReasonScheduleTooRare},
		"not on Sundays":             {"30 2 * * 1-6", []*v1alpha1.BackupRepository{in("a", 0, false)}, hours(26), v1alpha1.ReasonScheduleTooRare},
		"weekly":                     {"30 2 * * 1", []*v1alpha1.BackupRepository{in("a", 0, false)}, hours(169), ""},
		"in leap years":              {"30 2 29 2 *", []*v1alpha1.BackupRepository{in("a", 0, false)}, hours(8784), v1alpha1.ReasonScheduleTooRare},
	} {
		calendar, err := newCalendar(c.schedule, "Europe/Rome")
		if err != nil {
			t.Fatal(err)
		}
		c.floor.DataClass = v1alpha1.DataClassCritical
		reason, message := unkept(c.floor, calendar, c.repositories, now)
		if reason != c.want || (message == "") != (c.want == "") {
			t.Errorf("%s: it is %q, want %q: %s", name, reason, c.want, message)
		}
	}
}

// TestRarer holds that the gap that goes on counts, however far its end is.
func TestRarer(t *testing.T) {
	t.Parallel()
	c, err := newCalendar("30 2 29 2 *", "Europe/Rome")
	if err != nil {
		t.Fatal(err)
	}
	if now := instant(t, "2028-03-10T12:00:00+01:00"); !c.rarer(366*24*time.Hour, now) || c.rarer(5*366*24*time.Hour, now) {
		t.Error("29 February comes every four years")
	}
}

// TestFloorsRule holds that retention, drills and promises go by what holds for the class of each workspace.
func TestFloorsRule(t *testing.T) {
	t.Parallel()
	p, c := nightly(t)
	p.Spec.Retention = v1alpha1.Retention{Last: 1}
	p.Status.Effective = []v1alpha1.EffectiveRules{{
		DataClass: v1alpha1.DataClassCritical, Retention: v1alpha1.Retention{Last: 2}, RecoveryPointHours: new(int32(26)), DrillEveryDays: new(int32(30)),
	}}
	now := instant(t, "2027-03-10T12:00:00+01:00")
	s := standing{calendar: c, now: now, workspaces: []string{"v", "w"}, classes: map[string]v1alpha1.DataClass{"v": v1alpha1.DataClassOrdinary, "w": v1alpha1.DataClassCritical}}
	for i := range 3 {
		of := func(w string) v1alpha1.Backup {
			return night(w+string(rune('0'+i)), int64(i+1), now.AddDate(0, 0, i-2), func(b *v1alpha1.Backup) { b.Spec.Workspace = v1alpha1.WorkspaceName(w) })
		}
		s.backups = append(s.backups, of("v"), of("w"))
	}
	step := decide(p, s)
	if diff := cmp.Diff([]string{"v0", "v1", "w0"}, step.remove); diff != "" {
		t.Errorf("what goes (-want +got):\n%s", diff)
	}
	if len(step.drill) != 1 || step.drill[0].workspace != "w" {
		t.Errorf("drills: %+v", step.drill)
	}
	if view := inCopy(p, "secondo"); len(decide(view, s).drill) > 0 {
		t.Error("what is in a copy is drilled")
	}
	p.Status.Workspaces, p.CreationTimestamp = step.rows, metav1.Time{Time: now}
	for after, want := range map[time.Duration]string{26 * time.Hour: v1alpha1.ReasonKept, 27 * time.Hour: v1alpha1.ReasonRecoveryPointMissed} {
		if _, reason, message := pointKept(p, now.Add(after)); reason != want {
			t.Errorf("after %s the point is %s, want %s: %s", after, reason, want, message)
		}
	}
	if at := broken(p, step.rows); len(at) != 1 || !at[0].Equal(now.Add(26*time.Hour+time.Second)) {
		t.Errorf("it looks again at %s", at)
	}
	p.Status.Effective = nil
	if _, reason, _ := pointKept(p, now.Add(27*time.Hour)); reason != v1alpha1.ReasonNotPromised {
		t.Errorf("without a floor it is %s", reason)
	}
}

const coverageSeries = `
# HELP broletto_backup_workspace_covered Whether a policy backs up a workspace of a data class for which the consortium has a floor (1) or not (0).
# TYPE broletto_backup_workspace_covered gauge
broletto_backup_workspace_covered{data_class="Critical",tenant="a",workspace="backed-up"} 1
broletto_backup_workspace_covered{data_class="Critical",tenant="a",workspace="forgotten"} 0
`

// TestCoverage holds that a workspace that nobody backs up is seen where the consortium has a floor for its class, and nowhere else.
func TestCoverage(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	workspace := func(tenant, name string, class v1alpha1.DataClass) *v1alpha1.Workspace {
		w := &v1alpha1.Workspace{ObjectMeta: metav1.ObjectMeta{Namespace: tenant, Name: name}}
		w.Spec.DataClass = class
		return w
	}
	drilled := workspace("a", "drill", v1alpha1.DataClassCritical)
	drilled.OwnerReferences = []metav1.OwnerReference{{Kind: "Restore", Name: "drill", Controller: new(true)}}
	strict, lax := &v1alpha1.Consortium{ObjectMeta: metav1.ObjectMeta{Name: "strict"}}, &v1alpha1.Consortium{ObjectMeta: metav1.ObjectMeta{Name: "lax"}}
	strict.Spec.BackupFloors = []v1alpha1.BackupFloor{{DataClass: v1alpha1.DataClassCritical}}
	a, b := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "b"}}
	a.Spec.Consortium, b.Spec.Consortium = "strict", "lax"
	p := &v1alpha1.BackupPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p"}}
	p.Status.Workspaces = []v1alpha1.PolicyWorkspace{{Name: "backed-up"}}
	c := Coverage(fake.NewClientBuilder().WithScheme(scheme).WithObjects(strict, lax, a, b, p, drilled,
		workspace("a", "backed-up", v1alpha1.DataClassCritical), workspace("a", "forgotten", v1alpha1.DataClassCritical),
		workspace("a", "ordinary", v1alpha1.DataClassOrdinary), workspace("b", "elsewhere", v1alpha1.DataClassCritical)).Build())
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil || len(families) != 1 {
		t.Fatalf("it has %v: %v", families, err)
	}
	text := strings.Builder{}
	if _, err := expfmt.MetricFamilyToText(&text, families[0]); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(coverageSeries, "\n"+text.String()); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}
}
