package scenario

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/operator/embedded"
	"github.com/broletto/broletto/test/cluster"
)

// grace is how long the operator may take to end when it is asked to.
const grace = 20 * time.Second

// binary builds the command once. It lies in the control plane's folder and goes with it.
var binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(cluster.Plane().Dir(), "broletto")
	out, err := exec.Command("go", "build", "-ldflags", "-s -w", "-o", path, "github.com/broletto/broletto/operator/cmd/broletto").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building the operator: %w\n%s", err, out)
	}
	return path, nil
})

// operator is "broletto operator", a process of its own as in a cluster.
type operator struct {
	command    *exec.Cmd
	ended      chan struct{}
	err        error // set when ended is closed
	log        string
	metrics    string // address
	probes     string // address
	credential string // what the audit log calls its token
	requests   window // since its start
	deprived   bool   // rights are taken from it: it is forbidden things
}

// start runs an operator with a token of its own. What still runs at the end of the test is stopped in order.
func start(t *testing.T, env ...string) *operator {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readerToken(t.Context(), admin(t)); err != nil { // whoever looks at what the cluster holds finds the reader there
		t.Fatal(err)
	}
	dir := t.TempDir()
	cfg := cluster.Operator(t)
	o := &operator{
		ended: make(chan struct{}), log: filepath.Join(dir, "operator.log"),
		metrics: cluster.FreeAddress(t), probes: cluster.FreeAddress(t), credential: credentialOf(t, cfg.BearerToken), requests: open(t),
	}
	log, err := os.Create(o.log)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }() // the child has its own descriptor
	o.command = exec.Command(path, "operator", "--metrics-bind-address="+o.metrics, "--health-probe-bind-address="+o.probes,
		"--broker-bind-address=127.0.0.1:0", "--broker-url=") // several operators run on this machine at once
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := embedded.WriteKubeconfig(kubeconfig, cfg, ""); err != nil {
		t.Fatal(err)
	}
	o.command.Env = append(append(os.Environ(), "KUBECONFIG="+kubeconfig), env...)
	o.command.Stdout, o.command.Stderr = log, log
	if err := o.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		o.err = o.command.Wait()
		close(o.ended)
	}()
	t.Cleanup(func() { o.cleanup(t) })
	return o
}

// credentialOf is what the audit log calls a service account token.
func credentialOf(t testing.TB, token string) string {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatal("the token is no JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		ID string `json:"jti"`
	}
	if err := errors.Join(err, json.Unmarshal(payload, &claims)); err != nil {
		t.Fatal(err)
	}
	return "JTI=" + claims.ID
}

func (o *operator) running() bool {
	select {
	case <-o.ended:
		return false
	default:
		return true
	}
}

// wantRights wants that the operator never asked for what it may not have.
func (o *operator) wantRights(t testing.TB) {
	t.Helper()
	for _, r := range o.requests.requests(t) {
		if r.Credential == o.credential && r.Forbidden && !o.deprived {
			t.Errorf("the operator asked for what config/rbac does not give: %s", r)
		}
	}
}

// stop asks the operator to end, and wants that it does in time, without an error, and never panicked.
func (o *operator) stop(t testing.TB) {
	t.Helper()
	o.wantRights(t)
	o.wantNoPanics(t)
	o.end(t)
	if o.err != nil {
		t.Errorf("the operator ended with %v, want status 0; its log ends:\n%s", o.err, o.tail(t))
	}
	o.wantSoundLog(t)
}

// end asks the operator to end, and makes it end when it does not.
func (o *operator) end(t testing.TB) {
	t.Helper()
	_ = o.command.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-o.ended:
	case <-time.After(grace):
		t.Errorf("the operator has not ended %s after it was asked to; its log ends:\n%s", grace, o.tail(t))
		_ = o.command.Process.Kill()
		<-o.ended
	}
}

// kill ends the operator as a node that loses power does.
func (o *operator) kill(t testing.TB) {
	t.Helper()
	if err := o.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-o.ended
	o.wantSoundLog(t)
}

func (o *operator) cleanup(t testing.TB) {
	if o.running() {
		o.stop(t)
	}
	if t.Failed() {
		t.Logf("the operator's log ends:\n%s", o.tail(t))
	}
}

// logLine is what we look at of a line of the operator's log.
type logLine struct {
	Level     string `json:"level"`
	Msg       string `json:"msg"`
	Error     string `json:"error"`
	Reconcile string `json:"reconcileID"`
}

// wantSoundLog wants one JSON object per line, no error told twice, and no panic.
func (o *operator) wantSoundLog(t testing.TB) {
	t.Helper()
	text, err := os.ReadFile(o.log)
	if err != nil {
		t.Fatal(err)
	}
	told := map[logLine]int{}
	scanner := bufio.NewScanner(bytes.NewReader(text))
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var line logLine
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
			t.Errorf("no JSON object in the operator's log: %s", scanner.Text())
			continue
		}
		if line.Level == "panic" || line.Level == "dpanic" || strings.Contains(line.Msg, "panic") {
			t.Errorf("a panic in the operator's log: %s", scanner.Text())
		}
		if line.Error == "" {
			continue
		}
		if line.Reconcile != "" {
			told[logLine{Error: line.Error, Reconcile: line.Reconcile}]++
		}
		if half := line.Error[:len(line.Error)/2]; len(half) > 10 && strings.Trim(line.Error[len(half):], "\n:; ") == half {
			t.Errorf("an error is told twice in one line: %s", scanner.Text())
		}
	}
	for line, times := range told {
		if times > 1 {
			t.Errorf("reconcile %s logged one error %d times: %s", line.Reconcile, times, line.Error)
		}
	}
}

func (o *operator) tail(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(o.log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-15):], "\n")
}

// awaitReady waits until the operator says that it is.
func (o *operator) awaitReady(t testing.TB) {
	t.Helper()
	cluster.Eventually(t, soon, "the operator is ready", func() error {
		if !o.running() {
			t.Fatalf("the operator ended: %v\n%s", o.err, o.tail(t))
		}
		status, body, err := get(t.Context(), "http://"+o.probes+"/readyz", "")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%d: %s", status, body)
		}
		return err
	})
}

// get asks an HTTP server, with a token if one is given. The operator's certificate is its own.
func get(ctx context.Context, url, token string) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// reader is a service account that may read the operator's metrics.
const reader = "metrics-reader"

// readerToken is a new token of the account that may read metrics, which is made when it is missing.
func readerToken(ctx context.Context, c client.Client) (string, error) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: embedded.Namespace, Name: reader}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: reader},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "broletto-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: embedded.Namespace, Name: reader}},
	}
	for _, o := range []client.Object{account, binding} {
		if err := client.IgnoreAlreadyExists(c.Create(ctx, o)); err != nil {
			return "", err
		}
	}
	return tokenOf(ctx, c, account)
}

func tokenOf(ctx context.Context, c client.Client, account *corev1.ServiceAccount) (string, error) {
	request := &authenticationv1.TokenRequest{}
	err := c.SubResource("token").Create(ctx, account, request)
	return request.Status.Token, err
}
