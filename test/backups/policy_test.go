package backups

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/stage"
)

// TestPolicy: the first backup and its rehearsal, what becomes of the throw-away workspace, a night, and a promise that breaks.
func TestPolicy(t *testing.T) {
	t.Parallel()
	s := newScene(t, "policy")
	s.Create(s.secret(s.workspace.TargetNamespace(), "db"))
	hours, minutes := int32(26), int32(60)
	p := s.policy("notturno", func(p *v1alpha1.BackupPolicy) {
		p.Spec.RecoveryPointHours, p.Spec.RecoveryTimeMinutes, p.Spec.Drill = &hours, &minutes, &v1alpha1.Drill{EveryDays: 30}
	})
	s.has("notturno", 1) // at once: before it, nothing is safe
	s.Until("the drill is over", func() error {
		s.Read(p)
		if len(p.Status.Workspaces) != 1 || p.Status.Workspaces[0].Drill == nil {
			return fmt.Errorf("the policy says %+v", p.Status.Workspaces)
		}
		return nil
	})
	if d := p.Status.Workspaces[0].Drill; !*d.Passed || d.BytesRead == 0 {
		t.Errorf("it came to %+v", d)
	}
	s.Ready(p)
	s.Until("nothing of the drill is left", func() error {
		var namespaces corev1.NamespaceList
		var workspaces v1alpha1.WorkspaceList
		var restores v1alpha1.RestoreList
		for _, o := range append(append(s.List(&namespaces, ""), s.List(&workspaces, s.tenant.Name)...), s.List(&restores, s.tenant.Name)...) {
			if strings.HasPrefix(o.GetName(), s.tenant.Name+"--drill-") || strings.HasPrefix(o.GetName(), "drill-") {
				return fmt.Errorf("%T %s is", o, o.GetName())
			}
		}
		return nil
	})
	s.At(s.Now().Add(25 * time.Hour)) // one night on
	s.has("notturno", 2)
	s.At(s.Now().Add(48 * time.Hour)) // the store's clock, by which backups are dated, stays behind: none is young enough
	s.Until("the promise is seen to be broken", func() error {
		if _, err := s.Reconcile(p); err != nil {
			return err
		}
		s.Read(p)
		if got := stage.Condition(p, v1alpha1.ConditionRecoveryPointKept); !strings.Contains(got, v1alpha1.ReasonRecoveryPointMissed) {
			return fmt.Errorf("it says %s", got)
		}
		return nil
	})
	s.stalls(p, v1alpha1.ReasonRecoveryPointMissed)
	s.has("notturno", 2) // of three, the last two are kept
}

// TestPolicyRefuses what it cannot do.
func TestPolicyRefuses(t *testing.T) {
	t.Parallel()
	s := newScene(t, "refuses")
	for name, c := range map[string]struct {
		edit   func(*v1alpha1.BackupPolicy)
		reason string
	}{
		"no-day":        {func(p *v1alpha1.BackupPolicy) { p.Spec.Schedule = "0 0 30 2 *" }, v1alpha1.ReasonInvalidSchedule},
		"no-zone":       {func(p *v1alpha1.BackupPolicy) { p.Spec.TimeZone = "Europe/Lugano" }, v1alpha1.ReasonInvalidSchedule},
		"no-repository": {func(p *v1alpha1.BackupPolicy) { p.Spec.Repository = "altrove" }, v1alpha1.ReasonRepositoryNotFound},
		"no-workspace":  {func(p *v1alpha1.BackupPolicy) { p.Spec.Workspaces = []v1alpha1.WorkspaceName{"assente"} }, v1alpha1.ReasonWorkspaceNotFound},
	} {
		s.stalls(s.policy(name, c.edit), c.reason)
	}
}
