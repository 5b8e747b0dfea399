package tenant

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/quota"
)

var epoch = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)

// asking is a workspace made some minutes after the first one, that asks for cpu and hosts.
func asking(name string, minute int, cpu v1alpha1.Amount, hosts ...v1alpha1.Hostname) v1alpha1.Workspace {
	return v1alpha1.Workspace{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "lugano", Name: name, UID: types.UID("uid-" + name),
			CreationTimestamp: metav1.NewTime(epoch.Add(time.Duration(minute) * time.Minute)),
		},
		Spec: v1alpha1.WorkspaceSpec{Quota: v1alpha1.Quota{"requests.cpu": cpu}, Network: v1alpha1.WorkspaceNetwork{Hosts: hosts}},
	}
}

// granting is a tenant that has ten cpus and a ledger.
func granting(ledger ...v1alpha1.Allocation) *v1alpha1.Tenant {
	return &v1alpha1.Tenant{
		ObjectMeta: metav1.ObjectMeta{Name: "lugano"},
		Spec: v1alpha1.TenantSpec{
			Quota: v1alpha1.Quota{"requests.cpu": "10"}, StorageClasses: []v1alpha1.StorageClass{{Name: "standard"}},
		},
		Status: v1alpha1.TenantStatus{Allocations: ledger},
	}
}

// entry is a line of the ledger, for cpu alone.
func entry(name string, revision int64, cpu, releasing string, hosts ...v1alpha1.Hostname) v1alpha1.Allocation {
	a := v1alpha1.Allocation{Workspace: v1alpha1.WorkspaceName(name), UID: types.UID("uid-" + name), Revision: revision, Quota: cpus(cpu), Hosts: hosts}
	if releasing != "" {
		a.Releasing = cpus(releasing)
	}
	return a
}

func cpus(amount string) corev1.ResourceList {
	return corev1.ResourceList{
		"requests.cpu": resource.MustParse(amount), quota.OfClass("standard"): resource.MustParse("0"),
	}
}

// told is a ledger as people read it: "name revision cpu releasing hosts".
func told(ledger []v1alpha1.Allocation) (out []string) {
	for _, a := range ledger {
		cpu, releasing := a.Quota["requests.cpu"], "-"
		if r, ok := a.Releasing["requests.cpu"]; ok {
			releasing = r.String()
		}
		out = append(out, fmt.Sprint(a.Workspace, " ", a.Revision, " ", cpu.String(), " ", releasing, " ", a.Hosts))
	}
	return out
}

func confirmed(w v1alpha1.Workspace, revision int64) v1alpha1.Workspace {
	w.Status.AllocationRevision = revision
	return w
}

func deleted(w v1alpha1.Workspace) v1alpha1.Workspace {
	now := metav1.NewTime(epoch)
	w.DeletionTimestamp = &now
	return w
}

