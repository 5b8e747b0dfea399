package apply_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	rbacv1ac "k8s.io/client-go/applyconfigurations/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/operator/apply"
)

// forgetful reads from a cache that has seen nothing yet.
type forgetful struct{ client.Client }

func (f *forgetful) Get(_ context.Context, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
}

var errCrash = errors.New("the operator crashed")

// mortal is a client whose n-th write fails. How says in which way.
type mortal struct {
	client.Client
	n, writes int
	how       death
	dead      bool
}

type death int

const (
	killBefore death = iota // the process ends, nothing was sent
	killAfter               // the process ends, the API server has done it
	fault                   // nothing was sent, and the process lives on
)

func (m *mortal) write(send func() error) error {
	m.writes++
	if m.dead {
		return errCrash
	}
	if m.writes != m.n {
		return send()
	}
	m.dead = m.how != fault
	if m.how == killAfter {
		if err := send(); err != nil {
			return err
		}
	}
	return errCrash
}

func (m *mortal) Get(ctx context.Context, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
	if m.dead {
		return errCrash
	}
	return m.Client.Get(ctx, key, o, options...)
}

func (m *mortal) Create(ctx context.Context, o client.Object, options ...client.CreateOption) error {
	return m.write(func() error { return m.Client.Create(ctx, o, options...) })
}

func (m *mortal) Patch(ctx context.Context, o client.Object, patch client.Patch, options ...client.PatchOption) error {
	return m.write(func() error { return m.Client.Patch(ctx, o, patch, options...) })
}

func (m *mortal) Delete(ctx context.Context, o client.Object, options ...client.DeleteOption) error {
	return m.write(func() error { return m.Client.Delete(ctx, o, options...) })
}

// changed is the set of home after a change of mind that creates, applies and prunes.
func changed(namespace string) apply.Set {
	set := home(namespace)
	set.Root = root(namespace).WithLabels(map[string]string{"broletto.dev/environment": "Test"})
	set.Objects[2] = policy(namespace, "granted", "ingress", "lugano--identita")
	set.Objects = append(set.Objects[:5], account(namespace, "pipeline"), binding(namespace, "edit", "lugano:ops"), binding(namespace, "view", "lugano:audit"))
	return set
}

// TestCrash kills the operator at every write of a creation and of a change, in each way, and lets a new one finish, on the same
// way or on the way back. The end is the same as without a crash, and at no time is there an object that the inventory does not name.
func TestCrash(t *testing.T) {
	cases := map[string]struct {
		reason      string
		begin       func(namespace string) apply.Set
		interrupted func(namespace string) apply.Set
		finish      func(namespace string) apply.Set
	}{
		"Create":        {reason: "a new set", interrupted: home, finish: home},
		"Change":        {reason: "a change that adds, edits and removes", begin: home, interrupted: changed, finish: changed},
		"ChangeAndBack": {reason: "a change that is taken back before it was done", begin: home, interrupted: changed, finish: home},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, undisturbed := applier(t), fresh()
			converge(t, a, tc.finish(undisturbed))
			want := snapshot(t, undisturbed)
			for how, text := range map[death]string{killBefore: "before", killAfter: "after", fault: "instead of"} {
				for n := 1; ; n++ {
					namespace := fresh()
					if tc.begin != nil {
						converge(t, a, tc.begin(namespace))
					}
					m := &mortal{Client: a.Client, n: n, how: how}
					_, err := (&apply.Applier{Client: m, Live: a.Live}).Sync(t.Context(), tc.interrupted(namespace))
					crashed := errors.Is(err, errCrash)
					if !crashed && (err != nil || m.writes >= n) {
						t.Fatalf("%s: failing %s write %d of %d gives %v", tc.reason, text, n, m.writes, err)
					}
					noOrphan(t, namespace, fmt.Sprintf("%s: %s write %d", tc.reason, text, n))
					converge(t, a, tc.finish(namespace))
					if diff := cmp.Diff(want, snapshot(t, namespace)); diff != "" {
						t.Fatalf("%s: after a failure %s write %d (-undisturbed +got):\n%s", tc.reason, text, n, diff)
					}
					if !crashed {
						break // there was no n-th write
					}
				}
			}
		})
	}
}

// noOrphan fails when an object that carries our label is not in the inventory.
func noOrphan(t *testing.T, namespace, when string) {
	t.Helper()
	objects := everything(t, namespace)
	if len(objects) == 0 {
		return
	}
	recorded := inventory(objects[0].(*corev1.Namespace))
	for _, o := range objects[1:] {
		kind := strings.TrimPrefix(fmt.Sprintf("%T", o), "*v1.")
		if o.GetLabels()["broletto.dev/owner"] == string(owner) && !slices.ContainsFunc(recorded, func(ref string) bool {
			return strings.HasPrefix(ref, kind+"/") && strings.HasSuffix(ref, "/"+o.GetName())
		}) {
			t.Errorf("%s: %s %s is an orphan; the inventory is %v", when, kind, o.GetName(), recorded)
		}
	}
}

// TestFailureStopsGrowthOnly wants something that the operator may not make: what stands after it is not made, since rights come
// last, and rights of the past go nevertheless.
func TestFailureStopsGrowthOnly(t *testing.T) {
	a, set := applier(t), home(fresh())
	namespace := *set.Root.GetName()
	converge(t, a, set)
	forbidden := rbacv1ac.RoleBinding("escalation", namespace).
		WithRoleRef(rbacv1ac.RoleRef().WithAPIGroup(rbacv1.GroupName).WithKind("ClusterRole").WithName("cluster-admin"))
	next := set
	next.Objects = slices.Concat(set.Objects[:5], []apply.Object{forbidden, binding(namespace, "later", "lugano:ops")})
	if _, err := a.Sync(t.Context(), next); !apierrors.IsForbidden(err) {
		t.Errorf("got %v, want the API server's refusal", err)
	}
	if exists(t, roleBinding(namespace, "later")) {
		t.Error("a right was given though what comes before it failed")
	}
	if exists(t, roleBinding(namespace, "admin")) {
		t.Error("a right of the past stays because something new failed")
	}
	noOrphan(t, namespace, "after the failure")
}

// TestConflict lets somebody write between our look at an object and our write: nothing of theirs is lost unseen.
func TestConflict(t *testing.T) {
	a, set := applier(t), home(fresh())
	namespace := *set.Root.GetName()
	converge(t, a, set)
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "broletto"}}
	spoil(t, drift{object: quota, change: func(o client.Object) { delete(o.(*corev1.ResourceQuota).Spec.Hard, "pods") }})
	seen(t, a, quota)
	once := false
	hasty := &apply.Applier{Live: a.Live, Client: meddler{a.Client, func() {
		if !once {
			once = true
			spoil(t, drift{object: quota, change: func(o client.Object) { o.SetAnnotations(map[string]string{"example.org/note": "theirs"}) }})
		}
	}}}
	if _, err := hasty.Sync(t.Context(), set); !apierrors.IsConflict(err) {
		t.Errorf("got %v, want a conflict", err)
	}
	seen(t, a, quota)
	converge(t, a, set)
	if seen(t, a, quota); quota.Annotations["example.org/note"] != "theirs" || len(quota.Spec.Hard) != 4 {
		t.Errorf("in the end %v, %v", quota.Annotations, quota.Spec.Hard)
	}
}

// meddler lets somebody act before each patch.
type meddler struct {
	client.Client
	before func()
}

func (m meddler) Patch(ctx context.Context, o client.Object, patch client.Patch, options ...client.PatchOption) error {
	m.before()
	return m.Client.Patch(ctx, o, patch, options...)
}
