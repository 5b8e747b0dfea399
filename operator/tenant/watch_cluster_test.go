package tenant_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
)

// TestWatches runs the whole operator and touches each thing that a tenant's state rests on. It does not run beside other tests: the operator
// would work on their tenants too.
func TestWatches(t *testing.T) {
	s := newStage(t, "watch")
	begins := time.Date(2027, 5, 1, 0, 0, 0, 0, time.UTC).Add(-2 * time.Hour) // summer time in Zurich
	s.operate(begins.Add(-8 * time.Second))

	a := s.tenant("a", flux)
	s.says(a, v1alpha1.ConditionStalled, v1alpha1.ReasonConsortiumNotFound)
	c := s.consortium()
	s.says(c, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	s.says(a, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded) // the coming of a consortium

	future := s.tenant("future", func(t *v1alpha1.Tenant) {
		t.Spec.Memberships = []v1alpha1.Membership{membership("2027-05-01", "")}
	})
	heir := s.tenant("heir", func(t *v1alpha1.Tenant) { t.Spec.Domains = a.Spec.Domains })
	s.says(heir, v1alpha1.ConditionStalled, v1alpha1.ReasonDomainConflict)

	for name, harm := range map[string]struct {
		reason string
		object client.Object
		do     func(*stage)
	}{
		"namespace": {"its labels", namespaceOf(a), merge(namespaceOf(a), `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged"}}}`)},
		"quota":     {"its limits", quotaOf(a), merge(quotaOf(a), `{"spec":{"hard":{"count/workspaces.broletto.dev":"999"}}}`)},
		"policy":    {"it is there", policyOf(a), deleted(policyOf(a))},
		"binding":   {"its subjects", bindingOf(a), merge(bindingOf(a), `{"subjects":null}`)},
		"account":   {"it is there", accountOf(a), deleted(accountOf(a))},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.on(t)
			before := s.content(harm.object)
			harm.do(s)
			cluster.Eventually(t, soon, harm.reason+": it is as it was", func() error { return same(before, s.content(harm.object)) })
		})
	}

	edit(s, a, func(a *v1alpha1.Tenant) { a.Spec.Viewers = nil })
	cluster.Eventually(t, soon, "the viewers' binding is gone", func() error { // the tenant itself
		return same(map[string]any{"names": 1}, map[string]any{"names": len(s.bindings(a.Name))})
	})
	edit(s, a, func(a *v1alpha1.Tenant) { a.Spec.Domains = nil })
	s.says(heir, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)   // a rival that frees a domain
	s.says(future, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded) // the clock
	s.ledgerWatches(a)
}

// ledgerWatches lets a workspace come, shrink and go: the ledger follows.
func (s *stage) ledgerWatches(a *v1alpha1.Tenant) {
	s.Helper()
	w := s.workspace(a, "sito", func(w *v1alpha1.Workspace) { w.Spec.Quota = v1alpha1.Quota{"requests.cpu": "3"} })
	s.says(w, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	edit(s, w, func(w *v1alpha1.Workspace) { w.Spec.Quota["requests.cpu"] = "1" })
	cluster.Eventually(s, soon, "what the workspace gave back is free", func() error {
		s.read(a)
		return same(map[string]any{"allocated": "1"}, map[string]any{"allocated": texts(a.Status.Allocated)["requests.cpu"]})
	})
	s.remove(w)
	cluster.Eventually(s, patience, "the ledger is empty", func() error {
		s.read(a)
		return same(map[string]any{"entries": 0}, map[string]any{"entries": len(a.Status.Allocations)})
	})
}

func namespaceOf(a *v1alpha1.Tenant) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: a.Name}}
}

func quotaOf(a *v1alpha1.Tenant) *corev1.ResourceQuota {
	return &corev1.ResourceQuota{ObjectMeta: in(a.Name, "broletto")}
}

func policyOf(a *v1alpha1.Tenant) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{ObjectMeta: in(a.Name, "default-deny")}
}

func bindingOf(a *v1alpha1.Tenant) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{ObjectMeta: in(a.Name, "admin")}
}

func accountOf(a *v1alpha1.Tenant) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: in(a.Name, "flux")}
}
