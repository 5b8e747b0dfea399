package volumes

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/outcome"
)

// +kubebuilder:rbac:groups="",resources=persistentvolumeclaims,verbs=get;list;create;delete
// +kubebuilder:rbac:groups=snapshot.storage.k8s.io,resources=volumesnapshots,verbs=get;list;create;delete
// +kubebuilder:rbac:groups=snapshot.storage.k8s.io,resources=volumesnapshotclasses,verbs=list
// +kubebuilder:rbac:groups=storage.k8s.io,resources=storageclasses,verbs=list;watch

var (
	snapshots       = schema.GroupVersionKind{Group: "snapshot.storage.k8s.io", Version: "v1", Kind: "VolumeSnapshot"}
	snapshotClasses = schema.GroupVersionKind{Group: "snapshot.storage.k8s.io", Version: "v1", Kind: "VolumeSnapshotClass"}
)

// snapshotPatience is how long a snapshot may take to be ready.
const snapshotPatience = 10 * time.Minute

// copied makes a copy of a volume as it is at one instant, from a snapshot, for a mover to read, and notes in v whether there is one. Where the
// class of the volume cannot, or the workspace's quota has no room for another volume of its size, the volume itself is read.
func (m *Movers) copied(ctx context.Context, t Task, v *v1alpha1.VolumeMove) error {
	if v.From != "" {
		return nil
	}
	claim := &corev1.PersistentVolumeClaim{}
	where := client.ObjectKey{Namespace: t.Namespace, Name: t.Claim}
	if err := m.Live.Get(ctx, where, claim); err != nil {
		return fmt.Errorf("reading claim %s: %w", where, err)
	}
	class, err := m.snapshotClass(ctx, claim)
	if err != nil {
		return err
	}
	if class == "" {
		v.From = v1alpha1.FromVolume
		return nil
	}
	taken, err := m.snapshot(ctx, t, class)
	if err != nil {
		return err
	}
	ready, _, _ := unstructured.NestedBool(taken.Object, "status", "readyToUse")
	failed, _, _ := unstructured.NestedString(taken.Object, "status", "error", "message")
	switch {
	case ready:
	case failed == "" && m.Now().Sub(taken.GetCreationTimestamp().Time) < snapshotPatience:
		v.Message = "a snapshot of it is being taken"
		return &outcome.Wait{Reason: v1alpha1.ReasonMovingVolumes, Message: "volume " + v.Name + " is on its way: status.volumes says how far", After: time.Second}
	default:
		v.From = v1alpha1.FromVolume
		return m.uncopy(ctx, t.Namespace, t.UID)
	}
	err = m.Client.Create(ctx, copyOf(t, claim, taken), client.DisableReadYourWritesConsistency) // no cache holds it
	switch {
	case err == nil, apierrors.IsAlreadyExists(err):
		v.From = v1alpha1.FromSnapshot
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "quota"):
		v.From = v1alpha1.FromVolume
		return m.uncopy(ctx, t.Namespace, t.UID)
	default:
		return fmt.Errorf("copying claim %s from a snapshot: %w", where, err)
	}
	return nil
}

// snapshotClass is the class of snapshots that the driver of a claim's volume takes; empty: it takes none.
func (m *Movers) snapshotClass(ctx context.Context, claim *corev1.PersistentVolumeClaim) (string, error) {
	storage := &storagev1.StorageClass{}
	if claim.Spec.StorageClassName == nil || *claim.Spec.StorageClassName == "" {
		return "", nil
	}
	err := m.Client.Get(ctx, client.ObjectKey{Name: *claim.Spec.StorageClassName}, storage)
	if err != nil {
		return "", client.IgnoreNotFound(err)
	}
	classes := &unstructured.UnstructuredList{}
	classes.SetGroupVersionKind(snapshotClasses)
	if err := m.Live.List(ctx, classes); err != nil {
		if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) { // this cluster takes none
			return "", nil
		}
		return "", fmt.Errorf("listing the classes of snapshots: %w", err)
	}
	return classFor(storage.Provisioner, classes.Items), nil
}

