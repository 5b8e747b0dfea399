package apply_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/operator/apply"
	"github.com/broletto/broletto/test/cluster"
)

func roleBinding(namespace, name string) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

func rootOf(t *testing.T, namespace string) *corev1.Namespace {
	t.Helper()
	ns := &corev1.Namespace{}
	if err := admin(t).Get(t.Context(), client.ObjectKey{Name: namespace}, ns); err != nil {
		t.Fatal(err)
	}
	return ns
}

func exists(t *testing.T, o client.Object) bool {
	t.Helper()
	err := admin(t).Get(t.Context(), client.ObjectKeyFromObject(o), o)
	if client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	return err == nil
}

// TestPrune takes objects out of a set: they go, and the inventory forgets them.
func TestPrune(t *testing.T) {
	a, set := applier(t), home(fresh())
	namespace := *set.Root.GetName()
	converge(t, a, set)
	want, before := snapshot(t, namespace), inventory(rootOf(t, namespace))
	more := set
	more.Objects = append(more.Objects[:6:6], binding(namespace, "view", "lugano:revisione"), account(namespace, "pipeline"))
	converge(t, a, more)
	if drifted := converge(t, a, set); len(drifted) > 0 {
		t.Errorf("a change of mind is called drift: %v", drifted)
	}
	if diff := cmp.Diff(want, snapshot(t, namespace)); diff != "" {
		t.Errorf("after the change and back (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, inventory(rootOf(t, namespace))); diff != "" {
		t.Errorf("inventory (-want +got):\n%s", diff)
	}
	mark := cluster.Mark(t)
	converge(t, a, set)
	if requests := asked(t, mark); len(requests) > 0 {
		t.Errorf("not at rest after pruning:\n%s", lines(requests))
	}
}

// TestPruneSparesOthers puts something in the place of a recorded object before the set no longer wants it.
func TestPruneSparesOthers(t *testing.T) {
	cases := map[string]struct {
		reason string
		labels map[string]string
	}{
		"NoLabel":    {"without our label it is not ours", nil},
		"OtherOwner": {"with another owner's UID neither", map[string]string{"broletto.dev/owner": "6d1c0f7e-0000-4000-8000-000000000000"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			a, set := applier(t), home(fresh())
			namespace := *set.Root.GetName()
			more := set
			more.Objects = append(more.Objects[:6:6], binding(namespace, "view", "lugano:revisione"))
			converge(t, a, more)
			c, theirs := admin(t), roleBinding(namespace, "view")
			if err := c.Delete(t.Context(), theirs); err != nil {
				t.Fatal(err)
			}
			theirs = roleBinding(namespace, "view")
			theirs.Labels = tc.labels
			theirs.RoleRef = rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}
			if err := c.Create(t.Context(), theirs); err != nil {
				t.Fatal(err)
			}
			uid := theirs.UID
			converge(t, a, set)
			if !exists(t, theirs) || theirs.UID != uid {
				t.Errorf("%s, and was deleted", tc.reason)
			}
			for _, ref := range apply.Inventory(rootOf(t, namespace)) {
				if ref.Name == "view" {
					t.Errorf("%s, and is still in the inventory", tc.reason)
				}
			}
		})
	}
}

// swap lets somebody replace an object between the look at it and its deletion.
type swap struct {
	client.Client
	before func(o client.Object)
}

func (s swap) Delete(ctx context.Context, o client.Object, options ...client.DeleteOption) error {
	s.before(o)
	return s.Client.Delete(ctx, o, options...)
}

// TestPruneHitsOnlyWhatItSaw replaces an object at the last moment by one of the same name that even carries our label.
func TestPruneHitsOnlyWhatItSaw(t *testing.T) {
	a, set := applier(t), home(fresh())
	namespace := *set.Root.GetName()
	more := set
	more.Objects = append(more.Objects[:6:6], binding(namespace, "view", "lugano:revisione"))
	converge(t, a, more)
	c, theirs := admin(t), roleBinding(namespace, "view")
	hasty := &apply.Applier{Live: a.Live, Client: swap{a.Client, func(o client.Object) {
		if err := c.Delete(t.Context(), roleBinding(namespace, "view")); err != nil {
			t.Error(err)
		}
		theirs.Labels, theirs.RoleRef = o.GetLabels(), rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}
		if err := c.Create(t.Context(), theirs); err != nil {
			t.Error(err)
		}
	}}}
	if _, err := hasty.Sync(t.Context(), set); !apierrors.IsConflict(err) {
		t.Errorf("got %v, want a conflict", err)
	}
	if uid := theirs.UID; !exists(t, theirs) || theirs.UID != uid {
		t.Error("an object was deleted that the applier never looked at")
	}
}

