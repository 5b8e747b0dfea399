package backups

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/stage"
)

// TestFloors: what the consortium asks for a class of data holds whatever a comune's policy says, and where only a person can keep it, it is told.
func TestFloors(t *testing.T) {
	t.Parallel()
	s := newScene(t, "floors", locked)
	floor := v1alpha1.BackupFloor{DataClass: v1alpha1.DataClassOrdinary, Retention: &v1alpha1.Retention{Last: 3, Daily: 2}, RecoveryPointHours: new(int32(26)), ObjectLockDays: new(int32(1))}
	ask := func(f v1alpha1.BackupFloor) {
		s.floors(f, v1alpha1.BackupFloor{DataClass: v1alpha1.DataClassStrategic, Copies: 3}) // of the other, there is no workspace
	}
	ask(floor)
	p := s.policy("minimo", func(p *v1alpha1.BackupPolicy) { p.Spec.Retention.Last = 1 })
	s.has("minimo", 1)
	s.Ready(p)
	s.stays()
	want := []v1alpha1.EffectiveRules{{DataClass: v1alpha1.DataClassOrdinary, Retention: v1alpha1.Retention{Last: 3, Daily: 2}, RecoveryPointHours: new(int32(26))}}
	if diff := cmp.Diff(want, p.Status.Effective); diff != "" {
		t.Errorf("what holds (-want +got):\n%s", diff)
	}
	const applied = "retention.last 3 instead of 1, retention.daily 2 instead of 0, recoveryPointHours 26"
	if got := stage.Condition(p, v1alpha1.ConditionFloorKept); !strings.HasPrefix(got, "True FloorApplied") || !strings.Contains(got, applied) {
		t.Errorf("FloorKept is %s", got)
	}
	if got := stage.Condition(p, v1alpha1.ConditionRecoveryPointKept); !strings.HasPrefix(got, "True Kept") {
		t.Errorf("RecoveryPointKept is %s", got)
	}
	strict := floor
	strict.Copies = 1
	ask(strict)
	if got := s.stalls(p, v1alpha1.ReasonTooFewCopies); !strings.Contains(got, "copies in 1 further failure domains") {
		t.Errorf("it says %s", got)
	}
	strict.Copies, strict.ObjectLockDays = 0, new(int32(2))
	ask(strict)
	s.stalls(p, v1alpha1.ReasonLockTooShort)
	ask(floor)
	nightly, day := p.Spec.Schedule, s.local(p.Status.Workspaces[0].ScheduledFor.Time).Weekday() // on it, the last night was the same
	weekly := strings.TrimSuffix(nightly, "*") + fmt.Sprint(int(day))
	stage.Edit(s.Stage, p, func(p *v1alpha1.BackupPolicy) { p.Spec.Schedule = weekly })
	s.stalls(p, v1alpha1.ReasonScheduleTooRare)
	if got := stage.Condition(p, v1alpha1.ConditionFloorKept); !strings.HasPrefix(got, "False ScheduleTooRare") {
		t.Errorf("FloorKept is %s", got)
	}

	stage.Edit(s.Stage, p, func(p *v1alpha1.BackupPolicy) { p.Spec.Schedule = nightly })
	s.Ready(p)
	for night := range 3 {
		s.At(s.Now().Add(24*time.Hour + 10*time.Minute))
		s.has("minimo", min(night+2, 3)) // the policy alone would keep one
	}
	s.floors()
	s.Until("without a floor the policy's own rules hold", func() error {
		s.Read(p)
		if got := stage.Condition(p, v1alpha1.ConditionFloorKept); len(p.Status.Effective) > 0 || got != "" {
			return fmt.Errorf("FloorKept is %q, and %+v hold", got, p.Status.Effective)
		}
		return nil
	})
	s.has("minimo", 1)
	if err := s.comune.Get(t.Context(), client.ObjectKey{Name: s.ID("c")}, &v1alpha1.Consortium{}); err == nil {
		t.Error("a comune reads the agreement") // and cannot lower what it asks
	}
}

// TestClassOfRestored: data come back into no workspace of a lower class than theirs, be it by way of another workspace, or of a new one under the same name.
func TestClassOfRestored(t *testing.T) {
	t.Parallel()
	s := newScene(t, "classes")
	stage.Edit(s.Stage, s.tenant, func(t *v1alpha1.Tenant) {
		t.Spec.DataClasses = []v1alpha1.DataClass{v1alpha1.DataClassOrdinary, v1alpha1.DataClassCritical}
	})
	s.Create(s.config("app", "digital first"))
	class := func(w *v1alpha1.Workspace, to v1alpha1.DataClass) error {
		defer s.CaughtUp(w)
		return s.comune.Patch(t.Context(), w, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"dataClass":%q}}`, to)))
	}
	into := func(name, backup string, target v1alpha1.RestoreTarget) *v1alpha1.Restore {
		return s.bring(s.comune, name, backup, func(r *v1alpha1.Restore) { r.Spec.Into = target })
	}
	ordinary := s.backUp("ordinaria")
	if err := class(s.workspace, v1alpha1.DataClassCritical); err != nil {
		t.Fatal(err)
	}
	s.Ready(s.workspace)
	critical := s.backUp("critica")
	if err := class(s.workspace, v1alpha1.DataClassOrdinary); err == nil || !strings.Contains(err.Error(), "cannot be lowered") {
		t.Fatalf("the comune lowers it: %v", err)
	}

	other := s.Workspace(s.tenant, "altro", func(w *v1alpha1.Workspace) { w.Spec.DeletionPolicy = v1alpha1.DeletionDelete })
	s.Ready(other)
	for name, b := range map[string]*v1alpha1.Backup{"di-prima": ordinary, "di-dopo": critical} { // the one was made before the data were Critical
		if got := s.stalls(into(name, b.Name, v1alpha1.RestoreTarget{Workspace: "altro"}), v1alpha1.ReasonDataClassTooLow); !strings.Contains(got, "is of data class Ordinary") || !strings.Contains(got, "is Critical") {
			t.Errorf("it says %s", got)
		}
		copied := into(name+"-copia", b.Name, v1alpha1.RestoreTarget{NewWorkspace: v1alpha1.WorkspaceName(name)})
		s.Ready(copied)
		made := &v1alpha1.Workspace{ObjectMeta: stage.In(s.tenant.Name, name)}
		if s.Read(made); made.Spec.DataClass != v1alpha1.DataClassCritical {
			t.Errorf("the data of backup %s came back as %s", b.Name, made.Spec.DataClass)
		}
	}
	if err := class(other, v1alpha1.DataClassCritical); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"di-prima", "di-dopo"} {
		s.Ready(&v1alpha1.Restore{ObjectMeta: stage.In(s.tenant.Name, name)})
	}

	if err := s.comune.Delete(t.Context(), s.workspace); err != nil {
		t.Fatal(err)
	}
	s.Gone(s.workspace)
	s.workspace = s.Workspace(s.tenant, "sportello")
	s.Ready(s.workspace)
	s.stalls(s.bring(s.comune, "di-ritorno", critical.Name), v1alpha1.ReasonDataClassTooLow)
}
