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
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
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
func ownClass(s *stage) func(*v1alpha1.Tenant) {
	return func(t *v1alpha1.Tenant) {
		t.Spec.StorageClasses = []v1alpha1.StorageClass{{Name: s.id("class"), Quota: "100Gi"}}
	}
}

// TestVolumesBound tells why a volume is not bound, and that it is, without holding Ready back.
func TestVolumesBound(t *testing.T) {
	t.Parallel()
	s := newStage(t, "bound")
	c, a := s.consortium(), s.tenant("a", ownClass(s))
	s.ready(c, a)
	w := s.workspace(a, "sito", volume("1Gi", "documenti", "indice"))
	class := s.id("class")
	s.bound(w, fmt.Sprintf("False StorageClassMissing not bound: documenti (this cluster has no storage class %[1]s), indice (this cluster has no storage class %[1]s)", class))

	s.create(&storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: class}, Provisioner: "kubernetes.io/no-provisioner", VolumeBindingMode: new(storagev1.VolumeBindingWaitForFirstConsumer),
	})
	s.bound(w, "False VolumesPending not bound: documenti (waits for its first pod or its provisioner), indice (waits for its first pod or its provisioner)")
	s.provide(w, "documenti", class)
	s.bound(w, "False VolumesPending not bound: indice (waits for its first pod or its provisioner)")
	s.provide(w, "indice", class)
	s.bound(w, "True Succeeded ")

	edit(s, w, func(w *v1alpha1.Workspace) { w.Spec.DeletionPolicy, w.Spec.Storage = v1alpha1.DeletionDelete, nil })
	s.bound(w, "")
}

// bound checks what a workspace that is Ready says about its volumes.
func (s *stage) bound(w *v1alpha1.Workspace, want string) {
	s.Helper()
	s.ready(w)
	got := ""
	if c := meta.FindStatusCondition(w.Status.Conditions, v1alpha1.ConditionVolumesBound); c != nil {
		got = fmt.Sprintf("%s %s %s", c.Status, c.Reason, c.Message)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		s.Errorf("volumes (-want +got):\n%s", diff)
	}
}

// provide makes a volume for a claim, as a provisioner does, and waits until the two are bound.
func (s *stage) provide(w *v1alpha1.Workspace, name, class string) {
	s.Helper()
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: in(w.TargetNamespace(), name)}
	s.read(claim)
	s.create(&corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: s.id(name)}, Spec: corev1.PersistentVolumeSpec{
		Capacity: corev1.ResourceList{"storage": resource.MustParse("1Gi")}, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		StorageClassName: class, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
		ClaimRef:               &corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
		PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "example.org", VolumeHandle: name}},
	}})
	cluster.Eventually(s, patience, "the claim is bound", func() error {
		if s.read(claim); claim.Status.Phase != corev1.ClaimBound {
			return errors.New(string(claim.Status.Phase))
		}
		return nil
	})
	s.caughtUp(claim)
}

// TestVolumesChange adds a volume together with the quota that it needs, and takes volumes away.
func TestVolumesChange(t *testing.T) {
	t.Parallel()
	s := newStage(t, "change")
	c, a := s.consortium(), s.tenant("a")
	s.ready(c, a)
	w := s.workspace(a, "sito", volume("20Gi", "primo"))
	s.ready(w)
	from := s.mark()
	edit(s, w, func(w *v1alpha1.Workspace) {
		volume("20Gi", "primo", "secondo")(w)
		w.Spec.Quota = v1alpha1.Quota{"requests.storage": "40Gi"}
	})
	s.ready(w)
	s.sound(a)
	if claims := s.claims(w); len(claims) != 2 {
		t.Errorf("claims: %q", claims)
	}
	for _, write := range s.writes(from) {
		if strings.HasPrefix(write, "patch persistentvolumeclaims") {
			t.Errorf("a claim that stays was written to: %s", write)
		}
	}
	err := s.admin.Update(t.Context(), with(w, volume("20Gi", "secondo")))
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "a volume and its data go only under deletionPolicy: Delete") {
		t.Errorf("a volume leaves under Retain: %v", err)
	}
	edit(s, w, func(w *v1alpha1.Workspace) {
		volume("20Gi", "secondo")(w)
		w.Spec.DeletionPolicy = v1alpha1.DeletionDelete
	})
	s.ready(w)
	cluster.Eventually(t, patience, "the claim is pruned", func() error {
		if diff := cmp.Diff([]string{"secondo"}, s.claims(w)); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
	s.rest()
	if told := s.told(); len(told) > 0 {
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
func (s *stage) claims(w *v1alpha1.Workspace) (out []string) {
	s.Helper()
	var list corev1.PersistentVolumeClaimList
	if err := s.admin.List(s.Context(), &list, client.InNamespace(w.TargetNamespace())); err != nil {
		s.Fatal(err)
	}
	for _, claim := range list.Items {
		out = append(out, claim.Name)
	}
	return out
}

// TestOwnClaimsInTheWay lets claims that people made use the quota up: the volume waits and says so, the rest of the workspace follows the
// manifest, and what it gives back is free.
func TestOwnClaimsInTheWay(t *testing.T) {
	t.Parallel()
	s := newStage(t, "way")
	c, a := s.consortium(), s.tenant("a")
	s.ready(c, a)
	w := s.workspace(a, "sito", cpu("3"))
	s.ready(w)
	own := s.claim(w, "own", "15Gi")
	edit(s, w, func(w *v1alpha1.Workspace) {
		cpu("1")(w)
		volume("10Gi", "documenti")(w)
	})
	want := "a volume does not fit the quota of " + w.TargetNamespace() + ": the controller manager has not counted it yet, or other claims use it up"
	s.until("it waits for room", func() error {
		s.read(w)
		c := meta.FindStatusCondition(w.Status.Conditions, v1alpha1.ConditionReconciling)
		if c == nil || c.Reason != v1alpha1.ReasonQuotaPending || c.Message != want || w.Status.AllocationRevision != 2 {
			return errors.New(told(w))
		}
		return nil
	})
	s.until("what it gave back is free", func() error {
		s.read(a)
		if diff := cmp.Diff("1", texts(a.Status.Allocated)["requests.cpu"]); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
	if pending, err := s.reconcile(w); err != nil || pending.RequeueAfter == 0 {
		t.Errorf("it looks for room again after %s: %v", pending.RequeueAfter, err)
	}
	s.remove(own)
	s.ready(w)
}

// claim makes a claim as people do who do not know of spec.storage.
func (s *stage) claim(w *v1alpha1.Workspace, name, size string) *corev1.PersistentVolumeClaim {
	s.Helper()
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: in(w.TargetNamespace(), name), Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: new("standard"),
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": resource.MustParse(size)}},
	}}
	s.create(claim)
	return claim
}
