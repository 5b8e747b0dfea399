package stack_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/run"
	"github.com/broletto/broletto/operator/stack"
	"github.com/broletto/broletto/operator/vault"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// patience is how long a test waits for what the cluster does by itself, on a machine that is busy.
const patience = 90 * time.Second

// play is a stage with a ready workspace, one stack in it, and a test that plays kubelet and runner.
type play struct {
	*stage.Stage
	vault     *vault.Vault
	operate   reconcile.Reconciler
	workspace *v1alpha1.Workspace
	stack     *v1alpha1.Stack
	planned   int
}

func newPlay(t *testing.T, name string, edit ...func(*v1alpha1.Stack)) *play {
	t.Helper()
	return newPlayOver(t, name, func(c client.Client) client.Client { return c }, vault.NewMemory(), edit...)
}

func newPlayOver(t *testing.T, name string, wrap func(client.Client) client.Client, store vault.Store, edit ...func(*v1alpha1.Stack)) *play {
	t.Helper()
	p := &play{Stage: stage.New(t, name), vault: vault.New(store, store)}
	c, tenant := p.Consortium(), p.Tenant("a")
	p.Ready(c, tenant)
	p.workspace = p.Workspace(tenant, "sito")
	p.Ready(p.workspace)
	p.At(time.Now().Truncate(time.Second))
	p.operate = reconcile.AsReconciler(p.Operator(), &stack.Reconciler{
		Client: wrap(p.Operator()), Live: p.Live(), Vault: p.vault, Events: p.Recorder(), Now: p.Now,
		Namespace: "broletto-system", Image: "registry.example/runner:1", BrokerURL: "https://broker.example", BrokerCA: []byte("CA"), BrokerPort: 9443,
	})
	p.stack = newStack(tenant.Name, edit...)
	p.Create(p.stack)
	return p
}

func newStack(tenant string, edit ...func(*v1alpha1.Stack)) *v1alpha1.Stack {
	s := &v1alpha1.Stack{ObjectMeta: stage.In(tenant, "config")}
	s.Spec = v1alpha1.StackSpec{
		Workspace: "sito", Engine: v1alpha1.OpenTofu,
		Source: v1alpha1.StackSource{Inline: map[string]v1alpha1.SourceText{"main.tf": "# nothing"}},
	}
	for _, e := range edit {
		e(s)
	}
	return s
}

func automatic(s *v1alpha1.Stack) { s.Spec.Approval = v1alpha1.ApprovalAutomatic }

// of names the stack for the vault.
func (p *play) of() vault.Stack { return vault.Stack{Tenant: p.stack.Namespace, UID: p.stack.UID} }

// look reconciles the stack once.
func (p *play) look() (ctrl.Result, error) {
	ctx, cancel := context.WithTimeout(p.Context(), patience)
	defer cancel()
	return p.operate.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(p.stack)})
}

// until reconciles until f is content.
func (p *play) until(what string, f func() error) {
	p.Helper()
	var failed error
	cluster.Eventually(p, patience, what, func() error {
		if _, err := p.look(); err != nil {
			failed = err
		}
		if err := f(); err != nil {
			return errors.Join(err, failed) // the last failure of a reconcile may be why
		}
		return nil
	})
}

// says reconciles until a condition of the stack is True for a reason.
func (p *play) says(kind, reason string) {
	p.Helper()
	p.until(kind+" for "+reason, func() error {
		p.Read(p.stack)
		c := meta.FindStatusCondition(p.stack.Status.Conditions, kind)
		if c == nil || c.Status != "True" || c.Reason != reason || p.stack.Status.ObservedGeneration != p.stack.Generation {
			return errors.New(stage.Conditions(p.stack))
		}
		return nil
	})
}

// begun reconciles until a run of an operation is under way, and returns it.
func (p *play) begun(operation v1alpha1.Operation) *v1alpha1.StackRun {
	p.Helper()
	var out *v1alpha1.StackRun
	p.until("a run is under way: "+string(operation), func() error {
		for _, one := range p.runs() {
			if !one.Finished() && one.Spec.Operation == operation && one.Status.JobUID != "" {
				out = one
				return nil
			}
		}
		p.Read(p.stack)
		return errors.New("there is none: " + stage.Conditions(p.stack) + " " + p.story())
	})
	return out
}

