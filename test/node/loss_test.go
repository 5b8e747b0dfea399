package node

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/embedded"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// varese is the second consortium of the samples.
const varese = "varese"

// TestLossWhileOnboarding takes the leading operator and the other node away while a second consortium comes in: in the end all of it is there,
// once.
func TestLossWhileOnboarding(t *testing.T) {
	dismiss(t)
	apply(t, "00-consortium.yaml")
	apply(t, "10-tenants.yaml")
	leader, home := leading(t)
	lost := nodes[0].name
	if home == lost {
		lost = nodes[1].name
	}
	the.order(t, "cut", lost)
	defer the.order(t, "join", lost)
	if err := the.admin(t).Delete(t.Context(), &corev1.Pod{ObjectMeta: stage.In(system, leader)}, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	apply(t, "20-workspaces.yaml")
	tenants, workspaces := hosted(t)
	if len(tenants) == 0 || len(workspaces) == 0 {
		t.Fatal("there is nobody, so this proves nothing")
	}
	for _, o := range slices.Concat(tenants, workspaces) {
		ready(t, o)
	}
	var namespaces corev1.NamespaceList
	if err := the.admin(t).List(t.Context(), &namespaces, client.MatchingLabels{v1alpha1.LabelConsortium: varese}); err != nil {
		t.Fatal(err)
	}
	if got, want := len(namespaces.Items), len(tenants)+len(workspaces); got != want {
		t.Errorf("there are %d namespaces for %d tenants and %d workspaces", got, len(tenants), len(workspaces))
	}
	if now := holder(t, time.Now()); now == leader {
		t.Errorf("%s leads before and after, so this proves nothing", now)
	}
}

// TestNodeComesBack shows that the node that was lost takes pods again, and dismisses who came in meanwhile.
func TestNodeComesBack(t *testing.T) {
	the.rolledOut(t)
	dismiss(t)
	cities(t)
	at := settle(t, spot{sportello, far}, clientOf(sportello))
	clientOf(sportello).reaches(t, true, at[spot{sportello, far}].targets()...)
}

// apply applies a file of the second consortium, each object as soon as it is accepted: homes are made meanwhile.
func apply(t *testing.T, file string) {
	t.Helper()
	_, c := the.as(t, "platform-engineer", masters)
	text, err := os.ReadFile(repository + "/config/samples/varese/" + file)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := embedded.Documents(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		cluster.Eventually(t, 2*time.Minute, "applying "+o.GetKind()+" "+o.GetNamespace()+"/"+o.GetName(), func() error {
			return c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o.DeepCopy()), client.FieldOwner("kubectl"))
		})
	}
}

// leading is the pod of the operator that leads, and its node.
func leading(t *testing.T) (pod, node string) {
	t.Helper()
	leader := &corev1.Pod{ObjectMeta: stage.In(system, holder(t, time.Time{}))}
	if err := the.admin(t).Get(t.Context(), client.ObjectKeyFromObject(leader), leader); err != nil {
		t.Fatal(err)
	}
	return leader.Name, leader.Spec.NodeName
}

// holder is the pod of the operator that has renewed its lease since.
func holder(t *testing.T, since time.Time) string {
	t.Helper()
	pod, _, _ := strings.Cut(the.renewed(t, operatorLease, since), "_")
	return pod
}

// hosted are the tenants and workspaces of the second consortium.
func hosted(t *testing.T) (tenants, workspaces []condition.Object) {
	t.Helper()
	c := the.admin(t)
	var allTenants v1alpha1.TenantList
	if err := c.List(t.Context(), &allTenants); err != nil {
		t.Fatal(err)
	}
	for i := range allTenants.Items {
		if allTenants.Items[i].Spec.Consortium != varese {
			continue
		}
		tenants = append(tenants, &allTenants.Items[i])
		var of v1alpha1.WorkspaceList
		if err := c.List(t.Context(), &of, client.InNamespace(allTenants.Items[i].Name)); err != nil {
			t.Fatal(err)
		}
		for i := range of.Items {
			workspaces = append(workspaces, &of.Items[i])
		}
	}
	return tenants, workspaces
}

// dismiss takes the second consortium away.
func dismiss(t *testing.T) {
	t.Helper()
	c := the.admin(t)
	tenants, workspaces := hosted(t)
	all := append(slices.Concat(workspaces, tenants), &v1alpha1.Consortium{ObjectMeta: metav1.ObjectMeta{Name: varese}})
	for _, o := range all {
		if err := c.Delete(t.Context(), o); client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
	}
	for _, o := range all {
		cluster.Eventually(t, 2*time.Minute, o.GetName()+" is gone", func() error {
			err := c.Get(t.Context(), client.ObjectKeyFromObject(o), o)
			if err == nil {
				return fmt.Errorf("it says %v", *o.GetConditions())
			}
			return client.IgnoreNotFound(err)
		})
	}
}
