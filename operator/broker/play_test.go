package broker_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/broker"
	"github.com/broletto/broletto/operator/run"
	"github.com/broletto/broletto/operator/vault"
	"github.com/broletto/broletto/test/cluster"
)

const patience = 90 * time.Second

var serial atomic.Int32

// play is a test's part of the cluster: a home, a workspace, and a broker that acts as the operator.
type play struct {
	*testing.T
	admin client.Client
	home  string
	stack vault.Stack
	vault *vault.Vault
	late  atomic.Int64 // how far the broker's clock is ahead
	*broker.Broker
	options broker.Options
}

func newPlay(t *testing.T, edit ...func(*broker.Options)) *play {
	t.Helper()
	p := &play{T: t, admin: cluster.Client(t, cluster.Admin()), home: "home" + strconv.Itoa(int(serial.Add(1)))}
	p.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: p.home}})
	p.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: p.home + "--sito"}})
	p.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: p.home + "--sito", Name: "stack-s"}})
	p.stack = vault.Stack{Tenant: p.home, UID: types.UID("uid-of-" + p.home)}
	operator := cluster.Client(t, cluster.Operator(t))
	secrets := vault.NewSecrets(operator, "broletto-system")
	p.vault = vault.New(secrets, secrets)
	p.options = broker.Options{
		Address: "127.0.0.1:0", Namespace: "broletto-system", Vault: p.vault, Live: operator, Runs: operator,
		Now: func() time.Time { return time.Now().Add(time.Duration(p.late.Load())) },
	}
	for _, e := range edit {
		e(&p.options)
	}
	p.Broker = p.serve()
	return p
}

// serve starts a broker that ends with the test.
func (p *play) serve() *broker.Broker {
	p.Helper()
	b, err := broker.New(p.Context(), p.options)
	if err != nil {
		p.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Start(ctx) }()
	p.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			p.Error(err)
		}
	})
	return b
}

func (p *play) create(o client.Object) {
	p.Helper()
	if err := p.admin.Create(p.Context(), o); err != nil {
		p.Fatalf("creating %T %s: %v", o, o.GetName(), err)
	}
}

// act is a run with its Job and that Job's pod, as the operator and the job controller make them.
type act struct {
	*play
	run   *v1alpha1.StackRun
	job   *batchv1.Job
	pod   *corev1.Pod
	token string
}

func (p *play) act(operation v1alpha1.Operation, edit ...func(*run.Order)) *act {
	p.Helper()
	a := &act{play: p}
	n := serial.Add(1)
	a.run = &v1alpha1.StackRun{ObjectMeta: metav1.ObjectMeta{Namespace: p.home, Name: fmt.Sprintf("s-%d", n)}}
	a.run.Spec = v1alpha1.StackRunSpec{
		Stack: "s", StackUID: p.stack.UID, Workspace: "sito", Operation: operation, Engine: v1alpha1.OpenTofu, Attempt: n, TimeoutMinutes: 60,
	}
	p.create(a.run)
	order := run.Order{Run: a.run.Name, Operation: operation}
	for _, e := range edit {
		e(&order)
	}
	if err := p.vault.PutOrder(p.Context(), p.stack, a.run.UID, order); err != nil {
		p.Fatal(err)
	}
	a.job = &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: a.run.TargetNamespace(), Name: a.run.Name}}
	a.job.Spec.BackoffLimit = new(int32(0))
	a.job.Spec.Template.Labels = map[string]string{v1alpha1.LabelRun: string(a.run.UID)}
	a.job.Spec.Template.Spec = podSpec()
	p.create(a.job)
	a.pod = p.podOf(a.job)
	a.token = p.token(a.pod, run.Audience)
	a.edit(func(r *v1alpha1.StackRun) {
		r.Status.Job, r.Status.JobUID, r.Status.Phase = a.job.Name, a.job.UID, v1alpha1.RunRunning
	})
	return a
}

