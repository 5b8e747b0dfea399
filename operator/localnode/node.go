package localnode

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/localnode/jail"
)

const (
	// Name is the node's.
	Name = "local"
	// User is who it is to the API server.
	User = "system:node:" + Name
	// Group is that of nodes.
	Group = "system:nodes"
	// Label says that a node is this one.
	Label = "broletto.dev/local-node"
	// Container is the one that runs; a pod of a run has no other.
	Container = "runner"
)

// Options say how the node runs. [For] fills in who it is.
type Options struct {
	Node       *rest.Config    // acts as User in Group
	Scheduler  *rest.Config    // may read pods and jobs everywhere, and bind pods
	Serving    tls.Certificate // of the endpoint that the API server asks for logs, at 127.0.0.1
	Authority  []byte          // PEM of who signs the API server's certificate as a client
	ClientName string          // on that certificate

	Runner  string        // path of broletto-runner
	Engines string        // folder with the engines; empty: there are none
	Dir     string        // folder of the node's own: logs, and what pods write
	Slots   int           // how many pods run at once; 0: one per core
	Grace   time.Duration // what pods get to end when the node stops; 0: 30 s
	Log     logr.Logger

	unjailed bool // for tests: as where there is no jail
}

// Node is a running one.
type Node struct {
	Options
	client    kubernetes.Interface // as the node
	scheduler kubernetes.Interface
	server    string // host of the API server, and its port
	port      string
	listener  net.Listener

	cancel context.CancelFunc
	tasks  sync.WaitGroup // everything that ends with cancel
	kick   chan struct{}
	stop   func() error

	mine    cache.Store            // pods of this node
	waiting cache.Store            // pods of runs that have no node yet
	refused map[types.UID]struct{} // those of the waiting that were told of; the loop's alone

	mutex   sync.Mutex
	workers map[types.UID]*worker  // pods that run or have run here, until they are gone
	logs    map[types.UID]*logbook // of those that this process has run
	slots   []bool                 // which are taken
}

// Start registers the node and runs pods until Stop; ctx bounds the start alone. Pods that an earlier one of the same name ran and did not
// end are marked Failed: their processes are gone.
func Start(ctx context.Context, o Options) (*Node, error) {
	n, err := prepare(o)
	if err != nil {
		return nil, fmt.Errorf("starting the local node: %w", err)
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	n.cancel = cancel
	n.stop = sync.OnceValue(n.shutdown)
	if err := n.begin(ctx, run); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the local node: %w", err), n.Stop())
	}
	return n, nil
}

// Stop asks every pod to end, kills those that do not within the grace, waits until all of it is gone and told, and marks the node NotReady.
func (n *Node) Stop() error { return n.stop() }

func prepare(o Options) (*Node, error) {
	if o.Slots == 0 {
		o.Slots = runtime.NumCPU()
	}
	if o.Grace == 0 {
		o.Grace = 30 * time.Second
	}
	if o.Log.GetSink() == nil {
		o.Log = logr.Discard()
	}
	var err error
	for _, path := range []*string{&o.Runner, &o.Engines, &o.Dir} {
		if *path != "" {
			if *path, err = filepath.Abs(*path); err != nil {
				return nil, err
			}
		}
	}
	if err := runnable(o); err != nil {
		return nil, err
	}
	n := &Node{
		Options: o, kick: make(chan struct{}, 1),
		refused: map[types.UID]struct{}{}, workers: map[types.UID]*worker{}, logs: map[types.UID]*logbook{}, slots: make([]bool, o.Slots),
	}
	// Mount points and folders of pods that a crash left; their logs stay as long as the pods do.
	if err := os.RemoveAll(n.path("pods")); err != nil {
		return nil, err
	}
	for _, folder := range []string{"pods", "logs"} {
		if err := os.MkdirAll(n.path(folder), 0o700); err != nil {
			return nil, err
		}
	}
	if n.server, n.port, err = address(o.Node); err != nil {
		return nil, err
	}
	if n.client, err = kubernetes.NewForConfig(o.Node); err != nil {
		return nil, err
	}
	n.scheduler, err = kubernetes.NewForConfig(o.Scheduler)
	return n, err
}

// runnable finds out whether pods can run here at all.
func runnable(o Options) error {
	if o.Runner == "" || o.Dir == "" || o.Node == nil || o.Scheduler == nil {
		return errors.New("no runner, folder or identity given: name them in the options")
	}
	info, err := os.Stat(o.Runner)
	if err != nil {
		return fmt.Errorf("the runner %s cannot be read: %w; `make build` builds it", o.Runner, err)
	}
	if info.IsDir() || info.Mode()&0o111 == 0 {
		return fmt.Errorf("the runner %s is no program; `make build` builds it", o.Runner)
	}
	if o.unjailed {
		return nil
	}
	return jail.Try()
}

// begin starts everything that ends with run.
func (n *Node) begin(ctx, run context.Context) error {
	if err := n.listen(run); err != nil {
		return err
	}
	if err := n.register(ctx); err != nil {
		return err
	}
	n.task(func() { n.beat(run) })
	if err := n.watch(ctx, run); err != nil {
		return err
	}
	n.task(func() { n.loop(run) })
	n.Log.Info("local node started", "slots", n.Slots, "jailed", n.jailed())
	return nil
}

func (n *Node) task(f func()) { n.tasks.Go(f) }

func (n *Node) shutdown() error {
	n.cancel()
	n.tasks.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := n.leave(ctx)
	if n.listener != nil {
		_ = n.listener.Close() // the server that had it has closed it
	}
	return errors.Join(err, os.RemoveAll(n.path("pods")))
}

func (n *Node) path(names ...string) string {
	return filepath.Join(append([]string{n.Dir}, names...)...)
}

func (n *Node) jailed() bool { return jail.Possible && os.Getuid() == 0 && !n.unjailed }

// Jail says for people how far pods are kept from this machine.
func (n *Node) Jail() string {
	if n.jailed() {
		return "jailed: namespaces, a root and a user of their own"
	}
	return "as your own user: start as root on Linux to have them jailed"
}

// wake has the loop look at everything soon.
func (n *Node) wake() {
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

// ours says whether a pod works for a run.
func ours(pod *corev1.Pod) bool { return pod.Labels[v1alpha1.LabelRun] != "" }
