// Package demo does the main job on real input: it starts an embedded control plane and the operator, hosts two real consortia,
// and shows what a comune has. Nothing of it runs in a cluster.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/broletto/broletto/config"
	"github.com/broletto/broletto/hack/kube"
	"github.com/broletto/broletto/operator/embedded"
	"github.com/broletto/broletto/operator/manager"
)

// patience bounds the wait for all samples to be Ready; it takes seconds.
const patience = 2 * time.Minute

// Options say how the demo runs.
type Options struct {
	Dir  string // data folder; empty: the user's cache
	Port int    // API server's port; 0: the one of the last run, or any free one
	Once bool   // stop after the report
	Node string // folder of a cluster with nodes, as "make node" leaves it, to host on; empty: a control plane of the demo's own
	// Runner is the path of broletto-runner, with which the demo's own control plane gets a stand-in node that runs stacks; empty: none do.
	Runner string
	// Engines builds what runs stacks and returns its folder; nil: there is nothing to run them with.
	Engines func(ctx context.Context, progress io.Writer) (dir string, err error)
	// Stores builds the store that backups go to and returns its folder; nil: there is none, and nothing is backed up.
	Stores func(ctx context.Context, progress io.Writer) (dir string, err error)
	Out    io.Writer // progress and report
}

// demo is one run.
type demo struct {
	Options
	cluster *embedded.Cluster
	client  client.Client
	store   *store
}

// Run hosts the samples and reports; it returns when ctx ends, or after the report with Once.
func Run(ctx context.Context, o Options) error {
	err := run(ctx, o)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) { // whatever was under way is not what went wrong
		return errors.New("interrupted")
	}
	return err
}

func run(ctx context.Context, o Options) (err error) {
	log.SetLogger(logr.Discard()) // what clients would log, their errors say
	if o.Dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("finding a folder for the demo: %w; name one with --dir", err)
		}
		o.Dir = filepath.Join(cache, "broletto", "demo")
	}
	d := &demo{Options: o}
	if d.cluster, err = d.start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.cluster.Stop()) }()
	if d.store, err = d.startStore(ctx); err != nil {
		return err
	}
	defer d.store.stop()
	operator, err := d.startOperator(ctx)
	if err != nil {
		return err
	}
	defer operator.stop()
	if err := operator.watch(ctx, d.host); err != nil {
		return err
	}
	node, err := d.startNode(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.stop()) }() // before the operator: runs tell it how they ended
	if o.Node == "" {
		if err := operator.watch(ctx, d.stacks); err != nil {
			return err
		}
	}
	if err := operator.watch(ctx, d.backups); err != nil {
		return err
	}
	if err := d.report(ctx); err != nil {
		return err
	}
	if o.Node != "" {
		if err := operator.watch(ctx, d.traffic); err != nil {
			return err
		}
	}
	if o.Once {
		return nil
	}
	fmt.Fprintln(o.Out, "\nRunning until you press Ctrl-C.")
	return operator.watch(ctx, d.cluster.Wait)
}

// NodeFolder is where "make node" leaves a cluster when it is told nothing else; empty where that is not known.
func NodeFolder() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(cache, "broletto", "node")
}

// start is the cluster to host on.
func (d *demo) start(ctx context.Context) (*embedded.Cluster, error) {
	if d.Node == "" {
		return embedded.Start(ctx, kube.Options{Dir: d.Dir, Port: d.Port, Progress: d.Out})
	}
	admin := filepath.Join(d.Node, "admin.kubeconfig")
	cfg, err := clientcmd.BuildConfigFromFlags("", admin)
	if err != nil {
		return nil, fmt.Errorf("finding the cluster with nodes: %w; start one with `make node`", err)
	}
	if err := os.MkdirAll(d.Dir, 0o700); err != nil {
		return nil, err
	}
	return embedded.Attach(ctx, filepath.Join(d.Node, "control"), cfg.Host)
}

