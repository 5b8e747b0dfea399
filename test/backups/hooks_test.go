package backups

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/stage"
)

// pod makes a pod of the workspace's, with the label app.
func (s *scene) pod(name string) *corev1.Pod {
	s.Helper()
	pod := &corev1.Pod{ObjectMeta: stage.In(s.workspace.TargetNamespace(), name)}
	pod.Labels = map[string]string{"app": name}
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}
	pod.Spec.Containers = []corev1.Container{{Name: name, Image: "registry.example/" + name + ":1", SecurityContext: &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}}}
	s.Create(pod)
	return pod
}

// TestHooks: a backup whose hook fails is not made, and begun anew later; one whose pods do not run is made, and says so. What hooks do in pods
// that run is seen on the cluster with nodes.
func TestHooks(t *testing.T) {
	t.Parallel()
	s := newScene(t, "hooks")
	pod := s.pod("db")
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "db", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	if err := s.Admin.Status().Update(t.Context(), pod); err != nil { // it says that it runs, and no kubelet answers for it
		t.Fatal(err)
	}
	s.policy("notturno", func(p *v1alpha1.BackupPolicy) {
		p.Spec.Hooks = []v1alpha1.Hook{{
			Name: "dump", PodSelector: metav1.LabelSelector{MatchLabels: pod.Labels}, Before: []string{"dump"}, After: []string{"undo"},
		}}
	})
	var b *v1alpha1.Backup
	s.Until("the policy has a backup made", func() error {
		all, _ := s.owned("notturno")
		if len(all) == 1 {
			b = &all[0]
			return nil
		}
		return fmt.Errorf("it has %d", len(all))
	})
	message := s.stalls(b, v1alpha1.ReasonHookFailed)
	if !strings.Contains(message, "hook dump failed") || !strings.Contains(message, "in pod db it could not be run") {
		t.Errorf("it says %q", message)
	}
	s.Read(b)
	if h := b.Status.Hooks; len(h) != 1 || h[0].Before != v1alpha1.HookFailed || h[0].After != v1alpha1.HookFailed || h[0].FailedAt == nil || b.Status.Sequence != 0 {
		t.Errorf("its status is %+v", b.Status)
	}
	s.Rest() // it is not tried over and over

	s.Remove(pod)
	s.At(s.Now().Add(6 * time.Minute))
	s.Ready(b)
	want := v1alpha1.LeftOut{What: "hooks/dump", Why: "it was not run: no pod runs with the labels app=db"}
	if h := b.Status.Hooks; len(h) != 1 || h[0].Before != v1alpha1.HookSkipped || h[0].After != v1alpha1.HookSkipped || len(b.Status.LeftOut) != 1 || b.Status.LeftOut[0] != want {
		t.Errorf("its status is %+v", b.Status)
	}
	if got := stage.Condition(b, v1alpha1.ConditionWhole); !strings.Contains(got, "False") {
		t.Errorf("Whole: %s", got)
	}
	own := s.backUp("prima-del-rilascio")
	if h := own.Status.Hooks; len(h) != 1 || h[0].Name != "dump" || h[0].Before != v1alpha1.HookSkipped {
		t.Errorf("of a backup that somebody wrote, the status is %+v", own.Status)
	}
	s.Rest()
}
