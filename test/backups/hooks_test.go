package backups

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

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

// TestHooksAlone: backups of one workspace run their hooks one after the other, also one that somebody wrote beside his policy's.
func TestHooksAlone(t *testing.T) {
	t.Parallel()
	s := newScene(t, "alone")
	newKubelet(s, false).takePods("db", s.workspace.Name)
	pod := s.pod("db")
	s.Until("the pod runs", func() error {
		if err := s.Admin.Get(t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil || pod.Status.Phase != corev1.PodRunning {
			return cmp.Or(err, fmt.Errorf("it is %s", pod.Status.Phase))
		}
		return nil
	})
	folder := t.TempDir()
	log, gate := filepath.Join(folder, "log"), filepath.Join(folder, "gate")
	s.policy("notturno", func(p *v1alpha1.BackupPolicy) {
		p.Spec.Hooks = []v1alpha1.Hook{{
			Name: "dump", PodSelector: metav1.LabelSelector{MatchLabels: pod.Labels}, TimeoutSeconds: 300,
			Before: []string{"sh", "-c", "echo before >> " + log + "; until [ -e " + gate + " ]; do sleep 0.1; done"},
			After:  []string{"sh", "-c", "echo after >> " + log},
		}}
	})
	s.Until("a hook is run", func() error { _, err := os.Stat(log); return err })
	own := s.ask("prima-del-rilascio")
	s.Until("the second one waits", func() error {
		s.Read(own)
		if got := stage.Condition(own, v1alpha1.ConditionReady); !strings.Contains(got, "of the same workspace has its hooks run: this one waits") {
			return fmt.Errorf("it says %s", got)
		}
		return nil
	})
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Ready(own)
	s.has("notturno", 1)
	if text, err := os.ReadFile(log); err != nil || string(text) != strings.Repeat("before\nafter\n", 2) { //nolint:gosec // of the test's own folder
		t.Errorf("what was run is %q: %v", text, err)
	}
	if h := own.Status.Hooks; len(h) != 1 || h[0].Before != v1alpha1.HookDone || h[0].After != v1alpha1.HookDone {
		t.Errorf("its hooks are %+v", h)
	}
}
