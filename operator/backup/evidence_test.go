package backup

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/archive"
	"github.com/broletto/broletto/operator/condition"
)

// TestRecord: a record has all that a drill came to, and the policy's result says no more than the record that is there.
func TestRecord(t *testing.T) {
	t.Parallel()
	start := instant(t, "2027-03-10T03:00:00Z")
	at := func(s int) *metav1.Time { return &metav1.Time{Time: start.Add(time.Duration(s) * time.Second)} }
	p := &v1alpha1.BackupPolicy{ObjectMeta: metav1.ObjectMeta{Name: "notturno", Namespace: "lugano"}}
	one := &v1alpha1.Restore{ObjectMeta: metav1.ObjectMeta{
		Name: drillName("notturno", "sportello", start), UID: "0f8b1c2d-0000-4000-8000-000000000001",
		Labels: map[string]string{v1alpha1.LabelPolicy: "notturno", v1alpha1.LabelWorkspace: "sportello"},
	}}
	one.Spec.Backup = "notturno-sportello-20270310"
	one.Status = v1alpha1.RestoreStatus{
		StartedAt: at(5), FinishedAt: at(65), Sequence: 7, Manifest: "ab", BytesRead: 100, Volumes: []v1alpha1.VolumeMove{{Name: "dati", Received: 1000}},
		Checks: []v1alpha1.CheckRun{
			{DrillCheck: v1alpha1.DrillCheck{Name: "web", HTTP: &v1alpha1.HTTPCheck{Service: "web", Port: 80, Path: "/", Status: 200}}, BeganAt: at(10), Passed: new(true), Seconds: 3},
			{DrillCheck: v1alpha1.DrillCheck{Name: "db"}, Passed: new(false), Seconds: 9, Message: "no"},
			{DrillCheck: v1alpha1.DrillCheck{Name: "last"}},
		},
	}
	condition.Stall(one, v1alpha1.ReasonCheckFailed, "db: no")
	result := drilled(one, start.Add(time.Hour))
	got, err := record(p, over{one, result})
	if err != nil {
		t.Fatal(err)
	}
	want := archive.Drill{
		Policy: "notturno", Workspace: "sportello", Backup: "notturno-sportello-20270310", Sequence: 7, Manifest: "ab", Restore: one.Name, UID: string(one.UID),
		Began: at(5).Time, Ended: at(65).Time, Seconds: 60, BytesRead: 1100, Message: "db: no", Checks: []archive.Check{
			{Name: "web", Asked: json.RawMessage(`{"name":"web","http":{"service":"web","port":80,"path":"/","status":200}}`), Passed: true, Seconds: 3},
			{Name: "db", Asked: json.RawMessage(`{"name":"db"}`), Seconds: 9, Message: "no"},
			{Name: "last", Asked: json.RawMessage(`{"name":"last"}`), Message: "it was not asked"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the record (-want +got):\n%s", diff)
	}
	before := result.DeepCopy()
	attested(result, "primario", got)
	if before.Evidence = result.Evidence; before.Evidence == nil || !cmp.Equal(before, result) {
		t.Errorf("the result of its own record differs:\n%s", cmp.Diff(before, result))
	}
	got.Passed, got.Message, got.Checks, got.BytesRead = true, "", nil, 5 // what an earlier pass wrote
	attested(result, "primario", got)
	if !*result.Passed || result.Message != "" || result.Checks != nil || result.BytesRead != 5 {
		t.Errorf("the result is not as the record says: %+v", result)
	}
}
