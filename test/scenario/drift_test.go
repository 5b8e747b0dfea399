package scenario

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/apply"
	"github.com/broletto/broletto/test/cluster"
)

// repair is how soon what somebody broke must be as it should be again.
const repair = 5 * time.Second

// changes are what an administrator may do to an object of each kind, as a merge patch.
var changes = map[string]string{
	"Namespace":             `{"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged", "broletto.dev/tenant": "altri"}}}`,
	"ServiceAccount":        `{"automountServiceAccountToken": true}`,
	"NetworkPolicy":         `{"spec": {"egress": [{}], "ingress": [{}]}}`,
	"ResourceQuota":         `{"spec": {"hard": {"pods": "9999", "count/secrets": null}}}`,
	"LimitRange":            `{"spec": {"limits": [{"type": "Container", "default": {"cpu": "64"}}]}}`,
	"RoleBinding":           `{"subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "altri"}]}`,
	"PersistentVolumeClaim": `{"metadata": {"labels": {"broletto.dev/owner": null}}}`,
}

// drift changes, and then deletes, every object of a home and of a workspace that has everything.
func (s *settled) drift(t *testing.T) {
	kinds := map[string]bool{}
	for _, namespace := range []string{"lugano", "lugano--sportello"} {
		for _, child := range s.children(t, namespace) {
			kinds[child.GetKind()] = true
			s.changed(t, child)
			if child.GetKind() != "Namespace" {
				s.deleted(t, child)
			}
		}
	}
	if len(kinds) != len(changes) {
		t.Errorf("kinds that drifted: %v, want all of %d", kinds, len(changes))
	}
	s.opened(t)
	awaitQuiet(t, repair) // at last
}

// children are a managed namespace and what its inventory names.
func (s *settled) children(t *testing.T, namespace string) []*unstructured.Unstructured {
	t.Helper()
	root := &unstructured.Unstructured{}
	root.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	if err := s.c.Get(t.Context(), client.ObjectKey{Name: namespace}, root); err != nil {
		t.Fatal(err)
	}
	out := []*unstructured.Unstructured{root}
	for _, ref := range apply.Inventory(root) {
		o := &unstructured.Unstructured{}
		o.SetAPIVersion(ref.APIVersion)
		o.SetKind(ref.Kind)
		if err := s.c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: ref.Name}, o); err != nil {
			t.Fatal(err)
		}
		out = append(out, o)
	}
	return out
}

func (s *settled) changed(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	patch, known := changes[o.GetKind()]
	if !known {
		t.Errorf("how does a %s drift?", o.GetKind())
		return
	}
	s.repaired(t, o, "changed", func() error {
		broken := o.DeepCopy()
		if err := s.c.Patch(t.Context(), broken, client.RawPatch(types.MergePatchType, []byte(patch)), client.FieldOwner("kubectl-edit")); err != nil {
			return err
		}
		if same(broken, o) {
			return errors.New("the patch changed nothing")
		}
		return nil
	})
}

func (s *settled) deleted(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	s.repaired(t, o, "deleted", func() error { return s.c.Delete(t.Context(), o.DeepCopy()) })
}

