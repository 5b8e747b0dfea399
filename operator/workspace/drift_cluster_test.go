package workspace_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
)

// TestDrift changes and deletes everything in a workspace's namespace; each is repaired and told once.
func TestDrift(t *testing.T) {
	t.Parallel()
	s := newStage(t, "drift")
	c, a := s.consortium(), s.tenant("a")
	s.ready(c, a)
	w := s.workspace(a, "sito", func(w *v1alpha1.Workspace) {
		volume("1Gi", "dati")(w)
		w.Spec.Access = []v1alpha1.Access{{Role: v1alpha1.RoleEdit, Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Name: "deployer"}}}
	})
	s.ready(w)
	ns := w.TargetNamespace()
	stray := &networkingv1.NetworkPolicy{ObjectMeta: in(ns, "stray")}
	s.create(stray)
	before := s.objects(ns)
	for name, row := range driftRows(ns) {
		t.Run(name, func(t *testing.T) {
			s := s.on(t)
			row.harm(s)
			s.caughtUp(row.object)
			s.until("it is repaired", func() error {
				if diff := cmp.Diff(before, s.objects(ns)); diff != "" {
					return errors.New(diff)
				}
				return nil
			})
			s.rest()
			want := "Warning DriftRepaired " + row.object.GetObjectKind().GroupVersionKind().Kind + " " + row.object.GetName() + " in " + ns + " was changed or deleted; it is as it should be again"
			if diff := cmp.Diff([]string{want}, s.told()); diff != "" {
				t.Errorf("%s: told (-want +got):\n%s", row.reason, diff)
			}
		})
	}
	s.ready(w)
}

type driftRow struct {
	reason string
	object client.Object
	harm   func(*stage)
}

func driftRows(ns string) map[string]driftRow {
	namespace := &corev1.Namespace{TypeMeta: kind("Namespace"), ObjectMeta: metav1.ObjectMeta{Name: ns}}
	quota := &corev1.ResourceQuota{TypeMeta: kind("ResourceQuota"), ObjectMeta: in(ns, "broletto")}
	limits := &corev1.LimitRange{TypeMeta: kind("LimitRange"), ObjectMeta: in(ns, "broletto")}
	deny := &networkingv1.NetworkPolicy{TypeMeta: kind("NetworkPolicy"), ObjectMeta: in(ns, "default-deny")}
	granted := &networkingv1.NetworkPolicy{TypeMeta: kind("NetworkPolicy"), ObjectMeta: in(ns, "granted")}
	account := &corev1.ServiceAccount{TypeMeta: kind("ServiceAccount"), ObjectMeta: in(ns, "default")}
	tool := &corev1.ServiceAccount{TypeMeta: kind("ServiceAccount"), ObjectMeta: in(ns, "deployer")}
	admins := &rbacv1.RoleBinding{TypeMeta: kind("RoleBinding"), ObjectMeta: in(ns, "tenant-admin")}
	claim := &corev1.PersistentVolumeClaim{TypeMeta: kind("PersistentVolumeClaim"), ObjectMeta: in(ns, "dati")}
	return map[string]driftRow{
		"data class lowered":      {"controls go by it", namespace, merge(namespace, `{"metadata":{"labels":{"broletto.dev/data-class":"Strategic"}}}`)},
		"Pod Security lowered":    {"nobody may loosen it", namespace, merge(namespace, `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"baseline"}}}`)},
		"quota raised":            {"the ledger does not hold it", quota, merge(quota, `{"spec":{"hard":{"requests.cpu":"99"}}}`)},
		"quota lowered":           {"the ledger holds it", quota, merge(quota, `{"spec":{"hard":{"requests.cpu":"1"}}}`)},
		"quota deleted":           {"without it nothing is bounded", quota, deleted(quota)},
		"limits deleted":          {"a pod without limits is refused then", limits, deleted(limits)},
		"limits changed":          {"a pod would ask for too much", limits, merge(limits, `{"spec":{"limits":[{"type":"Container","default":{"cpu":"9"}}]}}`)},
		"default-deny deleted":    {"it closes everything", deny, deleted(deny)},
		"default-deny aside":      {"it is for every pod", deny, merge(deny, `{"spec":{"podSelector":{"matchLabels":{"app":"x"}}}}`)},
		"granted opened":          {"it names no more than the manifest", granted, merge(granted, `{"spec":{"ingress":[{}]}}`)},
		"default account's token": {"pods have none", account, merge(account, `{"automountServiceAccountToken":true}`)},
		"account of a tool gone":  {"the tool cannot act", tool, deleted(tool)},
		"somebody more is admin":  {"rights are those of the manifest", admins, merge(admins, `{"subjects":[{"kind":"User","name":"eve","apiGroup":"rbac.authorization.k8s.io"}]}`)},
		"binding deleted":         {"rights are those of the manifest", admins, deleted(admins)},
		"claim deleted":           {"an empty volume is better than a pod that cannot start", claim, vanished(claim)},
	}
}

// TestDefaultAccount lets the controller manager make the default account, as it does in every namespace: it is taken over.
func TestDefaultAccount(t *testing.T) {
	t.Parallel()
	s := newStage(t, "default")
	c, a := s.consortium(), s.tenant("a")
	s.ready(c, a)
	w := s.workspace(a, "sito")
	s.ready(w)
	account := &corev1.ServiceAccount{ObjectMeta: in(w.TargetNamespace(), "default")}
	s.read(account)
	old := account.UID
	s.remove(account.DeepCopy())
	cluster.Eventually(t, patience, "the controller manager makes it again", func() error {
		if fresh := account.DeepCopy(); !s.exists(fresh) || fresh.UID == old || fresh.Labels[v1alpha1.LabelOwner] != "" {
			return errors.New("not yet")
		}
		return nil
	})
	s.rest()
	s.read(account)
	if account.Labels[v1alpha1.LabelOwner] != string(w.UID) || account.AutomountServiceAccountToken == nil || *account.AutomountServiceAccountToken {
		t.Errorf("the account: %+v", account)
	}
	s.ready(w)
}

func kind(name string) metav1.TypeMeta { return metav1.TypeMeta{Kind: name} }

func merge(o client.Object, patch string) func(*stage) {
	return func(s *stage) {
		if err := s.admin.Patch(s.Context(), o.DeepCopyObject().(client.Object), client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
			s.Fatal(err)
		}
	}
}

func deleted(o client.Object) func(*stage) {
	return func(s *stage) { s.remove(o.DeepCopyObject().(client.Object)) }
}

// vanished deletes an object that has a finalizer and waits until it is gone, though another may have taken its place.
func vanished(o client.Object) func(*stage) {
	return func(s *stage) {
		old, now := o.DeepCopyObject().(client.Object), o.DeepCopyObject().(client.Object)
		s.read(old)
		s.remove(o.DeepCopyObject().(client.Object))
		cluster.Eventually(s, patience, "it is gone", func() error {
			if s.exists(now) && now.GetUID() == old.GetUID() {
				return errors.New("it is there")
			}
			return nil
		})
	}
}