// host applies the samples as a platform engineer and the comuni would, and waits until all is Ready.
func (d *demo) host(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	admin, err := d.cluster.Admin()
	if err != nil {
		return err
	}
	scheme, err := manager.Scheme()
	if err != nil {
		return err
	}
	if d.client, err = client.New(admin, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	for _, step := range []string{"00-consortium", "10-tenants", "20-workspaces"} {
		if err := d.apply(ctx, step); err != nil {
			return err
		}
	}
	return nil
}

// apply applies one step of every sample and waits for it. Kinds that this version does not have yet are left out.
func (d *demo) apply(ctx context.Context, step string) error {
	applied, err := d.put(ctx, step)
	if err != nil {
		return err
	}
	started := time.Now()
	if err := d.ready(ctx, applied); err != nil {
		return err
	}
	fmt.Fprintf(d.Out, "%6.1fs  %s: %d objects Ready\n", time.Since(started).Seconds(), strings.TrimLeft(step, "0123456789-"), len(applied))
	return nil
}

// put applies one step of every sample that has it.
func (d *demo) put(ctx context.Context, step string) (applied []*unstructured.Unstructured, err error) {
	files, err := config.Samples.ReadDir("samples")
	if err != nil {
		return nil, err
	}
	for _, folder := range files {
		text, err := config.Samples.ReadFile("samples/" + folder.Name() + "/" + step + ".yaml")
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		objects, err := embedded.Documents(text)
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			if !d.client.Scheme().Recognizes(o.GroupVersionKind()) {
				continue
			}
			if o.GetKind() == "BackupRepository" {
				if d.store == nil {
					continue
				}
				if err := d.furnish(ctx, o); err != nil {
					return nil, err
				}
			}
			if err := d.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("broletto-demo"), client.ForceOwnership); err != nil {
				return nil, fmt.Errorf("applying %s %s: %w", o.GetKind(), o.GetName(), err)
			}
			applied = append(applied, o)
		}
	}
	return applied, nil
}

// ready waits until every object is, and names those that are not when time is over.
func (d *demo) ready(ctx context.Context, objects []*unstructured.Unstructured) error {
	for {
		var waiting []string
		for _, o := range objects {
			message, err := d.unready(ctx, o)
			if err != nil && ctx.Err() == nil {
				return err
			}
			if message != "" {
				waiting = append(waiting, fmt.Sprintf("%s %s: %s", strings.ToLower(o.GetKind()), o.GetName(), message))
			}
		}
		if len(waiting) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not Ready in time:\n  %s\nthe operator's log is %s", strings.Join(waiting, "\n  "), d.path("operator.log"))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// unready says why an object is not Ready; empty when it is.
func (d *demo) unready(ctx context.Context, o *unstructured.Unstructured) (string, error) {
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(o.GroupVersionKind())
	if err := d.client.Get(ctx, client.ObjectKeyFromObject(o), live); err != nil {
		return "not read", err
	}
	observed, _, _ := unstructured.NestedInt64(live.Object, "status", "observedGeneration")
	conditions, _, _ := unstructured.NestedSlice(live.Object, "status", "conditions")
	for _, c := range conditions {
		c, _ := c.(map[string]any)
		if c["type"] == "Ready" && observed == live.GetGeneration() {
			if c["status"] == "True" {
				return "", nil
			}
			return fmt.Sprint(c["message"]), nil
		}
	}
	return "not looked at yet", nil
}

// process is the operator, a process of its own as in a cluster.
type process struct {
	command *exec.Cmd
	ended   chan struct{}
	err     error
	log     string
}

// startOperator runs this program's operator verb with the operator's own service account.
func (d *demo) startOperator(ctx context.Context) (*process, error) {
	cfg, err := d.cluster.Operator(ctx)
	if err != nil {
		return nil, err
	}
	kubeconfig := d.path("operator.kubeconfig")
	if err := embedded.WriteKubeconfig(kubeconfig, cfg, ""); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	log, err := os.Create(d.path("operator.log"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the child has its own descriptor
	p := &process{ended: make(chan struct{}), log: log.Name()}
	p.command = exec.CommandContext(context.WithoutCancel(ctx), self, "operator", "--metrics-bind-address=127.0.0.1:0", "--health-probe-bind-address=0",
		"--broker-bind-address=127.0.0.1:0", "--broker-url=")
	p.command.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	p.command.Stdout, p.command.Stderr = log, log
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us: we stop it in order
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("starting the operator: %w", err)
	}
	go func() {
		if p.err = p.command.Wait(); p.err == nil {
			p.err = errors.New("exit status 0")
		}
		close(p.ended)
	}()
	return p, nil
}

// watch runs f and fails as soon as the operator ends.
func (p *process) watch(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	select {
	case err := <-done:
		return err
	case <-p.ended:
		cancel()
		return errors.Join(fmt.Errorf("the operator ended: %w; its log is %s", p.err, p.log), canceled(<-done))
	}
}

// canceled is what f had to say beside that it was stopped.
func canceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// stop asks the operator to end, and makes it end when it does not.
func (p *process) stop() {
	_ = p.command.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		_ = p.command.Process.Kill()
		<-p.ended
	}
}

func (d *demo) path(name string) string { return filepath.Join(d.Dir, name) }
