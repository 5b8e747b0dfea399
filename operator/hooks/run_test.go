package hooks

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
)

func TestChoose(t *testing.T) {
	t.Parallel()
	pod := func(name string, edit ...func(*corev1.Pod)) corev1.Pod {
		p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "db"}}}
		for _, c := range []string{"postgres", "exporter"} {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: c})
			p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: c, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}})
		}
		for _, e := range edit {
			e(&p)
		}
		return p
	}
	waiting := func(p *corev1.Pod) { p.Status.ContainerStatuses[0].State = corev1.ContainerState{} }
	going := func(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.Now()) }
	ours := func(p *corev1.Pod) { p.Labels[v1alpha1.LabelRun] = "uid" }
	for name, c := range map[string]struct {
		reason    string
		pods      []corev1.Pod
		container string
		want      string // pod/container, or what the error says
	}{
		"First":       {"the order of the API server is nobody's promise", []corev1.Pod{pod("db-1"), pod("db-0")}, "", "db-0/postgres"},
		"Named":       {"", []corev1.Pod{pod("db-0")}, "exporter", "db-0/exporter"},
		"Waiting":     {"a pod whose container does not run takes no command", []corev1.Pod{pod("db-0", waiting), pod("db-1")}, "", "db-1/postgres"},
		"OtherWaits":  {"the container counts, not the pod", []corev1.Pod{pod("db-0", waiting)}, "exporter", "db-0/exporter"},
		"Going":       {"", []corev1.Pod{pod("db-0", going), pod("db-1")}, "", "db-1/postgres"},
		"Mover":       {"a mover has the store's credentials", []corev1.Pod{pod("db-0", ours)}, "", "no pod runs with the labels app=db"},
		"None":        {"", nil, "", "no pod runs with the labels app=db"},
		"NoContainer": {"a mistake is told, and not taken for a database that rests", []corev1.Pod{pod("db-0")}, "postgre", "pod db-0 has no container postgre"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, container, err := choose(c.pods, v1alpha1.Hook{PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}, Container: c.container})
			text := got + "/" + container
			if err != nil {
				text = err.Error()
			}
			if !strings.HasPrefix(text, c.want) {
				t.Errorf("%s: got %q, want %q", c.reason, text, c.want)
			}
			if none := strings.HasPrefix(c.want, "no pod"); none != errors.Is(err, ErrNoPod) {
				t.Errorf("%v is ErrNoPod: %t", err, !none)
			}
		})
	}
}

func TestSaid(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		writes []string
		want   string
	}{
		"Nothing": {nil, ""},
		"Blank":   {[]string{"\n \n"}, ""},
		"Last":    {[]string{"dumping\npassword=segreto\n", "pg_dump: error: no space", " left\n\n"}, `: "pg_dump: error: no space left"`},
		"Bar":     {[]string{"10 %\r20 %\r"}, `: "20 %"`},
		"Escapes": {[]string{"\x1b[31mred\x00\xff\u202e\n"}, `: "[31mred"`},
		"Long":    {[]string{strings.Repeat("à", 10_000)}, `: "` + strings.Repeat("à", lineLength) + `…"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &said{limit: longest}
			for _, w := range c.writes {
				if n, err := s.Write([]byte(w)); n != len(w) || err != nil {
					t.Errorf("writing %d bytes: %d, %v", len(w), n, err)
				}
			}
			if got := s.String(); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if len(s.end) > remembered {
				t.Errorf("%d bytes are kept", len(s.end))
			}
		})
	}
	over := 0
	s := &said{limit: 10, over: func() { over++ }}
	for range 20 {
		_, _ = s.Write([]byte("y\n"))
	}
	if over != 1 {
		t.Errorf("too much was printed %d times, want once", over)
	}
}
