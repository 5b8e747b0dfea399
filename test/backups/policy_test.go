package backups

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/stage"
)

// TestPolicy: nights, a downtime, retention, a drill, a promise that breaks and holds again. Time is the test's.
func TestPolicy(t *testing.T) {
	t.Parallel()
	s := newScene(t, "policy")
	s.At(night(t, "2027-03-26 12:00"))
	s.Create(s.secret(s.workspace.TargetNamespace(), "db"))
	hours, minutes := int32(26), int32(60)
	p := s.policy("notturno", func(p *v1alpha1.BackupPolicy) {
		p.Spec.RecoveryPointHours, p.Spec.RecoveryTimeMinutes, p.Spec.Drill = &hours, &minutes, &v1alpha1.Drill{EveryDays: 30}
	})
	s.has("notturno", 1) // at once: before it, nothing is safe
	_ = fmt.Sprint
	s.Until("the drill has passed", func() error {
		s.Read(p)
		if len(p.Status.Workspaces) != 1 || p.Status.Workspaces[0].Drill == nil {
			return fmt.Errorf("the policy says %+v", p.Status.Workspaces)
		}
		if d := p.Status.Workspaces[0].Drill; !*d.Passed {
			t.Fatalf("it failed: %+v", d)
		}
		return nil
	})
	var namespaces corev1.NamespaceList
	s.Until("nothing of the drill is left", func() error {
		for _, o := range s.List(&namespaces, "") {
			if name := o.GetName(); len(name) > len(s.tenant.Name)+8 && name[:len(s.tenant.Name)+8] == s.tenant.Name+"--drill-" {
				return fmt.Errorf("namespace %s is", name)
			}
		}
		return nil
	})
	_ = stage.Same[int]
}