func podSpec() corev1.PodSpec {
	return corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever, ServiceAccountName: "stack-s", TerminationGracePeriodSeconds: new(int64(0)),
		Containers: []corev1.Container{{Name: "runner", Image: "registry.example/runner"}},
	}
}

func (a *act) edit(change func(*v1alpha1.StackRun)) {
	a.Helper()
	cluster.Eventually(a, patience, "changing "+a.run.Name, func() error {
		if err := a.admin.Get(a.Context(), client.ObjectKeyFromObject(a.run), a.run); err != nil {
			return err
		}
		change(a.run)
		return a.admin.Status().Update(a.Context(), a.run)
	})
}

func (p *play) podOf(job *batchv1.Job) *corev1.Pod {
	p.Helper()
	var pods corev1.PodList
	cluster.Eventually(p, patience, "a pod of "+job.Name, func() error {
		err := p.admin.List(p.Context(), &pods, client.InNamespace(job.Namespace), client.MatchingLabels{batchv1.JobNameLabel: job.Name})
		if err == nil && len(pods.Items) == 0 {
			err = fmt.Errorf("there is none")
		}
		return err
	})
	return &pods.Items[0]
}

// token is one that a kubelet would get for a pod.
func (p *play) token(pod *corev1.Pod, audience string) string {
	p.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: new(int64(3600)),
		BoundObjectRef:    &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID},
	}}
	if audience != "" {
		request.Spec.Audiences = []string{audience}
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Spec.ServiceAccountName}}
	if err := p.admin.SubResource("token").Create(p.Context(), account, request); err != nil {
		p.Fatal(err)
	}
	return request.Status.Token
}

// answer is what a runner hears.
type answer struct {
	code    int
	header  http.Header
	body    []byte
	problem run.Problem
}

// ask asks this play's broker with a run's token.
func (a *act) ask(method, path string, body []byte, headers ...string) answer {
	a.Helper()
	return ask(a.T, a.Broker, a.token, method, path, bytes.NewReader(body), headers...)
}

func ask(t *testing.T, b *broker.Broker, token, method, path string, body io.Reader, headers ...string) (out answer) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, b.URL()+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := caller(b).Do(request)
	if err != nil {
		t.Errorf("%s %s: %v", method, path, err)
		return answer{}
	}
	defer func() { _ = response.Body.Close() }()
	out.code, out.header = response.StatusCode, response.Header
	if out.body, err = io.ReadAll(response.Body); err != nil {
		t.Errorf("%s %s: %v", method, path, err)
	}
	if out.code >= 400 && json.Unmarshal(out.body, &out.problem) != nil {
		t.Errorf("%s %s: %d without a problem: %s", method, path, out.code, out.body)
	}
	return out
}

// caller trusts a broker's authority and no other.
func caller(b *broker.Broker) *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(b.CA())
	return &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}}}
}

// wants asks, and fails the test when the answer is not of that code.
func (a *act) wants(code int, method, path string, body []byte, headers ...string) answer {
	a.Helper()
	got := a.ask(method, path, body, headers...)
	if got.code != code {
		a.Errorf("%s %s of %s: %d %s, want %d", method, path, a.run.Name, got.code, got.problem.Message, code)
	}
	return got
}

// order takes a run's order, and the lock with it.
func (a *act) order() (o run.Order) {
	a.Helper()
	got := a.wants(http.StatusOK, "POST", run.PathOrder, nil)
	if err := json.Unmarshal(got.body, &o); err != nil {
		a.Fatal(err)
	}
	return o
}

// ends reports.
func (a *act) ends() {
	a.Helper()
	a.wants(http.StatusNoContent, "PUT", run.PathReport, []byte(`{"serial":1}`))
}

func state(serial int64, lineage string) []string {
	return []string{run.HeaderSerial, strconv.FormatInt(serial, 10), run.HeaderLineage, lineage}
}