// repaired breaks an object and wants that it is soon as it was, that one more event tells so, and that this is all.
func (s *settled) repaired(t *testing.T, o *unstructured.Unstructured, how string, breaking func() error) {
	t.Helper()
	what := fmt.Sprintf("%s %s/%s %s", o.GetKind(), o.GetNamespace(), o.GetName(), how)
	// A quota that was just repaired is counted anew, and what goes meanwhile may never have been there.
	cluster.Eventually(t, repair, "all is Ready before "+what, func() error { return s.allReady(t) })
	told := s.told(t, o)
	w := open(t)
	if err := breaking(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	cluster.Eventually(t, repair, what+" is as it was", func() error {
		live := blank(o)
		if err := s.c.Get(t.Context(), client.ObjectKeyFromObject(o), live); err != nil {
			return err
		}
		if live.GetDeletionTimestamp() != nil || (how == "deleted") == (live.GetUID() == o.GetUID()) {
			return errors.New("it is not made yet")
		}
		if diff := cmp.Diff(essence(o), essence(live)); diff != "" {
			return fmt.Errorf("-want +got:\n%s", diff)
		}
		return nil
	})
	// Kubernetes makes a default account anew as well, and when it is quicker it is not drift that we meet.
	silent := o.GetKind() == "ServiceAccount" && o.GetName() == "default" && how == "deleted"
	cluster.Eventually(t, repair, what+" is told", func() error {
		if now := s.told(t, o); now != told+1 && !(silent && now == told) {
			return fmt.Errorf("events told it %d times before and %d times since", told, now-told)
		}
		return nil
	})
	// At most: two patches of the object (fields taken over, content), an event, and the owner's status while the object was away.
	writes := slices.DeleteFunc(w.writes(t), func(r request) bool { // Kubernetes wrote meanwhile, or has not yet counted what was deleted
		return r.Code == http.StatusConflict || (r.Code == http.StatusForbidden && r.Verb == "create")
	})
	if len(writes) > 5 {
		t.Errorf("%s took %d writes to repair:\n%s", what, len(writes), lines(writes))
	}
}

func (s *settled) allReady(t *testing.T) error {
	t.Helper()
	var tenants v1alpha1.TenantList
	var workspaces v1alpha1.WorkspaceList
	if err := errors.Join(s.c.List(t.Context(), &tenants), s.c.List(t.Context(), &workspaces)); err != nil {
		return err
	}
	for i := range tenants.Items {
		if err := isReady(&tenants.Items[i]); err != nil {
			return err
		}
	}
	for i := range workspaces.Items {
		if err := isReady(&workspaces.Items[i]); err != nil {
			return err
		}
	}
	return nil
}

func blank(o *unstructured.Unstructured) *unstructured.Unstructured {
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(o.GroupVersionKind())
	return live
}

// essence is what the operator has an opinion on, and what an administrator could add.
func essence(o *unstructured.Unstructured) map[string]any {
	out := map[string]any{}
	for field, value := range o.Object {
		if field != "metadata" && field != "status" {
			out[field] = value
		}
	}
	out["labels"], out["annotations"] = o.GetLabels(), o.GetAnnotations()
	return out
}

func same(a, b *unstructured.Unstructured) bool { return cmp.Equal(essence(a), essence(b)) }

// told is how often events say that this object was repaired.
func (s *settled) told(t *testing.T, o *unstructured.Unstructured) (times int) {
	t.Helper()
	namespace := o.GetNamespace()
	if namespace == "" {
		namespace = o.GetName()
	}
	for _, e := range driftEvents(t, s.c) {
		if !strings.HasPrefix(e.Note, fmt.Sprintf("%s %s in %s was changed or deleted", o.GetKind(), o.GetName(), namespace)) {
			continue
		}
		if times++; e.Series != nil {
			times += int(e.Series.Count) - 1
		}
	}
	return times
}

func driftEvents(t testing.TB, c client.Client) []eventsv1.Event {
	t.Helper()
	var list eventsv1.EventList
	if err := c.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(list.Items, func(e eventsv1.Event) bool { return e.Reason != "DriftRepaired" })
}

// isGuard tells whether TestEveryRight weakens and deletes the policy or binding of that name.
func isGuard(name string) bool {
	for guard := range guards {
		if guard.GetName() == name {
			return true
		}
	}
	return false
}

// wantNoDriftTold wants that no event speaks of drift, since nobody changed anything.
func wantNoDriftTold(t testing.TB, c client.Client) {
	t.Helper()
	for _, e := range driftEvents(t, c) {
		if strings.HasPrefix(e.Regarding.Name, "prove-") || isGuard(e.Regarding.Name) {
			continue // drifted by hand, for TestEveryRight; an event outlives its object
		}
		t.Errorf("an event about %s %s/%s tells of drift that never was: %s", e.Regarding.Kind, e.Regarding.Namespace, e.Regarding.Name, e.Note)
	}
}

// opened has somebody else's controller, which applies with its own field manager and by force, open a network policy.
func (s *settled) opened(t *testing.T) {
	policy := s.child(t, "bellinzona--sportello", "NetworkPolicy", "default-deny")
	patch := fmt.Sprintf(`{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": %q, "namespace": %q},
		"spec": {"podSelector": {}, "ingress": [{}], "egress": [{}]}}`, policy.GetName(), policy.GetNamespace())
	s.repaired(t, policy, "opened", func() error {
		return s.c.Patch(t.Context(), policy.DeepCopy(), client.RawPatch(types.ApplyPatchType, []byte(patch)), client.FieldOwner("mesh"), client.ForceOwnership)
	})
	if err := s.c.Get(t.Context(), client.ObjectKeyFromObject(policy), policy); err != nil {
		t.Fatal(err)
	}
	for _, m := range policy.GetManagedFields() {
		if m.Manager != apply.FieldManager {
			t.Errorf("%s owns fields of a policy of ours: %s", m.Manager, m.FieldsV1)
		}
	}
}

func (s *settled) child(t *testing.T, namespace, kind, name string) *unstructured.Unstructured {
	t.Helper()
	for _, o := range s.children(t, namespace) {
		if o.GetKind() == kind && o.GetName() == name {
			return o
		}
	}
	t.Fatalf("%s has no %s %s", namespace, kind, name)
	return nil
}

// namespaces deletes a workspace's namespace, and a home without workspaces: both come back with all that was in them.
func (s *settled) namespaces(t *testing.T) {
	for _, name := range []string{"mendrisio--gis", "piambello"} {
		ns := s.children(t, name)[0]
		told := s.told(t, ns)
		if err := s.c.Delete(t.Context(), ns.DeepCopy()); err != nil {
			t.Fatal(err)
		}
		cluster.Eventually(t, long, "namespace "+name+" is another one", func() error {
			live := blank(ns)
			if err := s.c.Get(t.Context(), client.ObjectKey{Name: name}, live); err != nil {
				return err
			}
			if live.GetUID() == ns.GetUID() {
				return errors.New("it is the same")
			}
			return nil
		})
		cluster.Eventually(t, soon, "it is told that namespace "+name+" was deleted", func() error {
			if now := s.told(t, ns); now != told+1 {
				return fmt.Errorf("events told it %d times", now-told)
			}
			return nil
		})
	}
}

// driftUnseen breaks what an administrator can only break while no operator runs: it takes a name that we need.
func (s *settled) driftUnseen(t *testing.T) {
	s.operator.stop(t)
	binding := s.child(t, "locarno--sportello", "RoleBinding", "tenant-admin")
	policy := s.child(t, "locarno--sportello", "NetworkPolicy", "granted")
	if err := s.c.Delete(t.Context(), binding.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	foreign := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: binding.GetNamespace(), Name: binding.GetName()},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "altri"}},
	}
	for _, err := range []error{s.c.Create(t.Context(), foreign), s.c.Delete(t.Context(), policy)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.operator = start(s.t)
	cluster.Eventually(t, soon, "the role binding is ours again", func() error {
		live := blank(binding)
		if err := s.c.Get(t.Context(), client.ObjectKeyFromObject(binding), live); err != nil {
			return err
		}
		if !same(live, binding) {
			return errors.New(cmp.Diff(essence(binding), essence(live)))
		}
		return nil
	})
}
