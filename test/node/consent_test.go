package node

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// Both sides of the samples' consent, and what each says without it.
const (
	calling  = `{"spec":{"network":{"connectTo":[{"tenant":"lugano","workspace":"identita"}]}}}`
	silent   = `{"spec":{"network":{"connectTo":null}}}`
	allowing = `{"spec":{"network":{"allowFrom":[{"workspace":"sportello"},{"tenant":"bellinzona","workspace":"sportello"}]}}}`
	closed   = `{"spec":{"network":{"allowFrom":[{"workspace":"sportello"}]}}}`
)

// change patches a workspace as its tenant's administrator.
func change(t *testing.T, tenant, workspace, patch string) {
	t.Helper()
	_, c := the.as(t, "administrator", tenant+":ict")
	w := &v1alpha1.Workspace{ObjectMeta: stage.In(tenant, workspace)}
	if err := c.Patch(t.Context(), w, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		t.Fatal(err)
	}
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

	change(t, "bellinzona", "sportello", silent)
	caller.reaches(t, false, callee...)
	own.reaches(t, true, callee...)
	change(t, "bellinzona", "sportello", calling)
	caller.reaches(t, true, callee...)

	change(t, "lugano", "identita", closed)
	caller.reaches(t, false, callee...)
	restartEverything(t)
	own.reaches(t, true, callee...)
	caller.reaches(t, false, callee...)
	change(t, "lugano", "identita", allowing)
	caller.reaches(t, true, callee...)
}

// restartEverything restarts what makes and enforces rules, from the control plane to the operator; only containers of tenants go on.
func restartEverything(t *testing.T) {
	t.Helper()
	defer times.measure("restart of everything")()
	for _, unit := range []string{"control", "policy-*", "kube-proxy-*", "containerd-*", "kubelet-*"} {
		the.order(t, "restart", unit)
	}
	admin := the.admin(t)
	cluster.Eventually(t, time.Minute, "the operator's pods are deleted", func() error {
		return admin.DeleteAllOf(t.Context(), &corev1.Pod{}, client.InNamespace(system))
	})
	d := &appsv1.Deployment{ObjectMeta: stage.In(system, "broletto-operator")}
	cluster.Eventually(t, time.Minute, "the API server answers", func() error { return admin.Get(t.Context(), client.ObjectKeyFromObject(d), d) })
	the.rolledOut(t)
}
