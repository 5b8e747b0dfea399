package node

import (
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/node/pods"
	"github.com/broletto/broletto/test/stage"
)

// drill rehearses a restore, of objects and of what the volume holds, and leaves nothing behind.
func (s *safe) drill(t *testing.T) {
	p := &v1alpha1.BackupPolicy{ObjectMeta: stage.In("lugano", "prova")}
	p.Spec = v1alpha1.BackupPolicySpec{
		Workspaces: []v1alpha1.WorkspaceName{"archivio"}, Repository: v1alpha1.RepositoryName(s.repository.Name),
		Schedule: "30 2 * * *", Retention: v1alpha1.Retention{Last: 1}, RecoveryTimeMinutes: new(int32(60)), Drill: &v1alpha1.Drill{EveryDays: 30},
	}
	if err := s.c.Create(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { the.gone(t, s.c, p) })
	admin := the.admin(t)
	cluster.Eventually(t, backupPatience, "the drill is over", func() error {
		if err := s.c.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		if len(p.Status.Workspaces) != 1 || p.Status.Workspaces[0].Drill == nil {
			return fmt.Errorf("the policy says %+v\n%s", p.Status, pods.Explain(t.Context(), admin, archivio))
		}
		return nil
	})
	d := p.Status.Workspaces[0].Drill
	t.Logf("the drill took %d s and read %d bytes", d.Seconds, d.BytesRead)
	if !*d.Passed || d.BytesRead < 1<<20 {
		t.Errorf("it came to %+v", d)
	}
	if !condition.True(p, v1alpha1.ConditionRecoveryTimeKept) {
		t.Errorf("the policy says %+v", p.Status.Conditions)
	}
	cluster.Eventually(t, backupPatience, "nothing is left of it", func() error {
		var left v1alpha1.WorkspaceList
		if err := s.c.List(t.Context(), &left, client.InNamespace("lugano")); err != nil {
			return err
		}
		for _, w := range left.Items {
			if strings.HasPrefix(w.Name, "drill-") {
				return fmt.Errorf("workspace %s is there: %+v", w.Name, w.Status.Conditions)
			}
		}
		return nil
	})
}
