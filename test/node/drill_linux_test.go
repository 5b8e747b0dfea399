package node

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/node/pods"
	"github.com/broletto/broletto/test/stage"
)

// drill rehearses a restore, of objects and of what the volume holds, asks what runs there, and leaves nothing behind.
func (s *safe) drill(t *testing.T) {
	labels := map[string]string{"app": "web"}
	web := &corev1.Pod{ObjectMeta: stage.In(archivio, "web")}
	web.Labels = labels
	web.Spec = restricted(999, corev1.Container{
		Name: "web", Image: postgresImage, Command: []string{"sh", "-c", "mkdir -p /tmp/atti && echo atti > /tmp/atti/index.html && exec httpd -f -p 8080 -h /tmp"},
	})
	service := &corev1.Service{ObjectMeta: stage.In(archivio, "web"), Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 8080}}}}
	for _, o := range []client.Object{web, service} {
		if err := s.c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		the.deleteAfter(t, s.c, o)
	}
	s.runs(t, web.Name)
	selector := metav1.LabelSelector{MatchLabels: labels}
	p := &v1alpha1.BackupPolicy{ObjectMeta: stage.In("lugano", "prova")}
	p.Spec = v1alpha1.BackupPolicySpec{
		Workspaces: []v1alpha1.WorkspaceName{"archivio"}, Repository: v1alpha1.RepositoryName(s.repository.Name),
		Schedule: "30 2 * * *", Retention: v1alpha1.Retention{Last: 1}, RecoveryTimeMinutes: new(int32(60)), Drill: &v1alpha1.Drill{EveryDays: 30, Checks: []v1alpha1.DrillCheck{
			{Name: "pronto", PodsReady: &v1alpha1.PodsReadyCheck{PodSelector: selector}},
			{Name: "conta", Command: &v1alpha1.CommandCheck{PodSelector: selector, Command: []string{"sh", "-c", "grep -qx atti /tmp/atti/index.html"}}},
			{Name: "risponde", HTTP: &v1alpha1.HTTPCheck{Service: service.Name, Port: 8080, Path: "/atti/"}},
		}},
	}
	if err := s.c.Create(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	the.deleteAfter(t, s.c, p)
	admin := the.admin(t)
	cluster.Eventually(t, backupPatience, "the drill is over", func() error {
		if err := s.c.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		if len(p.Status.Workspaces) != 1 || p.Status.Workspaces[0].Drill == nil || p.Status.Workspaces[0].Drill.Evidence == nil {
			return fmt.Errorf("the policy says %+v\n%s", p.Status, pods.Explain(t.Context(), admin, archivio))
		}
		return nil
	})
	d := p.Status.Workspaces[0].Drill
	t.Logf("the drill took %d s and read %d bytes", d.Seconds, d.BytesRead)
	if !*d.Passed || d.BytesRead < 1<<20 || len(d.Checks) != 3 || d.Evidence == nil {
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
