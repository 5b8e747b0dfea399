package localnode

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/hack/kube"
	"github.com/broletto/broletto/operator/run"
	"github.com/broletto/broletto/test/cluster"
)

// childOrder is set in the environment of a node that is a process of its own, so that a test can kill it.
const childOrder = "LOCALNODE_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childOrder) != "" {
		child()
	}
	cluster.Run(m)
}

// aWhile is how long a test waits for what the cluster and the node do by themselves. The machine may be busy.
const aWhile = 90 * time.Second

// fake builds the runner of the tests, once.
var fake = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "localnode-runner-")
	if err != nil {
		return "", err
	}
	runner := filepath.Join(dir, "runner")
	cmd := exec.Command("go", "build", "-o", runner, "./testdata/runner")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, text)
	}
	return runner, nil
})

var serial atomic.Int64

// scene is one test's namespace and its node.
type scene struct {
	*testing.T
	namespace string
	client    kubernetes.Interface
	node      *Node
	options   Options
	mark      string // in the environment of every process of the test's
}

// set makes a namespace and, unless told otherwise, starts the node.
func set(t *testing.T, change ...func(*Options)) *scene {
	t.Helper()
	runner, err := fake()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(cluster.Admin())
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{T: t, client: client, namespace: fmt.Sprintf("local-%d", serial.Add(1))}
	s.mark = fmt.Sprintf("mark-%d-%s", os.Getpid(), s.namespace)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.eventually("the account is there", func() error {
		_, err := client.CoreV1().ServiceAccounts(s.namespace).Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	if s.options, err = For(t.Context(), cluster.Plane()); err != nil {
		t.Fatal(err)
	}
	engines := t.TempDir()
	if err := os.WriteFile(filepath.Join(engines, "engine"), []byte("vroom"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.options.Runner, s.options.Engines, s.options.Dir, s.options.Slots, s.options.Grace = runner, engines, t.TempDir(), 2, 2*time.Second
	for _, f := range change {
		f(&s.options)
	}
	return s
}

// start starts the node, until the test ends.
func (s *scene) start() {
	s.Helper()
	var err error
	s.options.Log = testr.New(s.T)
	if s.node, err = Start(s.Context(), s.options); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := s.node.Stop(); err != nil {
			s.Error(err)
		}
		if left := s.alive(); len(left) > 0 {
			s.Errorf("processes outlive the node: %v", left)
		}
		for _, folder := range []string{"pods"} {
			if _, err := os.Stat(filepath.Join(s.options.Dir, folder)); !errors.Is(err, os.ErrNotExist) {
				s.Errorf("folder %s outlives the node: %v", folder, err)
			}
		}
	})
}

func (s *scene) eventually(what string, f func() error) {
	s.Helper()
	cluster.Eventually(s, aWhile, what, f)
}

// job makes a Job as the operator would, whose runner does what is said.
func (s *scene) job(name, what string, change ...func(*batchv1.Job)) *batchv1.Job {
	s.Helper()
	labels := map[string]string{v1alpha1.LabelRun: "5f0ec0ae-" + name, v1alpha1.LabelStack: "stack"}
	hour := int64(3600)
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name, Labels: labels},
		Spec: batchv1.JobSpec{BackoffLimit: new(int32(0)), Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: maps.Clone(labels)},
			Spec: corev1.PodSpec{
				RestartPolicy: corev1.RestartPolicyNever, AutomountServiceAccountToken: new(false), EnableServiceLinks: new(false),
				TerminationGracePeriodSeconds: new(int64(1)),
				Containers: []corev1.Container{{
					Name: Container, Image: "runner.example/runner:1",
					Env: []corev1.EnvVar{{Name: "FAKE", Value: what}, {Name: "MARK", Value: s.mark}},
					VolumeMounts: []corev1.VolumeMount{
						{Name: "broker", MountPath: "/var/run/broletto", ReadOnly: true},
						{Name: "account", MountPath: run.DefaultAccount, ReadOnly: true},
						{Name: "work", MountPath: "/scratch"},
					},
				}},
				Volumes: []corev1.Volume{
					{Name: "broker", VolumeSource: projected(corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
						Audience: run.Audience, ExpirationSeconds: &hour, Path: "token"}})},
					{Name: "account", VolumeSource: projected(
						corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{ExpirationSeconds: &hour, Path: "token"}},
						corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{
							LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"}, Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}}}},
						corev1.VolumeProjection{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
							{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.namespace"}}}}},
					)},
					{Name: "work", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
				},
			},
		}},
	}
	for _, f := range change {
		f(job)
	}
	job, err := s.client.BatchV1().Jobs(s.namespace).Create(s.Context(), job, metav1.CreateOptions{})
	if err != nil {
		s.Fatal(err)
	}
	return job
}

func projected(sources ...corev1.VolumeProjection) corev1.VolumeSource {
	return corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: sources}}
}

