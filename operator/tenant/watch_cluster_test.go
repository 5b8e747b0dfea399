package tenant_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// TestWatches runs the whole operator and touches each thing that a tenant's state rests on. It does not run beside other tests: the operator
// would work on their tenants too.
func TestWatches(t *testing.T) {
	s := stage.New(t, "watch")
	begins := time.Date(2027, 5, 1, 0, 0, 0, 0, time.UTC).Add(-2 * time.Hour) // summer time in Zurich
	s.Operate(begins.Add(-8 * time.Second))

	a := s.Tenant("a", stage.Flux)
	s.Says(a, v1alpha1.ConditionStalled, v1alpha1.ReasonConsortiumNotFound)
	c := s.Consortium()
	s.Says(c, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	s.Says(a, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded) // the coming of a consortium

	future := s.Tenant("future", func(t *v1alpha1.Tenant) {
		t.Spec.Memberships = []v1alpha1.Membership{stage.Membership("2027-05-01", "")}
	})
	heir := s.Tenant("heir", func(t *v1alpha1.Tenant) { t.Spec.Domains = a.Spec.Domains })
	s.Says(heir, v1alpha1.ConditionStalled, v1alpha1.ReasonDomainConflict)

	for name, harm := range map[string]stage.Harm{
		"namespace": stage.Changed("its labels", namespaceOf(a), `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged"}}}`),
		"quota":     stage.Changed("its limits", quotaOf(a), `{"spec":{"hard":{"count/workspaces.broletto.dev":"999"}}}`),
		"policy":    stage.Deleted("it is there", policyOf(a)),
		"binding":   stage.Changed("its subjects", bindingOf(a), `{"subjects":null}`),
		"account":   stage.Deleted("it is there", accountOf(a)),
	} {
		t.Run(name, func(t *testing.T) {
			s := s.On(t)
			before := s.Content(harm.Object)
			harm.Do(s)
			cluster.Eventually(t, stage.Soon, harm.Reason+": it is as it was", func() error { return stage.Same(before, s.Content(harm.Object)) })
		})
	}

	stage.Edit(s, a, func(a *v1alpha1.Tenant) { a.Spec.Viewers = nil })
	cluster.Eventually(t, stage.Soon, "the viewers' binding is gone", func() error { // the tenant itself
		return stage.Same(1, len(bindingsIn(s, a.Name)))
	})
	stage.Edit(s, a, func(a *v1alpha1.Tenant) { a.Spec.Domains = nil })
	s.Says(heir, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)   // a rival that frees a domain
	s.Says(future, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded) // the clock
	ledgerWatches(s, a)
	networkWatches(s, a, begins)
}

// ledgerWatches lets a workspace come, shrink and go: the ledger follows.
func ledgerWatches(s *stage.Stage, a *v1alpha1.Tenant) {
	s.Helper()
	w := s.Workspace(a, "sito", func(w *v1alpha1.Workspace) { w.Spec.Quota = v1alpha1.Quota{"requests.cpu": "3"} })
	s.Says(w, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	stage.Edit(s, w, func(w *v1alpha1.Workspace) { w.Spec.Quota["requests.cpu"] = "1" })
	cluster.Eventually(s, stage.Soon, "what the workspace gave back is free", func() error {
		s.Read(a)
		return stage.Same("1", stage.Texts(a.Status.Allocated)["requests.cpu"])
	})
	s.Remove(w)
	cluster.Eventually(s, stage.Patience, "the ledger is empty", func() error {
		s.Read(a)
		return stage.Same(0, len(a.Status.Allocations))
	})
}

func namespaceOf(a *v1alpha1.Tenant) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: a.Name}}
}

func quotaOf(a *v1alpha1.Tenant) *corev1.ResourceQuota {
	return &corev1.ResourceQuota{ObjectMeta: stage.In(a.Name, "broletto")}
}

func policyOf(a *v1alpha1.Tenant) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{ObjectMeta: stage.In(a.Name, "default-deny")}
}

func bindingOf(a *v1alpha1.Tenant) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{ObjectMeta: stage.In(a.Name, "admin")}
}

func accountOf(a *v1alpha1.Tenant) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: stage.In(a.Name, "flux")}
}
