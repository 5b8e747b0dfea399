package node

import (
	"errors"
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

// web runs a server in the workspace, of a page on the volume, and returns what a drill asks of it.
func (s *safe) web(t *testing.T) (*corev1.Pod, []v1alpha1.DrillCheck) {
	t.Helper()
	labels := map[string]string{"app": "web"}
	web := &corev1.Pod{ObjectMeta: stage.In(archivio, "web")}
	web.Labels = labels
	web.Spec = restricted(999, corev1.Container{
		Name: "web", Image: postgresImage, Command: []string{"httpd", "-f", "-p", "8080", "-h", "/dati"},
		VolumeMounts: []corev1.VolumeMount{{Name: "dati", MountPath: "/dati"}},
	})
	web.Spec.Volumes = []corev1.Volume{{Name: "dati", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "dati"}}}}
	service := &corev1.Service{ObjectMeta: stage.In(archivio, "web"), Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 8080}}}}
	for _, o := range []client.Object{web, service} {
		if err := s.c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		the.deleteAfter(t, s.c, o)
	}
	s.runs(t, web.Name)
	s.shell(t, web.Name, "mkdir /dati/atti && echo atti > /dati/atti/index.html")
	return web, []v1alpha1.DrillCheck{
		{Name: "pronto", PodsReady: &v1alpha1.PodsReadyCheck{PodSelector: metav1.LabelSelector{MatchLabels: labels}}},
		{Name: "risponde", HTTP: &v1alpha1.HTTPCheck{Service: service.Name, Port: 8080, Path: "/atti/"}},
	}
}

// drill waits until a policy has rehearsed a restore of its only workspace, which left nothing behind, and returns what it came to.
func (s *safe) drill(t *testing.T, policy string) *v1alpha1.DrillResult {
	t.Helper()
	admin, p := the.admin(t), &v1alpha1.BackupPolicy{}
	cluster.Eventually(t, backupPatience, "the drill of policy "+policy+" is over", func() error {
		if err := s.c.Get(t.Context(), client.ObjectKey{Namespace: "lugano", Name: policy}, p); err != nil {
			return err
		}
		if len(p.Status.Workspaces) == 1 && p.Status.Workspaces[0].Drill != nil && p.Status.Workspaces[0].Drill.Evidence != nil {
			return nil
		}
		said := fmt.Sprintf("the policy says %+v", p.Status)
		var all v1alpha1.RestoreList
		if err := s.c.List(t.Context(), &all, client.InNamespace("lugano"), client.MatchingLabels{v1alpha1.LabelPolicy: policy}); err != nil {
			return err
		}
		for _, r := range all.Items {
			said += fmt.Sprintf("\nits drill says %+v\n%s", r.Status, pods.Explain(t.Context(), admin, "lugano--"+r.Target()))
		}
		return errors.New(said)
	})
	d := p.Status.Workspaces[0].Drill
	t.Logf("the drill took %d s, read %d bytes and asked %+v", d.Seconds, d.BytesRead, d.Checks)
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
	return d
}
