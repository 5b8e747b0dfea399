package localnode

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/localnode/jail"
	"github.com/broletto/broletto/operator/run"
	"github.com/broletto/broletto/test/stage"
)

func TestJobCompletes(t *testing.T) {
	s := set(t)
	s.start()
	job := s.job("look", "look")
	s.finished(job, batchv1.JobComplete)
	pod := s.phase(job, corev1.PodSucceeded)
	if end := pod.Status.ContainerStatuses[0].State.Terminated; end == nil || end.ExitCode != 0 || end.Reason != "Completed" {
		t.Errorf("the container ended as %+v", end)
	}
	text := s.log(pod, corev1.PodLogOptions{})
	if !s.node.jailed() {
		t.Skip("no jail here: " + text)
	}
	want := []string{
		"env BROLETTO_ENGINES=/engines", "env BROLETTO_SERVICEACCOUNT=/var/run/secrets/kubernetes.io/serviceaccount",
		"env BROLETTO_TOKEN=/var/run/broletto/token", "env BROLETTO_WORK=/scratch", "env FAKE=look",
		"env KUBERNETES_SERVICE_HOST=" + s.node.server, "env KUBERNETES_SERVICE_PORT=" + s.node.port, "env MARK=" + s.mark,
	}
	if diff := cmp.Diff(want, matching(text, "env ")); diff != "" {
		t.Errorf("the environment is another (-want +got):\n%s", diff)
	}
	for _, line := range []string{
		"cwd /scratch <nil>", "work <nil>", "root open /file: read-only file system", "engine vroom <nil>", "ps [/proc/1] <nil>",
		"CapEff 0000000000000000 <nil>", "NoNewPrivs 1 <nil>", "nofile <nil> 4096",
		fmt.Sprintf("namespace %d %s <nil>", len(s.namespace), s.namespace),
	} {
		if !slices.Contains(strings.Split(text, "\n"), line) {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
	if who := matching(text, "uid "); !regexp.MustCompile(`^uid 6553[12] gid 6553[12]$`).MatchString(who[0]) {
		t.Errorf("it runs as %s", who[0])
	}
	if root := matching(text, "ls ")[0]; strings.Contains(root, "root") || strings.Contains(root, "home") {
		t.Errorf("it sees this machine: %s", root)
	}
	tokensAreBound(t, pod, matching(text, "token "))
}

// matching are the lines of a text that begin so.
func matching(text, prefix string) (lines []string) {
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, prefix) {
			lines = append(lines, line)
		}
	}
	return lines
}

// tokensAreBound looks into the tokens: one for the broker, one for the API server, both of the pod.
func tokensAreBound(t *testing.T, pod *corev1.Pod, lines []string) {
	t.Helper()
	var audiences []string
	for _, line := range lines {
		parts := strings.Split(strings.Fields(line)[1], ".")
		if len(parts) != 3 {
			t.Fatalf("no token: %s", line)
		}
		text, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			t.Fatal(err)
		}
		var claims struct {
			Audience   []string `json:"aud"`
			Kubernetes struct {
				Pod struct{ UID string }
			} `json:"kubernetes.io"`
		}
		if err := json.Unmarshal(text, &claims); err != nil {
			t.Fatal(err)
		}
		if claims.Kubernetes.Pod.UID != string(pod.UID) {
			t.Errorf("a token of pod %q, want %q", claims.Kubernetes.Pod.UID, pod.UID)
		}
		audiences = append(audiences, claims.Audience...)
	}
	if diff := cmp.Diff([]string{run.Audience, "https://kubernetes.default.svc"}, audiences); diff != "" {
		t.Errorf("tokens for others (-want +got):\n%s", diff)
	}
}

func TestFailureFailsTheJob(t *testing.T) {
	s := set(t)
	s.start()
	job := s.job("fail", "exit:3")
	s.finished(job, batchv1.JobFailed)
	pod := s.phase(job, corev1.PodFailed)
	if end := pod.Status.ContainerStatuses[0].State.Terminated; end == nil || end.ExitCode != 3 || end.Reason != "Error" {
		t.Errorf("the container ended as %+v", end)
	}
	if text := s.log(pod, corev1.PodLogOptions{}); text != "going to fail\n" {
		t.Errorf("the log is %q", text)
	}
}

