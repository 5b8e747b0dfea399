package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/guard"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/node/pods"
	"github.com/broletto/broletto/test/stage"
)

const (
	release = "broletto"
	system  = "broletto-system"
	masters = "system:masters"
)

// nodes are the cluster's, with their addresses.
var nodes = []struct{ name, address string }{{"node-1", "172.30.0.11"}, {"node-2", "172.30.0.12"}}

// box is a running cluster, and the programs that work on it.
type box struct {
	dir        string // of the cluster
	kept       bool   // it was there before us and stays
	last       bool   // no test comes after this one: the cluster is ended, and what is in it need not be deleted
	programs   string // folder of what we build
	kubeconfig string

	mutex   sync.Mutex
	configs map[string]*rest.Config
}

// up builds what the tests call and starts the cluster, unless one is given.
func up(ctx context.Context) (*box, error) {
	b := &box{dir: os.Getenv(existing)}
	b.kept = b.dir != ""
	var err error
	if b.programs, err = os.MkdirTemp("", "broletto-e2e-"); err != nil {
		return nil, err
	}
	b.kubeconfig = filepath.Join(b.programs, "kubeconfig")
	built := times.measure("building programs, Kubernetes not among them")
	if err := errors.Join(b.build(ctx, repository+"/hack/node", "./cmd/node"), b.build(ctx, ".", "helm.sh/helm/v4/cmd/helm")); err != nil {
		return nil, errors.Join(err, os.RemoveAll(b.programs))
	}
	built()
	begin := b.start
	if b.kept {
		begin = b.meet
	}
	if err := begin(ctx); err != nil {
		return nil, errors.Join(err, b.down())
	}
	return b, nil
}

// start starts a cluster, with nothing in it, in a folder of its own.
func (b *box) start(ctx context.Context) error {
	defer times.measure("cluster up")()
	dir, err := scratch()
	if err != nil {
		return err
	}
	b.dir = dir
	if _, err := b.node(ctx, "up", "--source="+absolute(repository)); err != nil {
		return err
	}
	return b.meet(ctx)
}

// meet forgets who could act in another cluster, and gets the platform engineer's papers for this one.
func (b *box) meet(ctx context.Context) error {
	b.mutex.Lock()
	b.configs = map[string]*rest.Config{}
	b.mutex.Unlock()
	admin, err := b.node(ctx, "kubeconfig", "--user=platform-engineer", "--group="+masters)
	if err != nil {
		return err
	}
	return os.WriteFile(b.kubeconfig, []byte(admin), 0o600)
}

func (b *box) build(ctx context.Context, module, program string) error {
	return shout(ctx, "go", "build", "-C", module, "-o", b.programs+"/", program)
}

func absolute(path string) string {
	out, err := filepath.Abs(path)
	if err != nil {
		panic(err) // there is no working directory
	}
	return out
}

// shout runs a program and passes on what it says.
func shout(ctx context.Context, program string, args ...string) error {
	_, err := call(ctx, os.Stderr, program, args...)
	return err
}

// call runs a program and returns what it prints.
func call(ctx context.Context, progress io.Writer, program string, args ...string) (string, error) {
	var out, complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &out, io.MultiWriter(progress, &complaint)
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(program), strings.Join(args, " "), err, out.String(), complaint.String())
	}
	return out.String(), nil
}

// node gives the cluster an order, such as "restart kube-proxy-*".
func (b *box) node(ctx context.Context, verb string, args ...string) (string, error) {
	progress := io.Discard
	if verb == "up" {
		progress = os.Stderr
	}
	return call(ctx, progress, filepath.Join(b.programs, "node"), append([]string{verb, "--dir=" + b.dir}, args...)...)
}

// order gives the cluster an order in a test.
func (b *box) order(t *testing.T, verb string, args ...string) {
	t.Helper()
	if _, err := b.node(t.Context(), verb, args...); err != nil {
		t.Fatal(err)
	}
}

// helm acts as the platform engineer.
func (b *box) helm(ctx context.Context, args ...string) error {
	_, err := call(ctx, io.Discard, filepath.Join(b.programs, "helm"), append(args, "--kubeconfig="+b.kubeconfig, "--namespace="+system)...)
	return err
}

// Config acts as a user in groups, without a limit of requests.
func (b *box) Config(user string, groups ...string) (*rest.Config, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	key := user + " " + strings.Join(groups, " ")
	if cfg := b.configs[key]; cfg != nil {
		return rest.CopyConfig(cfg), nil
	}
	args := []string{"--user=" + user}
	for _, g := range groups {
		args = append(args, "--group="+g)
	}
	text, err := b.node(context.Background(), "kubeconfig", args...)
	if err != nil {
		return nil, err
	}
	cfg, err := clientcmd.RESTConfigFromKubeConfig([]byte(text))
	if err != nil {
		return nil, err
	}
	cfg.QPS = -1
	b.configs[key] = cfg
	return rest.CopyConfig(cfg), nil
}