func (p *play) runs() (out []*v1alpha1.StackRun) {
	p.Helper()
	for _, o := range p.List(&v1alpha1.StackRunList{}, p.stack.Namespace) {
		if one := o.(*v1alpha1.StackRun); one.Spec.StackUID == p.stack.UID {
			out = append(out, one)
		}
	}
	slices.SortFunc(out, func(a, b *v1alpha1.StackRun) int { return int(a.Spec.Attempt - b.Spec.Attempt) })
	return out
}

// story is what was run, in order, as "Plan Apply!Lost".
func (p *play) story() string {
	p.Helper()
	var out []string
	for _, one := range p.runs() {
		text := string(one.Spec.Operation)
		if one.Status.Failure != nil {
			text += "!" + string(one.Status.Failure.Class)
		}
		if !one.Finished() {
			text += "…"
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

// pod waits for the pod that the Job controller makes for a run.
func (p *play) pod(one *v1alpha1.StackRun) *corev1.Pod {
	p.Helper()
	var out *corev1.Pod
	cluster.Eventually(p, patience, "the Job controller makes a pod of "+one.Name, func() error {
		var list corev1.PodList
		if err := p.Admin.List(p.Context(), &list, client.InNamespace(one.TargetNamespace()), client.MatchingLabels{v1alpha1.LabelRun: string(one.UID)}); err != nil {
			return err
		}
		if len(list.Items) != 1 {
			return fmt.Errorf("there are %d", len(list.Items))
		}
		out = &list.Items[0]
		return nil
	})
	return out
}

// becomes plays the kubelet.
func (p *play) becomes(pod *corev1.Pod, phase corev1.PodPhase) {
	p.Helper()
	patch := fmt.Sprintf(`{"status":{"phase":%q}}`, phase)
	if err := p.Admin.Status().Patch(p.Context(), pod, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		p.Fatal(err)
	}
}

// changes is a plan that does something. No two are the same.
func (p *play) changes() *v1alpha1.PlanSummary {
	p.planned++
	return &v1alpha1.PlanSummary{
		Digest: v1alpha1.Digest(fmt.Sprintf("hmac-sha256:%064x", p.planned)), Adds: 1,
		Resources: []v1alpha1.PlannedChange{{Address: "a.b", Action: "Create"}},
	}
}

var nothing = &v1alpha1.PlanSummary{}

func failing(class v1alpha1.FailureClass) run.Report {
	return run.Report{Failure: &v1alpha1.RunFailure{Class: class, Message: "it did not work"}}
}

// plays has a run's runner do its work: it takes the lock, is let apply, reports, and ends.
func (p *play) plays(one *v1alpha1.StackRun, report run.Report) {
	p.Helper()
	ctx, of := p.Context(), p.of()
	pod := p.pod(one)
	p.becomes(pod, corev1.PodRunning)
	lock := vault.Lock{Run: one.Name, RunUID: one.UID, Pod: pod.Name, PodUID: pod.UID, Since: p.Now(), Beat: p.Now()}
	order, err := p.vault.Order(ctx, of, one.UID)
	_, locked := p.vault.TakeLock(ctx, of, lock)
	err = errors.Join(err, locked)
	if order.Source != nil {
		err = errors.Join(err, p.vault.PutSource(ctx, of, one.UID, []byte("source")))
	}
	if report.Applied {
		source := one.UID
		if order.PlanRun != "" {
			source = order.PlanRun
		}
		if one.Spec.Operation == v1alpha1.OperationDestroy {
			source = ""
		}
		err = errors.Join(err, p.vault.Begin(ctx, of, one.UID, source))
	}
	if err = errors.Join(err, p.vault.PutReport(ctx, of, one.UID, report), p.vault.Release(ctx, of, one.UID)); err != nil {
		p.Fatalf("playing run %s: %v", one.Name, err)
	}
	p.becomes(pod, corev1.PodSucceeded)
	p.finished(one)
}

// finished reconciles until a run has ended.
func (p *play) finished(one *v1alpha1.StackRun) {
	p.Helper()
	p.until("run "+one.Name+" has ended", func() error {
		if p.Read(one); !one.Finished() {
			return errors.New(string(one.Status.Phase))
		}
		return nil
	})
}

// approve writes what a person writes.
func (p *play) approve(digest v1alpha1.Digest) {
	p.Helper()
	stage.Edit(p.Stage, p.stack, func(s *v1alpha1.Stack) { s.Spec.ApprovedPlan = digest })
}

// settled proves that nothing is written to what is at rest.
func (p *play) settled() {
	p.Helper()
	p.until("a round writes nothing", func() error {
		from := cluster.Mark(p)
		if _, err := p.look(); err != nil {
			return err
		}
		if writes := p.Writes(from); len(writes) > 0 {
			return errors.New(strings.Join(writes, "; "))
		}
		return nil
	})
	from := cluster.Mark(p)
	for range 3 {
		if _, err := p.look(); err != nil {
			p.Error(err)
		}
	}
	if writes := p.Writes(from); len(writes) > 0 {
		p.Errorf("a settled stack was written to: %s", strings.Join(writes, "; "))
	}
}

// later moves the clock.
func (p *play) later(d time.Duration) { p.At(p.Now().Add(d)) }

func (p *play) wantStory(want string) {
	p.Helper()
	if got := p.story(); got != want {
		p.Errorf("the runs were %q, want %q", got, want)
	}
}

// gone reconciles until the stack is there no more.
func (p *play) gone() {
	p.Helper()
	p.until("the stack is gone", func() error {
		if p.Exists(p.stack) {
			return errors.New(stage.Conditions(p.stack) + " " + p.story())
		}
		return nil
	})
}

// rights are the names of what the stack's runs stand on, as far as it is there.
func (p *play) rights() (out []string) {
	p.Helper()
	namespace := p.workspace.TargetNamespace()
	for kind, o := range rightsOf(namespace) {
		if p.Exists(o) {
			out = append(out, kind)
		}
	}
	slices.Sort(out)
	return out
}

func text(value string) json.RawMessage {
	out, _ := json.Marshal(value) //nolint:errchkjson // it is a string
	return out
}

// once fails each write after it was done, the first time that it is done: as if we were killed right after it.
type once struct {
	client.Client
	killed *killed
}

type killed struct{ seen map[string]bool }

func (k *killed) after(err error, verb string, o any) error {
	name := fmt.Sprintf("%s %T", verb, o)
	if named, is := o.(metav1.Object); is {
		name += " " + named.GetName()
		if one, is := o.(*v1alpha1.StackRun); is {
			name += string(one.Status.Phase)
		}
	}
	if err != nil || k.seen[name] {
		return err
	}
	k.seen[name] = true
	return errors.New("killed after " + name)
}

func (c once) Create(ctx context.Context, o client.Object, opts ...client.CreateOption) error {
	return c.killed.after(c.Client.Create(ctx, o, opts...), "create", o)
}

func (c once) Update(ctx context.Context, o client.Object, opts ...client.UpdateOption) error {
	return c.killed.after(c.Client.Update(ctx, o, opts...), "update", o)
}

func (c once) Delete(ctx context.Context, o client.Object, opts ...client.DeleteOption) error {
	return c.killed.after(c.Client.Delete(ctx, o, opts...), "delete", o)
}

func (c once) Status() client.SubResourceWriter { return onceStatus{c.Client.Status(), c.killed} }

type onceStatus struct {
	client.SubResourceWriter
	killed *killed
}

func (c onceStatus) Update(ctx context.Context, o client.Object, opts ...client.SubResourceUpdateOption) error {
	return c.killed.after(c.SubResourceWriter.Update(ctx, o, opts...), "update status of", o)
}