// TestFinalizer keeps an object that will not die in the inventory until it is gone.
func TestFinalizer(t *testing.T) {
	a, set := applier(t), home(fresh())
	namespace := *set.Root.GetName()
	more := set
	more.Objects = append(more.Objects[:6:6], binding(namespace, "view", "lugano:revisione"))
	converge(t, a, more)
	held := roleBinding(namespace, "view")
	finalizers := func(names ...string) {
		t.Helper()
		spoil(t, drift{object: held, change: func(o client.Object) { o.SetFinalizers(names) }})
	}
	finalizers("example.org/hold")
	seen(t, a, held)
	for range 2 {
		converge(t, a, set)
		if !exists(t, held) || held.DeletionTimestamp.IsZero() {
			t.Fatalf("deletion at %v, want it under way", held.DeletionTimestamp)
		}
		if got := inventory(rootOf(t, namespace)); len(got) != 7 {
			t.Errorf("inventory %v forgets what still lives", got)
		}
	}
	finalizers()
	converge(t, a, set)
	if exists(t, held) {
		t.Error("it lives without its finalizer")
	}
	if got := inventory(rootOf(t, namespace)); len(got) != 6 {
		t.Errorf("inventory %v still names what is gone", got)
	}
	mark := cluster.Mark(t)
	converge(t, a, set)
	if requests := asked(t, mark); len(requests) > 0 {
		t.Errorf("not at rest:\n%s", lines(requests))
	}
}

// TestRemove takes whole sets away: ours, and what stands in their place.
func TestRemove(t *testing.T) {
	a := applier(t)
	t.Run("Ours", func(t *testing.T) {
		set := home(fresh())
		converge(t, a, set)
		if there, err := a.Exists(t.Context(), set); err != nil || !there {
			t.Fatalf("exists: %v, %v", there, err)
		}
		cluster.Eventually(t, 20*time.Second, "the namespace goes", func() error {
			gone, err := a.Remove(t.Context(), set)
			if err == nil && !gone {
				return context.DeadlineExceeded
			}
			return err
		})
		if there, err := a.Exists(t.Context(), set); err != nil || there {
			t.Errorf("exists after its removal: %v, %v", there, err)
		}
		if gone, err := a.Remove(t.Context(), set); err != nil || !gone {
			t.Errorf("removing nothing: %v, %v", gone, err)
		}
	})
	for name, labels := range map[string]map[string]string{
		"NoLabel": nil, "OtherOwner": {"broletto.dev/owner": "6d1c0f7e-0000-4000-8000-000000000000"},
	} {
		t.Run(name, func(t *testing.T) {
			set := home(fresh())
			ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: *set.Root.GetName(), Labels: labels}}
			if err := admin(t).Create(t.Context(), ns); err != nil {
				t.Fatal(err)
			}
			cluster.Eventually(t, 10*time.Second, "the cache sees it", func() error {
				return a.Client.Get(t.Context(), client.ObjectKeyFromObject(ns), &corev1.Namespace{})
			})
			mark := cluster.Mark(t)
			if gone, err := a.Remove(t.Context(), set); err != nil || !gone {
				t.Errorf("got %v, %v: a root that is not ours is none", gone, err)
			}
			if there, err := a.Exists(t.Context(), set); err != nil || there {
				t.Errorf("a foreign namespace is taken for ours: %v, %v", there, err)
			}
			if requests := asked(t, mark); len(requests) > 0 {
				t.Errorf("touched what is not ours:\n%s", lines(requests))
			}
			if !exists(t, ns) || !ns.DeletionTimestamp.IsZero() {
				t.Error("somebody else's namespace was deleted")
			}
		})
	}
}

// TestInventoryOfOthers reads an inventory that somebody has damaged: what it names wrongly is not looked for.
func TestInventoryOfOthers(t *testing.T) {
	a, set := applier(t), home(fresh())
	namespace := *set.Root.GetName()
	converge(t, a, set)
	c, secret := admin(t), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "password"}}
	if err := c.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	ns := rootOf(t, namespace)
	spoil(t, drift{object: ns, change: func(o client.Object) {
		o.GetAnnotations()["broletto.dev/inventory"] += " Secret/v1/password Secret/v1/../../kube-system/x // nonsense Foo/bar/v1/baz"
	}})
	seen(t, a, ns)
	_, _ = a.Sync(t.Context(), set) // it may complain
	if !exists(t, secret) {
		t.Error("a tampered inventory deletes what is not ours")
	}
}
