package workspace_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// TestExpiry takes a laboratory over its end and back.
func TestExpiry(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "expiry")
	end := time.Date(2027, 6, 30, 0, 0, 0, 0, time.UTC)
	s.At(end.Add(-time.Second))
	c, a := s.Consortium(), s.Tenant("a")
	s.Ready(c, a)
	lab := s.Workspace(a, "lab", func(w *v1alpha1.Workspace) {
		w.Spec.Environment, w.Spec.ExpiresAt = v1alpha1.Lab, &metav1.Time{Time: end}
	})
	s.Ready(lab)
	suspended(s, lab, "False Active ")
	result, err := s.Reconcile(lab)
	if err != nil || result.RequeueAfter != time.Second {
		t.Errorf("looks again after %s, want 1s: %v", result.RequeueAfter, err)
	}
	if err := run(s, lab); err != nil {
		t.Errorf("before the end: %v", err)
	}

	s.At(end)
	s.Ready(lab)
	suspended(s, lab, "True Expired spec.expiresAt has passed: no new pods, data is kept; move it, or delete the workspace")
	if err := run(s, lab); !apierrors.IsForbidden(err) {
		t.Errorf("after the end, want a refusal of the pod: %v", err)
	}
	hard := s.Hard(lab.TargetNamespace())
	for _, none := range []string{"pods", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"} {
		if hard[none] != "0" {
			t.Errorf("after the end: %s is %s", none, hard[none])
		}
	}
	if hard["requests.storage"] != "20Gi" {
		t.Errorf("after the end: requests.storage is %s", hard["requests.storage"])
	}
	if err := s.Admin.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: stage.In(lab.TargetNamespace(), "data")}); err != nil {
		t.Errorf("after the end: %v", err)
	}
	if !s.Exists(podOf(lab)) {
		t.Error("after the end: the pod that ran is gone")
	}
	sound(s, a)

	stage.Edit(s, lab, func(w *v1alpha1.Workspace) { w.Spec.ExpiresAt = &metav1.Time{Time: end.Add(time.Hour)} })
	s.Ready(lab)
	suspended(s, lab, "False Active ")
	cluster.Eventually(t, stage.Patience, "a pod is let in again", func() error { return run(s, lab) })
}

// suspended checks what a workspace says about its suspension.
func suspended(s *stage.Stage, w *v1alpha1.Workspace, want string) {
	s.Helper()
	s.Read(w)
	if diff := cmp.Diff(want, stage.Condition(w, v1alpha1.ConditionSuspended)); diff != "" {
		s.Errorf("suspension (-want +got):\n%s", diff)
	}
}

// run makes a pod in a workspace as the platform engineer, who is bound by quotas like anybody.
func run(s *stage.Stage, w *v1alpha1.Workspace) error {
	pod := podOf(w)
	pod.Name, pod.GenerateName = "", "pod-"
	if !s.Exists(podOf(w)) {
		pod = podOf(w)
	}
	return s.Admin.Create(s.Context(), pod)
}

// podOf is a pod as strict as the strictest Pod Security Standard wants it. It asks for no resources.
func podOf(w *v1alpha1.Workspace) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: stage.In(w.TargetNamespace(), "pod"), Spec: corev1.PodSpec{
		SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		Containers: []corev1.Container{{Name: "app", Image: "registry.example/app:1", SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		}}},
	}}
}

// TestPods makes pods as people do: modest limits come by themselves, and what the Pod Security Standard forbids is refused.
func TestPods(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "pods")
	c, a := s.Consortium(), s.Tenant("a")
	s.Ready(c, a)
	w := s.Workspace(a, "sito")
	s.Ready(w)
	if err := run(s, w); err != nil {
		t.Fatal(err)
	}
	pod := podOf(w)
	s.Read(pod)
	want := map[string]string{"cpu": "500m", "memory": "512Mi", "ephemeral-storage": "1Gi"}
	if diff := cmp.Diff(want, stage.Texts(pod.Spec.Containers[0].Resources.Limits)); diff != "" {
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
			if err := s.Admin.Create(t.Context(), pod, client.DryRunAll); !apierrors.IsForbidden(err) {
				t.Errorf("%s: want a refusal: %v", row.reason, err)
			}
		})
	}
}
