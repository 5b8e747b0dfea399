package service

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
)

// A roll brings the instances of one offering to its version, in the order of their names, at most a fifth of them at a time, or one. The
// order is the same for whoever looks, so that two looks at a time that do not see each other do not begin more.
type roll struct {
	version   v1alpha1.Version
	instances []*v1alpha1.ServiceInstance // of the offering, all
}

// follows tells whether an instance is provisioned and goes where the offering goes.
func follows(i *v1alpha1.ServiceInstance) bool {
	return i.Status.Version != "" && i.Spec.Version == "" && i.DeletionTimestamp.IsZero()
}

func (r roll) outdated(i *v1alpha1.ServiceInstance) bool {
	return follows(i) && i.Status.Version != r.version
}

// begun tells whether an instance is on its way.
func (r roll) begun(i *v1alpha1.ServiceInstance) bool {
	c := meta.FindStatusCondition(i.Status.Conditions, v1alpha1.ConditionConforms)
	return r.outdated(i) && i.Status.Upgrade != nil && i.Status.Upgrade.Version == r.version && c != nil && c.Reason == v1alpha1.ReasonUpgrading
}

// failed tells whether an instance did not get there: somebody has to look.
func (r roll) failed(i *v1alpha1.ServiceInstance) bool {
	if !r.begun(i) {
		return false
	}
	ready := meta.FindStatusCondition(i.Status.Conditions, v1alpha1.ConditionReady)
	return meta.IsStatusConditionTrue(i.Status.Conditions, v1alpha1.ConditionStalled) ||
		(ready != nil && ready.Status == metav1.ConditionFalse && ready.Reason == v1alpha1.ReasonRetrying)
}

// room is how many more may begin.
func (r roll) room() int {
	total, begun := 0, 0
	for _, i := range r.instances {
		if follows(i) {
			total++
		}
		if r.begun(i) {
			begun++
		}
	}
	return max(1, total/5) - begun
}

// stopped tells whether an instance other than this one failed.
func (r roll) stopped(self *v1alpha1.ServiceInstance) bool {
	return slices.ContainsFunc(r.instances, func(i *v1alpha1.ServiceInstance) bool { return key(i) != key(self) && r.failed(i) })
}

// waiting are those that have not begun and could, in their order. One that is not ready holds nobody up.
func (r roll) waiting(self *v1alpha1.ServiceInstance) (out []string) {
	for _, i := range r.instances {
		if r.outdated(i) && !r.begun(i) && (meta.IsStatusConditionTrue(i.Status.Conditions, v1alpha1.ConditionReady) || (self != nil && key(i) == key(self))) {
			out = append(out, key(i))
		}
	}
	slices.SortFunc(out, strings.Compare)
	return out
}

// turn tells whether it is an instance's turn, and if not, what it waits for. Who waits learns nothing of other tenants' names.
func (r roll) turn(i *v1alpha1.ServiceInstance) (its bool, why string) {
	switch {
	case r.begun(i):
		return true, ""
	case r.stopped(i):
		return false, "the upgrade to " + string(r.version) + " has stopped, since it failed for another instance: the platform looks into it"
	}
	if at := slices.Index(r.waiting(i), key(i)); at >= 0 && at < r.room() {
		return true, ""
	}
	return false, "the upgrade to " + string(r.version) + " goes from instance to instance: it is not this one's turn yet"
}

func key(i *v1alpha1.ServiceInstance) string { return i.Namespace + "/" + i.Name }
