package apply_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	networkingv1ac "k8s.io/client-go/applyconfigurations/networking/v1"
	rbacv1ac "k8s.io/client-go/applyconfigurations/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/operator/apply"
	"github.com/broletto/broletto/test/cluster"
)

const owner types.UID = "0b4e1d3c-7d3c-4a52-9c0a-1f5f4d6e2a11"

var namespaces atomic.Int32

// fresh is the name of a namespace that nobody has used.
func fresh() string { return fmt.Sprintf("comune-%d", namespaces.Add(1)) }

// home is a set like those of tenants and workspaces: every kind that the operator makes, but for claims.
func home(namespace string) apply.Set {
	return apply.Set{Owner: owner, Root: root(namespace), Objects: []apply.Object{
		account(namespace, "default"), policy(namespace, "default-deny"), policy(namespace, "granted", "ingress"),
		quota(namespace, map[corev1.ResourceName]string{"pods": "0.02k", "requests.cpu": "1500m", "requests.memory": "1.5Gi", "count/secrets": "50"}),
		limits(namespace), binding(namespace, "admin", "lugano:ict"),
	}}
}

func root(namespace string) *corev1ac.NamespaceApplyConfiguration {
	return corev1ac.Namespace(namespace).WithLabels(map[string]string{
		"pod-security.kubernetes.io/enforce": "restricted", "broletto.dev/tenant": "lugano",
	})
}

func account(namespace, name string) apply.Object {
	return corev1ac.ServiceAccount(name, namespace).WithAutomountServiceAccountToken(false)
}

// policy denies all, but from the namespaces named.
func policy(namespace, name string, from ...string) apply.Object {
	spec := networkingv1ac.NetworkPolicySpec().WithPodSelector(metav1ac.LabelSelector()).
		WithPolicyTypes(networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress)
	for _, other := range from {
		spec.WithIngress(networkingv1ac.NetworkPolicyIngressRule().WithFrom(networkingv1ac.NetworkPolicyPeer().WithNamespaceSelector(
			metav1ac.LabelSelector().WithMatchLabels(map[string]string{"kubernetes.io/metadata.name": other}))))
	}
	return networkingv1ac.NetworkPolicy(name, namespace).WithSpec(spec)
}

func quota(namespace string, amounts map[corev1.ResourceName]string) apply.Object {
	hard := corev1.ResourceList{}
	for name, amount := range amounts {
		hard[name] = resource.MustParse(amount)
	}
	return corev1ac.ResourceQuota("broletto", namespace).WithSpec(corev1ac.ResourceQuotaSpec().WithHard(hard))
}

func limits(namespace string) apply.Object {
	amounts := corev1.ResourceList{"cpu": resource.MustParse("0.5"), "memory": resource.MustParse("1024Mi")}
	return corev1ac.LimitRange("broletto", namespace).WithSpec(corev1ac.LimitRangeSpec().WithLimits(
		corev1ac.LimitRangeItem().WithType(corev1.LimitTypeContainer).WithDefault(amounts).WithDefaultRequest(amounts)))
}

func binding(namespace, name string, groups ...string) apply.Object {
	b := rbacv1ac.RoleBinding(name, namespace).
		WithRoleRef(rbacv1ac.RoleRef().WithAPIGroup(rbacv1.GroupName).WithKind("ClusterRole").WithName("broletto-tenant-admin"))
	for _, group := range groups {
		b.WithSubjects(rbacv1ac.Subject().WithKind("Group").WithAPIGroup(rbacv1.GroupName).WithName(group))
	}
	return b
}

// claim asks for a volume of a class that nobody provisions: what it holds back stays pending.
func claim(namespace, name, size string) apply.Object {
	return corev1ac.PersistentVolumeClaim(name, namespace).WithSpec(corev1ac.PersistentVolumeClaimSpec().
		WithAccessModes(corev1.ReadWriteOnce).WithStorageClassName("standard").
		WithResources(corev1ac.VolumeResourceRequirements().WithRequests(corev1.ResourceList{"storage": resource.MustParse(size)})))
}

// TestSync makes a set from nothing and looks at what was asked of the API server for it.
func TestSync(t *testing.T) {
	a, set := applier(t), home(fresh())
	set.Objects = append(set.Objects, claim(*set.Root.GetName(), "documenti", "1Gi"))
	namespace, mark := *set.Root.GetName(), cluster.Mark(t)
	if drifted := converge(t, a, set); len(drifted) > 0 {
		t.Errorf("what was just made is called drifted: %v", drifted)
	}
	settled := cluster.Mark(t)
	requests := asked(t, mark)
	order := []string{"namespaces", "serviceaccounts", "networkpolicies", "networkpolicies", "resourcequotas", "limitranges", "rolebindings", "persistentvolumeclaims"}
	var created []string
	for _, e := range requests {
		if made := e.Verb == "patch" && e.Resource == "serviceaccounts"; made || e.Verb == "create" { // the default account is taken over
			created = append(created, e.Resource)
		}
	}
	if diff := cmp.Diff(order, created); diff != "" {
		t.Errorf("created in another order than the set's (-want +got):\n%s\n%s", diff, lines(requests))
	}
	for name, text := range snapshot(t, namespace) {
		if !strings.Contains(text, `"broletto.dev/owner": "`+string(owner)+`"`) {
			t.Errorf("%s lacks the owner's label:\n%s", name, text)
		}
	}
	ns := &corev1.Namespace{}
	if err := admin(t).Get(t.Context(), client.ObjectKey{Name: namespace}, ns); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{
		"LimitRange/v1/broletto", "NetworkPolicy/networking.k8s.io/v1/default-deny", "NetworkPolicy/networking.k8s.io/v1/granted",
		"PersistentVolumeClaim/v1/documenti", "ResourceQuota/v1/broletto", "RoleBinding/rbac.authorization.k8s.io/v1/admin", "ServiceAccount/v1/default",
	}, inventory(ns)); diff != "" {
		t.Errorf("inventory (-want +got):\n%s", diff)
	}
	if again := converge(t, a, set); len(again) > 0 {
		t.Errorf("drifted at once: %v", again)
	}
	if requests = asked(t, settled); len(requests) > 0 {
		t.Errorf("a settled set cost requests:\n%s", lines(requests))
	}
}

