package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/hack/kube"
	"github.com/broletto/broletto/operator/embedded"
	"github.com/broletto/broletto/operator/localnode"
)

// The workspaces of the one tenant of this benchmark.
const (
	stacksIn = "sito-000"      // what Broletto's stacks make
	shellIn  = "sportello-001" // what the shell's make
)

// forge has small stacks applied by Broletto and, beside it, by a shell.
type forge struct {
	*bench
	engine  v1alpha1.EngineName
	engines string // folder
	crowd   *crowd
	account string // token of the shell's
	report  stacksReport
}

// stacksReport is what came of it.
type stacksReport struct {
	Engine v1alpha1.EngineName
	Stacks int // of each side
	Cores  int
	Rounds []stackRound
	Vault  vaultReport
	Start  int64 // the operator's resident size before the first stack, in bytes
}

// stackRound is one turn: as many stacks by the shell and by Broletto.
type stackRound struct {
	Shell, Broletto stackSide
	Peak, Resident  int64 // of the operator, afterwards, in bytes
}

// stackSide is one side's turn.
type stackSide struct {
	Who      string
	Stacks   int
	Seconds  float64
	CPU      cpu
	Requests map[string]int // by who asked
	Writes   map[string]int
	By       map[string]int // requests by who asked for what
}

// vaultReport is what the vault keeps.
type vaultReport struct{ Secrets, Bytes int }

// measureStacks has a shell loop and Broletto bring the same stacks about on one control plane, in turn, a batch at a time.
func measureStacks(ctx context.Context, o options) (_ *stacksReport, err error) {
	b, done, err := newBench(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	f := &forge{bench: b, engine: v1alpha1.EngineName(o.engine)}
	f.report = stacksReport{Engine: f.engine, Stacks: o.stacks, Cores: runtime.NumCPU()}
	if f.engines, err = kube.BuildEngines(ctx, o.progress); err != nil {
		return nil, err
	}
	stop, err := f.node(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	p, _, err := b.start(ctx)
	if err != nil {
		return nil, err
	}
	guarded, cancel := p.guard(ctx)
	defer cancel()
	if err := f.rounds(guarded, p); err != nil {
		return nil, errors.Join(fmt.Errorf("%w\n%s", err, p.tail()), p.stop())
	}
	return &f.report, p.stop()
}

// node starts the stand-in node, with a slot for each core.
func (f *forge) node(ctx context.Context) (stop func() error, err error) {
	runner := filepath.Join(f.dir, "broletto-runner")
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", runner, "github.com/broletto/broletto/operator/cmd/broletto-runner")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the runner: %w\n%s", err, out)
	}
	o, err := localnode.For(ctx, f.cluster)
	if err != nil {
		return nil, err
	}
	o.Runner, o.Engines, o.Dir = runner, f.engines, filepath.Join(f.dir, "node")
	n, err := localnode.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	return n.Stop, nil
}

// rounds hosts the tenant, has each side do two stacks so that none pays for what is read for the first time, then measures.
func (f *forge) rounds(ctx context.Context, p *process) (err error) {
	if f.crowd, err = f.room(); err != nil {
		return err
	}
	if _, err := f.host(ctx, f.crowd); err != nil {
		return err
	}
	if f.account, err = f.makeAccount(ctx); err != nil {
		return err
	}
	for _, side := range []func(context.Context, string, int) (stackSide, error){f.shell, f.stacks} {
		if _, err := side(ctx, "warm", f.report.Cores); err != nil {
			return err
		}
	}
	_, f.report.Start = p.memory()
	if f.alone {
		f.batch = f.options.stacks
	}
	for first := 0; first < f.options.stacks; first += f.batch {
		name, n := fmt.Sprintf("s%03d", first), min(f.batch, f.options.stacks-first)
		var r stackRound
		sides := []func() error{
			func() (err error) { r.Shell, err = f.shell(ctx, name, n); return err },
			func() (err error) { r.Broletto, err = f.stacks(ctx, name, n); return err },
		}
		if f.alone {
			sides = sides[1:]
		}
		if len(f.report.Rounds)%2 == 1 { // each goes first in turn
			slices.Reverse(sides)
		}
		for _, side := range sides {
			if err := side(); err != nil {
				return err
			}
		}
		r.Peak, r.Resident = p.memory()
		f.report.Rounds = append(f.report.Rounds, r)
		f.say("  shell %.1f s, Broletto %.1f s", r.Shell.Seconds, r.Broletto.Seconds)
	}
	f.report.Vault, err = f.kept(ctx)
	return err
}

