package security

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// TestDeleteCollection asks for all objects of a kind to go, at once: only the tenant's own do.
func TestDeleteCollection(t *testing.T) {
	t.Parallel()
	w := newTown(t, "collection")
	site, home := w.site.TargetNamespace(), w.own.Name
	const at = "metadata: {name: own, namespace: SITE}"
	kinds := map[string]struct {
		kind client.Object
		own  string // empty: it is not the tenant's to make
	}{
		"quotas":   {&corev1.ResourceQuota{}, ""},
		"limits":   {&corev1.LimitRange{}, ""},
		"policies": {&networkingv1.NetworkPolicy{}, "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, " + at + ", spec: {podSelector: {}}}"},
		"accounts": {&corev1.ServiceAccount{}, "{apiVersion: v1, kind: ServiceAccount, " + at + "}"},
		"claims":   {&corev1.PersistentVolumeClaim{}, "{apiVersion: v1, kind: PersistentVolumeClaim, " + at + ", spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}"},
		"bindings": {&rbacv1.RoleBinding{}, "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, " + at + ", roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: broletto-workspace-view}}"},
	}
	targets := []client.Object{&corev1.PersistentVolumeClaim{ObjectMeta: stage.In(site, "documenti")}}
	for o := range w.guardrails() {
		targets = append(targets, o)
	}
	w.make(w.administrator(), "{apiVersion: v1, kind: ServiceAccount, metadata: {name: robot, namespace: SITE}}")
	w.make(w.administrator(), "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: robot, namespace: SITE}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, "+
		"name: broletto-workspace-admin}, subjects: [{kind: ServiceAccount, name: robot, namespace: SITE}]}")
	robot := cluster.Account(t, site, "robot")
	for who, cfg := range map[string]*rest.Config{
		"member": w.member(), "account": w.account(), "viewer": w.viewer(), "neighbour": w.neighbour(),
		"administrator": w.administrator(), "robot": robot, "tool": cluster.Account(t, home, "flux"), "cluster administrator": cluster.ClusterAdmin(),
	} {
		attacks := map[string]attack{}
		for kind, row := range kinds {
			attacks[kind] = attack{"among them are the operator's", deleting(row.kind, site), ""}
			attacks[kind+", by label"] = attack{"the operator's alone", deleting(row.kind, site, client.HasLabels{v1alpha1.LabelOwner}), ""}
			if kind != "claims" && kind != "limits" { // of which there are none
				attacks[kind+" at home"] = attack{"among them are the operator's", deleting(row.kind, home, client.HasLabels{v1alpha1.LabelOwner}), ""}
			}
			if kind != "claims" && who != "neighbour" { // to whom the victims' are the own
				attacks[kind+" of the victims"] = attack{"another tenant's", deleting(row.kind, w.target.TargetNamespace(), client.HasLabels{v1alpha1.LabelOwner}), ""}
			}
		}
		w.suffers(who, cfg, attacks, targets...)
	}

	// With a selector that leaves the operator's out, the tenant's own go.
	c := cluster.Client(t, w.administrator())
	for kind, row := range kinds {
		if row.own == "" {
			continue
		}
		own := w.read(row.own)
		if err := client.IgnoreAlreadyExists(c.Create(t.Context(), own)); err != nil {
			t.Fatal(err)
		}
		if err := deleting(row.kind, site, client.MatchingLabelsSelector{Selector: notOurs}, client.MatchingFields{"metadata.name": "own"})(t.Context(), c); err != nil {
			t.Errorf("%s of the tenant's own: %v", kind, err)
		}
		cluster.Eventually(t, stage.Soon, kind+" of the tenant's own go", func() error { return gone(t.Context(), c, own) })
	}
	w.Rest()
}

// TestDeleteCollectionOfWorkspaces asks for all workspaces of a tenant to go: each goes as if it were deleted alone, and no other's.
func TestDeleteCollectionOfWorkspaces(t *testing.T) {
	t.Parallel()
	w := newTown(t, "allgone")
	attacks := map[string]attack{
		"of the victims":    {"another tenant's", deleting(&v1alpha1.Workspace{}, w.other.Name), ""},
		"of all tenants":    {"everybody's", deleting(&v1alpha1.Workspace{}, ""), ""},
		"of the namespaces": {"tenants have no right on them", deleting(&corev1.Namespace{}, "", client.HasLabels{v1alpha1.LabelTenant}), ""},
	}
	for who, cfg := range map[string]*rest.Config{"administrator": w.administrator(), "account": w.account(), "tool": cluster.Account(t, w.own.Name, "flux")} {
		w.suffers(who, cfg, attacks, w.target, w.site, namespaceNamed(w.target.TargetNamespace()))
	}
	if err := deleting(&v1alpha1.Workspace{}, w.own.Name)(t.Context(), cluster.Client(t, w.administrator())); err != nil {
		t.Fatal(err)
	}
	w.Gone(w.annex)
	w.Await(w.site, v1alpha1.ConditionStalled, v1alpha1.ReasonVolumesRetained) // its volume holds it
	w.Ready(w.target)
}