// as acts as a user in a test.
func (b *box) as(t testing.TB, user string, groups ...string) (*rest.Config, client.Client) {
	t.Helper()
	cfg, err := b.Config(user, groups...)
	if err != nil {
		t.Fatal(err)
	}
	return cfg, cluster.Client(t, cfg)
}

// admin may do everything, also what the admission policies refuse: it breaks the glass wherever it has to.
func (b *box) admin(t testing.TB) client.Client {
	t.Helper()
	_, c := b.as(t, "platform-engineer", masters, guard.PlatformGroup)
	return c
}

// install makes the operator's namespace and installs the chart, as docs/install.md says, and waits until the policies judge.
func (b *box) install(ctx context.Context) error {
	defer times.measure("chart installed, two replicas ready")()
	cfg, err := b.Config("platform-engineer", masters)
	if err != nil {
		return err
	}
	c, err := client.New(cfg, client.Options{Scheme: cluster.Scheme()})
	if err != nil {
		return err
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: system, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
	if err := c.Create(ctx, namespace); client.IgnoreAlreadyExists(err) != nil {
		return err
	}
	if err := b.upgrade(ctx, repository+"/charts/broletto", "--set=runner.sourceRanges={10.20.0.0/16}"); err != nil {
		return fmt.Errorf("%w\n%s", err, pods.Explain(ctx, c, system))
	}
	return judged(ctx, c)
}

// upgrade installs a chart, or upgrades to it, and waits until its pods are ready.
func (b *box) upgrade(ctx context.Context, chart string, args ...string) error {
	return b.helm(ctx, append([]string{"upgrade", "--install", release, chart, "--wait", "--timeout=3m"}, args...)...)
}

// judged waits until the API server serves our kinds and has read the admission policies: a namespace that looks managed is to be refused.
func judged(ctx context.Context, c client.Client) error {
	managed := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "guard-probe", Labels: map[string]string{v1alpha1.LabelTenant: "guard-probe"}}}
	for deadline := time.Now().Add(time.Minute); ; {
		err := c.Create(ctx, managed.DeepCopy(), client.DryRunAll)
		if apierrors.IsForbidden(err) {
			err = c.Create(ctx, &v1alpha1.Consortium{ObjectMeta: metav1.ObjectMeta{Name: "guard-probe"}}, client.DryRunAll)
			if apierrors.IsInvalid(err) {
				return nil
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("neither kinds nor admission policies are in force: %w", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// down ends the cluster, unless it was there before, and removes the programs that worked on it.
func (b *box) down() error {
	defer func() { _ = os.RemoveAll(b.programs) }() // they lie in a temporary folder
	if b.kept || b.dir == "" {
		return nil
	}
	return b.end()
}

// end ends the cluster, and wants that nothing is left of it.
func (b *box) end() error {
	defer times.measure("cluster down")()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := b.node(ctx, "down")
	return errors.Join(err, leftovers(b.dir))
}

// leftovers looks for what of a cluster is still there: files, mounts, processes that were started from its folder.
func leftovers(dir string) error {
	var left []string
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		left = append(left, "folder "+dir)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range bytes.Lines(mounts) {
		if bytes.Contains(line, []byte(dir)) {
			left = append(left, "mount "+string(line))
		}
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, path := range commands {
		line, err := os.ReadFile(path)
		if err == nil && bytes.Contains(line, []byte(dir)) { // else it has just ended
			left = append(left, "process "+path+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("the cluster left %s", strings.Join(left, ", "))
	}
	return nil
}

// rolledOut waits until the operator's Deployment is as it should be, and its pods are those of the present revision, ready, and no others.
func (b *box) rolledOut(t *testing.T) {
	t.Helper()
	c := b.admin(t)
	d := &appsv1.Deployment{ObjectMeta: stage.In(system, "broletto-operator")}
	cluster.Eventually(t, 3*time.Minute, "the operator is rolled out", func() error {
		var all corev1.PodList
		if err := errors.Join(c.Get(t.Context(), client.ObjectKeyFromObject(d), d), c.List(t.Context(), &all, client.InNamespace(system))); err != nil {
			return err
		}
		running := 0
		for _, pod := range all.Items {
			if pod.DeletionTimestamp.IsZero() && slices.ContainsFunc(pod.Status.Conditions, isReady) {
				running++
			}
		}
		want, s := int(*d.Spec.Replicas), d.Status
		if s.ObservedGeneration != d.Generation || int(s.UpdatedReplicas) != want || len(all.Items) != want || running != want {
			return fmt.Errorf("it is not:\n%s", pods.Explain(t.Context(), c, system))
		}
		return nil
	})
}

func isReady(c corev1.PodCondition) bool {
	return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
}
