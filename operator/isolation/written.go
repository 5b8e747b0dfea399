package isolation

import (
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// KeepLastWrite is a transform of the cache: it strips the managed fields, which cost memory, and leaves of those of the kinds that
// checks rest on the time of the last write, which nothing else in an object tells. These kinds are never written back from the cache.
func KeepLastWrite(in any) (any, error) {
	o, err := meta.Accessor(in)
	if err != nil || o.GetManagedFields() == nil {
		return in, nil //nolint:nilerr // what has no metadata has nothing to strip
	}
	var last []metav1.ManagedFieldsEntry
	switch in.(type) {
	case *corev1.Namespace, *corev1.ResourceQuota, *networkingv1.NetworkPolicy, *storagev1.StorageClass,
		*admissionv1.ValidatingAdmissionPolicy, *admissionv1.ValidatingAdmissionPolicyBinding,
		*admissionv1.MutatingAdmissionPolicy, *admissionv1.MutatingAdmissionPolicyBinding:
		if at := wrote(o); !at.IsZero() {
			last = []metav1.ManagedFieldsEntry{{Time: &metav1.Time{Time: at}}}
		}
	}
	o.SetManagedFields(last)
	return in, nil
}

// lastWrite is when an object was created or changed last, its status left aside; zero for none. Whoever only takes a field away
// leaves no time.
func lastWrite(o client.Object) time.Time {
	if o == nil {
		return time.Time{}
	}
	if at := wrote(o); at.After(o.GetCreationTimestamp().Time) {
		return at
	}
	return o.GetCreationTimestamp().Time
}

func wrote(o metav1.Object) (at time.Time) {
	for _, entry := range o.GetManagedFields() {
		if entry.Subresource == "" && entry.Time != nil && entry.Time.After(at) {
			at = entry.Time.Time
		}
	}
	return at
}
