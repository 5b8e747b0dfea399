package workspace_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/quota"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// cpu asks for so much CPU, in requests and limits.
func cpu(amount v1alpha1.Amount) func(*v1alpha1.Workspace) {
	return func(w *v1alpha1.Workspace) {
		w.Spec.Quota = v1alpha1.Quota{"requests.cpu": amount, "limits.cpu": amount}
	}
}

// TestQuotaExceeded asks for more than there is: a new workspace gets nothing, an old one keeps what it has, and both get what
// they ask for when another gives enough back.
func TestQuotaExceeded(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "exceed")
	c, a := s.Consortium(), s.Tenant("a")
	s.Ready(c, a)
	large, old := s.Workspace(a, "big", cpu("5")), s.Workspace(a, "mid", cpu("1")) // within one second, age goes by name
	s.Ready(large, old)
	late := s.Workspace(a, "new", cpu("3"))

	message := "tenant " + a.Name + " has too little left: requests.cpu: 3 asked, 2 of 8 free (held by big 5, mid 1); " +
		"ask for less, shrink another workspace, or ask the platform for more"
	if diff := cmp.Diff(message, s.Await(late, v1alpha1.ConditionStalled, v1alpha1.ReasonQuotaExceeded)); diff != "" {
		t.Errorf("a new one (-want +got):\n%s", diff)
	}
	if ns := namespaceOf(late); s.Exists(ns) || late.Status.Namespace != "" || late.Status.AllocationRevision != 0 {
		t.Errorf("a new one has something: %+v", late.Status)
	}
	stage.Edit(s, old, cpu("4"))
	message = "tenant " + a.Name + " has too little left: requests.cpu: 4 asked, 3 of 8 free (held by big 5); " +
		"ask for less, shrink another workspace, or ask the platform for more"
	if diff := cmp.Diff(message, s.Await(old, v1alpha1.ConditionStalled, v1alpha1.ReasonQuotaExceeded)); diff != "" {
		t.Errorf("an old one (-want +got):\n%s", diff)
	}
	keepsRunning(s, old)

	stage.Edit(s, large, cpu("2"))
	s.Ready(large, old) // the older comes first: now 6 of 8 are held
	s.Await(late, v1alpha1.ConditionStalled, v1alpha1.ReasonQuotaExceeded)
	s.Remove(large)
	s.Gone(large)
	s.Ready(late)
	stage.Edit(s, late, cpu("5"))
	s.Await(late, v1alpha1.ConditionStalled, v1alpha1.ReasonQuotaExceeded)
	stage.Edit(s, a, func(a *v1alpha1.Tenant) { a.Spec.Quota["requests.cpu"] = "9" })
	s.Ready(a, late)
	sound(s, a)
}

// keepsRunning checks that a workspace which asks for too much has what it had, and that it is kept in order.
func keepsRunning(s *stage.Stage, w *v1alpha1.Workspace) {
	s.Helper()
	if diff := cmp.Diff("1", s.Hard(w.TargetNamespace())["requests.cpu"]); diff != "" {
		s.Errorf("the old quota (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("1", stage.Texts(w.Status.Quota)["requests.cpu"]); diff != "" {
		s.Errorf("the old quota in status (-want +got):\n%s", diff)
	}
	s.Remove(policyOf(w))
	s.Rest()
	if !s.Exists(policyOf(w)) {
		s.Error("drift is not repaired while the workspace asks for too much")
	}
}

// TestSwap lets one workspace grow by what another gives back, looks at the three objects in every order, and checks after each
// single look that nobody uses what is not in the ledger and that the ledger never exceeds the quota.
func TestSwap(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "swap")
	c, a := s.Consortium(), s.Tenant("a")
	s.Ready(c, a)
	left, right := s.Workspace(a, "left", cpu("6")), s.Workspace(a, "right", cpu("2"))
	s.Ready(left, right)
	for i, order := range [][]client.Object{
		{a, left, right}, {a, right, left}, {left, a, right}, {left, right, a}, {right, a, left}, {right, left, a}, {a, a, left, right}, {a, a, right, left},
	} {
		small, large := left, right // who shrinks to 2, who grows to 6
		if i%2 == 1 {
			small, large = right, left
		}
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			s := s.On(t)
			from := cluster.Mark(s)
			stage.Edit(s, large, cpu("6"))
			stage.Edit(s, small, cpu("2"))
			for range 6 {
				for _, o := range order {
					if _, err := s.Reconcile(o); err != nil {
						t.Error(err)
					}
					s.CaughtUp(o)
					sound(s, a)
				}
			}
			s.Ready(left, right)
			sound(s, a)
			ordered(s, s.Writes(from), a, small, large)
		})
	}
}

