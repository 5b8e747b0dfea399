//go:build linux

package csi

import (
	"errors"
	"strings"
	"testing"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	snapshotfake "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned/fake"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	provisioning "sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// world is a cluster in which everything is as a claim wants it: snapshot "s" and claim "bound" in namespace "a" are restorable.
type world struct {
	snapshot *snapshotv1.VolumeSnapshot
	content  *snapshotv1.VolumeSnapshotContent
	bound    *corev1.PersistentVolumeClaim
	volume   *corev1.PersistentVolume
	claim    *corev1.PersistentVolumeClaim
}

func newWorld() *world {
	return &world{
		snapshot: &snapshotv1.VolumeSnapshot{
			ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "s", UID: "uid-s"},
			Status:     &snapshotv1.VolumeSnapshotStatus{BoundVolumeSnapshotContentName: new("content"), ReadyToUse: new(true)},
		},
		content: &snapshotv1.VolumeSnapshotContent{
			ObjectMeta: metav1.ObjectMeta{Name: "content"},
			Spec:       snapshotv1.VolumeSnapshotContentSpec{Driver: Name, VolumeSnapshotRef: corev1.ObjectReference{UID: "uid-s"}},
			Status:     &snapshotv1.VolumeSnapshotContentStatus{SnapshotHandle: new("snapshot-1")},
		},
		bound: &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "bound"},
			Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: "pvc-1"},
			Status:     corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
		},
		volume: &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: "pvc-1"},
			Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{
				CSI: &corev1.CSIPersistentVolumeSource{Driver: Name, VolumeHandle: "volume-1"},
			}},
		},
		claim: &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "claim"},
			Spec: corev1.PersistentVolumeClaimSpec{Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			}},
		},
	}
}

func (w *world) from(kind, name string) {
	w.claim.Spec.DataSourceRef = &corev1.TypedObjectReference{Kind: kind, Name: name}
}

func (w *world) provisioner(t *testing.T) *provisioner {
	t.Helper()
	c := &controller{store: newStore(t.TempDir())}
	create(t, c, &spec.CreateVolumeRequest{Name: "volume-1"})
	if _, err := c.CreateSnapshot(t.Context(), &spec.CreateSnapshotRequest{Name: "snapshot-1", SourceVolumeId: "volume-1"}); err != nil {
		t.Fatal(err)
	}
	snapshots := snapshotfake.NewSimpleClientset(w.snapshot, w.content) //nolint:staticcheck // its successor is not generated there
	return &provisioner{volumes: c, cluster: fake.NewClientset(w.bound, w.volume), snapshots: snapshots}
}

func (w *world) options() provisioning.ProvisionOptions {
	return provisioning.ProvisionOptions{
		PVName: "pvc-2", PVC: w.claim, StorageClass: &storagev1.StorageClass{ReclaimPolicy: new(corev1.PersistentVolumeReclaimRetain)},
	}
}

func TestProvision(t *testing.T) {
	cases := map[string]struct {
		mutate func(w *world)
		source ref
		want   string // the error, if one is wanted
	}{
		"empty":           {mutate: func(*world) {}},
		"of a snapshot":   {mutate: func(w *world) { w.from("VolumeSnapshot", "s") }, source: ref{snapshots, "snapshot-1"}},
		"of a claim":      {mutate: func(w *world) { w.from("PersistentVolumeClaim", "bound") }, source: ref{volumes, "volume-1"}},
		"by selector":     {mutate: func(w *world) { w.claim.Spec.Selector = &metav1.LabelSelector{} }, want: "leave spec.selector out"},
		"of another kind": {mutate: func(w *world) { w.from("Dataset", "d") }, want: "own populator"},
		"of elsewhere": {mutate: func(w *world) {
			w.from("VolumeSnapshot", "s")
			w.claim.Spec.DataSourceRef.Namespace = new("b")
		}, want: "name one of the claim's own"},
		"of nothing": {mutate: func(w *world) { w.from("VolumeSnapshot", "t") }, want: "not found"},
		"too early": {mutate: func(w *world) {
			w.from("VolumeSnapshot", "s")
			w.snapshot.Status.ReadyToUse = nil
		}, want: "not ready to use yet"},
		"of another's content": {mutate: func(w *world) {
			w.from("VolumeSnapshot", "s")
			w.content.Spec.VolumeSnapshotRef.UID = "uid-t"
		}, want: "belongs to another"},
		"of another driver's snapshot": {mutate: func(w *world) {
			w.from("VolumeSnapshot", "s")
			w.content.Spec.Driver = "csi.example.com"
		}, want: "restore it with a class of that"},
		"of a claim that waits": {mutate: func(w *world) {
			w.from("PersistentVolumeClaim", "bound")
			w.bound.Status.Phase = corev1.ClaimPending
		}, want: "not bound to a volume yet"},
		"of another driver's claim": {mutate: func(w *world) {
			w.from("PersistentVolumeClaim", "bound")
			w.volume.Spec.CSI = nil
		}, want: "copy within one driver"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			c.mutate(w)
			p := w.provisioner(t)
			v, _, err := p.Provision(t.Context(), w.options())
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			have, err := p.volumes.store.get(ref{volumes, v.Spec.CSI.VolumeHandle})
			if err != nil || have.Source != c.source || have.Size != 1<<30 || v.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain {
				t.Errorf("got %+v and volume %v, %v", have, v, err)
			}
			for range 2 {
				if err := p.Delete(t.Context(), v); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestDeleteForeign proves that a volume of another driver is left alone, whatever its handle.
func TestDeleteForeign(t *testing.T) {
	w := newWorld()
	p := w.provisioner(t)
	w.volume.Spec.CSI.Driver = "csi.example.com"
	if _, ignored := errors.AsType[*provisioning.IgnoredError](p.Delete(t.Context(), w.volume)); !ignored {
		t.Error("a foreign volume was not ignored")
	}
	if _, err := p.volumes.store.get(ref{volumes, "volume-1"}); err != nil {
		t.Error(err)
	}
}
