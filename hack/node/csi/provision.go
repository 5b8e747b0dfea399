//go:build linux

package csi

import (
	"context"
	"fmt"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	provisioning "sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// provisioner makes volumes for claims. It stands for external-provisioner, which is no Go module that can be had.
type provisioner struct {
	volumes   *controller
	cluster   kubernetes.Interface
	snapshots snapshotclient.Interface
}

// provision returns what serves the claims of a cluster until ctx ends.
func provision(ctx context.Context, config *rest.Config, volumes *controller) (run func(), err error) {
	cluster, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	snapshots, err := snapshotclient.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	const soon, late = 200 * time.Millisecond, 10 * time.Second // a test waits for what, in production, may take minutes
	c := provisioning.NewProvisionController(ctx, cluster, Name, &provisioner{volumes, cluster, snapshots},
		provisioning.LeaderElection(false),
		provisioning.AddFinalizer(true), // a deleted PersistentVolume waits for its data's end
		provisioning.RateLimiter(workqueue.NewTypedItemExponentialFailureRateLimiter[string](soon, late)),
		provisioning.FailedProvisionThreshold(0), // never give up
		provisioning.FailedDeleteThreshold(0),
		provisioning.RetryIntervalMax(late),
	)
	return func() { c.Run(ctx) }, nil
}

// Provision makes the volume of a claim.
func (p *provisioner) Provision(ctx context.Context, o provisioning.ProvisionOptions) (*corev1.PersistentVolume, provisioning.ProvisioningState, error) {
	if o.PVC.Spec.Selector != nil {
		return nil, provisioning.ProvisioningFinished, fmt.Errorf("a volume that is made anew has no labels to select; leave spec.selector out")
	}
	source, err := p.source(ctx, o.PVC)
	if err != nil {
		return nil, provisioning.ProvisioningFinished, err
	}
	size := o.PVC.Spec.Resources.Requests[corev1.ResourceStorage]
	made, err := p.volumes.CreateVolume(ctx, &spec.CreateVolumeRequest{
		Name:                o.PVName,
		CapacityRange:       &spec.CapacityRange{RequiredBytes: size.Value()},
		VolumeContentSource: source,
		VolumeCapabilities:  []*spec.VolumeCapability{{AccessType: &spec.VolumeCapability_Mount{Mount: &spec.VolumeCapability_MountVolume{}}}},
	})
	if err != nil {
		return nil, provisioning.ProvisioningFinished, err
	}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: o.PVName},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes:                   o.PVC.Spec.AccessModes,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: *resource.NewQuantity(made.GetVolume().GetCapacityBytes(), resource.BinarySI)},
			PersistentVolumeReclaimPolicy: *o.StorageClass.ReclaimPolicy,
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver: Name, VolumeHandle: made.GetVolume().GetVolumeId(),
			}},
		},
	}, provisioning.ProvisioningFinished, nil
}

// Delete removes the data of a volume.
func (p *provisioner) Delete(ctx context.Context, v *corev1.PersistentVolume) error {
	if v.Spec.CSI == nil || v.Spec.CSI.Driver != Name {
		return &provisioning.IgnoredError{Reason: "the volume is not " + Name + "'s"}
	}
	_, err := p.volumes.DeleteVolume(ctx, &spec.DeleteVolumeRequest{VolumeId: v.Spec.CSI.VolumeHandle})
	return err
}

// source is what a claim's volume begins with. The API server fills dataSourceRef from dataSource.
func (p *provisioner) source(ctx context.Context, claim *corev1.PersistentVolumeClaim) (*spec.VolumeContentSource, error) {
	from := claim.Spec.DataSourceRef
	if from == nil {
		return nil, nil
	}
	if from.Namespace != nil && *from.Namespace != claim.Namespace {
		return nil, fmt.Errorf("data source %s: is in namespace %s; name one of the claim's own", from.Name, *from.Namespace)
	}
	switch from.Kind {
	case "VolumeSnapshot":
		id, err := p.snapshot(ctx, claim.Namespace, from.Name)
		return &spec.VolumeContentSource{Type: &spec.VolumeContentSource_Snapshot{
			Snapshot: &spec.VolumeContentSource_SnapshotSource{SnapshotId: id},
		}}, err
	case "PersistentVolumeClaim":
		id, err := p.claim(ctx, claim.Namespace, from.Name)
		return &spec.VolumeContentSource{Type: &spec.VolumeContentSource_Volume{
			Volume: &spec.VolumeContentSource_VolumeSource{VolumeId: id},
		}}, err
	}
	return nil, &provisioning.IgnoredError{Reason: "a data source of kind " + from.Kind + " is for its own populator"}
}

// snapshot is the id behind a VolumeSnapshot, once that is ready. The content must name it back, else a tenant could take another's by a
// VolumeSnapshot of its own making.
func (p *provisioner) snapshot(ctx context.Context, namespace, name string) (string, error) {
	s, err := p.snapshots.SnapshotV1().VolumeSnapshots(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	if s.Status == nil || s.Status.BoundVolumeSnapshotContentName == nil || s.Status.ReadyToUse == nil || !*s.Status.ReadyToUse {
		return "", fmt.Errorf("volume snapshot %s/%s: not ready to use yet", namespace, name)
	}
	c, err := p.snapshots.SnapshotV1().VolumeSnapshotContents().Get(ctx, *s.Status.BoundVolumeSnapshotContentName, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	switch {
	case c.Spec.VolumeSnapshotRef.UID != s.UID:
		return "", fmt.Errorf("volume snapshot %s/%s: its content %s belongs to another", namespace, name, c.Name)
	case c.Spec.Driver != Name:
		return "", fmt.Errorf("volume snapshot %s/%s: made by driver %s; restore it with a class of that", namespace, name, c.Spec.Driver)
	case c.Status == nil || c.Status.SnapshotHandle == nil:
		return "", fmt.Errorf("volume snapshot %s/%s: its content %s has no handle yet", namespace, name, c.Name)
	}
	return *c.Status.SnapshotHandle, nil
}

// claim is the id of the volume that a claim is bound to.
func (p *provisioner) claim(ctx context.Context, namespace, name string) (string, error) {
	c, err := p.cluster.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	if c.Status.Phase != corev1.ClaimBound {
		return "", fmt.Errorf("claim %s/%s: not bound to a volume yet", namespace, name)
	}
	v, err := p.cluster.CoreV1().PersistentVolumes().Get(ctx, c.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	if v.Spec.CSI == nil || v.Spec.CSI.Driver != Name {
		return "", fmt.Errorf("claim %s/%s: its volume is not %s's; copy within one driver", namespace, name, Name)
	}
	return v.Spec.CSI.VolumeHandle, nil
}
