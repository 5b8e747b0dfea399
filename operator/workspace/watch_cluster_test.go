package workspace_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
)

// TestWatches runs the whole operator and touches each thing that a workspace's state rests on. It does not run beside other tests: the
// operator would work on their workspaces too.
func TestWatches(t *testing.T) {
	s := newStage(t, "watch")
	end := time.Date(2027, 6, 30, 0, 0, 0, 0, time.UTC)
	s.operate(end.Add(-10 * time.Second))
	c, a := s.consortium(), s.tenant("a", ownClass(s))
	s.says(a, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	lab := s.workspace(a, "lab", func(w *v1alpha1.Workspace) { w.Spec.ExpiresAt = &metav1.Time{Time: end} })
	w := s.workspace(a, "sito", cpu("5"), volume("1Gi", "dati"), func(w *v1alpha1.Workspace) {
		w.Spec.Access = []v1alpha1.Access{{Role: v1alpha1.RoleEdit, Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Name: "deployer"}}}
	})
	s.says(w, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded) // the ledger's answer
	late := s.workspace(a, "late", cpu("3"))
	s.says(late, v1alpha1.ConditionStalled, v1alpha1.ReasonQuotaExceeded)

	s.repairs(w)
	s.follows(c, a, w)

	edit(s, w, cpu("1"))
	s.says(late, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded) // what another gave back
	edit(s, w, func(w *v1alpha1.Workspace) { w.Spec.Network.ConnectTo = []v1alpha1.Peer{{Workspace: "late"}} })
	s.shows(w, v1alpha1.ConditionPeersConsent, "False ConsentMissing")
	edit(s, late, func(w *v1alpha1.Workspace) { w.Spec.Network.AllowFrom = []v1alpha1.Peer{{Workspace: "sito"}} })
	s.shows(w, v1alpha1.ConditionPeersConsent, "True Succeeded") // a peer
	s.shows(lab, v1alpha1.ConditionSuspended, "True Expired")    // the clock

	s.remove(late)
	cluster.Eventually(t, patience, "it goes with its namespace", func() error {
		if s.exists(late) || s.exists(namespaceOf(late)) {
			return errors.New("it is there")
		}
		return nil
	})
}

// repairs changes or deletes one object of each kind in a workspace's namespace.
func (s *stage) repairs(w *v1alpha1.Workspace) {
	s.Helper()
	ns := w.TargetNamespace()
	rows := driftRows(ns)
	before := s.objects(ns)
	for _, name := range []string{
		"Pod Security lowered", "quota raised", "limits deleted", "default-deny deleted", "account of a tool gone", "binding deleted", "claim deleted",
	} {
		rows[name].harm(s)
		cluster.Eventually(s, soon, name+": it is as it was", func() error {
			if diff := cmp.Diff(before, s.objects(ns)); diff != "" {
				return errors.New(diff)
			}
			return nil
		})
	}
}

// follows changes what a workspace is made from and does not stand in it.
func (s *stage) follows(c *v1alpha1.Consortium, a *v1alpha1.Tenant, w *v1alpha1.Workspace) {
	s.Helper()
	edit(s, c, func(c *v1alpha1.Consortium) { c.Spec.Defaults.Workspace.PodSecurity = v1alpha1.PodSecurityBaseline })
	cluster.Eventually(s, soon, "the consortium's Pod Security", func() error {
		ns := namespaceOf(w)
		if s.read(ns); ns.Labels["pod-security.kubernetes.io/enforce"] != "baseline" {
			return errors.New(ns.Labels["pod-security.kubernetes.io/enforce"])
		}
		return nil
	})
	edit(s, a, func(a *v1alpha1.Tenant) { a.Spec.Viewers = nil })
	cluster.Eventually(s, soon, "the tenant's viewers", func() error {
		if s.exists(&rbacv1.RoleBinding{ObjectMeta: in(w.TargetNamespace(), "tenant-view")}) {
			return errors.New("they have rights")
		}
		return nil
	})
	s.shows(w, v1alpha1.ConditionVolumesBound, "False StorageClassMissing")
	s.create(&storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: s.id("class")}, Provisioner: "kubernetes.io/no-provisioner", VolumeBindingMode: new(storagev1.VolumeBindingWaitForFirstConsumer),
	})
	s.shows(w, v1alpha1.ConditionVolumesBound, "False VolumesPending")
}

// shows waits until a workspace's condition has a status and a reason.
func (s *stage) shows(w *v1alpha1.Workspace, kind, want string) {
	s.Helper()
	cluster.Eventually(s, soon, w.Name+" shows "+kind+" "+want, func() error {
		s.read(w)
		c := meta.FindStatusCondition(w.Status.Conditions, kind)
		if c == nil || strings.Join([]string{string(c.Status), c.Reason}, " ") != want {
			return errors.New(told(w))
		}
		return nil
	})
}
