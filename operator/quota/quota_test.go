package quota_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/quota"
)

// list reads pairs of a name and an amount.
func list(pairs ...string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return out
}

// texts is a list as people read it: two lists with the same texts hold the same.
func texts(l corev1.ResourceList) map[string]string {
	out := map[string]string{}
	for name, amount := range l {
		out[string(name)] = amount.String()
	}
	return out
}

func TestCompare(t *testing.T) {
	cases := map[string]struct {
		reason        string
		a, b          corev1.ResourceList
		atMost, equal bool
	}{
		"Same":           {"the same", list("cpu", "1"), list("cpu", "1"), true, true},
		"Spelling":       {"one amount, written twice", list("memory", "1.5Gi", "cpu", "0.5"), list("memory", "1536Mi", "cpu", "500m"), true, true},
		"DecimalBinary":  {"1k is less than 1Ki", list("memory", "1k"), list("memory", "1Ki"), true, false},
		"Fraction":       {"less by a thousandth", list("cpu", "999m"), list("cpu", "1"), true, false},
		"FractionOver":   {"more by a thousandth", list("cpu", "1001m"), list("cpu", "1"), false, false},
		"AbsentIsZero":   {"nothing asked is at most nothing", list("cpu", "0"), nil, true, true},
		"ZeroIsAbsent":   {"in both directions", nil, list("cpu", "0"), true, true},
		"NotNamed":       {"what a limit does not name is none", list("cpu", "1"), list("memory", "1Gi"), false, false},
		"NoneAtMostSome": {"nothing is at most something", nil, list("cpu", "1"), true, false},
		"OneOver":        {"each resource counts", list("cpu", "1", "memory", "2Gi"), list("cpu", "2", "memory", "1Gi"), false, false},
		"BeyondInt64":    {"amounts are compared as decimals: 9Ei and 9Ei are not -2", list("memory", "18Ei"), list("memory", "1Gi"), false, false},
		"Empty":          {"two empty lists", nil, corev1.ResourceList{}, true, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := quota.AtMost(tc.a, tc.b); got != tc.atMost {
				t.Errorf("%s: AtMost is %v, want %v", tc.reason, got, tc.atMost)
			}
			if got := quota.Equal(tc.a, tc.b); got != tc.equal {
				t.Errorf("%s: Equal is %v, want %v", tc.reason, got, tc.equal)
			}
		})
	}
}

