package node

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/operator/embedded"
	"github.com/broletto/broletto/test/cluster"
)

// without leaves a peer out of a list of a workspace's network.
func without(list, tenant string) func(network map[string]any) {
	return func(network map[string]any) {
		peers, _ := network[list].([]any)
		network[list] = slices.DeleteFunc(peers, func(p any) bool { return p.(map[string]any)["tenant"] == tenant })
	}
}

// asItStands changes nothing.
func asItStands(map[string]any) {}

// ask applies a workspace of the samples, with its network changed, as its tenant's administrator.
func ask(t *testing.T, tenant, workspace string, change func(network map[string]any)) {
	t.Helper()
	text, err := os.ReadFile(repository + "/config/samples/ticino/20-workspaces.yaml")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := embedded.Documents(text)
	if err != nil {
		t.Fatal(err)
	}
	_, c := the.as(t, "administrator", tenant+":ict")
	for _, o := range objects {
		if o.GetNamespace() != tenant || o.GetName() != workspace {
			continue
		}
		change(o.Object["spec"].(map[string]any)["network"].(map[string]any))
		if err := c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("kubectl")); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("the samples have no workspace %s of %s", workspace, tenant)
}

// TestConsent shows that a connection between tenants is open while both name each other and no longer, and that a restart of
// everything opens nothing.
func TestConsent(t *testing.T) {
	cities(t)
	caller, own := clientOf(bellinzona), clientOf(identita)
	servers := []spot{{identita, near}, {identita, far}}
	at := settle(t, append(servers, caller, own)...)
	callee := targets(at, servers...)
	own.reaches(t, true, callee...)
	caller.reaches(t, true, callee...)

	ask(t, "bellinzona", "sportello", without("connectTo", "lugano"))
	caller.reaches(t, false, callee...)
	own.reaches(t, true, callee...)
	ask(t, "bellinzona", "sportello", asItStands)
	caller.reaches(t, true, callee...)

	ask(t, "lugano", "identita", without("allowFrom", "bellinzona"))
	caller.reaches(t, false, callee...)
	restartEverything(t)
	own.reaches(t, true, callee...)
	caller.reaches(t, false, callee...)
	ask(t, "lugano", "identita", asItStands)
	caller.reaches(t, true, callee...)
}

// restartEverything restarts what makes and enforces rules, from the control plane to the operator; only containers of tenants go on.
func restartEverything(t *testing.T) {
	t.Helper()
	defer times.measure("restart of everything")()
	begun := time.Now()
	for _, unit := range []string{"control", "policy-*", "kube-proxy-*", "containerd-*", "kubelet-*"} {
		the.order(t, "restart", unit)
	}
	for _, n := range nodes {
		the.renewed(t, client.ObjectKey{Namespace: "kube-node-lease", Name: n.name}, begun)
	}
	if err := the.admin(t).DeleteAllOf(t.Context(), &corev1.Pod{}, client.InNamespace(system)); err != nil {
		t.Fatal(err)
	}
	begun = time.Now()
	the.rolledOut(t)
	the.renewed(t, operatorLease, begun)
}

// operatorLease is held by the operator that leads.
var operatorLease = client.ObjectKey{Namespace: system, Name: "broletto"}

// renewed waits until somebody holds a lease that was renewed since, and returns who.
func (b *box) renewed(t *testing.T, key client.ObjectKey, since time.Time) (holder string) {
	t.Helper()
	c := b.admin(t)
	cluster.Eventually(t, 2*time.Minute, "lease "+key.String()+" is renewed", func() error {
		var lease coordinationv1.Lease
		if err := c.Get(t.Context(), key, &lease); err != nil {
			return err
		}
		if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" || lease.Spec.RenewTime == nil || lease.Spec.RenewTime.Time.Before(since) {
			return fmt.Errorf("it is at %+v", lease.Spec)
		}
		holder = *lease.Spec.HolderIdentity
		return nil
	})
	return holder
}
