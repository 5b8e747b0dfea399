package node

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// hooks are tried in a pod that writes down what it is told.
func (s *safe) hooks(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: stage.In(archivio, "diario")}
	pod.Labels = map[string]string{"app": "diario"}
	pod.Spec = restricted(999, corev1.Container{Name: "shell", Image: postgresImage, Command: []string{"sleep", "3600"}})
	if err := s.c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	the.deleteAfter(t, s.c, pod)
	s.runs(t, "diario")
	hook := func(name, before, after string, seconds int32) v1alpha1.Hook {
		return v1alpha1.Hook{
			Name: name, PodSelector: metav1.LabelSelector{MatchLabels: pod.Labels}, Container: "shell", TimeoutSeconds: seconds,
			Before: []string{"sh", "-c", before}, After: []string{"sh", "-c", after},
		}
	}
	t.Run("Fails", func(t *testing.T) {
		t.Parallel()
		b := s.policy(t, "fallisce", hook("prima", "echo prima >> /tmp/fails", "echo dopo-prima >> /tmp/fails", 60),
			hook("seconda", "echo seconda >> /tmp/fails; echo the disk is full >&2; exit 3", "echo dopo-seconda >> /tmp/fails", 60))
		message := s.fails(t, b)
		if want := `in pod diario it ended with code 3: "the disk is full"`; !strings.Contains(message, want) {
			t.Errorf("it says %q, want %q", message, want)
		}
		if got, want := s.shell(t, "diario", "tr '\\n' ' ' < /tmp/fails"), "prima seconda dopo-seconda dopo-prima"; got != want {
			t.Errorf("%q was run, want %q", got, want)
		}
	})
	t.Run("TooLong", func(t *testing.T) {
		t.Parallel()
		b := s.policy(t, "lento", hook("attesa", "echo begun; sleep 100", "echo dopo >> /tmp/slow", 10))
		if message := s.fails(t, b); !strings.Contains(message, `has not ended within 10s, and may be running still: "begun"`) {
			t.Errorf("it says %q", message)
		}
		if got := s.shell(t, "diario", "cat /tmp/slow"); got != "dopo" {
			t.Errorf("after it, %q was run", got)
		}
	})
	t.Run("Killed", func(t *testing.T) { // before the others, which share the operator
		b := s.policy(t, "interrotto", hook("lungo", "echo prima >> /tmp/killed; sleep 8; echo fine >> /tmp/killed", "echo dopo >> /tmp/killed", 60))
		cluster.Eventually(t, backupPatience, "the hook is run", func() error {
			if err := s.c.Get(t.Context(), client.ObjectKeyFromObject(b), b); err != nil {
				return err
			}
			if h := b.Status.Hooks; len(h) != 1 || h[0].Before != v1alpha1.HookRunning {
				return fmt.Errorf("it is not: %+v", b.Status)
			}
			return nil
		})
		s.shell(t, "diario", "until [ -s /tmp/killed ]; do sleep 0.1; done")
		if err := the.admin(t).DeleteAllOf(t.Context(), &corev1.Pod{}, client.InNamespace(system), client.GracePeriodSeconds(0)); err != nil {
			t.Fatal(err)
		}
		s.ready(t, b)
		lines := strings.Fields(s.shell(t, "diario", "cat /tmp/killed"))
		if n := strings.Count(strings.Join(lines, " "), "prima"); n != 2 || lines[1] == "prima" || lines[len(lines)-1] != "dopo" {
			t.Errorf("what was run: %v; want what is to be run after it before it is begun anew, and at the end", lines)
		}
	})
}

// fails waits until a backup says that a hook failed, and what is to be run after it was.
func (s *safe) fails(t *testing.T, b *v1alpha1.Backup) (message string) {
	t.Helper()
	cluster.Eventually(t, 4*time.Minute, b.Name+" has a hook that failed", func() error {
		if err := s.c.Get(t.Context(), client.ObjectKeyFromObject(b), b); err != nil {
			return err
		}
		for _, c := range b.Status.Conditions {
			if c.Type == v1alpha1.ConditionStalled && c.Status == metav1.ConditionTrue && c.Reason == v1alpha1.ReasonHookFailed {
				message = c.Message
				return nil
			}
		}
		return fmt.Errorf("it says %+v", b.Status)
	})
	if condition.True(b, v1alpha1.ConditionReady) || b.Status.Sequence != 0 {
		t.Errorf("a backup was made all the same: %+v", b.Status)
	}
	return message
}
