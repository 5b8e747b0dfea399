package volumes

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
)

// Nobody is as whom volumes are read that no pod uses.
const Nobody = 65532

// Claim is a volume of a workspace, or a database, and what a mover has to know of it.
type Claim struct {
	Name string
	// Database is what is dumped instead of a volume, and Missing says why it cannot be.
	Database *v1alpha1.Database
	Missing  string
	Profile  v1alpha1.VolumeProfile
	// Bound tells whether there is a volume. Block: it is a device without files.
	Bound, Block bool
	// Pods are those that use it, by name.
	Pods []string
	// Node is where it is in use and cannot be used elsewhere. Holder is the pod that lets no other use it there.
	Node, Holder string
	// User, Group and FSGroup are those of the pod that uses it.
	User, Group, FSGroup int64
}

// Claims are the volumes of a namespace, by name, without those that movers make.
func (m *Movers) Claims(ctx context.Context, namespace string) ([]Claim, error) {
	var claims corev1.PersistentVolumeClaimList
	var pods corev1.PodList
	if err := m.Live.List(ctx, &claims, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("listing the claims of %s: %w", namespace, err)
	}
	if len(claims.Items) == 0 {
		return nil, nil
	}
	if err := m.Live.List(ctx, &pods, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("listing the pods of %s: %w", namespace, err)
	}
	return claimsOf(claims.Items, pods.Items), nil
}

func claimsOf(claims []corev1.PersistentVolumeClaim, pods []corev1.Pod) (out []Claim) {
	for _, c := range claims {
		if !c.DeletionTimestamp.IsZero() || c.Labels[v1alpha1.LabelRun] != "" {
			continue
		}
		one := Claim{
			Name: c.Name, Profile: v1alpha1.ProfileGeneral, Bound: c.Status.Phase == corev1.ClaimBound,
			Block: c.Spec.VolumeMode != nil && *c.Spec.VolumeMode == corev1.PersistentVolumeBlock,
			User:  Nobody, Group: Nobody,
		}
		if c.Annotations[v1alpha1.AnnotationProfile] == string(v1alpha1.ProfileDatabase) {
			one.Profile = v1alpha1.ProfileDatabase
		}
		modes := c.Spec.AccessModes
		for i := range pods {
			container := using(&pods[i], c.Name)
			if container == nil || pods[i].Labels[v1alpha1.LabelRun] != "" {
				continue
			}
			one.Pods = append(one.Pods, pods[i].Name)
			if node := pods[i].Spec.NodeName; node != "" && !slices.Contains(modes, corev1.ReadWriteMany) {
				one.Node = node
			}
			if slices.Contains(modes, corev1.ReadWriteOncePod) {
				one.Holder = pods[i].Name
			}
			one.User, one.Group, one.FSGroup = identity(&pods[i], container)
		}
		slices.Sort(one.Pods)
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b Claim) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// using is the first container of a pod that mounts a claim; nil: none does, or the pod is over.
func using(p *corev1.Pod, claim string) *corev1.Container {
	if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return nil
	}
	for _, v := range p.Spec.Volumes {
		if v.PersistentVolumeClaim == nil || v.PersistentVolumeClaim.ClaimName != claim {
			continue
		}
		for i := range p.Spec.Containers {
			c := &p.Spec.Containers[i]
			if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == v.Name }) {
				return c
			}
		}
	}
	return nil
}

// identity is as whom a container reads and writes: as its pod says or, where the image says it, as the kubelet has found.
func identity(p *corev1.Pod, c *corev1.Container) (user, group, fsGroup int64) {
	user, group = Nobody, Nobody
	for _, s := range p.Status.ContainerStatuses {
		if s.Name == c.Name && s.User != nil && s.User.Linux != nil {
			user, group = s.User.Linux.UID, s.User.Linux.GID
		}
	}
	if s := p.Spec.SecurityContext; s != nil {
		user, group, fsGroup = given(s.RunAsUser, user), given(s.RunAsGroup, group), given(s.FSGroup, 0)
	}
	if s := c.SecurityContext; s != nil {
		user, group = given(s.RunAsUser, user), given(s.RunAsGroup, group)
	}
	return user, group, fsGroup
}

func given(value *int64, otherwise int64) int64 {
	if value != nil {
		return *value
	}
	return otherwise
}