func TestDeletionKillsAll(t *testing.T) {
	for name, unjailed := range map[string]bool{"jailed": false, "unjailed": true} {
		t.Run(name, func(t *testing.T) {
			s := set(t, func(o *Options) { o.unjailed = unjailed })
			s.start()
			job := s.job("stay", "stay")
			pod := s.phase(job, corev1.PodRunning)
			s.says(pod, "leaf lives")
			if found := s.alive(); len(found) != 3 {
				t.Fatalf("processes %v, want three", found)
			}
			s.delete(job)
			s.vanished(pod)
			if found := s.alive(); len(found) != 0 {
				t.Errorf("processes %v outlive their pod", found)
			}
			s.eventually("the log goes with its pod", func() error {
				if _, err := os.Stat(s.node.logFile(pod.UID)); err == nil {
					return fmt.Errorf("it is there")
				}
				return nil
			})
		})
	}
}

func TestDeletionByForceKillsAll(t *testing.T) {
	s := set(t)
	s.start()
	job := s.job("force", "stay")
	pod := s.phase(job, corev1.PodRunning)
	s.says(pod, "leaf lives")
	if err := s.client.CoreV1().Pods(s.namespace).Delete(t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}); err != nil {
		t.Fatal(err)
	}
	s.vanished(pod)
	s.eventually("its processes are gone", func() error {
		if found := s.alive(); len(found) != 0 {
			return fmt.Errorf("processes %v", found)
		}
		return nil
	})
}

func TestOrderlyEnd(t *testing.T) {
	s := set(t)
	s.start()
	job := s.job("term", "term", func(j *batchv1.Job) { j.Spec.Template.Spec.TerminationGracePeriodSeconds = new(int64(300)) })
	pod := s.phase(job, corev1.PodRunning)
	s.says(pod, "waiting")
	s.delete(job) // within 90 s only if it is asked to end, not when it would be killed
	s.vanished(pod)
}

func TestSlots(t *testing.T) {
	s := set(t, func(o *Options) { o.Slots = 1 })
	s.start()
	first := s.job("first", "term")
	running := s.phase(first, corev1.PodRunning)
	second := s.job("second", "look")
	waiting := s.phase(second, corev1.PodPending)
	third := s.job("third", "exit:1", func(j *batchv1.Job) { j.Spec.Template.Labels[v1alpha1.LabelRun] = "another" })
	s.phase(third, corev1.PodPending)
	s.says(running, "waiting")
	if pod, err := s.pod(second); err != nil || pod.Spec.NodeName != "" || pod.UID != waiting.UID {
		t.Errorf("it is bound though the slot is taken: %v", err)
	}
	s.delete(first)
	s.finished(second, batchv1.JobComplete)
	if pod, err := s.pod(third); err != nil || pod.Spec.NodeName != "" {
		t.Errorf("a pod that says for another run than its Job is bound: %v %v", pod.Status.Phase, err)
	}
}

