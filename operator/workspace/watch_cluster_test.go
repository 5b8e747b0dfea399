package workspace_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// TestWatches runs the whole operator and touches each thing that a workspace's state rests on. It does not run beside other tests: the
// operator would work on their workspaces too.
func TestWatches(t *testing.T) {
	s := stage.New(t, "watch")
	end := time.Date(2027, 6, 30, 0, 0, 0, 0, time.UTC)
	s.Operate(end.Add(-10 * time.Second))
	c, a := s.Consortium(), s.Tenant("a", ownClass(s))
	s.Says(a, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	lab := s.Workspace(a, "lab", func(w *v1alpha1.Workspace) { w.Spec.ExpiresAt = &metav1.Time{Time: end} })
	w := s.Workspace(a, "sito", cpu("5"), volume("1Gi", "dati"), func(w *v1alpha1.Workspace) {
		w.Spec.Access = []v1alpha1.Access{{Role: v1alpha1.RoleEdit, Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Name: "deployer"}}}
	})
	s.Says(w, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded) // the ledger's answer
	late := s.Workspace(a, "late", cpu("3"))
	s.Says(late, v1alpha1.ConditionStalled, v1alpha1.ReasonQuotaExceeded)

	repairs(s, w)
	follows(s, c, a, w)

	stage.Edit(s, w, cpu("1"))
	s.Says(late, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded) // what another gave back
	stage.Edit(s, w, func(w *v1alpha1.Workspace) { w.Spec.Network.ConnectTo = []v1alpha1.Peer{{Workspace: "late"}} })
	shows(s, w, v1alpha1.ConditionPeersConsent, "False ConsentMissing")
	stage.Edit(s, late, func(w *v1alpha1.Workspace) { w.Spec.Network.AllowFrom = []v1alpha1.Peer{{Workspace: "sito"}} })
	shows(s, w, v1alpha1.ConditionPeersConsent, "True Succeeded") // a peer
	shows(s, lab, v1alpha1.ConditionSuspended, "True Expired")    // the clock

	s.Remove(late)
	cluster.Eventually(t, stage.Patience, "it goes with its namespace", func() error {
		if s.Exists(late) || s.Exists(namespaceOf(late)) {
			return errors.New("it is there")
		}
		return nil
	})
}

// repairs changes or deletes one object of each kind in a workspace's namespace.
func repairs(s *stage.Stage, w *v1alpha1.Workspace) {
	s.Helper()
	ns := w.TargetNamespace()
	rows := driftRows(ns)
	before := objects(s, ns)
	for _, name := range []string{
		"Pod Security lowered", "quota raised", "limits deleted", "default-deny deleted", "account of a tool gone", "binding deleted", "claim deleted",
	} {
		rows[name].Do(s)
		cluster.Eventually(s, stage.Soon, name+": it is as it was", func() error { return stage.Same(before, objects(s, ns)) })
	}
}

// follows changes what a workspace is made from and does not stand in it.
func follows(s *stage.Stage, c *v1alpha1.Consortium, a *v1alpha1.Tenant, w *v1alpha1.Workspace) {
	s.Helper()
	stage.Edit(s, c, func(c *v1alpha1.Consortium) { c.Spec.Defaults.Workspace.PodSecurity = v1alpha1.PodSecurityBaseline })
	cluster.Eventually(s, stage.Soon, "the consortium's Pod Security", func() error {
		ns := namespaceOf(w)
		if s.Read(ns); ns.Labels["pod-security.kubernetes.io/enforce"] != "baseline" {
			return errors.New(ns.Labels["pod-security.kubernetes.io/enforce"])
		}
		return nil
	})
	stage.Edit(s, a, func(a *v1alpha1.Tenant) { a.Spec.Viewers = nil })
	cluster.Eventually(s, stage.Soon, "the tenant's viewers", func() error {
		if s.Exists(&rbacv1.RoleBinding{ObjectMeta: stage.In(w.TargetNamespace(), "tenant-view")}) {
			return errors.New("they have rights")
		}
		return nil
	})
	shows(s, w, v1alpha1.ConditionVolumesBound, "False StorageClassMissing")
	s.Create(&storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: s.ID("class")}, Provisioner: "kubernetes.io/no-provisioner", VolumeBindingMode: new(storagev1.VolumeBindingWaitForFirstConsumer),
	})
	shows(s, w, v1alpha1.ConditionVolumesBound, "False VolumesPending")
}

// shows waits until a workspace's condition has a status and a reason.
func shows(s *stage.Stage, w *v1alpha1.Workspace, kind, want string) {
	s.Helper()
	cluster.Eventually(s, stage.Soon, w.Name+" shows "+kind+" "+want, func() error {
		s.Read(w)
		c := meta.FindStatusCondition(w.Status.Conditions, kind)
		if c == nil || strings.Join([]string{string(c.Status), c.Reason}, " ") != want {
			return errors.New(stage.Conditions(w))
		}
		return nil
	})
}
