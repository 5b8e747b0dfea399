package tenant_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/manager"
	"github.com/broletto/broletto/test/cluster"
)

// soon is how long an effect may take that a watch brings about. What nobody watches takes hours.
const soon = 20 * time.Second

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

// operate runs the operator as a process does, with a clock that begins at some time, until the test ends.
func (s *stage) operate(begin time.Time) {
	s.Helper()
	if operated {
		s.Skip("a process runs one operator: the names of its controllers and metrics are taken")
	}
	operated = true
	started := time.Now()
	mgr, err := manager.New(cluster.Operator(s), manager.Options{
		MetricsAddress: "0", ProbeAddress: "0", Now: func() time.Time { return begin.Add(time.Since(started)) },
	})
	if err != nil {
		s.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	s.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, panics()); err != nil {
			s.Error(err)
		}
	})
}

var operated bool

// panics tells whether a reconcile panicked: controller-runtime recovers and goes on.
func panics() error {
	families, err := metrics.Registry.Gather()
	if err != nil {
		return err
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if n := metric.GetCounter().GetValue(); family.GetName() == "controller_runtime_reconcile_panics_total" && n > 0 {
				return fmt.Errorf("%v reconciles panicked", n)
			}
		}
	}
	return nil
}

// says waits until an object's condition is True for a reason, speaking of its present generation.
func (s *stage) says(o condition.Object, kind, reason string) {
	s.Helper()
	cluster.Eventually(s, soon, fmt.Sprintf("%s is %s for %s", o.GetName(), kind, reason), func() error {
		s.read(o)
		c := meta.FindStatusCondition(*o.GetConditions(), kind)
		if c == nil || c.Status != metav1.ConditionTrue || c.Reason != reason || o.GetObservedGeneration() != o.GetGeneration() {
			return errors.New(told(o))
		}
		return nil
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
