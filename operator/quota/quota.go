// Package quota is the arithmetic of sharing a tenant's quota out among its workspaces. It is pure. Amounts are
// compared with Cmp and added as decimals: a quantity's integer value overflows in silence.
package quota

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/broletto/broletto/api/v1alpha1"
)

// OfClass is the key under which a ResourceQuota limits the storage of one class.
func OfClass(class string) corev1.ResourceName {
	return corev1.ResourceName(class + ".storageclass.storage.k8s.io/requests.storage")
}

// Limits are all that a tenant's workspaces may hold together: its quota, and that of each storage class that has one.
func Limits(t *v1alpha1.Tenant) corev1.ResourceList {
	out := t.Spec.Quota.List()
	for _, class := range t.Spec.StorageClasses {
		if class.Quota != "" {
			out[OfClass(class.Name)] = class.Quota.Quantity()
		}
	}
	return out
}

// Request is what a workspace asks for: its quota, completed from the defaults, and storage by class. Each class gets what
// the volumes of the workspace declare; the tenant's first class gets the rest of requests.storage.
func Request(defaults v1alpha1.Quota, t *v1alpha1.Tenant, w *v1alpha1.Workspace) corev1.ResourceList {
	out := defaults.List()
	maps.Copy(out, w.Spec.Quota.List())
	rest := out[corev1.ResourceRequestsStorage].DeepCopy()
	for _, class := range t.Spec.StorageClasses {
		out[OfClass(class.Name)] = resource.Quantity{Format: resource.BinarySI}
	}
	for class, size := range Volumes(t, w) {
		if class != t.Spec.StorageClasses[0].Name {
			out[OfClass(class)] = size
			rest.Sub(size)
		}
	}
	if rest.Sign() < 0 {
		rest = resource.Quantity{Format: resource.BinarySI}
	}
	out[OfClass(t.Spec.StorageClasses[0].Name)] = rest
	return out
}

// Volumes is the size that a workspace's volumes declare, by class.
func Volumes(t *v1alpha1.Tenant, w *v1alpha1.Workspace) map[string]resource.Quantity {
	out := map[string]resource.Quantity{}
	if w.Spec.Storage == nil {
		return out
	}
	for _, volume := range w.Spec.Storage.Volumes {
		class := ClassOf(t, volume)
		sum := out[class]
		sum.Add(volume.Size.Quantity())
		out[class] = sum
	}
	return out
}

// ClassOf is the storage class of a volume: its own, or the tenant's first.
func ClassOf(t *v1alpha1.Tenant, volume v1alpha1.Volume) string {
	if volume.Class != "" {
		return volume.Class
	}
	return t.Spec.StorageClasses[0].Name
}

// Equal tells whether two lists hold the same amounts; absent and zero are one.
func Equal(a, b corev1.ResourceList) bool {
	return AtMost(a, b) && AtMost(b, a)
}

// AtMost tells whether no amount of a exceeds that of b; absent is zero.
func AtMost(a, b corev1.ResourceList) bool {
	for name, amount := range a {
		if limit := b[name]; amount.Cmp(limit) > 0 {
			return false
		}
	}
	return true
}

// Max is the larger amount of each resource.
func Max(a, b corev1.ResourceList) corev1.ResourceList {
	out := a.DeepCopy()
	if out == nil {
		out = corev1.ResourceList{}
	}
	for name, amount := range b {
		if held, ok := out[name]; !ok || amount.Cmp(held) > 0 {
			out[name] = amount
		}
	}
	return out
}

// Sum adds lists up.
func Sum(lists ...corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for _, list := range lists {
		for name, amount := range list {
			sum := out[name]
			sum.Add(amount)
			out[name] = sum
		}
	}
	return out
}

// Held is what an allocation counts for: what it grants, and what the workspace has not yet given back.
func Held(a v1alpha1.Allocation) corev1.ResourceList { return Max(a.Quota, a.Releasing) }

// Lack is one resource of which too little is left.
type Lack struct {
	Resource    corev1.ResourceName
	Asked, Free resource.Quantity
	Limit       resource.Quantity
}

// Lacks tells what keeps a workspace from growing to what it asks for: for each resource the tenant has, what is left
// beside what all others hold. A resource that the tenant's quota does not name is not granted; a storage class without a quota is not bounded.
func Lacks(t *v1alpha1.Tenant, ledger []v1alpha1.Allocation, workspace string, asked corev1.ResourceList) []Lack {
	limits, others := Limits(t), corev1.ResourceList{}
	var own corev1.ResourceList
	for _, a := range ledger {
		if string(a.Workspace) == workspace {
			own = Held(a)
			continue
		}
		others = Sum(others, Held(a))
	}
	var out []Lack
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		amount, held := asked[name], own[name]
		limit, limited := limits[name]
		if (!limited && strings.Contains(string(name), ".storageclass.")) || amount.Cmp(held) <= 0 {
			continue
		}
		free := limit.DeepCopy()
		free.Sub(others[name])
		if amount.Cmp(free) > 0 {
			out = append(out, Lack{Resource: name, Asked: amount, Free: free, Limit: limit})
		}
	}
	return out
}

// Explain says of each resource what is asked, what is left and who holds the rest, largest first.
func Explain(lacks []Lack, ledger []v1alpha1.Allocation, workspace string) string {
	texts := make([]string, 0, len(lacks))
	for _, lack := range lacks {
		text := fmt.Sprintf("%s: %s asked, %s of %s free", lack.Resource, lack.Asked.String(), lack.Free.String(), lack.Limit.String())
		if holders := holders(lack.Resource, ledger, workspace); holders != "" {
			text += " (held by " + holders + ")"
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, "; ")
}

// mostHolders bounds the message; who holds least matters least.
const mostHolders = 5

func holders(name corev1.ResourceName, ledger []v1alpha1.Allocation, workspace string) string {
	type holder struct {
		name   string
		amount resource.Quantity
	}
	var all []holder
	for _, a := range ledger {
		if amount := Held(a)[name]; string(a.Workspace) != workspace && amount.Sign() > 0 {
			all = append(all, holder{string(a.Workspace), amount})
		}
	}
	slices.SortFunc(all, func(a, b holder) int {
		if order := b.amount.Cmp(a.amount); order != 0 {
			return order
		}
		return strings.Compare(a.name, b.name)
	})
	var texts []string
	for _, h := range all[:min(len(all), mostHolders)] {
		texts = append(texts, h.name+" "+h.amount.String())
	}
	if rest := len(all) - mostHolders; rest > 0 {
		texts = append(texts, fmt.Sprintf("%d more", rest))
	}
	return strings.Join(texts, ", ")
}
