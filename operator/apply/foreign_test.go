package apply_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/operator/apply"
	"github.com/broletto/broletto/test/cluster"
)

// TestForeign finds the namespace taken, whether the cache knows it or only the API server does: nothing is written.
func TestForeign(t *testing.T) {
	cases := map[string]struct {
		reason string
		labels map[string]string
		blind  bool
	}{
		"NoLabel":          {reason: "a namespace of before us", labels: map[string]string{"team": "rete"}},
		"OtherOwner":       {reason: "the namespace of a tenant that was, or of another installation", labels: map[string]string{"broletto.dev/owner": "6d1c0f7e-0000-4000-8000-000000000000"}},
		"NoLabelUnseen":    {reason: "made a moment ago", blind: true},
		"OtherOwnerUnseen": {reason: "made a moment ago", labels: map[string]string{"broletto.dev/owner": "6d1c0f7e-0000-4000-8000-000000000000"}, blind: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			a, set := applier(t), home(fresh())
			ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: *set.Root.GetName(), Labels: tc.labels}}
			if err := admin(t).Create(t.Context(), ns); err != nil {
				t.Fatal(err)
			}
			if tc.blind {
				a = &apply.Applier{Client: &forgetful{a.Client}, Live: a.Live}
			} else {
				cluster.Eventually(t, 10*time.Second, "the cache sees it", func() error {
					return a.Client.Get(t.Context(), client.ObjectKeyFromObject(ns), &corev1.Namespace{})
				})
			}
			mark := cluster.Mark(t)
			_, err := a.Sync(t.Context(), set)
			var foreign *apply.Foreign
			if !errors.As(err, &foreign) || foreign.Kind != "Namespace" || foreign.Name != ns.Name {
				t.Errorf("%s: got %v, want a *Foreign", tc.reason, err)
			}
			requests := asked(t, mark)
			for _, e := range mutating(requests) {
				if e.Code < 300 {
					t.Errorf("%s: wrote %s %s %d", tc.reason, e.Verb, e.RequestURI, e.Code)
				}
			}
			version := ns.ResourceVersion
			if !exists(t, ns) || ns.ResourceVersion != version {
				t.Errorf("%s: the namespace changed", tc.reason)
			}
		})
	}
}

// TestStrippedRoot loses the owner's label of the namespace itself: it is no longer ours, and nothing is written.
func TestStrippedRoot(t *testing.T) {
	a, set := applier(t), home(fresh())
	converge(t, a, set)
	ns := rootOf(t, *set.Root.GetName())
	spoil(t, drift{object: ns, change: func(o client.Object) { delete(o.GetLabels(), "broletto.dev/owner") }})
	seen(t, a, ns)
	mark := cluster.Mark(t)
	var foreign *apply.Foreign
	if _, err := a.Sync(t.Context(), set); !errors.As(err, &foreign) {
		t.Errorf("got %v, want a *Foreign", err)
	}
	if requests := asked(t, mark); len(mutating(requests)) > 0 {
		t.Errorf("wrote:\n%s", lines(requests))
	}
}

// TestInTheWay finds an object of a needed name in a namespace that is ours: it makes way, with another content or another role.
func TestInTheWay(t *testing.T) {
	cases := map[string]struct {
		reason string
		object client.Object
	}{
		"Policy": {"one that opens all", &networkingv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: "granted"},
			Spec: networkingv1.NetworkPolicySpec{
				Ingress: []networkingv1.NetworkPolicyIngressRule{{}}, Egress: []networkingv1.NetworkPolicyEgressRule{{}},
			},
		}},
		"Binding": {"one of the same role and other subjects", &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "admin"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "broletto-tenant-admin"},
			Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "mallory"}},
		}},
		"BindingOfAnotherRole": {"what a binding refers to cannot change", &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "admin"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
			Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "mallory"}},
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			a, set := applier(t), home(fresh())
			namespace := *set.Root.GetName()
			converge(t, a, apply.Set{Owner: owner, Root: set.Root})
			tc.object.SetNamespace(namespace)
			if err := admin(t).Create(t.Context(), tc.object); err != nil {
				t.Fatal(err)
			}
			if drifted, err := a.Sync(t.Context(), set); err != nil || len(drifted) > 0 {
				t.Errorf("%s: got %v, %v", tc.reason, drifted, err)
			}
			clean := home(fresh())
			converge(t, a, clean)
			if diff := cmp.Diff(snapshot(t, *clean.Root.GetName()), snapshot(t, namespace)); diff != "" {
				t.Errorf("%s: it did not make way (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

// TestTerminating meets objects that are being deleted: they can be made again only when they are gone.
func TestTerminating(t *testing.T) {
	t.Run("Root", func(t *testing.T) {
		a, set := applier(t), home(fresh())
		set.Objects = append(set.Objects, claim(*set.Root.GetName(), "documenti", "1Gi"))
		converge(t, a, set)
		held := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: *set.Root.GetName(), Name: "documenti"}}
		spoil(t, drift{object: held, change: func(o client.Object) { o.SetFinalizers([]string{"example.org/hold"}) }})
		ns := rootOf(t, *set.Root.GetName())
		if err := admin(t).Delete(t.Context(), ns); err != nil {
			t.Fatal(err)
		}
		for _, who := range []*apply.Applier{{Client: &forgetful{a.Client}, Live: a.Live}, a} {
			mark := cluster.Mark(t)
			var terminating *apply.Terminating
			if _, err := who.Sync(t.Context(), set); !errors.As(err, &terminating) || terminating.Kind != "Namespace" {
				t.Errorf("got %v, want a *Terminating of the namespace", err)
			}
			requests := asked(t, mark)
			for _, e := range mutating(requests) {
				if e.Code < 300 {
					t.Errorf("wrote into a namespace that goes: %s %s %d", e.Verb, e.RequestURI, e.Code)
				}
			}
			seen(t, a, ns)
		}
		spoil(t, drift{object: held, change: func(o client.Object) { o.SetFinalizers(nil) }})
	})
	t.Run("Object", func(t *testing.T) {
		a, set := applier(t), home(fresh())
		namespace := *set.Root.GetName()
		converge(t, a, set)
		held := roleBinding(namespace, "admin")
		spoil(t, drift{object: held, change: func(o client.Object) { o.SetFinalizers([]string{"example.org/hold"}) }})
		spoil(t, drift{object: held, remove: true})
		seen(t, a, held)
		var terminating *apply.Terminating
		if _, err := a.Sync(t.Context(), set); !errors.As(err, &terminating) || terminating.Name != "admin" {
			t.Errorf("got %v, want a *Terminating of the binding", err)
		}
		spoil(t, drift{object: held, change: func(o client.Object) { o.SetFinalizers(nil) }})
		cluster.Eventually(t, 10*time.Second, "the cache sees it go", func() error {
			if err := a.Client.Get(t.Context(), client.ObjectKeyFromObject(held), held); !apierrors.IsNotFound(err) {
				return errors.New("still there")
			}
			return nil
		})
		if drifted := converge(t, a, set); len(drifted) != 1 {
			t.Errorf("made again and reported as %v, want one drift", drifted)
		}
	})
}
