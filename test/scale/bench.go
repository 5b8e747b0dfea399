package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/hack/kube"
	"github.com/broletto/broletto/operator/embedded"
	"github.com/broletto/broletto/operator/manager"
)

// bench is one run.
type bench struct {
	options
	dir     string
	binary  string // the operator's
	cluster *embedded.Cluster
	seen    int64 // of the audit log

	admin                     client.WithWatch
	plainAdmin, plainOperator client.Client
	kubeconfig                string // the operator's
	scraper                   string // token of who may read the operator's metrics
}

// newBench starts a new control plane and builds the operator. What it returns beside ends both.
func newBench(ctx context.Context, o options) (b *bench, done func() error, err error) {
	b = &bench{options: o}
	if b.dir, err = os.MkdirTemp("", "broletto-scale-"); err != nil {
		return nil, nil, err
	}
	remove := func() error { return os.RemoveAll(b.dir) }
	b.say("building the operator")
	if b.binary, err = buildOperator(ctx, b.dir); err != nil {
		return nil, nil, errors.Join(err, remove())
	}
	if b.cluster, err = embedded.Start(ctx, kube.Options{Progress: o.progress}); err != nil {
		return nil, nil, errors.Join(err, remove())
	}
	done = func() error { return errors.Join(b.cluster.Stop(), remove()) }
	if err := b.connect(ctx); err != nil {
		return nil, nil, errors.Join(err, done())
	}
	return b, done, nil
}

// measure runs all phases on one new control plane.
func measure(ctx context.Context, o options) (r *report, err error) {
	b, done, err := newBench(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	model, err := b.warmUp(ctx)
	if err != nil {
		return nil, fmt.Errorf("warming up: %w", err)
	}
	r = newReport(o)
	for at, phase := range o.order {
		if phase == 'b' {
			err = b.broletto(ctx, r)
		} else {
			err = b.plainPhase(ctx, r, model, at)
		}
		if err != nil {
			return nil, err
		}
	}
	return r, r.conclude()
}

func (b *bench) say(format string, values ...any) { fmt.Fprintf(b.progress, format+"\n", values...) }

// connect makes everybody's credentials.
func (b *bench) connect(ctx context.Context) error {
	admin, err := b.cluster.Admin()
	if err != nil {
		return err
	}
	operator, err := b.cluster.Operator(ctx)
	if err != nil {
		return err
	}
	b.kubeconfig = filepath.Join(b.dir, "kubeconfig")
	if err := embedded.WriteKubeconfig(b.kubeconfig, operator, ""); err != nil {
		return err
	}
	scheme, err := manager.Scheme()
	if err != nil {
		return err
	}
	if err := authenticationv1.AddToScheme(scheme); err != nil {
		return err
	}
	options := client.Options{Scheme: scheme}
	if b.admin, err = client.NewWithWatch(admin, options); err != nil {
		return err
	}
	options.Mapper = b.admin.RESTMapper() // which knows all kinds by the time that they are measured
	admin, operator = rest.CopyConfig(admin), rest.CopyConfig(operator)
	admin.UserAgent, operator.UserAgent = plainAgent, plainAgent
	if b.plainAdmin, err = client.New(admin, options); err != nil {
		return err
	}
	if b.plainOperator, err = client.New(operator, options); err != nil {
		return err
	}
	return b.makeScraper(ctx)
}

// makeScraper makes an account that may read the operator's metrics, as Prometheus has one.
func (b *bench) makeScraper(ctx context.Context) error {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: embedded.Namespace, Name: "prometheus"}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "prometheus"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "broletto-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: account.Namespace, Name: account.Name}},
	}
	token := &authenticationv1.TokenRequest{}
	if err := errors.Join(b.admin.Create(ctx, account), b.admin.Create(ctx, binding), b.admin.SubResource("token").Create(ctx, account, token)); err != nil {
		return fmt.Errorf("making an account that reads metrics: %w", err)
	}
	b.scraper = token.Status.Token
	return nil
}

// start starts the operator and waits until it holds its lease, watches, and has nothing left to do. It returns all that it asked for.
func (b *bench) start(ctx context.Context) (p *process, asked []kube.AuditEvent, err error) {
	mark, err := b.mark()
	if err != nil {
		return nil, nil, err
	}
	if p, err = startProcess(b.binary, b.kubeconfig, b.env); err != nil {
		return nil, nil, err
	}
	ctx, cancel := p.guard(ctx)
	defer cancel()
	asked, err = b.quiet(ctx, mark, isWork)
	asked = only(asked, isOperator)
	if err == nil && !works(asked) {
		err = fmt.Errorf("the operator holds no lease or watches no workspaces\n%s", p.tail())
	}
	if err != nil {
		return nil, nil, errors.Join(err, p.stop())
	}
	return p, asked, nil
}

func works(asked []kube.AuditEvent) bool {
	var holds, watches bool
	for _, e := range asked {
		holds = holds || (isLease(e) && e.Mutating() && e.Code < 300)
		watches = watches || (e.Verb == "watch" && e.Resource == "workspaces")
	}
	return holds && watches
}

// warmUp has Broletto host one tenant, so that no phase pays for what a control plane does once, and returns what it made
// of it: the plain client writes the same for every tenant.
func (b *bench) warmUp(ctx context.Context) (*template, error) {
	b.say("warming up with one tenant")
	c, err := newCrowd("warm", 900000, 1, b.workspaces)
	if err != nil {
		return nil, err
	}
	p, _, err := b.start(ctx)
	if err != nil {
		return nil, err
	}
	guarded, cancel := p.guard(ctx)
	defer cancel()
	if _, err := b.host(guarded, c); err != nil {
		return nil, errors.Join(fmt.Errorf("%w\n%s", err, p.tail()), p.stop())
	}
	model, err := b.capture(ctx, c)
	return model, errors.Join(err, p.stop())
}

// plainPhase runs the plain client once and, if Broletto is still to come, takes away what it wrote: the operator would look at it.
func (b *bench) plainPhase(ctx context.Context, r *report, model *template, at int) error {
	c, err := newCrowd(fmt.Sprintf("pln%d", at), 0, b.tenants, b.workspaces)
	if err != nil {
		return err
	}
	b.say("plain client")
	mark, err := b.calm(ctx)
	if err != nil {
		return err
	}
	before := readCPU()
	run, err := b.plain(ctx, c, model)
	if err != nil {
		return fmt.Errorf("the plain client: %w", err)
	}
	used := readCPU().since(before)
	events, err := b.since(mark)
	if err != nil {
		return err
	}
	r.addPlain(run, used, events)
	if !strings.Contains(b.order[at:], "b") {
		return nil
	}
	b.say("taking away what it wrote")
	return b.clear(ctx, c)
}

// calm waits until nobody writes, so that no phase pays for the one before it.
func (b *bench) calm(ctx context.Context) (mark int64, err error) {
	if mark, err = b.mark(); err != nil {
		return 0, err
	}
	if _, err := b.quiet(ctx, mark, isWrite); err != nil {
		return 0, err
	}
	return b.mark()
}
