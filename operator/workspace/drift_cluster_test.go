package workspace_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// TestDrift changes and deletes everything in a workspace's namespace; each is repaired and told once.
func TestDrift(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "drift")
	c, a := s.Consortium(), s.Tenant("a")
	s.Ready(c, a)
	w := s.Workspace(a, "sito", func(w *v1alpha1.Workspace) {
		volume("1Gi", "dati")(w)
		w.Spec.Access = []v1alpha1.Access{{Role: v1alpha1.RoleEdit, Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Name: "deployer"}}}
	})
	s.Ready(w)
	ns := w.TargetNamespace()
	stray := &networkingv1.NetworkPolicy{ObjectMeta: stage.In(ns, "stray")}
	s.Create(stray)
	before := objects(s, ns)
	for name, row := range driftRows(ns) {
		t.Run(name, func(t *testing.T) {
			s := s.On(t)
			row.Do(s)
			s.CaughtUp(row.Object)
			s.Until("it is repaired", func() error { return stage.Same(before, objects(s, ns)) })
			s.Rest()
			want := s.Repaired(row, ns)
			if diff := cmp.Diff([]string{want}, s.Events()); diff != "" {
				t.Errorf("%s: told (-want +got):\n%s", row.Reason, diff)
			}
		})
	}
	s.Ready(w)
}

func driftRows(ns string) map[string]stage.Harm {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}
	quota := &corev1.ResourceQuota{ObjectMeta: stage.In(ns, "broletto")}
	limits := &corev1.LimitRange{ObjectMeta: stage.In(ns, "broletto")}
	deny := &networkingv1.NetworkPolicy{ObjectMeta: stage.In(ns, "default-deny")}
	granted := &networkingv1.NetworkPolicy{ObjectMeta: stage.In(ns, "granted")}
	account := &corev1.ServiceAccount{ObjectMeta: stage.In(ns, "default")}
	tool := &corev1.ServiceAccount{ObjectMeta: stage.In(ns, "deployer")}
	admins := &rbacv1.RoleBinding{ObjectMeta: stage.In(ns, "tenant-admin")}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: stage.In(ns, "dati")}
	return map[string]stage.Harm{
		"data class lowered":      stage.Changed("controls go by it", namespace, `{"metadata":{"labels":{"broletto.dev/data-class":"Strategic"}}}`),
		"Pod Security lowered":    stage.Changed("nobody may loosen it", namespace, `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"baseline"}}}`),
		"quota raised":            stage.Changed("the ledger does not hold it", quota, `{"spec":{"hard":{"requests.cpu":"99"}}}`),
		"quota lowered":           stage.Changed("the ledger holds it", quota, `{"spec":{"hard":{"requests.cpu":"1"}}}`),
		"quota deleted":           stage.Deleted("without it nothing is bounded", quota),
		"limits deleted":          stage.Deleted("a pod without limits is refused then", limits),
		"limits changed":          stage.Changed("a pod would ask for too much", limits, `{"spec":{"limits":[{"type":"Container","default":{"cpu":"9"}}]}}`),
		"default-deny deleted":    stage.Deleted("it closes everything", deny),
		"default-deny aside":      stage.Changed("it is for every pod", deny, `{"spec":{"podSelector":{"matchLabels":{"app":"x"}}}}`),
		"granted opened":          stage.Changed("it names no more than the manifest", granted, `{"spec":{"ingress":[{}]}}`),
		"default account's token": stage.Changed("pods have none", account, `{"automountServiceAccountToken":true}`),
		"account of a tool gone":  stage.Deleted("the tool cannot act", tool),
		"somebody more is admin":  stage.Changed("rights are those of the manifest", admins, `{"subjects":[{"kind":"User","name":"eve","apiGroup":"rbac.authorization.k8s.io"}]}`),
		"binding deleted":         stage.Deleted("rights are those of the manifest", admins),
		"claim deleted":           vanished("an empty volume is better than a pod that cannot start", claim),
	}
}

// TestDefaultAccount lets the controller manager make the default account, as it does in every namespace: it is taken over.
func TestDefaultAccount(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "default")
	c, a := s.Consortium(), s.Tenant("a")
	s.Ready(c, a)
	w := s.Workspace(a, "sito")
	s.Ready(w)
	account := &corev1.ServiceAccount{ObjectMeta: stage.In(w.TargetNamespace(), "default")}
	s.Read(account)
	old := account.UID
	s.Remove(account.DeepCopy())
	cluster.Eventually(t, stage.Patience, "the controller manager makes it again", func() error {
		if fresh := account.DeepCopy(); !s.Exists(fresh) || fresh.UID == old || fresh.Labels[v1alpha1.LabelOwner] != "" {
			return errors.New("not yet")
		}
		return nil
	})
	s.Rest()
	s.Read(account)
	if account.Labels[v1alpha1.LabelOwner] != string(w.UID) || account.AutomountServiceAccountToken == nil || *account.AutomountServiceAccountToken {
		t.Errorf("the account: %+v", account)
	}
	s.Ready(w)
}

// vanished deletes an object that has a finalizer and waits until it is gone, though another may have taken its place.
func vanished(reason string, o client.Object) stage.Harm {
	return stage.Harm{Reason: reason, Object: o, Do: func(s *stage.Stage) {
		s.Helper()
		old, now := o.DeepCopyObject().(client.Object), o.DeepCopyObject().(client.Object)
		s.Read(old)
		s.Remove(o.DeepCopyObject().(client.Object))
		cluster.Eventually(s, stage.Patience, "it is gone", func() error {
			if s.Exists(now) && now.GetUID() == old.GetUID() {
				return errors.New("it is there")
			}
			return nil
		})
	}}
}