// sound checks the ledger against the quota, and each namespace against the ledger.
func sound(s *stage.Stage, a *v1alpha1.Tenant) {
	s.Helper()
	s.Read(a)
	var held []corev1.ResourceList
	for _, entry := range a.Status.Allocations {
		held = append(held, quota.Held(entry))
	}
	sum := quota.Sum(held...)
	if !quota.AtMost(sum, quota.Limits(a)) && !quota.AtMost(sum, withoutUnbounded(sum, quota.Limits(a))) {
		s.Errorf("the ledger exceeds the quota: %v of %v", stage.Texts(sum), stage.Texts(quota.Limits(a)))
	}
	if !quota.Equal(sum, a.Status.Allocated) {
		s.Errorf("allocated is %v, the sum is %v", stage.Texts(a.Status.Allocated), stage.Texts(sum))
	}
	var quotas corev1.ResourceQuotaList
	s.List(&quotas, metav1.NamespaceAll)
	for _, q := range quotas.Items {
		name, isWorkspace := strings.CutPrefix(q.Namespace, a.Name+"--")
		if !isWorkspace {
			continue
		}
		at := slices.IndexFunc(a.Status.Allocations, func(e v1alpha1.Allocation) bool { return string(e.Workspace) == name })
		if at < 0 {
			s.Errorf("namespace %s has a quota and no entry in the ledger", q.Namespace)
			continue
		}
		for resource := range a.Status.Allocations[at].Quota {
			hard, may := q.Spec.Hard[resource], held[at][resource]
			if hard.Cmp(may) > 0 {
				s.Errorf("%s may use %s of %s, the ledger holds %s", q.Namespace, hard.String(), resource, may.String())
			}
		}
	}
}

// withoutUnbounded are limits that leave storage classes without a quota of their own unbounded.
func withoutUnbounded(sum, limits corev1.ResourceList) corev1.ResourceList {
	for name, amount := range sum {
		if _, limited := limits[name]; !limited && strings.Contains(string(name), ".storageclass.") {
			limits[name] = amount
		}
	}
	return limits
}

// ordered checks who wrote first: on the way down the quota before the ledger gives it to somebody else, on the way up the
// ledger before the quota.
func ordered(s *stage.Stage, writes []string, a *v1alpha1.Tenant, small, large *v1alpha1.Workspace) {
	s.Helper()
	ledger := "update tenants/status " + a.Name
	shrinks := "patch resourcequotas " + small.TargetNamespace() + "/broletto"
	grows := "patch resourcequotas " + large.TargetNamespace() + "/broletto"
	var order []string
	for _, write := range writes {
		if write == ledger || write == shrinks || write == grows {
			order = append(order, write)
		}
	}
	order = slices.Compact(order)
	if diff := cmp.Diff([]string{ledger, shrinks, ledger, grows}, order); diff != "" {
		s.Errorf("order (-want +got):\n%s", diff)
	}
}

// TestAgain makes a workspace again under a name that had an entry in the ledger: it begins anew.
func TestAgain(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "again")
	c, a := s.Consortium(), s.Tenant("a")
	s.Ready(c, a)
	w := s.Workspace(a, "sito", cpu("6"))
	s.Ready(w)
	stage.Edit(s, w, cpu("7"))
	s.Ready(w)
	s.Remove(w)
	s.Gone(w)
	again := s.Workspace(a, "sito", cpu("1"))
	s.Ready(again, a)
	if len(a.Status.Allocations) != 1 || a.Status.Allocations[0].Revision != 1 || a.Status.Allocations[0].UID != again.UID || a.Status.Allocations[0].Releasing != nil {
		t.Errorf("ledger: %+v", a.Status.Allocations)
	}
	sound(s, a)
}