func TestAllocate(t *testing.T) {
	reborn := asking("a", 9, "3")
	reborn.UID = "uid-reborn"
	cases := map[string]struct {
		reason     string
		ledger     []v1alpha1.Allocation
		workspaces []v1alpha1.Workspace
		refuse     bool
		want       []string
	}{
		"Nothing":          {reason: "no workspaces, no ledger"},
		"First":            {reason: "a first entry has revision 1", workspaces: []v1alpha1.Workspace{asking("a", 0, "4")}, want: []string{"a 1 4 - []"}},
		"Fraction":         {reason: "amounts are decimals", workspaces: []v1alpha1.Workspace{asking("a", 0, "9.5"), asking("b", 1, "500m"), asking("c", 2, "1m")}, want: []string{"a 1 9500m - []", "b 1 500m - []"}},
		"OldestFirst":      {reason: "the oldest come first, whatever their names", workspaces: []v1alpha1.Workspace{asking("a", 2, "6"), asking("b", 1, "6")}, want: []string{"b 1 6 - []"}},
		"SameAge":          {reason: "of the same second the names decide", workspaces: []v1alpha1.Workspace{asking("b", 0, "6"), asking("a", 0, "6")}, want: []string{"a 1 6 - []"}},
		"SmallerFits":      {reason: "who asks for less does not wait for who asks too much", workspaces: []v1alpha1.Workspace{asking("a", 0, "11"), asking("b", 1, "2")}, want: []string{"b 1 2 - []"}},
		"Settled":          {reason: "nothing moves", ledger: []v1alpha1.Allocation{entry("a", 3, "4", "")}, workspaces: []v1alpha1.Workspace{confirmed(asking("a", 0, "4"), 3)}, want: []string{"a 3 4 - []"}},
		"Grow":             {reason: "growth is a new revision", ledger: []v1alpha1.Allocation{entry("a", 3, "4", "")}, workspaces: []v1alpha1.Workspace{confirmed(asking("a", 0, "10"), 3)}, want: []string{"a 4 10 - []"}},
		"GrowTooFar":       {reason: "whole or not at all", ledger: []v1alpha1.Allocation{entry("a", 3, "4", "")}, workspaces: []v1alpha1.Workspace{confirmed(asking("a", 0, "11"), 3)}, want: []string{"a 3 4 - []"}},
		"Shrink":           {reason: "what is given back counts until it is proven", ledger: []v1alpha1.Allocation{entry("a", 1, "8", "")}, workspaces: []v1alpha1.Workspace{confirmed(asking("a", 0, "2"), 1)}, want: []string{"a 2 2 8 []"}},
		"NotProven":        {reason: "an older revision proves nothing", ledger: []v1alpha1.Allocation{entry("a", 2, "2", "8")}, workspaces: []v1alpha1.Workspace{confirmed(asking("a", 0, "2"), 1), asking("b", 1, "3")}, want: []string{"a 2 2 8 []"}},
		"Proven":           {reason: "the same revision does", ledger: []v1alpha1.Allocation{entry("a", 2, "2", "8")}, workspaces: []v1alpha1.Workspace{confirmed(asking("a", 0, "2"), 2), asking("b", 1, "3")}, want: []string{"a 2 2 - []", "b 1 3 - []"}},
		"ShrinkTwice":      {reason: "the largest of all that is unproven counts", ledger: []v1alpha1.Allocation{entry("a", 2, "5", "8")}, workspaces: []v1alpha1.Workspace{confirmed(asking("a", 0, "2"), 1)}, want: []string{"a 3 2 8 []"}},
		"RegrowBelow":      {reason: "who grows again to less than it still holds takes nobody's", ledger: []v1alpha1.Allocation{entry("a", 2, "2", "8"), entry("b", 1, "2", "")}, workspaces: []v1alpha1.Workspace{confirmed(asking("a", 0, "7"), 1), confirmed(asking("b", 1, "2"), 1)}, want: []string{"a 3 7 8 []", "b 1 2 - []"}},
		"RegrowAll":        {reason: "and to all that it held is nothing to give back", ledger: []v1alpha1.Allocation{entry("a", 2, "2", "8")}, workspaces: []v1alpha1.Workspace{confirmed(asking("a", 0, "8"), 1)}, want: []string{"a 3 8 - []"}},
		"Gone":             {reason: "who is gone holds nothing", ledger: []v1alpha1.Allocation{entry("a", 1, "9", "")}, workspaces: []v1alpha1.Workspace{asking("b", 0, "10")}, want: []string{"b 1 10 - []"}},
		"BeingDeleted":     {reason: "who goes holds its share to the end, and asks for nothing", ledger: []v1alpha1.Allocation{entry("a", 1, "9", "")}, workspaces: []v1alpha1.Workspace{deleted(asking("a", 0, "1")), asking("b", 1, "2")}, want: []string{"a 1 9 - []"}},
		"DeletedAndNew":    {reason: "who goes without a share gets none", workspaces: []v1alpha1.Workspace{deleted(asking("a", 0, "1"))}},
		"Reborn":           {reason: "one made again under the same name begins anew", ledger: []v1alpha1.Allocation{entry("a", 7, "9", "10")}, workspaces: []v1alpha1.Workspace{reborn}, want: []string{"a 1 3 - []"}},
		"NotGranting":      {reason: "a tenant in trouble grants nothing new, and still takes back", ledger: []v1alpha1.Allocation{entry("a", 2, "2", "8"), entry("b", 1, "1", "")}, workspaces: []v1alpha1.Workspace{confirmed(asking("a", 0, "9"), 2), asking("c", 1, "1")}, refuse: true, want: []string{"a 2 2 - []"}},
		"Host":             {reason: "hosts are sorted", workspaces: []v1alpha1.Workspace{asking("a", 0, "1", "b.example", "a.example")}, want: []string{"a 1 1 - [a.example b.example]"}},
		"HostTaken":        {reason: "one host, one workspace: the holder keeps it, older or not", ledger: []v1alpha1.Allocation{entry("b", 1, "1", "", "x.example")}, workspaces: []v1alpha1.Workspace{asking("a", 0, "1", "x.example"), confirmed(asking("b", 1, "1", "x.example"), 1)}, want: []string{"b 1 1 - [x.example]"}},
		"HostRace":         {reason: "of two new ones the older gets it", workspaces: []v1alpha1.Workspace{asking("a", 1, "1", "x.example"), asking("b", 0, "1", "x.example")}, want: []string{"b 1 1 - [x.example]"}},
		"HostOfDeleted":    {reason: "who goes serves it to the end", ledger: []v1alpha1.Allocation{entry("a", 1, "1", "", "x.example")}, workspaces: []v1alpha1.Workspace{deleted(asking("a", 0, "1", "x.example")), asking("b", 1, "1", "x.example")}, want: []string{"a 1 1 - [x.example]"}},
		"HostChange":       {reason: "another host is another revision", ledger: []v1alpha1.Allocation{entry("a", 1, "1", "", "x.example")}, workspaces: []v1alpha1.Workspace{confirmed(asking("a", 0, "1", "y.example"), 1)}, want: []string{"a 2 1 - [y.example]"}},
		"HostTakenNoGrow":  {reason: "with a host that is taken nothing else is granted", ledger: []v1alpha1.Allocation{entry("a", 1, "1", "", "x.example"), entry("b", 1, "1", "")}, workspaces: []v1alpha1.Workspace{asking("a", 0, "1", "x.example"), asking("b", 1, "2", "x.example")}, want: []string{"a 1 1 - [x.example]", "b 1 1 - []"}},
		"HostFreed":        {reason: "a host that is given up goes to the oldest who waits for it, in one decision", ledger: []v1alpha1.Allocation{entry("b", 1, "1", "", "x.example")}, workspaces: []v1alpha1.Workspace{asking("a", 0, "1", "x.example"), asking("b", 1, "1"), asking("c", 2, "1", "x.example")}, want: []string{"a 1 1 - [x.example]", "b 2 1 - []"}},
		"HostsSwapped":     {reason: "two who want each other's host wait for a person", ledger: []v1alpha1.Allocation{entry("a", 1, "1", "", "x.example"), entry("b", 1, "1", "", "y.example")}, workspaces: []v1alpha1.Workspace{asking("a", 0, "1", "y.example"), asking("b", 1, "1", "x.example")}, want: []string{"a 1 1 - [x.example]", "b 1 1 - [y.example]"}},
		"QuotaWasLowered":  {reason: "who holds more than there is keeps it, and nobody grows", ledger: []v1alpha1.Allocation{entry("a", 1, "20", ""), entry("b", 1, "1", "")}, workspaces: []v1alpha1.Workspace{confirmed(asking("a", 0, "20"), 1), asking("b", 1, "2")}, want: []string{"a 1 20 - []", "b 1 1 - []"}},
		"ShrinkWhenBeyond": {reason: "to give back is always granted", ledger: []v1alpha1.Allocation{entry("a", 1, "20", "")}, workspaces: []v1alpha1.Workspace{confirmed(asking("a", 0, "15"), 1)}, want: []string{"a 2 15 20 []"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			tenant := granting(tc.ledger...)
			before := tenant.DeepCopy()
			got := allocate(tenant, nil, tc.workspaces, !tc.refuse)
			if diff := cmp.Diff(tc.want, told(got)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(before, tenant); diff != "" {
				t.Errorf("%s: the tenant was changed (-before +after):\n%s", tc.reason, diff)
			}
			slices.Reverse(tc.workspaces)
			if diff := cmp.Diff(told(got), told(allocate(tenant, nil, tc.workspaces, !tc.refuse))); diff != "" {
				t.Errorf("%s: the order of the list matters (-one +other):\n%s", tc.reason, diff)
			}
		})
	}
}

// TestDefaultsAreAllocated counts what a workspace that says nothing gets, as if it had asked for it.
func TestDefaultsAreAllocated(t *testing.T) {
	silent := asking("a", 0, "1")
	silent.Spec.Quota = nil
	got := allocate(granting(), v1alpha1.Quota{"requests.cpu": "2"}, []v1alpha1.Workspace{silent}, true)
	if diff := cmp.Diff([]string{"a 1 2 - []"}, told(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestSixtyForTen has sixty workspaces wait for a quota of ten: the ten oldest get it, in one decision, whatever the order of the list.
func TestSixtyForTen(t *testing.T) {
	var all []v1alpha1.Workspace
	for i := range 60 {
		all = append(all, asking(fmt.Sprintf("w%02d", (i*37)%60), i, "1"))
	}
	var want []string
	for _, w := range all[:10] {
		want = append(want, w.Name+" 1 1 - []")
	}
	slices.Sort(want)
	for turn := range 60 {
		turned := slices.Concat(all[turn:], all[:turn])
		ledger := allocate(granting(), nil, turned, true)
		if diff := cmp.Diff(want, told(ledger)); diff != "" {
			t.Fatalf("turned by %d (-want +got):\n%s", turn, diff)
		}
		if again := allocate(granting(ledger...), nil, turned, true); !slices.Equal(told(again), want) {
			t.Fatalf("decided twice, it is %v", told(again))
		}
	}
	sum := total(allocate(granting(), nil, all, true))
	if cpu := sum["requests.cpu"]; cpu.String() != "10" {
		t.Errorf("together %s, want 10", cpu.String())
	}
}

// TestTotalCountsReleasing sums what is held, not what is granted.
func TestTotalCountsReleasing(t *testing.T) {
	sum := total([]v1alpha1.Allocation{entry("a", 2, "2", "8"), entry("b", 1, "1", "")})
	if cpu := sum["requests.cpu"]; cpu.String() != "9" {
		t.Errorf("together %s, want 9", cpu.String())
	}
}
