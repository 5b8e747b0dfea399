package backups

import (
	"fmt"
	"strings"
	"testing"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/move"
	"github.com/broletto/broletto/test/stage"
)

// TestLine: a repository takes so many backups at once; the others wait, also for an operator that has just begun, and are written to once.
func TestLine(t *testing.T) {
	t.Parallel()
	s := newScene(t, "line", func(r *v1alpha1.BackupRepository) { r.Spec.MaxConcurrent = new(int32(1)) })
	k := newKubelet(s, false)
	k.volume("documenti")
	other := s.Tenant("b")
	s.Ready(other)
	there := s.Workspace(other, "anagrafe")
	s.Ready(there)
	gate := make(chan struct{})
	open := func() {
		select {
		case <-gate:
		default:
			close(gate)
		}
	}
	t.Cleanup(open) // before the kubelet is ended
	k.while(func(*move.Order) bool { <-gate; return false }, func() {
		first := s.ask("prima")
		s.Until("a mover is at it", func() error {
			if s.Read(first); len(first.Status.Volumes) == 0 || first.Status.Volumes[0].Job == "" {
				return fmt.Errorf("its volumes are %+v", first.Status.Volumes)
			}
			return nil
		})
		second := s.ask("seconda")
		stranger := &v1alpha1.Backup{ObjectMeta: stage.In(other.Name, "loro")}
		stranger.Spec = v1alpha1.BackupSpec{Workspace: v1alpha1.WorkspaceName(there.Name), Repository: v1alpha1.RepositoryName(s.repository.Name)}
		s.Create(stranger)
		for b, place := range map[*v1alpha1.Backup]string{second: "fewer than 5 others", stranger: "it is next"} {
			if got := s.Await(b, v1alpha1.ConditionReconciling, v1alpha1.ReasonWaiting); !strings.Contains(got, place) {
				t.Errorf("%s says %q, want %q", b.Name, got, place)
			}
		}
		s.restart()
		s.Rest()
		for _, b := range []*v1alpha1.Backup{second, stranger} {
			if s.Read(b); b.Status.VerifiedAt != nil || !strings.HasPrefix(stage.Condition(b, v1alpha1.ConditionReady), "False Waiting") {
				t.Errorf("%s went on: %s", b.Name, stage.Condition(b, v1alpha1.ConditionReady))
			}
		}
		open()
		s.Until("all are made", func() error {
			for _, b := range []*v1alpha1.Backup{first, second, stranger} {
				if s.Read(b); b.Status.VerifiedAt == nil {
					return fmt.Errorf("%s is %s", b.Name, stage.Condition(b, v1alpha1.ConditionReady))
				}
			}
			return nil
		})
		s.Ready(first, second, stranger)
	})
	k.noMovers(t)
}
