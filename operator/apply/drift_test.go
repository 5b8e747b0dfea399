package apply_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/test/cluster"
)

// drift is one way in which somebody else changes one object of a settled set.
type drift struct {
	reason string
	object client.Object
	// change edits the object, which is then updated. apply is sent by server-side apply instead, under another manager.
	change func(o client.Object)
	apply  string
	remove bool
	// untold: what cannot be told from a change of our own mind is repaired and not reported.
	untold bool
}

func drifts() map[string]drift {
	policy := func() client.Object {
		return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "granted"}}
	}
	deny := func() client.Object {
		return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "default-deny"}}
	}
	quota := func() client.Object { return &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "broletto"}} }
	limits := func() client.Object { return &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: "broletto"}} }
	account := func() client.Object { return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}} }
	binding := func() client.Object { return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "admin"}} }
	root := func() client.Object { return &corev1.Namespace{} }
	return map[string]drift{
		"ChangedAmount": {reason: "a quota is raised by hand", object: quota(), change: func(o client.Object) {
			o.(*corev1.ResourceQuota).Spec.Hard["pods"] = resource.MustParse("9999")
		}},
		"RemovedAmount": {reason: "a limit is taken away by hand", object: quota(), change: func(o client.Object) {
			delete(o.(*corev1.ResourceQuota).Spec.Hard, "count/secrets")
		}},
		"AddedAmount": {reason: "a limit that we have no opinion on can lock a tenant out", object: quota(), change: func(o client.Object) {
			o.(*corev1.ResourceQuota).Spec.Hard["count/deployments.apps"] = resource.MustParse("0")
		}},
		"AddedRule": {reason: "a network policy is the union of its rules: one more opens", object: policy(), change: func(o client.Object) {
			spec := &o.(*networkingv1.NetworkPolicy).Spec
			spec.Ingress = append(spec.Ingress, networkingv1.NetworkPolicyIngressRule{})
		}},
		"AddedPeer": {reason: "so does one more peer in a rule", object: policy(), change: func(o client.Object) {
			rule := &o.(*networkingv1.NetworkPolicy).Spec.Ingress[0]
			rule.From = append(rule.From, networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{}})
		}},
		"RuleWhereNone": {reason: "default-deny allows nothing", object: deny(), change: func(o client.Object) {
			o.(*networkingv1.NetworkPolicy).Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{}}
		}},
		"NarrowedSelector": {reason: "default-deny selects every pod", object: deny(), change: func(o client.Object) {
			o.(*networkingv1.NetworkPolicy).Spec.PodSelector.MatchLabels = map[string]string{"app": "none"}
		}},
		"DroppedDirection": {reason: "default-deny closes both directions", object: deny(), change: func(o client.Object) {
			o.(*networkingv1.NetworkPolicy).Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		}},
		"AddedSubject": {reason: "a right given by hand", object: binding(), change: func(o client.Object) {
			b := o.(*rbacv1.RoleBinding)
			b.Subjects = append(b.Subjects, rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: "mallory"})
		}},
		"ReplacedSubject": {reason: "a right moved by hand", object: binding(), change: func(o client.Object) {
			o.(*rbacv1.RoleBinding).Subjects[0].Name = "mallory"
		}},
		"NoSubject": {reason: "a right taken by hand", object: binding(), change: func(o client.Object) {
			o.(*rbacv1.RoleBinding).Subjects = nil
		}},
		"AddedLimit": {reason: "a minimum can keep every pod out", object: limits(), change: func(o client.Object) {
			spec := &o.(*corev1.LimitRange).Spec
			spec.Limits = append(spec.Limits, corev1.LimitRangeItem{Type: corev1.LimitTypePod, Min: corev1.ResourceList{"cpu": resource.MustParse("8")}})
		}},
		"TokenMounted": {reason: "the default account carries no token", object: account(), change: func(o client.Object) {
			o.(*corev1.ServiceAccount).AutomountServiceAccountToken = new(true)
		}},
		"TokenUnsaid": {reason: "unsaid means mounted", object: account(), change: func(o client.Object) {
			o.(*corev1.ServiceAccount).AutomountServiceAccountToken = nil
		}},
		"WeakerStandard": {reason: "a label decides what pods may do", object: root(), change: func(o client.Object) {
			o.(*corev1.Namespace).Labels["pod-security.kubernetes.io/enforce"] = "privileged"
		}},
		"RemovedLabel": {reason: "a label decides what pods may do", object: root(), change: func(o client.Object) {
			delete(o.(*corev1.Namespace).Labels, "pod-security.kubernetes.io/enforce")
		}},
		"EmptiedInventory": {reason: "the inventory is what a crash is cleaned up by", object: root(), change: func(o client.Object) {
			o.(*corev1.Namespace).Annotations["broletto.dev/inventory"] = ""
		}},
		"StrippedOwner": {reason: "an object without our label is not in our cache", object: policy(), change: func(o client.Object) {
			o.SetLabels(nil)
		}},
		"ForeignOwner": {reason: "somebody else's label in our namespace", object: binding(), change: func(o client.Object) {
			o.SetLabels(map[string]string{"broletto.dev/owner": "6d1c0f7e-0000-4000-8000-000000000000"})
		}},
		"StrippedEverything": {reason: "neither label nor digest, and another content", object: policy(), change: func(o client.Object) {
			o.SetLabels(nil)
			o.SetAnnotations(nil)
			o.(*networkingv1.NetworkPolicy).Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
		}, untold: true},
		"TamperedDigest": {reason: "the digest is ours to say", object: policy(), change: func(o client.Object) {
			o.SetAnnotations(map[string]string{"broletto.dev/applied": "0000000000000000"})
		}, untold: true},
		"TamperedDigestAndContent": {reason: "hides who changed it, not that it is wrong", object: quota(), change: func(o client.Object) {
			o.SetAnnotations(map[string]string{"broletto.dev/applied": "0000000000000000"})
			o.(*corev1.ResourceQuota).Spec.Hard["pods"] = resource.MustParse("9999")
		}, untold: true},
		"AppliedAmount": {reason: "another manager that applies owns what it adds", object: quota(),
			apply: `{"spec":{"hard":{"count/deployments.apps":"0"}}}`},
		"AppliedRules": {reason: "another manager that applies by force owns what it takes", object: policy(),
			apply: `{"spec":{"podSelector":{},"ingress":[{}]}}`},
		"AppliedDirections": {reason: "rules of a direction that we close", object: deny(),
			apply: `{"spec":{"podSelector":{},"egress":[{}]}}`},
		"Deleted":        {reason: "what is missing is made again", object: deny(), remove: true},
		"DeletedBinding": {reason: "what is missing is made again", object: binding(), remove: true},
		"DeletedAccount": {reason: "we or Kubernetes make it again: it is ours in the end", object: account(), remove: true, untold: true},
	}
}