func inventory(ns *corev1.Namespace) (out []string) {
	for _, ref := range apply.Inventory(ns) {
		out = append(out, ref.String())
	}
	return out
}

// TestStaleCache gives a settled set to an operator whose cache does not hold it yet: it asks, and changes nothing. The default
// account, which Kubernetes makes, is applied unasked.
func TestStaleCache(t *testing.T) {
	a, set := applier(t), home(fresh())
	converge(t, a, set)
	mark, before := cluster.Mark(t), snapshot(t, *set.Root.GetName())
	blind := &apply.Applier{Client: &forgetful{Client: a.Client}, Live: a.Live}
	if drifted := converge(t, blind, set); len(drifted) > 0 {
		t.Errorf("drifted: %v", drifted)
	}
	requests := asked(t, mark)
	for _, e := range mutating(requests) {
		if innate := e.Verb == "patch" && e.Resource == "serviceaccounts"; !innate && (e.Verb != "create" || e.Code != 409) {
			t.Errorf("wrote what was there: %s %s %d", e.Verb, e.RequestURI, e.Code)
		}
	}
	if diff := cmp.Diff(before, snapshot(t, *set.Root.GetName())); diff != "" {
		t.Errorf("changed (-before +after):\n%s", diff)
	}
}

// TestChangeOfMind wants a set otherwise than before, in each way: that is no drift, and what is no longer wanted is gone.
func TestChangeOfMind(t *testing.T) {
	a, set := applier(t), home(fresh())
	namespace := *set.Root.GetName()
	converge(t, a, set)
	set.Root = corev1ac.Namespace(namespace).WithLabels(map[string]string{"pod-security.kubernetes.io/enforce": "baseline"})
	set.Objects[2] = policy(namespace, "granted")
	set.Objects[3] = quota(namespace, map[corev1.ResourceName]string{"pods": "10", "requests.cpu": "1500m"})
	set.Objects[5] = binding(namespace, "admin", "lugano:ced")
	if drifted := converge(t, a, set); len(drifted) > 0 {
		t.Errorf("a change of mind is called drift: %v", drifted)
	}
	other := home(fresh()) // wanted like this from the beginning, it is the same
	name := *other.Root.GetName()
	other.Root = corev1ac.Namespace(name).WithLabels(map[string]string{"pod-security.kubernetes.io/enforce": "baseline"})
	other.Objects[2] = policy(name, "granted")
	other.Objects[3] = quota(name, map[corev1.ResourceName]string{"pods": "10", "requests.cpu": "1500m"})
	other.Objects[5] = binding(name, "admin", "lugano:ced")
	converge(t, a, other)
	if diff := cmp.Diff(snapshot(t, name), snapshot(t, namespace)); diff != "" {
		t.Errorf("what changed differs from what was made like that (-made +changed):\n%s", diff)
	}
	mark := cluster.Mark(t)
	converge(t, a, set)
	if requests := asked(t, mark); len(requests) > 0 {
		t.Errorf("a settled set cost requests:\n%s", lines(requests))
	}
}

// TestDefaultAccount lets kube-controller-manager make the account first: it is taken over, and nobody fights over it.
func TestDefaultAccount(t *testing.T) {
	a, set := applier(t), home(fresh())
	namespace := *set.Root.GetName()
	ours := apply.Set{Owner: owner, Root: set.Root}
	converge(t, a, ours)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "default"}}
	cluster.Eventually(t, 20*time.Second, "the default account exists", func() error {
		return admin(t).Get(t.Context(), client.ObjectKeyFromObject(account), account)
	})
	if drifted := converge(t, a, set); len(drifted) > 0 {
		t.Errorf("what Kubernetes made is called drift: %v", drifted)
	}
	seen(t, a, account)
	if account.Labels["broletto.dev/owner"] != string(owner) || account.AutomountServiceAccountToken == nil || *account.AutomountServiceAccountToken {
		t.Errorf("the account was not taken over: %+v", account)
	}
	version, mark := account.ResourceVersion, cluster.Mark(t)
	time.Sleep(2 * time.Second) // for the other side to fight, if it wants to
	converge(t, a, set)
	if requests := asked(t, mark); len(requests) > 0 {
		t.Errorf("a settled set cost requests:\n%s", lines(requests))
	}
	if seen(t, a, account); account.ResourceVersion != version {
		t.Errorf("somebody wrote the account again: %+v", account.ManagedFields)
	}
}