// room is a tenant with a workspace for each side, and quota enough for all stacks at once.
func (f *forge) room() (*crowd, error) {
	c, err := newCrowd("pila", 600000, 1, 2)
	if err != nil {
		return nil, err
	}
	c.consortium.Spec.Defaults.Workspace.Quota = v1alpha1.Quota{
		"requests.cpu": "100", "requests.memory": "200Gi", "limits.cpu": "600", "limits.memory": "400Gi", "requests.storage": "10Gi", "pods": "600",
	}
	c.tenant.Spec.Limits.Stacks, c.tenant.Spec.Limits.ObjectsPerWorkspace = new(int32(500)), new(int32(2000))
	return c, nil
}

// stacks writes n manifests and waits until all are Ready.
func (f *forge) stacks(ctx context.Context, name string, n int) (stackSide, error) {
	s, err := f.side(ctx, "Broletto", n, func() error {
		var all []client.Object
		for i := range n {
			all = append(all, f.stack(fmt.Sprintf("%s-%03d", name, i)))
		}
		if err := f.each(ctx, all, func(o client.Object) error { return f.admin.Create(ctx, o) }); err != nil {
			return err
		}
		return f.ready(ctx, name+"-", n)
	})
	if err != nil {
		return s, err
	}
	return s, f.once(ctx, name+"-", s)
}

// once wants that each stack was applied once: by one run, in one Job, to one object, with its state kept; and that nothing of the runs is left on
// the node, no process and no file.
func (f *forge) once(ctx context.Context, prefix string, s stackSide) error {
	for what, want := range map[string]int{
		"operator create stackruns": s.Stacks, "operator create jobs": s.Stacks, "engine create configmaps": s.Stacks,
		"engine update configmaps": 0, "engine patch configmaps": 0,
	} {
		if got := s.By[what]; got != want {
			return fmt.Errorf("%d stacks: %s %d times, want %d", s.Stacks, what, got, want)
		}
	}
	var runs v1alpha1.StackRunList
	if err := f.admin.List(ctx, &runs, client.InNamespace(f.crowd.tenantName(0))); err != nil {
		return fmt.Errorf("listing runs: %w", err)
	}
	for _, one := range runs.Items {
		if strings.HasPrefix(one.Name, prefix) && (one.Spec.Attempt != 1 || one.Status.Phase != v1alpha1.RunSucceeded || one.Status.Serial < 1) {
			return fmt.Errorf("run %s: attempt %d, %s, state %d", one.Name, one.Spec.Attempt, one.Status.Phase, one.Status.Serial)
		}
	}
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	for left := f.left(); len(left) > 0; left = f.left() {
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("of runs that have ended there are %v: %w", left, err)
		}
	}
	return nil
}

// left are the folders of pods on the node, and the processes that see one.
func (f *forge) left() []string {
	pods := filepath.Join(f.dir, "node", "pods")
	all, _ := filepath.Glob(filepath.Join(pods, "*"))
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, process := range processes {
		mounts, _ := os.ReadFile(process + "/mountinfo") // it may have ended
		if strings.Contains(string(mounts), pods+"/") {
			all = append(all, process)
		}
	}
	return all
}

// side measures one side's turn, from its first request to its last stack, and the requests until nobody asks for anything more.
func (f *forge) side(ctx context.Context, who string, n int, do func() error) (s stackSide, err error) {
	ctx, stop := context.WithTimeoutCause(ctx, 4*patience, fmt.Errorf("not done within %s", 4*patience))
	defer stop()
	mark, err := f.calm(ctx)
	if err != nil {
		return s, err
	}
	f.say("%s: %d stacks", who, n)
	before, begun := readCPU(), time.Now()
	if err := do(); err != nil {
		return s, fmt.Errorf("%s: %w", who, err)
	}
	s.Who, s.Stacks, s.Seconds, s.CPU = who, n, time.Since(begun).Seconds(), readCPU().since(before)
	events, err := f.quiet(ctx, mark, isWrite)
	s.Requests, s.Writes = whoOfStacks(events), whoOfStacks(only(events, kube.AuditEvent.Mutating))
	s.By = map[string]int{}
	for _, e := range events {
		if !isLease(e) {
			s.By[askerOf(e)+" "+e.Verb+" "+resourceOf(e)]++
		}
	}
	return s, err
}

