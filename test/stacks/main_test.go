// Package stacks runs stacks end to end on the embedded control plane: the operator with its own account, its broker, the stand-in node, the
// runner, and the real engines with real programs that make real objects.
package stacks

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/hack/kube"
	"github.com/broletto/broletto/operator/embedded"
	"github.com/broletto/broletto/operator/localnode"
	"github.com/broletto/broletto/operator/vault"
	"github.com/broletto/broletto/test/cluster"
)

// patience is how long anything may take: the machine may be busy, and an engine's first start reads hundreds of megabytes.
const patience = 4 * time.Minute

func TestMain(m *testing.M) {
	if text := os.Getenv(operatorRole); text != "" {
		fmt.Fprintln(os.Stderr, operate(text))
		os.Exit(1)
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil { // tests wait more than they work
		panic(err)
	}
	cluster.Run(m)
}

// plant is what runs the stacks of all tests: a node, and an operator in a process of its own, with something between it and its runners.
type plant struct {
	operator *operator
	gate     *gate
	witness  *witness
	brake    *brake
	node     string // folder of the node
	metrics  string // address of the operator's
	settings settings
	states   vault.Store // where the operator keeps states

	lock  sync.Mutex
	ahead time.Duration // of the operator's clock
}

var (
	begin sync.Once
	works plant
)

// running is the plant, started by the first test and stopped by the process's end.
func running(t *testing.T) *plant {
	t.Helper()
	var err error
	begin.Do(func() { err = works.start(t) })
	if err != nil {
		t.Fatal(err)
	}
	if works.witness == nil {
		t.Fatal("the plant has not started")
	}
	return &works
}

func (p *plant) start(t *testing.T) error {
	ctx := context.Background()
	engines, err := kube.BuildEngines(ctx, os.Stderr)
	if err != nil {
		return err
	}
	runner := filepath.Join(cluster.Plane().Dir(), "broletto-runner")
	if out, err := exec.Command("go", "build", "-o", runner, "github.com/broletto/broletto/operator/cmd/broletto-runner").CombinedOutput(); err != nil {
		return fmt.Errorf("building the runner: %w\n%s", err, out)
	}
	o, err := localnode.For(ctx, cluster.Plane())
	if err != nil {
		return err
	}
	p.node = filepath.Join(cluster.Plane().Dir(), "local-node")
	o.Runner, o.Engines, o.Dir, o.Slots = runner, engines, p.node, 4
	if _, err := localnode.Start(ctx, o); err != nil {
		return err
	}
	return p.operates(ctx, t)
}

// operates starts the operator, and what stands between it and its runners.
func (p *plant) operates(ctx context.Context, t *testing.T) error {
	cfg, err := cluster.Plane().Operator(ctx)
	if err != nil {
		return err
	}
	if p.states, err = states(); err != nil {
		return err
	}
	p.settings = settings{Kubeconfig: filepath.Join(cluster.Plane().Dir(), "operator.kubeconfig"), Clock: filepath.Join(cluster.Plane().Dir(), "clock")}
	if err := embedded.WriteKubeconfig(p.settings.Kubeconfig, cfg, ""); err != nil {
		return err
	}
	p.metrics = cluster.FreeAddress(t)
	if p.gate, err = newGate(t); err != nil {
		return err
	}
	first := p.settings
	first.Broker, first.BrokerURL, first.Metrics = p.gate.broker, p.gate.url(), p.metrics
	p.operator = newOperator(first)
	if err := p.gate.open(ctx); err != nil {
		return fmt.Errorf("%w\n%s", err, p.operatorLog())
	}
	if p.witness, err = newWitness(ctx); err != nil {
		return err
	}
	p.brake, err = newBrake(ctx)
	return err
}

// later puts the operator's clock on, for all tests: a run that is under way has hours.
func (p *plant) later(d time.Duration) error {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.ahead += d
	fresh := p.settings.Clock + ".new"
	if err := os.WriteFile(fresh, []byte(p.ahead.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(fresh, p.settings.Clock)
}

func (p *plant) operatorLog() string { return p.operator.log.String() }

// runnerLogs are what all runners printed that still have a pod.
func (p *plant) runnerLogs(t *testing.T) string {
	t.Helper()
	c, err := kubernetes.NewForConfig(cluster.Admin())
	if err != nil {
		t.Fatal(err)
	}
	pods, err := c.CoreV1().Pods("").List(context.WithoutCancel(t.Context()), metav1.ListOptions{LabelSelector: v1alpha1.LabelRun})
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, pod := range pods.Items {
		if pod.Status.Phase == corev1.PodPending {
			continue
		}
		stream, err := c.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{}).Stream(context.WithoutCancel(t.Context()))
		if err != nil {
			continue // it is just being deleted
		}
		fmt.Fprintf(&all, "%s/%s:\n", pod.Namespace, pod.Name)
		_, err = io.Copy(&all, stream)
		if err := errors.Join(err, stream.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}

type lockedBuffer struct {
	lock sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(line []byte) (int, error) {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.text.Write(line)
}

func (b *lockedBuffer) String() string {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.text.String()
}