// TestDrift changes one object of a settled set in each way and expects all as it was, byte for byte, and a report of the drift.
func TestDrift(t *testing.T) {
	a := applier(t)
	for name, tc := range drifts() {
		t.Run(name, func(t *testing.T) {
			set := home(fresh())
			namespace := *set.Root.GetName()
			converge(t, a, set)
			want := snapshot(t, namespace)
			if tc.object.GetName() == "" {
				tc.object.SetName(namespace)
			} else {
				tc.object.SetNamespace(namespace)
			}
			spoil(t, tc)
			seen(t, a, tc.object)
			told := len(converge(t, a, set)) > 0
			if diff := cmp.Diff(want, snapshot(t, namespace)); diff != "" {
				t.Errorf("%s: not repaired (-want +got):\n%s", tc.reason, diff)
			}
			if told == tc.untold && !(tc.remove && tc.untold) {
				t.Errorf("%s: reported %v, want %v", tc.reason, told, !tc.untold)
			}
			seen(t, a, tc.object)
			mark := cluster.Mark(t)
			if again := converge(t, a, set); len(again) > 0 {
				t.Errorf("%s: drifted for ever: %v", tc.reason, again)
			}
			if requests := asked(t, mark); len(requests) > 0 {
				t.Errorf("%s: not at rest after the repair:\n%s", tc.reason, lines(requests))
			}
		})
	}
}