// finished waits until the Job has a condition.
func (s *scene) finished(job *batchv1.Job, condition batchv1.JobConditionType) {
	s.Helper()
	s.eventually(fmt.Sprintf("job %s is %s", job.Name, condition), func() error {
		live, err := s.client.BatchV1().Jobs(s.namespace).Get(s.Context(), job.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, c := range live.Status.Conditions {
			if c.Type == condition && c.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("%+v", live.Status)
	})
}

// pod is the one that a Job made; nil while there is none.
func (s *scene) pod(job *batchv1.Job) (*corev1.Pod, error) {
	pods, err := s.client.CoreV1().Pods(s.namespace).List(s.Context(), metav1.ListOptions{LabelSelector: "job-name=" + job.Name})
	if err != nil {
		return nil, err
	}
	if len(pods.Items) != 1 {
		return nil, fmt.Errorf("%d pods", len(pods.Items))
	}
	return &pods.Items[0], nil
}

// phase waits until the Job's pod is in a phase.
func (s *scene) phase(job *batchv1.Job, phase corev1.PodPhase) (pod *corev1.Pod) {
	s.Helper()
	s.eventually(fmt.Sprintf("the pod of job %s is %s", job.Name, phase), func() (err error) {
		if pod, err = s.pod(job); err != nil {
			return err
		}
		if pod.Status.Phase != phase {
			return fmt.Errorf("it is %s: %+v", pod.Status.Phase, pod.Status)
		}
		return nil
	})
	return pod
}

// log is what the API server answers.
func (s *scene) log(pod *corev1.Pod, o corev1.PodLogOptions) string {
	s.Helper()
	text, err := s.client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &o).DoRaw(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return string(text)
}

// says waits until the log of a pod has a line.
func (s *scene) says(pod *corev1.Pod, line string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), aWhile)
	defer cancel()
	stream, err := s.client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Follow: true}).Stream(ctx)
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = stream.Close() }()
	var all strings.Builder
	for buffer := make([]byte, 4096); ; {
		n, err := stream.Read(buffer)
		all.Write(buffer[:n])
		if slices.Contains(strings.Split(all.String(), "\n"), line) {
			return
		}
		if err != nil {
			s.Fatalf("no line %q: %v in\n%s", line, err, all.String())
		}
	}
}

func (s *scene) delete(job *batchv1.Job) {
	s.Helper()
	err := s.client.BatchV1().Jobs(s.namespace).Delete(s.Context(), job.Name, metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationBackground)})
	if err != nil {
		s.Fatal(err)
	}
}

// vanished waits until a pod is gone.
func (s *scene) vanished(pod *corev1.Pod) {
	s.Helper()
	s.eventually("pod "+pod.Name+" is gone", func() error {
		live, err := s.client.CoreV1().Pods(pod.Namespace).Get(s.Context(), pod.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		return fmt.Errorf("it is %s, %v, %v", live.Status.Phase, live.DeletionTimestamp, live.Finalizers)
	})
}

// alive are the processes of the test, whatever namespaces they are in.
func (s *scene) alive() (found []string) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		s.Fatal(err)
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		environment, err := os.ReadFile("/proc/" + e.Name() + "/environ")
		if err == nil && slices.Contains(strings.Split(string(environment), "\x00"), "MARK="+s.mark) {
			found = append(found, e.Name())
		}
	}
	return found
}

// order is what a node in another process needs to know.
type order struct {
	Host        string
	CA          []byte
	Runner, Dir string
	Certs       [3][2][]byte // of the node, the scheduler and the server: certificate and key
}

// orderOf writes options down.
func (s *scene) orderOf() []byte {
	s.Helper()
	o := order{Host: s.options.Node.Host, CA: s.options.Node.CAData, Runner: s.options.Runner, Dir: s.options.Dir}
	cert, key, err := cluster.Plane().LoopbackCertificate(User)
	if err != nil {
		s.Fatal(err)
	}
	o.Certs[0] = [2][]byte{s.options.Node.CertData, s.options.Node.KeyData}
	o.Certs[1] = [2][]byte{s.options.Scheduler.CertData, s.options.Scheduler.KeyData}
	o.Certs[2] = [2][]byte{cert, key}
	text, err := json.Marshal(o)
	if err != nil {
		s.Fatal(err)
	}
	return text
}

func (o order) options() (Options, error) {
	config := func(i int) *rest.Config {
		return &rest.Config{Host: o.Host, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: o.CA, CertData: o.Certs[i][0], KeyData: o.Certs[i][1]}}
	}
	serving, err := tls.X509KeyPair(o.Certs[2][0], o.Certs[2][1])
	return Options{
		Node: config(0), Scheduler: config(1), Serving: serving, Authority: o.CA, ClientName: kube.KubeletClient,
		Runner: o.Runner, Dir: o.Dir, Slots: 2,
	}, err
}

// child is a node until somebody kills it.
func child() {
	fail := func(err error) {
		fmt.Println(err)
		os.Exit(1)
	}
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		fail(err)
	}
	var o order
	if err := json.Unmarshal(text, &o); err != nil {
		fail(err)
	}
	options, err := o.options()
	if err != nil {
		fail(err)
	}
	if _, err := Start(context.Background(), options); err != nil {
		fail(err)
	}
	fmt.Println("started")
	select {}
}