func TestMaxAndSum(t *testing.T) {
	a, b := list("cpu", "500m", "memory", "2Gi"), list("cpu", "1.5", "pods", "10")
	if diff := cmp.Diff(map[string]string{"cpu": "1500m", "memory": "2Gi", "pods": "10"}, texts(quota.Max(a, b))); diff != "" {
		t.Errorf("Max (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"cpu": "2", "memory": "2Gi", "pods": "10"}, texts(quota.Sum(a, b))); diff != "" {
		t.Errorf("Sum (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"cpu": "500m", "memory": "2Gi"}, texts(a)); diff != "" {
		t.Errorf("an argument changed (-want +got):\n%s", diff)
	}
	if got := quota.Max(nil, nil); got == nil || len(got) != 0 {
		t.Errorf("Max of nothing is %v", got)
	}
	if got := quota.Sum(); len(got) != 0 {
		t.Errorf("Sum of nothing is %v", got)
	}
	if got := quota.Sum(list("memory", "9Ei"), list("memory", "9Ei")); !quota.AtMost(list("memory", "17Ei"), got) {
		t.Errorf("9Ei and 9Ei is %v", texts(got))
	}
}

// tenant has two storage classes, of which one is bounded.
func tenant() *v1alpha1.Tenant {
	return &v1alpha1.Tenant{Spec: v1alpha1.TenantSpec{
		Quota:          v1alpha1.Quota{"requests.cpu": "48", "requests.memory": "192Gi", "requests.storage": "4Ti", "pods": "800"},
		StorageClasses: []v1alpha1.StorageClass{{Name: "standard"}, {Name: "encrypted", Quota: "1Ti"}},
	}}
}

func workspace(q v1alpha1.Quota, volumes ...v1alpha1.Volume) *v1alpha1.Workspace {
	w := &v1alpha1.Workspace{Spec: v1alpha1.WorkspaceSpec{Quota: q}}
	if len(volumes) > 0 {
		w.Spec.Storage = &v1alpha1.WorkspaceStorage{Volumes: volumes}
	}
	return w
}

const (
	standard  = "standard.storageclass.storage.k8s.io/requests.storage"
	encrypted = "encrypted.storageclass.storage.k8s.io/requests.storage"
)

func TestRequest(t *testing.T) {
	defaults := v1alpha1.Quota{"requests.cpu": "2", "requests.memory": "4Gi", "requests.storage": "20Gi"}
	cases := map[string]struct {
		reason string
		w      *v1alpha1.Workspace
		want   map[string]string
	}{
		"Defaults": {"who says nothing gets the defaults, all storage of the first class", workspace(nil),
			map[string]string{"requests.cpu": "2", "requests.memory": "4Gi", "requests.storage": "20Gi", standard: "20Gi", encrypted: "0"}},
		"Own": {"what is said replaces the default of the same name", workspace(v1alpha1.Quota{"requests.cpu": "500m", "pods": "7"}),
			map[string]string{"requests.cpu": "500m", "requests.memory": "4Gi", "requests.storage": "20Gi", "pods": "7", standard: "20Gi", encrypted: "0"}},
		"FirstClass": {"volumes of the first class come out of the rest", workspace(nil, v1alpha1.Volume{Name: "a", Size: "5Gi"}, v1alpha1.Volume{Name: "b", Size: "5Gi", Class: "standard"}),
			map[string]string{"requests.cpu": "2", "requests.memory": "4Gi", "requests.storage": "20Gi", standard: "20Gi", encrypted: "0"}},
		"OtherClass": {"each other class gets what its volumes declare, the first one the rest", workspace(nil,
			v1alpha1.Volume{Name: "a", Size: "5Gi", Class: "encrypted"}, v1alpha1.Volume{Name: "b", Size: "1.5Gi", Class: "encrypted"}),
			map[string]string{"requests.cpu": "2", "requests.memory": "4Gi", "requests.storage": "20Gi", standard: "13824Mi", encrypted: "6656Mi"}},
		"TooMuch": {"volumes beyond the storage leave no rest, and no negative one", workspace(nil, v1alpha1.Volume{Name: "a", Size: "30Gi", Class: "encrypted"}),
			map[string]string{"requests.cpu": "2", "requests.memory": "4Gi", "requests.storage": "20Gi", standard: "0", encrypted: "30Gi"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, texts(quota.Request(defaults, tenant(), tc.w))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
	if diff := cmp.Diff(v1alpha1.Quota{"requests.cpu": "2", "requests.memory": "4Gi", "requests.storage": "20Gi"}, defaults); diff != "" {
		t.Errorf("the defaults changed (-want +got):\n%s", diff)
	}
}

func TestLimits(t *testing.T) {
	want := map[string]string{"requests.cpu": "48", "requests.memory": "192Gi", "requests.storage": "4Ti", "pods": "800", encrypted: "1Ti"}
	if diff := cmp.Diff(want, texts(quota.Limits(tenant()))); diff != "" {
		t.Errorf("a class without a quota is bounded by requests.storage alone (-want +got):\n%s", diff)
	}
}

func TestHeld(t *testing.T) {
	shrinking := v1alpha1.Allocation{Quota: list("cpu", "1", "memory", "4Gi"), Releasing: list("cpu", "3", "memory", "2Gi")}
	if diff := cmp.Diff(map[string]string{"cpu": "3", "memory": "4Gi"}, texts(quota.Held(shrinking))); diff != "" {
		t.Errorf("what is not yet given back counts (-want +got):\n%s", diff)
	}
}

// ledger is three workspaces of a tenant, of which the second gives memory back.
func ledger() []v1alpha1.Allocation {
	return []v1alpha1.Allocation{
		{Workspace: "sportello", Quota: list("requests.cpu", "30", "requests.memory", "100Gi", standard, "2Ti")},
		{Workspace: "identita", Quota: list("requests.cpu", "10", "requests.memory", "20Gi"), Releasing: list("requests.memory", "60Gi")},
		{Workspace: "gis", Quota: list("requests.cpu", "4", "requests.memory", "1Gi", encrypted, "1000Gi")},
	}
}

func TestLacks(t *testing.T) {
	cases := map[string]struct {
		reason    string
		workspace string
		asked     corev1.ResourceList
		want      string // the whole explanation
	}{
		"Fits":       {"just what is left", "sito", list("requests.cpu", "4", "requests.memory", "31Gi"), ""},
		"OneOver":    {"a thousandth too much", "sito", list("requests.cpu", "4001m"), "requests.cpu: 4001m asked, 4 of 48 free (held by sportello 30, identita 10, gis 4)"},
		"Releasing":  {"what is not yet given back is not free", "sito", list("requests.memory", "50Gi"), "requests.memory: 50Gi asked, 31Gi of 192Gi free (held by sportello 100Gi, identita 60Gi, gis 1Gi)"},
		"Shrink":     {"to give back always fits", "sportello", list("requests.cpu", "1"), ""},
		"Same":       {"to keep always fits", "sportello", list("requests.cpu", "30"), ""},
		"Grow":       {"one's own share is free to oneself", "sportello", list("requests.cpu", "34"), ""},
		"GrowOver":   {"but not more", "sportello", list("requests.cpu", "34.5"), "requests.cpu: 34500m asked, 34 of 48 free (held by identita 10, gis 4)"},
		"Regrow":     {"who gives back may take again what it still holds", "identita", list("requests.memory", "60Gi"), ""},
		"NotGranted": {"what the tenant's quota does not name is not granted", "sito", list("services.loadbalancers", "1"), "services.loadbalancers: 1 asked, 0 of 0 free"},
		"NoneAsked":  {"to ask for none of it is fine", "sito", list("services.loadbalancers", "0"), ""},
		"Unbounded":  {"a class without a quota is not bounded", "sito", list(standard, "3Ti"), ""},
		"Class":      {"a class with one is", "sito", list(encrypted, "25Gi"), encrypted + ": 25Gi asked, 24Gi of 1Ti free (held by gis 1000Gi)"},
		"Several": {"each resource by name, in order", "sito", list("requests.memory", "1Ti", "requests.cpu", "99", "pods", "900"),
			"pods: 900 asked, 800 of 800 free; requests.cpu: 99 asked, 4 of 48 free (held by sportello 30, identita 10, gis 4); " +
				"requests.memory: 1Ti asked, 31Gi of 192Gi free (held by sportello 100Gi, identita 60Gi, gis 1Gi)"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			lacks := quota.Lacks(tenant(), ledger(), tc.workspace, tc.asked)
			if diff := cmp.Diff(tc.want, quota.Explain(lacks, ledger(), tc.workspace)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

// TestExplainIsBounded names the five largest holders, ties by name, and counts the others.
func TestExplainIsBounded(t *testing.T) {
	var many []v1alpha1.Allocation
	for _, name := range []string{"h", "g", "f", "e", "d", "c", "b", "a"} {
		many = append(many, v1alpha1.Allocation{Workspace: v1alpha1.WorkspaceName(name), Quota: list("requests.cpu", "6")})
	}
	many[3].Quota = list("requests.cpu", "5500m")
	lacks := quota.Lacks(tenant(), many, "sito", list("requests.cpu", "2"))
	want := "requests.cpu: 2 asked, 500m of 48 free (held by a 6, b 6, c 6, d 6, f 6, 3 more)"
	if diff := cmp.Diff(want, quota.Explain(lacks, many, "sito")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestOvercommitted is a tenant whose workspaces hold more than it has, as after a restore of an older manifest: nothing grows, and
// the message says by how much.
func TestOvercommitted(t *testing.T) {
	small := tenant()
	small.Spec.Quota["requests.cpu"] = "10"
	lacks := quota.Lacks(small, ledger(), "sito", list("requests.cpu", "1"))
	want := "requests.cpu: 1 asked, -34 of 10 free (held by sportello 30, identita 10, gis 4)"
	if diff := cmp.Diff(want, quota.Explain(lacks, ledger(), "sito")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if lacks := quota.Lacks(small, ledger(), "sportello", list("requests.cpu", "30")); len(lacks) > 0 {
		t.Errorf("who keeps what it has lacks %v", quota.Explain(lacks, ledger(), "sportello"))
	}
}
