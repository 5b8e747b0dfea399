package workspace_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// volume asks for volumes of one size.
func volume(size v1alpha1.Amount, names ...string) func(*v1alpha1.Workspace) {
	return func(w *v1alpha1.Workspace) {
		w.Spec.Storage = &v1alpha1.WorkspaceStorage{}
		for _, name := range names {
			w.Spec.Storage.Volumes = append(w.Spec.Storage.Volumes, v1alpha1.Volume{Name: name, Size: size})
		}
	}
}

// ownClass gives a tenant a storage class that no other test knows.
func ownClass(s *stage.Stage) func(*v1alpha1.Tenant) {
	return func(t *v1alpha1.Tenant) {
		t.Spec.StorageClasses = []v1alpha1.StorageClass{{Name: s.ID("class"), Quota: "100Gi"}}
	}
}

// TestVolumesBound tells why a volume is not bound, and that it is, without holding Ready back.
func TestVolumesBound(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "bound")
	c, a := s.Consortium(), s.Tenant("a", ownClass(s))
	s.Ready(c, a)
	w := s.Workspace(a, "sito", volume("1Gi", "documenti", "indice"))
	class := s.ID("class")
	bound(s, w, fmt.Sprintf("False StorageClassMissing not bound: documenti (this cluster has no storage class %[1]s), indice (this cluster has no storage class %[1]s)", class))

	s.Create(&storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: class}, Provisioner: "kubernetes.io/no-provisioner", VolumeBindingMode: new(storagev1.VolumeBindingWaitForFirstConsumer),
	})
	bound(s, w, "False VolumesPending not bound: documenti (waits for its first pod or its provisioner), indice (waits for its first pod or its provisioner)")
	provide(s, w, "documenti", class)
	bound(s, w, "False VolumesPending not bound: indice (waits for its first pod or its provisioner)")
	provide(s, w, "indice", class)
	bound(s, w, "True Succeeded ")

	stage.Edit(s, w, func(w *v1alpha1.Workspace) { w.Spec.DeletionPolicy, w.Spec.Storage = v1alpha1.DeletionDelete, nil })
	bound(s, w, "")
}

// bound checks what a workspace that is Ready says about its volumes.
func bound(s *stage.Stage, w *v1alpha1.Workspace, want string) {
	s.Helper()
	s.Ready(w)
	if diff := cmp.Diff(want, stage.Condition(w, v1alpha1.ConditionVolumesBound)); diff != "" {
		s.Errorf("volumes (-want +got):\n%s", diff)
	}
}

// provide makes a volume for a claim, as a provisioner does, and waits until the two are bound.
func provide(s *stage.Stage, w *v1alpha1.Workspace, name, class string) {
	s.Helper()
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: stage.In(w.TargetNamespace(), name)}
	s.Read(claim)
	s.Create(&corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: s.ID(name)}, Spec: corev1.PersistentVolumeSpec{
		Capacity: corev1.ResourceList{"storage": resource.MustParse("1Gi")}, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		StorageClassName: class, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
		ClaimRef:               &corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
		PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "example.org", VolumeHandle: name}},
	}})
	cluster.Eventually(s, stage.Patience, "the claim is bound", func() error {
		if s.Read(claim); claim.Status.Phase != corev1.ClaimBound {
			return errors.New(string(claim.Status.Phase))
		}
		return nil
	})
	s.CaughtUp(claim)
}

// TestVolumesChange adds a volume together with the quota that it needs, and takes volumes away.
func TestVolumesChange(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "change")
	c, a := s.Consortium(), s.Tenant("a")
	s.Ready(c, a)
	w := s.Workspace(a, "sito", volume("20Gi", "primo"))
	s.Ready(w)
	from := cluster.Mark(s)
	stage.Edit(s, w, func(w *v1alpha1.Workspace) {
		volume("20Gi", "primo", "secondo")(w)
		w.Spec.Quota = v1alpha1.Quota{"requests.storage": "40Gi"}
	})
	s.Ready(w)
	sound(s, a)
	if claims := claims(s, w); len(claims) != 2 {
		t.Errorf("claims: %q", claims)
	}
	for _, write := range s.Writes(from) {
		if strings.HasPrefix(write, "patch persistentvolumeclaims") {
			t.Errorf("a claim that stays was written to: %s", write)
		}
	}
	err := s.Admin.Update(t.Context(), with(w, volume("20Gi", "secondo")))
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "a volume and its data go only under deletionPolicy: Delete") {
		t.Errorf("a volume leaves under Retain: %v", err)
	}
	stage.Edit(s, w, func(w *v1alpha1.Workspace) {
		volume("20Gi", "secondo")(w)
		w.Spec.DeletionPolicy = v1alpha1.DeletionDelete
	})
	s.Ready(w)
	cluster.Eventually(t, stage.Patience, "the claim is pruned", func() error { return stage.Same([]string{"secondo"}, claims(s, w)) })
	s.Rest()
	if told := s.Events(); len(told) > 0 {
		t.Errorf("a change of mind was told as drift: %q", told)
	}
}

// with is a copy of a workspace, changed.
func with(w *v1alpha1.Workspace, change func(*v1alpha1.Workspace)) *v1alpha1.Workspace {
	w = w.DeepCopy()
	change(w)
	return w
}

// claims are the names of all claims in a workspace's namespace.
func claims(s *stage.Stage, w *v1alpha1.Workspace) (out []string) {
	s.Helper()
	for _, claim := range s.List(&corev1.PersistentVolumeClaimList{}, w.TargetNamespace()) {
		out = append(out, claim.GetName())
	}
	return out
}

// TestOwnClaimsInTheWay lets claims that people made use the quota up: the volume waits and says so, the rest of the workspace follows the
// manifest, and what it gives back is free.
func TestOwnClaimsInTheWay(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "way")
	c, a := s.Consortium(), s.Tenant("a")
	s.Ready(c, a)
	w := s.Workspace(a, "sito", cpu("3"))
	s.Ready(w)
	own := claim(s, w, "own", "15Gi")
	stage.Edit(s, w, func(w *v1alpha1.Workspace) {
		cpu("1")(w)
		volume("10Gi", "documenti")(w)
	})
	want := "a volume does not fit the quota of " + w.TargetNamespace() + ": the controller manager has not counted it yet, or other claims use it up"
	s.Until("it waits for room", func() error {
		s.Read(w)
		c := meta.FindStatusCondition(w.Status.Conditions, v1alpha1.ConditionReconciling)
		if c == nil || c.Reason != v1alpha1.ReasonQuotaPending || c.Message != want || w.Status.AllocationRevision != 2 {
			return errors.New(stage.Conditions(w))
		}
		return nil
	})
	s.Until("what it gave back is free", func() error {
		s.Read(a)
		return stage.Same("1", stage.Texts(a.Status.Allocated)["requests.cpu"])
	})
	if pending, err := s.Reconcile(w); err != nil || pending.RequeueAfter == 0 {
		t.Errorf("it looks for room again after %s: %v", pending.RequeueAfter, err)
	}
	s.Remove(own)
	s.Ready(w)
}

// claim makes a claim as people do who do not know of spec.storage.
func claim(s *stage.Stage, w *v1alpha1.Workspace, name, size string) *corev1.PersistentVolumeClaim {
	s.Helper()
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: stage.In(w.TargetNamespace(), name), Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: new("standard"),
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": resource.MustParse(size)}},
	}}
	s.Create(claim)
	return claim
}
