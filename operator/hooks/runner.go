package hooks

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/acting"
)

// AtOnce is how many commands are run in one workspace at the same time.
const AtOnce = 4

// Command is one command of a hook.
type Command struct {
	Namespace string
	Hook      v1alpha1.Hook
	After     bool // or else before
}

func (c Command) words() []string {
	if c.After {
		return c.Hook.After
	}
	return c.Hook.Before
}

// Runner runs commands beside the reconciler that asks for them, for each object one after the other. When the operator ends, so does what it
// knows of them.
type Runner struct {
	pods   corev1client.CoreV1Interface // as a workspace's account
	config *rest.Config                 // the same

	mu      sync.Mutex
	running map[types.UID]*running
}

type running struct {
	Command
	stop  context.CancelFunc
	ended chan struct{}
	err   error // when ended is closed
}

// New makes a runner of the operator's configuration.
func New(cfg *rest.Config) (*Runner, error) {
	cfg = acting.Backup.Config(cfg)
	cfg.QPS = -1 // the API server's own fairness bounds us
	pods, err := corev1client.NewForConfig(cfg)
	return &Runner{pods: pods, config: cfg, running: map[types.UID]*running{}}, err
}

// Room tells whether another command may be run in a workspace now.
func (r *Runner) Room(namespace string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, one := range r.running {
		if one.Namespace == namespace {
			n++
		}
	}
	return n < AtOnce
}

// Begin begins a command for an object that has none under way.
func (r *Runner) Begin(object types.UID, c Command) {
	ctx, stop := context.WithCancel(acting.In(context.Background(), c.Namespace))
	one := &running{Command: c, stop: stop, ended: make(chan struct{})}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running[object] = one
	go func() {
		defer stop()
		defer close(one.ended)
		one.err = r.run(ctx, c)
	}()
}

// Await waits at most so long for the end of an object's command. One that has ended is told once; nil: none is known.
func (r *Runner) Await(ctx context.Context, object types.UID, atMost time.Duration) (c *Command, ended bool, err error) {
	r.mu.Lock()
	one := r.running[object]
	r.mu.Unlock()
	if one == nil {
		return nil, false, nil
	}
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-one.ended:
	default:
		select {
		case <-one.ended:
		case <-timer.C:
			return &one.Command, false, nil
		case <-ctx.Done():
			return &one.Command, false, nil
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.running, object)
	return &one.Command, true, one.err
}

// Stop has an object's command waited for no longer.
func (r *Runner) Stop(object types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if one := r.running[object]; one != nil {
		one.stop()
	}
}