// classFor is the class of a driver: the default or, without one, the first by name. A class that keeps what is deleted is none for us.
func classFor(driver string, classes []unstructured.Unstructured) string {
	classes = slices.DeleteFunc(slices.Clone(classes), func(c unstructured.Unstructured) bool {
		return c.Object["driver"] != driver || c.Object["deletionPolicy"] != "Delete"
	})
	if len(classes) == 0 {
		return ""
	}
	isDefault := func(c unstructured.Unstructured) int {
		if c.GetAnnotations()["snapshot.storage.kubernetes.io/is-default-class"] == "true" {
			return 0
		}
		return 1
	}
	first := slices.MinFunc(classes, func(a, b unstructured.Unstructured) int {
		return cmp.Or(isDefault(a)-isDefault(b), strings.Compare(a.GetName(), b.GetName()))
	})
	return first.GetName()
}

// copyName is the name of a volume's snapshot, and of the claim of its copy. All attempts share them.
func (t Task) copyName() string {
	t.Attempt = 0
	return t.JobName()
}

// snapshot is the snapshot of a volume, which is taken if there is none.
func (m *Movers) snapshot(ctx context.Context, t Task, class string) (*unstructured.Unstructured, error) {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(snapshots)
	where := client.ObjectKey{Namespace: t.Namespace, Name: t.copyName()}
	err := m.Live.Get(ctx, where, o)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("reading snapshot %s: %w", where, err)
	}
	if err == nil {
		return o, nil
	}
	o = snapshotOf(t, class)
	if err := m.Client.Create(ctx, o, client.DisableReadYourWritesConsistency); err != nil && !apierrors.IsAlreadyExists(err) {
		return nil, fmt.Errorf("taking a snapshot of claim %s/%s: %w", t.Namespace, t.Claim, err)
	}
	return o, nil
}

func snapshotOf(t Task, class string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"volumeSnapshotClassName": class, "source": map[string]any{"persistentVolumeClaimName": t.Claim},
	}}}
	o.SetGroupVersionKind(snapshots)
	o.SetNamespace(t.Namespace)
	o.SetName(t.copyName())
	o.SetLabels(map[string]string{v1alpha1.LabelRun: string(t.UID)})
	return o
}

// copyOf is the claim of a copy of a volume.
func copyOf(t Task, claim *corev1.PersistentVolumeClaim, taken *unstructured.Unstructured) *corev1.PersistentVolumeClaim {
	size := claim.Status.Capacity[corev1.ResourceStorage]
	if text, _, _ := unstructured.NestedString(taken.Object, "status", "restoreSize"); text != "" {
		if least, err := resource.ParseQuantity(text); err == nil && size.Cmp(least) < 0 {
			size = least
		}
	}
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: t.Namespace, Name: t.copyName(), Labels: map[string]string{v1alpha1.LabelRun: string(t.UID)}},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: claim.Spec.StorageClassName,
			DataSource: &corev1.TypedLocalObjectReference{APIGroup: &snapshots.Group, Kind: snapshots.Kind, Name: taken.GetName()},
			Resources:  corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: size}},
		},
	}
}

// uncopy takes copies and snapshots away.
func (m *Movers) uncopy(ctx context.Context, namespace string, uid types.UID) error {
	all := &unstructured.UnstructuredList{}
	all.SetGroupVersionKind(snapshots)
	var claims corev1.PersistentVolumeClaimList
	of := []client.ListOption{client.InNamespace(namespace), client.MatchingLabels{v1alpha1.LabelRun: string(uid)}}
	if err := m.Live.List(ctx, &claims, of...); err != nil {
		return fmt.Errorf("listing copies of volumes in %s: %w", namespace, err)
	}
	if err := m.Live.List(ctx, all, of...); err != nil && !meta.IsNoMatchError(err) && !apierrors.IsNotFound(err) {
		return fmt.Errorf("listing snapshots in %s: %w", namespace, err)
	}
	var gone []client.Object
	for i := range claims.Items {
		gone = append(gone, &claims.Items[i])
	}
	for i := range all.Items {
		gone = append(gone, &all.Items[i])
	}
	for _, o := range gone {
		uid := o.GetUID()
		if err := m.Client.Delete(ctx, o, client.Preconditions{UID: &uid}, client.DisableReadYourWritesConsistency); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("deleting %s in %s: %w", o.GetName(), namespace, err)
		}
	}
	return nil
}
