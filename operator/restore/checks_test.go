package restore

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/broletto/broletto/api/v1alpha1"
)

func TestUnready(t *testing.T) {
	t.Parallel()
	pod := func(name string, edit ...func(*corev1.Pod)) corev1.Pod {
		p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "web"}}, Spec: corev1.PodSpec{NodeName: "n1"}, Status: corev1.PodStatus{
			Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		}}
		for _, e := range edit {
			e(&p)
		}
		return p
	}
	not := func(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }
	for name, c := range map[string]struct {
		reason string
		pods   []corev1.Pod
		want   string
	}{
		"Ready":    {"", []corev1.Pod{pod("a"), pod("b")}, ""},
		"None":     {"nothing that is Ready is no evidence", nil, "there is no pod with the labels app=web"},
		"OneNot":   {"all of them count", []corev1.Pod{pod("a"), pod("b", not)}, "1 of 2 pods are not Ready: b is Running: it is on node n1"},
		"Going":    {"it is replaced", []corev1.Pod{pod("a"), pod("b", not, func(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.Now()) })}, ""},
		"Done":     {"a Job's that has ended", []corev1.Pod{pod("a"), pod("b", not, func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })}, ""},
		"Others":   {"they are not asked about", []corev1.Pod{pod("a"), pod("b", not, func(p *corev1.Pod) { p.Labels["app"] = "db" })}, ""},
		"OnlyDone": {"", []corev1.Pod{pod("b", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })}, "there is no pod"},
		"Mover":    {"it is not the tenant's", []corev1.Pod{pod("a", func(p *corev1.Pod) { p.Labels[v1alpha1.LabelRun] = "x" })}, "there is no pod"},
		"Failed":   {"a pod that has failed says Ready no longer, whatever its condition", []corev1.Pod{pod("a", func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })}, "a is Failed"},
		"NoNode": {"on a control plane without nodes", []corev1.Pod{pod("a", func(p *corev1.Pod) { p.Spec.NodeName, p.Status = "", corev1.PodStatus{Phase: corev1.PodPending} })},
			"a is Pending: no node has taken it"},
		"Unschedulable": {"", []corev1.Pod{pod("a", func(p *corev1.Pod) {
			p.Status = corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/2 nodes are available"}}}
		})}, "a is Pending: 0/2 nodes are available"},
		"Image": {"", []corev1.Pod{pod("a", not, func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "web", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "no such image"}}}}
		})}, "container web: ErrImagePull: no such image"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := unready(c.pods, labels.SelectorFromSet(labels.Set{"app": "web"}))
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("%s: got %q, want %q", c.reason, got, c.want)
			}
		})
	}
}