// spoil does to the object what the case says, as somebody with every right.
func spoil(t *testing.T, tc drift) {
	t.Helper()
	c := admin(t)
	if tc.apply != "" {
		patch := map[string]any{}
		if err := json.Unmarshal([]byte(tc.apply), &patch); err != nil {
			t.Fatal(err)
		}
		gvk, err := c.GroupVersionKindFor(tc.object)
		if err != nil {
			t.Fatal(err)
		}
		patch["apiVersion"], patch["kind"] = gvk.ToAPIVersionAndKind()
		text, err := json.Marshal(patch)
		if err != nil {
			t.Fatal(err)
		}
		raw := client.RawPatch(types.ApplyPatchType, text)
		if err := c.Patch(t.Context(), tc.object, raw, client.FieldOwner("somebody-else"), client.ForceOwnership); err != nil {
			t.Fatal(err)
		}
		return
	}
	if tc.remove {
		if err := c.Delete(t.Context(), tc.object); err != nil {
			t.Fatal(err)
		}
		return
	}
	cluster.Eventually(t, 10*time.Second, "somebody changes it", func() error { // the quota controller writes status meanwhile
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(tc.object), tc.object); err != nil {
			return err
		}
		tc.change(tc.object)
		return c.Update(t.Context(), tc.object, client.FieldOwner("somebody-else"))
	})
}

// TestForeignMetadata lets others put their labels, annotations and finalizers on our objects: they are not drift, and stay when
// what is drift is repaired.
func TestForeignMetadata(t *testing.T) {
	a := applier(t)
	managers := map[string]client.PatchOption{"Update": client.FieldOwner("argocd-controller"), "Apply": client.ForceOwnership}
	for how, option := range managers {
		t.Run(how, func(t *testing.T) {
			set := home(fresh())
			namespace := *set.Root.GetName()
			converge(t, a, set)
			c, o := admin(t), &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "granted"}}
			patch := client.RawPatch(types.MergePatchType, []byte(theirs))
			if how == "Apply" {
				patch = client.RawPatch(types.ApplyPatchType, []byte(theirs))
			}
			if err := c.Patch(t.Context(), o, patch, client.FieldOwner("argocd-controller"), option); err != nil {
				t.Fatal(err)
			}
			seen(t, a, o)
			mark := cluster.Mark(t)
			if drifted := converge(t, a, set); len(drifted) > 0 {
				t.Errorf("their metadata is called drift: %v", drifted)
			}
			if requests := asked(t, mark); len(requests) > 0 {
				t.Errorf("their metadata cost requests:\n%s", lines(requests))
			}
			spoil(t, drift{object: o, change: func(o client.Object) {
				o.(*networkingv1.NetworkPolicy).Spec.Ingress = nil
			}})
			seen(t, a, o)
			converge(t, a, set)
			seen(t, a, o)
			if o.Labels["team"] != "rete" || o.Annotations["example.org/note"] != "theirs" || len(o.Finalizers) != 1 || len(o.Spec.Ingress) != 1 {
				t.Errorf("after the repair: labels %v, annotations %v, finalizers %v, %d rules", o.Labels, o.Annotations, o.Finalizers, len(o.Spec.Ingress))
			}
		})
	}
}

const theirs = `{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"labels":{"team":"rete"},
	"annotations":{"example.org/note":"theirs"},"finalizers":["example.org/order"]}}`
