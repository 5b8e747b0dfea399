package backups

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

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
	s.nothingLeft()
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

// TestCopies: each night is in each repository, which must not fail together; what holds one back holds back no other.
func TestCopies(t *testing.T) {
	t.Parallel()
	s := newScene(t, "copies")
	s.Create(s.secret(s.workspace.TargetNamespace(), "db"))
	s.gateway.NewLockedBucket(t, "altrove")
	second := s.store("secondo", "altrove", func(r *v1alpha1.BackupRepository) { r.Spec.FailureDomain = "dc-2" })
	s.Ready(second)
	hours := int32(26)
	p := s.policy("doppio", func(p *v1alpha1.BackupPolicy) {
		p.Spec.Copies, p.Spec.RecoveryPointHours, p.Spec.Retention.Last = []v1alpha1.RepositoryName{v1alpha1.RepositoryName(second.Name)}, &hours, 1
	})
	s.has("doppio", 2)
	s.Ready(p)
	in := func() map[string]int {
		all, _ := s.owned("doppio")
		out := map[string]int{}
		for _, b := range all {
			out[string(b.Spec.Repository)]++
		}
		return out
	}
	each := map[string]int{s.repository.Name: 1, second.Name: 1}
	if got := in(); !maps.Equal(got, each) || len(p.Status.Copies) != 1 || p.Status.Copies[0].Workspaces[0].Verified == p.Status.Workspaces[0].Verified {
		t.Errorf("the backups are in %v, and the policy says %+v", got, p.Status)
	}
	s.At(s.Now().Add(25 * time.Hour))
	before, _ := s.owned("doppio")
	s.Until("a night on, each repository has another one and has let go of the one before", func() error {
		all, ready := s.owned("doppio")
		for _, b := range before {
			if slices.ContainsFunc(all, func(o v1alpha1.Backup) bool { return o.Name == b.Name }) {
				return fmt.Errorf("%s is there", b.Name)
			}
		}
		if got := in(); !maps.Equal(got, each) || ready != 2 {
			return fmt.Errorf("they are in %v, of which %d are ready", got, ready)
		}
		return nil
	})
	stage.Edit(s.Stage, second, func(r *v1alpha1.BackupRepository) { r.Spec.FailureDomain = "dc-1" })
	s.stalls(p, v1alpha1.ReasonSameFailureDomain)
	stage.Edit(s.Stage, p, func(p *v1alpha1.BackupPolicy) { p.Spec.Copies[0] = "assente" })
	s.stalls(p, v1alpha1.ReasonRepositoryNotFound)
	last := p.Status.Workspaces[0].Verified
	s.At(s.Now().Add(24 * time.Hour))
	s.Until("the first goes on without the other", func() error {
		s.Read(p)
		if now := p.Status.Workspaces[0].Verified; now == "" || now == last {
			return fmt.Errorf("the last verified one is %s", now)
		}
		return nil
	})
}
