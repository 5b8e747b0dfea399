package outcome_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/outcome"
	"github.com/broletto/broletto/test/cluster"
)

func TestMain(m *testing.M) { cluster.Run(m) }

// stored is a tenant on the API server, as nobody has looked at it yet.
func stored(t *testing.T, c client.Client, name, bfs string) *v1alpha1.Tenant {
	t.Helper()
	o := &v1alpha1.Tenant{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.TenantSpec{
			DisplayName: name, Kind: v1alpha1.Association, Consortium: "ticino",
			Codes:          v1alpha1.Codes{BFS: bfs},
			Memberships:    []v1alpha1.Membership{{Entry: "2024-04-04", Act: "accordo quadro", ConvenienceStudy: "studio"}},
			Administrators: []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: name + ":ict"}},
			Quota: v1alpha1.Quota{"requests.cpu": "8", "requests.memory": "32Gi", "limits.cpu": "16", "limits.memory": "48Gi",
				"requests.storage": "500Gi", "pods": "120"},
			StorageClasses: []v1alpha1.StorageClass{{Name: "standard"}},
		},
	}
	if err := c.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if o.Status.ObservedGeneration != -1 {
		t.Fatalf("a new object has observedGeneration %d, want -1", o.Status.ObservedGeneration)
	}
	return o
}

// TestOneWriteOnTheServer watches the resource version: it moves with the verdict and rests with it, whatever the clock says.
func TestOneWriteOnTheServer(t *testing.T) {
	c := cluster.Client(t, cluster.Operator(t))
	o := stored(t, cluster.Client(t, cluster.Admin()), "quiet", "1")
	settle := func(err error) (moved bool) {
		before := o.DeepCopy()
		if _, again := outcome.Settle(t.Context(), c, before, o, "ready", 0, err); again != nil {
			t.Fatal(again)
		}
		return before.ResourceVersion != o.ResourceVersion
	}
	for _, verdict := range []error{nil, stalled, wait} {
		if !settle(verdict) {
			t.Errorf("settling with %v: not written", verdict)
		}
		time.Sleep(1100 * time.Millisecond) // the server keeps times to the second
		if settle(verdict) {
			t.Errorf("settling with %v a second time: written again", verdict)
		}
	}
}

// TestConflictOnTheServer settles a copy that somebody has overtaken, and one of an object that is gone.
func TestConflictOnTheServer(t *testing.T) {
	admin, c := cluster.Client(t, cluster.Admin()), cluster.Client(t, cluster.Operator(t))
	stale := stored(t, admin, "overtaken", "2")
	newer := stale.DeepCopy()
	newer.Spec.DisplayName = "Somebody was quicker"
	if err := admin.Update(t.Context(), newer); err != nil {
		t.Fatal(err)
	}
	got, err := outcome.Settle(t.Context(), c, stale.DeepCopy(), stale, "ready", 0, nil)
	if err != nil || got != (ctrl.Result{RequeueAfter: 100 * time.Millisecond}) {
		t.Errorf("overtaken: got %+v, %v; want a silent retry", got, err)
	}
	if err := cluster.Discard(t.Context(), admin, newer); err != nil {
		t.Fatal(err)
	}
	gone := newer.DeepCopy()
	got, err = outcome.Settle(t.Context(), c, gone.DeepCopy(), gone, "ready", 0, nil)
	if err != nil || got != (ctrl.Result{}) {
		t.Errorf("gone: got %+v, %v; want nothing", got, err)
	}
}