// stack is one that makes a ConfigMap of its name, and is applied without asking.
func (f *forge) stack(name string) *v1alpha1.Stack {
	s := &v1alpha1.Stack{ObjectMeta: metav1.ObjectMeta{Namespace: f.crowd.tenantName(0), Name: name}}
	s.Spec = v1alpha1.StackSpec{Workspace: stacksIn, Engine: f.engine, TimeoutMinutes: 10, Approval: v1alpha1.ApprovalAutomatic}
	s.Spec.Source.Inline = map[string]v1alpha1.SourceText{}
	for file, text := range f.program() {
		s.Spec.Source.Inline[file] = v1alpha1.SourceText(text)
	}
	s.Spec.Variables = map[string]apiextensionsv1.JSON{}
	for variable, value := range f.variables(name, stacksIn) {
		s.Spec.Variables[variable] = apiextensionsv1.JSON{Raw: []byte(value)}
	}
	return s
}

// variables are a stack's, as JSON.
func (f *forge) variables(name, workspace string) map[string]string {
	out := map[string]string{"name": strconv.Quote(name), "namespace": strconv.Quote(f.namespace(workspace))}
	if f.ballast > 0 {
		out["ballast"] = strconv.Itoa(f.ballast)
	}
	return out
}

func (f *forge) namespace(workspace string) string { return f.crowd.tenantName(0) + "--" + workspace }

// ready waits until n stacks whose names begin alike are Ready.
func (f *forge) ready(ctx context.Context, prefix string, n int) error {
	changes, err := f.admin.Watch(ctx, &v1alpha1.StackList{})
	if err != nil {
		return fmt.Errorf("watching stacks: %w", err)
	}
	defer changes.Stop()
	ready := map[string]bool{}
	for len(ready) < n {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d stacks are Ready: %w", len(ready), n, context.Cause(ctx))
		case event := <-changes.ResultChan():
			s, isStack := event.Object.(*v1alpha1.Stack)
			if !isStack {
				return fmt.Errorf("the watch of stacks ended: %v", event)
			}
			if !strings.HasPrefix(s.Name, prefix) {
				continue
			}
			if meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ConditionReady) {
				ready[s.Name] = true
			} else if r := s.Status.Run; r != "" && r != s.Name+"-1" { // a second attempt is another measurement
				return fmt.Errorf("run %s-1 of stack %s failed: %w", s.Name, s.Name, f.failure(ctx, s))
			}
		}
	}
	return nil
}

// failure is why the first run of a stack failed.
func (f *forge) failure(ctx context.Context, s *v1alpha1.Stack) error {
	first := &v1alpha1.StackRun{}
	if err := f.admin.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: s.Name + "-1"}, first); err != nil {
		return err
	}
	return fmt.Errorf("%+v", first.Status.Failure)
}

// kept counts what the vault keeps.
func (f *forge) kept(ctx context.Context) (v vaultReport, err error) {
	var secrets corev1.SecretList
	if err := f.admin.List(ctx, &secrets, client.InNamespace(embedded.Namespace), client.HasLabels{"broletto.dev/vault"}); err != nil {
		return v, fmt.Errorf("reading what the vault keeps: %w", err)
	}
	for _, s := range secrets.Items {
		v.Secrets++
		for _, data := range s.Data {
			v.Bytes += len(data)
		}
	}
	return v, nil
}

// whoOfStacks counts requests by who asked.
func whoOfStacks(events []kube.AuditEvent) map[string]int {
	asked := map[string]int{}
	for _, e := range events {
		if !isLease(e) {
			asked[askerOf(e)]++
		}
	}
	return asked
}

// askerOf is who asked: a part of Broletto, an engine, the client that writes manifests, or the cluster itself.
func askerOf(e kube.AuditEvent) string {
	switch {
	case isOperator(e):
		return "operator"
	case e.User == localnode.User || e.User == "broletto-local-node":
		return "node"
	case strings.HasPrefix(e.User, "system:serviceaccount:") && strings.Contains(e.User, "--"):
		return "engine" // as a stack's account, or the shell's
	case e.User == kube.AdminUser || e.UserAgent == plainAgent:
		return "client"
	case strings.HasPrefix(e.User, "system:apiserver"):
		return "kube-apiserver"
	}
	return "kube-controller-manager"
}
