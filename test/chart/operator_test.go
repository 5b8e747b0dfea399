package chart

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/hack/kube"
	"github.com/broletto/broletto/test/cluster"
)

// operate runs the real binary as the Deployment says, as the account of the release, through the life of a comune; at the end
// the API server must have refused it nothing.
func (i *installation) operate(t *testing.T) {
	defer i.refusals(t) // also when something fails: it may be why
	operator := i.start(t)
	i.probe(t, operator)

	consortium := i.sample(t, "ticino/00-consortium.yaml", "Consortium", "", "ticino")
	tenant := i.sample(t, "ticino/10-tenants.yaml", "Tenant", "", "lugano")
	i.ready(t, consortium)
	i.ready(t, tenant)
	workspaces := []*unstructured.Unstructured{
		i.sample(t, "ticino/20-workspaces.yaml", "Workspace", "lugano", "sportello"), // every section, with volumes
		i.sample(t, "ticino/20-workspaces.yaml", "Workspace", "lugano", "identita"),
	}
	for _, w := range workspaces {
		i.ready(t, w)
	}
	t.Run("MetricsAreForReaders", i.readMetrics)
	i.gone(t, workspaces...)
	i.gone(t, tenant)
	i.gone(t, consortium)
	t.Run("LeaseIsInTheReleasesNamespace", i.lease)
	operator.stop(t)
}

// process is the operator, started as the container would be.
type process struct {
	command *exec.Cmd
	pod     *corev1.Pod
	done    chan error
	log     string // path
}

func (i *installation) start(t *testing.T) *process {
	t.Helper()
	pod := template(t, i.objects)
	container := pod.Spec.Containers[0]
	binary := filepath.Join(t.TempDir(), filepath.Base(container.Command[0]))
	build := exec.CommandContext(t.Context(), "go", "build", "-C", repository, "-o", binary, "./operator/cmd/broletto")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the operator: %v\n%s", err, out)
	}
	servesAtItsPorts(t, binary, container)
	arguments := container.Command[1:]
	for _, argument := range container.Args {
		arguments = append(arguments, strings.ReplaceAll(argument, "$(POD_NAMESPACE)", home))
	}
	p := &process{command: exec.Command(binary, arguments...), pod: pod, done: make(chan error, 1), log: filepath.Join(t.TempDir(), "log")}
	log, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	p.command.Dir, p.command.Stdout, p.command.Stderr = t.TempDir(), log, log
	limit := container.Resources.Limits[corev1.ResourceMemory]
	p.command.Env = []string{"KUBECONFIG=" + i.kubeconfig(t), "POD_NAMESPACE=" + home, fmt.Sprintf("GOMEMLIMIT=%d", limit.Value())}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.done <- p.command.Wait() }()
	t.Cleanup(func() {
		_ = p.command.Process.Kill() // after stop it is gone already
		if t.Failed() {
			t.Logf("the operator's log:\n%s", p.said())
		}
	})
	return p
}

func (p *process) said() []byte {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return []byte(err.Error())
	}
	return text
}

// servesAtItsPorts compares the ports of the container with the flags' defaults, which this test, unlike the Deployment, overrides.
func servesAtItsPorts(t *testing.T, binary string, container corev1.Container) {
	t.Helper()
	help, err := exec.CommandContext(t.Context(), binary, container.Command[1], "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, help)
	}
	flags := map[string]string{"metrics": "--metrics-bind-address", "probes": "--health-probe-bind-address", "broker": "--broker-bind-address"}
	for _, p := range container.Ports {
		want := fmt.Sprintf(`(default ":%d")`, p.ContainerPort)
		if line := regexp.MustCompile(flags[p.Name] + ` .*`).FindString(string(help)); !strings.Contains(line, want) {
			t.Errorf("container port %s is %d, but the operator says %q", p.Name, p.ContainerPort, line)
		}
	}
}

