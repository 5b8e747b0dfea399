package workspace_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
)

// TestExpiry takes a laboratory over its end and back.
func TestExpiry(t *testing.T) {
	t.Parallel()
	s := newStage(t, "expiry")
	end := time.Date(2027, 6, 30, 0, 0, 0, 0, time.UTC)
	*s.now = end.Add(-time.Second)
	c, a := s.consortium(), s.tenant("a")
	s.ready(c, a)
	lab := s.workspace(a, "lab", func(w *v1alpha1.Workspace) {
		w.Spec.Environment, w.Spec.ExpiresAt = v1alpha1.Lab, &metav1.Time{Time: end}
	})
	s.ready(lab)
	s.suspended(lab, "False Active ")
	result, err := s.reconcile(lab)
	if err != nil || result.RequeueAfter != time.Second {
		t.Errorf("looks again after %s, want 1s: %v", result.RequeueAfter, err)
	}
	if err := s.run(lab); err != nil {
		t.Errorf("before the end: %v", err)
	}

	*s.now = end
	s.ready(lab)
	s.suspended(lab, "True Expired spec.expiresAt has passed: no new pods, data is kept; move it, or delete the workspace")
	if err := s.run(lab); !apierrors.IsForbidden(err) {
		t.Errorf("after the end, want a refusal of the pod: %v", err)
	}
	hard := s.hard(lab.TargetNamespace())
	for _, none := range []string{"pods", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"} {
		if hard[none] != "0" {
			t.Errorf("after the end: %s is %s", none, hard[none])
		}
	}
	if hard["requests.storage"] != "20Gi" {
		t.Errorf("after the end: requests.storage is %s", hard["requests.storage"])
	}
	if err := s.admin.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: in(lab.TargetNamespace(), "data")}); err != nil {
		t.Errorf("after the end: %v", err)
	}
	if !s.exists(podOf(lab)) {
		t.Error("after the end: the pod that ran is gone")
	}
	s.sound(a)

	edit(s, lab, func(w *v1alpha1.Workspace) { w.Spec.ExpiresAt = &metav1.Time{Time: end.Add(time.Hour)} })
	s.ready(lab)
	s.suspended(lab, "False Active ")
	cluster.Eventually(t, patience, "a pod is let in again", func() error { return s.run(lab) })
}

// suspended checks what a workspace says about its suspension.
func (s *stage) suspended(w *v1alpha1.Workspace, want string) {
	s.Helper()
	s.read(w)
	got := ""
	if c := meta.FindStatusCondition(w.Status.Conditions, v1alpha1.ConditionSuspended); c != nil {
		got = fmt.Sprintf("%s %s %s", c.Status, c.Reason, c.Message)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		s.Errorf("suspension (-want +got):\n%s", diff)
	}
}

// run makes a pod in a workspace as the platform engineer, who is bound by quotas like anybody.
func (s *stage) run(w *v1alpha1.Workspace) error {
	pod := podOf(w)
	pod.Name, pod.GenerateName = "", "pod-"
	if !s.exists(podOf(w)) {
		pod = podOf(w)
	}
	return s.admin.Create(s.Context(), pod)
}

// podOf is a pod as strict as the strictest Pod Security Standard wants it. It asks for no resources.
func podOf(w *v1alpha1.Workspace) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: in(w.TargetNamespace(), "pod"), Spec: corev1.PodSpec{
		SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		Containers: []corev1.Container{{Name: "app", Image: "registry.example/app:1", SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		}}},
	}}
}

// TestPods makes pods as people do: modest limits come by themselves, and what the Pod Security Standard forbids is refused.
func TestPods(t *testing.T) {
	t.Parallel()
	s := newStage(t, "pods")
	c, a := s.consortium(), s.tenant("a")
	s.ready(c, a)
	w := s.workspace(a, "sito")
	s.ready(w)
	if err := s.run(w); err != nil {
		t.Fatal(err)
	}
	pod := podOf(w)
	s.read(pod)
	want := map[string]string{"cpu": "500m", "memory": "512Mi", "ephemeral-storage": "1Gi"}
	if diff := cmp.Diff(want, texts(pod.Spec.Containers[0].Resources.Limits)); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
	for name, row := range map[string]struct {
		reason string
		change func(*corev1.Pod)
	}{
		"privileged": {"Restricted allows none", func(p *corev1.Pod) {
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: new(true)}
		}},
		"root": {"Restricted allows none", func(p *corev1.Pod) { p.Spec.SecurityContext = nil }},
		"host path": {"Restricted allows none", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}}}
		}},
		"too large": {"the quota holds 4 CPUs", func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{"cpu": resource.MustParse("5")}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := podOf(w)
			pod.Name = "other"
			row.change(pod)
			if err := s.admin.Create(t.Context(), pod, client.DryRunAll); !apierrors.IsForbidden(err) {
				t.Errorf("%s: want a refusal: %v", row.reason, err)
			}
		})
	}
}
