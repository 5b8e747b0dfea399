//go:build rapid

package quota_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"pgregory.net/rapid"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/quota"
)

// amounts are those that the schema lets through, fractions and units included.
var amounts = rapid.Custom(func(t *rapid.T) resource.Quantity {
	whole := rapid.IntRange(0, 999).Draw(t, "whole")
	decimals := rapid.SampledFrom([]string{"", ".5", ".25", ".001", ".999"}).Draw(t, "decimals")
	unit := rapid.SampledFrom([]string{"", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"}).Draw(t, "unit")
	return resource.MustParse(fmt.Sprintf("%d%s%s", whole, decimals, unit))
})

var names = rapid.SampledFrom([]corev1.ResourceName{"requests.cpu", "requests.memory", "requests.storage", "pods", standard, encrypted})

var lists = rapid.Map(rapid.MapOfN(names, amounts, 0, 6), func(m map[corev1.ResourceName]resource.Quantity) corev1.ResourceList { return m })

func TestLaws(t *testing.T) {
	laws := map[string]func(t *rapid.T, a, b, c corev1.ResourceList) bool{
		"a is at most a": func(_ *rapid.T, a, _, _ corev1.ResourceList) bool { return quota.AtMost(a, a) && quota.Equal(a, a) },
		"at most is transitive": func(_ *rapid.T, a, b, c corev1.ResourceList) bool {
			return !quota.AtMost(a, b) || !quota.AtMost(b, c) || quota.AtMost(a, c)
		},
		"equal is symmetric": func(_ *rapid.T, a, b, _ corev1.ResourceList) bool { return quota.Equal(a, b) == quota.Equal(b, a) },
		"a is at most the larger of a and b": func(_ *rapid.T, a, b, _ corev1.ResourceList) bool {
			return quota.AtMost(a, quota.Max(a, b)) && quota.AtMost(b, quota.Max(a, b))
		},
		"the larger of both is one of both": func(_ *rapid.T, a, b, _ corev1.ResourceList) bool { return largerIsOneOf(a, b) },
		"the larger of a and a is a":        func(_ *rapid.T, a, _, _ corev1.ResourceList) bool { return quota.Equal(quota.Max(a, a), a) },
		"which is larger does not depend on order": func(_ *rapid.T, a, b, _ corev1.ResourceList) bool {
			return quota.Equal(quota.Max(a, b), quota.Max(b, a))
		},
		"a sum does not depend on order": func(_ *rapid.T, a, b, c corev1.ResourceList) bool {
			return quota.Equal(quota.Sum(a, b, c), quota.Sum(c, a, b))
		},
		"a sum does not depend on grouping": func(_ *rapid.T, a, b, c corev1.ResourceList) bool {
			return quota.Equal(quota.Sum(a, quota.Sum(b, c)), quota.Sum(quota.Sum(a, b), c))
		},
		"nothing adds nothing": func(_ *rapid.T, a, _, _ corev1.ResourceList) bool { return quota.Equal(quota.Sum(a, nil), a) },
		"the larger of both is at most the sum": func(_ *rapid.T, a, b, _ corev1.ResourceList) bool {
			return quota.AtMost(quota.Max(a, b), quota.Sum(a, b))
		},
		"more on one side keeps at most": func(_ *rapid.T, a, b, c corev1.ResourceList) bool {
			return !quota.AtMost(a, b) || quota.AtMost(a, quota.Sum(b, c))
		},
		"arguments stay as they are":                 argumentsStay,
		"what is lacking is lacking, and no less is": lacksAreExact,
	}
	for name, law := range laws {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				a, b, c := lists.Draw(t, "a"), lists.Draw(t, "b"), lists.Draw(t, "c")
				if !law(t, a, b, c) {
					t.Fatalf("not with a %v, b %v, c %v", texts(a), texts(b), texts(c))
				}
			})
		})
	}
}

func largerIsOneOf(a, b corev1.ResourceList) bool {
	for name, amount := range quota.Max(a, b) {
		if x, y := a[name], b[name]; amount.Cmp(x) != 0 && amount.Cmp(y) != 0 {
			return false
		}
	}
	return true
}

func argumentsStay(_ *rapid.T, a, b, c corev1.ResourceList) bool {
	x, y, z := a.DeepCopy(), b.DeepCopy(), c.DeepCopy()
	_, _, _, _ = quota.Sum(a, b, c), quota.Max(a, b), quota.AtMost(b, c), quota.Equal(a, c)
	return quota.Equal(a, x) && quota.Equal(b, y) && quota.Equal(c, z)
}

// lacksAreExact compares Lacks with its definition: what is asked beyond one's own share fits beside what all others hold, or it is lacking.
func lacksAreExact(_ *rapid.T, limit, others, asked corev1.ResourceList) bool {
	spec := v1alpha1.TenantSpec{Quota: v1alpha1.Quota{}, StorageClasses: []v1alpha1.StorageClass{{Name: "standard"}}}
	for name, amount := range limit {
		spec.Quota[name] = v1alpha1.Amount(amount.String())
	}
	ledger := []v1alpha1.Allocation{{Workspace: "other", Quota: others}}
	lacking := map[corev1.ResourceName]bool{}
	for _, lack := range quota.Lacks(&v1alpha1.Tenant{Spec: spec}, ledger, "sito", asked) {
		lacking[lack.Resource] = true
	}
	for name, amount := range asked {
		_, limited := limit[name]
		bounded := limited || (name != standard && name != encrypted)
		fits := quota.AtMost(corev1.ResourceList{name: quota.Sum(others, corev1.ResourceList{name: amount})[name]}, limit)
		if lacking[name] != (bounded && !fits && amount.Sign() > 0) {
			return false
		}
	}
	return true
}

// TestRequestShares divides a workspace's storage by class: as long as its volumes fit, the classes together are its storage.
func TestRequestShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var volumes []v1alpha1.Volume
		var sum resource.Quantity
		for i := range rapid.IntRange(0, 5).Draw(t, "volumes") {
			size := amounts.Draw(t, "size")
			sum.Add(size)
			class := rapid.SampledFrom([]string{"", "standard", "encrypted"}).Draw(t, "class")
			volumes = append(volumes, v1alpha1.Volume{Name: fmt.Sprint("v", i), Size: v1alpha1.Amount(size.String()), Class: class})
		}
		storage := amounts.Draw(t, "storage")
		got := quota.Request(nil, tenant(), workspace(v1alpha1.Quota{"requests.storage": v1alpha1.Amount(storage.String())}, volumes...))
		first, second := got[standard], got[encrypted]
		if first.Sign() < 0 || second.Sign() < 0 {
			t.Fatalf("less than nothing: %v", texts(got))
		}
		if sum.Cmp(storage) > 0 {
			return
		}
		if first.Add(second); first.Cmp(storage) != 0 {
			t.Fatalf("the classes are %s of %s", first.String(), storage.String())
		}
	})
}