// kubeconfig holds a token of the operator's account, and nothing else.
func (i *installation) kubeconfig(t *testing.T) string {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: i.plane.URL(), CertificateAuthorityData: i.plane.CA()}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: i.token(t, home, account)}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "x"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// probe asks what the kubelet would.
func (i *installation) probe(t *testing.T, p *process) {
	t.Helper()
	container := p.pod.Spec.Containers[0]
	for _, probe := range []*corev1.Probe{container.LivenessProbe, container.ReadinessProbe} {
		url := "http://" + i.probes + probe.HTTPGet.Path
		cluster.Eventually(t, 60*time.Second, url+" answers", func() error {
			select {
			case err := <-p.done:
				t.Fatalf("the operator has ended: %v", err)
			default:
			}
			code, _, err := get(t, url, "")
			if err == nil && code != http.StatusOK {
				return fmt.Errorf("HTTP %d", code)
			}
			return err
		})
	}
}

// stop ends the operator as the kubelet does.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	grace := time.Duration(*p.pod.Spec.TerminationGracePeriodSeconds) * time.Second
	select {
	case err := <-p.done:
		if err != nil {
			t.Errorf("stopping ends with %v", err)
		}
	case <-time.After(grace):
		t.Errorf("not stopped in the grace period of %s", grace)
	}
}

// readMetrics shows who may read the metrics: who has the role that the chart ships, and nobody else.
func (i *installation) readMetrics(t *testing.T) {
	for _, name := range []string{"prometheus", "curious"} {
		cluster.Apply(t, i.admin, []byte("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: "+name+", namespace: default}\n"))
	}
	binding := &rbacv1.ClusterRoleBinding{
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "broletto-metrics-reader"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "default", Name: "prometheus"}},
	}
	binding.Name = "prometheus-reads-broletto"
	if err := i.admin.Create(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		token string
		want  int
	}{
		"Reader":    {i.token(t, "default", "prometheus"), http.StatusOK},
		"Other":     {i.token(t, "default", "curious"), http.StatusForbidden},
		"Anonymous": {"", http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			var code int
			var body string
			cluster.Eventually(t, 60*time.Second, "the metrics are served", func() (err error) { // ready or not: probes do not wait for them
				code, body, err = get(t, "https://"+i.metrics+"/metrics", test.token)
				return err
			})
			if code != test.want {
				t.Fatalf("HTTP %d, want %d", code, test.want)
			}
			if has := strings.Contains(body, "broletto_condition_status{"); has != (test.want == http.StatusOK) {
				t.Errorf("the answer has our metrics: %t\n%.300s", has, body)
			}
		})
	}
}

func get(t *testing.T, url, token string) (code int, body string, err error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	response, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(request)
	if err != nil {
		return 0, "", err
	}
	content, err := io.ReadAll(response.Body)
	return response.StatusCode, string(content), errors.Join(err, response.Body.Close())
}

func (i *installation) lease(t *testing.T) {
	lease := &coordinationv1.Lease{}
	if err := i.admin.Get(t.Context(), client.ObjectKey{Namespace: home, Name: "broletto"}, lease); err != nil {
		t.Fatal(err)
	}
	if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
		t.Error("nobody holds the lease")
	}
}

// refusals looks at what the API server answered to the operator from beginning to end.
func (i *installation) refusals(t *testing.T) {
	t.Helper()
	events, _, err := kube.ReadAudit(i.plane.AuditLog(), 0)
	if err != nil {
		t.Fatal(err)
	}
	user := "system:serviceaccount:" + home + ":" + account
	written := map[string]int{}
	for _, e := range events {
		if e.User != user {
			continue
		}
		if e.Code == http.StatusForbidden || e.Code == http.StatusUnauthorized {
			t.Errorf("refused: %s %s with %d", e.Verb, e.RequestURI, e.Code)
		}
		if e.Mutating() {
			written[e.Verb+" "+e.Resource]++
		}
	}
	if t.Failed() {
		return
	}
	for _, want := range []string{"create namespaces", "create rolebindings", "create resourcequotas", "create networkpolicies", "delete namespaces", "update leases"} {
		if written[want] == 0 {
			t.Errorf("the audit log shows no %q by %s, so it proves nothing; it has %v", want, user, written)
		}
	}
}
