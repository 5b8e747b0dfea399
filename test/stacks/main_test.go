// Package stacks runs stacks end to end on the embedded control plane: the operator with its own account, its broker, the stand-in node, the
// runner, and the real engines with real programs that make real objects.
package stacks

import (
	"bytes"
	"context"
	"errors"
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
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/hack/kube"
	"github.com/broletto/broletto/operator/localnode"
	"github.com/broletto/broletto/operator/manager"
	"github.com/broletto/broletto/operator/vault"
	"github.com/broletto/broletto/test/cluster"
)

// patience is how long anything may take: the machine may be busy, and an engine's first start reads hundreds of megabytes.
const patience = 4 * time.Minute

var operatorLog lockedBuffer

func TestMain(m *testing.M) {
	log.SetLogger(zap.New(zap.WriteTo(&operatorLog)))
	cluster.Run(m)
}

// plant is what runs the stacks of all tests: an operator and a node.
type plant struct {
	lock   sync.Mutex
	ahead  time.Duration // of the operator's clock
	engine string        // folder of the engines
	states vault.Store   // where the operator keeps states
}

var (
	begin sync.Once
	works plant
)

// running is the plant, started by the first test and stopped by the process's end.
func running(t *testing.T) *plant {
	t.Helper()
	var err error
	begin.Do(func() { err = works.start() })
	if err != nil {
		t.Fatal(err)
	}
	if works.engine == "" {
		t.Fatal("the plant has not started")
	}
	return &works
}

func (p *plant) start() error {
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
	o.Runner, o.Engines, o.Dir = runner, engines, filepath.Join(cluster.Plane().Dir(), "local-node")
	if _, err := localnode.Start(ctx, o); err != nil {
		return err
	}
	cfg, err := cluster.Plane().Operator(ctx)
	if err != nil {
		return err
	}
	if p.states, err = states(); err != nil {
		return err
	}
	mgr, err := manager.New(cfg, manager.Options{
		MetricsAddress: "0", ProbeAddress: "0", BrokerAddress: "127.0.0.1:0", RunnerImage: "registry.example/broletto-runner:test", Now: p.now,
		StateStore: os.Getenv(storeVariable), StateStoreCredentials: os.Getenv(credentialsVariable),
	})
	if err != nil {
		return err
	}
	go func() {
		if err := mgr.Start(ctx); err != nil {
			panic(err)
		}
	}()
	p.engine = engines
	return nil
}

func (p *plant) now() time.Time {
	p.lock.Lock()
	defer p.lock.Unlock()
	return time.Now().Add(p.ahead)
}

// later puts the operator's clock on, for all tests: a run that is under way has hours.
func (p *plant) later(d time.Duration) {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.ahead += d
}

func (p *plant) operatorLog() string { return operatorLog.String() }

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