func TestStrangersDoNotRun(t *testing.T) {
	s := set(t)
	s.start()
	lonely := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "lonely", Namespace: s.namespace, Labels: map[string]string{v1alpha1.LabelRun: "x"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: Container, Image: "x"}}},
	}
	bound := lonely.DeepCopy()
	bound.Name, bound.Labels, bound.Spec.NodeName = "bound", nil, Name
	for _, pod := range []*corev1.Pod{lonely, bound} {
		if _, err := s.client.CoreV1().Pods(s.namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	s.eventually("the pod that was bound by others is refused", func() error {
		pod, err := s.client.CoreV1().Pods(s.namespace).Get(t.Context(), "bound", metav1.GetOptions{})
		if err == nil && (pod.Status.Phase != corev1.PodFailed || pod.Status.Reason != "NotARun") {
			err = fmt.Errorf("it is %s: %s", pod.Status.Phase, pod.Status.Reason)
		}
		return err
	})
	job := s.job("after", "look")
	s.finished(job, batchv1.JobComplete) // so the node has looked at the lonely one, too
	if pod, err := s.client.CoreV1().Pods(s.namespace).Get(t.Context(), "lonely", metav1.GetOptions{}); err != nil || pod.Spec.NodeName != "" {
		t.Errorf("a pod without a Job is bound: %v %v", pod.Status.Phase, err)
	}
	if err := s.client.CoreV1().Pods(s.namespace).Delete(t.Context(), "bound", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.vanished(bound)
}

func TestUnknownVolumeFailsThePod(t *testing.T) {
	s := set(t)
	s.start()
	job := s.job("volume", "look", func(j *batchv1.Job) {
		j.Spec.Template.Spec.Volumes[2].VolumeSource = corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}
	})
	s.finished(job, batchv1.JobFailed)
	if pod := s.phase(job, corev1.PodFailed); !strings.Contains(pod.Status.Message, "emptyDir and projected volumes only") {
		t.Errorf("it says %q", pod.Status.Message)
	}
}

func TestDeadline(t *testing.T) {
	s := set(t)
	s.start()
	job := s.job("late", "stay", func(j *batchv1.Job) { j.Spec.Template.Spec.ActiveDeadlineSeconds = new(int64(2)) })
	s.finished(job, batchv1.JobFailed)
	if pod := s.phase(job, corev1.PodFailed); pod.Status.Reason != "DeadlineExceeded" {
		t.Errorf("the reason is %q", pod.Status.Reason)
	}
}

func TestStopEndsPods(t *testing.T) {
	s := set(t)
	s.start()
	polite, stubborn := s.job("polite", "term"), s.job("stubborn", "stay")
	s.says(s.phase(polite, corev1.PodRunning), "waiting")
	s.says(s.phase(stubborn, corev1.PodRunning), "leaf lives")
	if err := s.node.Stop(); err != nil {
		t.Fatal(err)
	}
	if found := s.alive(); len(found) != 0 {
		t.Errorf("processes %v outlive the node", found)
	}
	s.finished(polite, batchv1.JobComplete)
	s.finished(stubborn, batchv1.JobFailed)
	if pod := s.phase(stubborn, corev1.PodFailed); pod.Status.Reason != "NodeStopped" {
		t.Errorf("the reason is %q", pod.Status.Reason)
	}
	node, err := s.client.CoreV1().Nodes().Get(t.Context(), Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionFalse {
			t.Errorf("the node is ready: %s", c.Status)
		}
	}
}

// A node that is killed takes its pods with it, and the next one says so.
func TestNodeDies(t *testing.T) {
	s := set(t)
	if jailed := jail.Possible && os.Getuid() == 0; !jailed {
		t.Skip("without a jail, only the runner itself dies with its node")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childOrder+"=1")
	cmd.Stdin = bytes.NewReader(s.orderOf())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "started\n" {
		t.Fatalf("the node in another process says %q: %v", line, err)
	}
	job := s.job("orphan", "stay")
	pod := s.phase(job, corev1.PodRunning)
	s.says(pod, "leaf lives")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	s.eventually("its pods' processes are gone", func() error {
		if found := s.alive(); len(found) != 0 {
			return fmt.Errorf("processes %v", found)
		}
		return nil
	})
	s.start()
	s.finished(job, batchv1.JobFailed)
	if pod := s.phase(job, corev1.PodFailed); pod.Status.Reason != "NodeRestarted" {
		t.Errorf("the reason is %q", pod.Status.Reason)
	}
	if text := s.log(pod, corev1.PodLogOptions{}); text != "leaf lives\n" {
		t.Errorf("its log is %q", text)
	}
}

// A workspace's guardrails let a run through: its pod is restricted, and within the quota.
func TestRunInAWorkspace(t *testing.T) {
	b := stage.New(t, "node")
	c, tenant := b.Consortium(), b.Tenant("a")
	b.Ready(c, tenant)
	w := b.Workspace(tenant, "w")
	b.Ready(w)
	s := set(t)
	s.namespace = w.TargetNamespace()
	s.start()
	job := s.job("look", "look", func(j *batchv1.Job) {
		pod := &j.Spec.Template.Spec
		pod.SecurityContext = &corev1.PodSecurityContext{
			RunAsNonRoot: new(true), RunAsUser: new(int64(lastID)), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		}
		pod.Containers[0].SecurityContext = &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		}
	})
	s.finished(job, batchv1.JobComplete)
	if text := s.log(s.phase(job, corev1.PodSucceeded), corev1.PodLogOptions{}); !strings.Contains(text, "work <nil>") {
		t.Errorf("the log is %s", text)
	}
}
