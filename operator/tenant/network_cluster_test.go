package tenant_test

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/evidence"
	"github.com/broletto/broletto/operator/manager"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// TestNetworkEnforced lets nodes and evidence come and go. It does not run beside other tests: both are the whole cluster's.
func TestNetworkEnforced(t *testing.T) {
	s := stage.New(t, "net")
	c, a := s.Consortium(), s.Tenant("a")
	s.Ready(c, a)
	says := func(want string) {
		t.Helper()
		s.Until("NetworkEnforced is "+want, func() error {
			s.Read(a)
			return stage.Same(want, told(a))
		})
		s.Ready(a) // which proves rest, and that the condition holds nothing back
	}
	says("Unknown NotProven")
	first := node(s, "first")
	says("Unknown NotProven")
	wrote := evidence.Network{first.Name: {UID: first.UID, Enforced: true, At: time.Now()}}
	write(s, wrote)
	says("True Proven")

	second := node(s, "second")
	says("Unknown NodesNotProven")
	wrote[second.Name] = evidence.Node{UID: second.UID, At: time.Now(), Seen: "TCP passed"}
	write(s, wrote)
	says("False NotEnforced")
	remove(s, second)
	says("True Proven")

	result, err := s.Reconcile(a)
	if err != nil || result.RequeueAfter <= 0 {
		t.Errorf("nobody looks again before the evidence expires: %v, %v", result, err)
	}
	s.At(time.Now().Add(evidence.Lifetime))
	says("Unknown EvidenceOutdated")
	s.At(time.Now())
	says("True Proven")

	nonsense := &corev1.ConfigMap{ObjectMeta: stage.In(manager.Namespace, evidence.Name)}
	s.Read(nonsense)
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"data":{"another":"enforced"}}`))
	if err := s.Admin.Patch(t.Context(), nonsense, patch); err != nil {
		t.Fatal(err)
	}
	says("Unknown EvidenceUnreadable")
	remove(s, nonsense)
	says("Unknown NotProven")
}

// told is the condition without its message.
func told(a *v1alpha1.Tenant) string {
	for _, c := range a.Status.Conditions {
		if c.Type == v1alpha1.ConditionNetworkEnforced {
			return string(c.Status) + " " + c.Reason
		}
	}
	return ""
}

// node is a node of this test, which no machine stands behind.
func node(s *stage.Stage, name string) *corev1.Node {
	s.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: s.ID(name)}}
	if err := s.Admin.Create(s.Context(), n); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { remove(s, n) })
	return n
}

// remove takes away what is the whole cluster's, also when the test is over.
func remove(s *stage.Stage, o client.Object) {
	s.Helper()
	if err := client.IgnoreNotFound(s.Admin.Delete(context.WithoutCancel(s.Context()), o)); err != nil {
		s.Error(err)
	}
}

// write does what broletto doctor does when it has tried the network.
func write(s *stage.Stage, network evidence.Network) {
	s.Helper()
	written, err := network.ConfigMap(manager.Namespace)
	if err != nil {
		s.Fatal(err)
	}
	if err := s.Admin.Apply(s.Context(), written, client.FieldOwner("broletto-doctor"), client.ForceOwnership); err != nil {
		s.Fatal(err)
	}
}

// networkWatches lets nodes and evidence come and go while the whole operator runs.
func networkWatches(s *stage.Stage, a *v1alpha1.Tenant, now time.Time) {
	s.Helper()
	says := func(want string) {
		s.Helper()
		cluster.Eventually(s, stage.Soon, "NetworkEnforced is "+want, func() error {
			s.Read(a)
			return stage.Same(want, told(a))
		})
	}
	says("Unknown NotProven")
	first := node(s, "watched")
	says("Unknown NotProven")
	write(s, evidence.Network{first.Name: {UID: first.UID, Enforced: true, At: now}})
	says("True Proven")
	second := node(s, "unproven")
	says("Unknown NodesNotProven")
	remove(s, second)
	says("True Proven")
	remove(s, &corev1.ConfigMap{ObjectMeta: stage.In(manager.Namespace, evidence.Name)})
	says("Unknown NotProven")
}
