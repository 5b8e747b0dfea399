package stack_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/outcome"
	"github.com/broletto/broletto/operator/run"
	"github.com/broletto/broletto/operator/vault"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

const (
	ready       = v1alpha1.ConditionReady
	stalled     = v1alpha1.ConditionStalled
	reconciling = v1alpha1.ConditionReconciling
)

func rightsOf(namespace string) map[string]client.Object {
	return map[string]client.Object{
		"account": &corev1.ServiceAccount{ObjectMeta: stage.In(namespace, "stack-config")},
		"binding": &rbacv1.RoleBinding{ObjectMeta: stage.In(namespace, "stack-config")},
		"policy":  &networkingv1.NetworkPolicy{ObjectMeta: stage.In(namespace, "stack-config")},
		"outputs": &corev1.Secret{ObjectMeta: stage.In(namespace, "uscite")},
	}
}

func outputsTo(s *v1alpha1.Stack) { s.Spec.OutputsTo = &v1alpha1.OutputsTarget{Secret: "uscite"} }

// applied plans, approves and applies once.
func (p *play) applied() *v1alpha1.PlanSummary {
	p.Helper()
	plan := p.changes()
	p.plays(p.begun(v1alpha1.OperationPlan), run.Report{Plan: plan, Revision: "r1"})
	p.says(reconciling, v1alpha1.ReasonAwaitingApproval)
	p.approve(plan.Digest)
	p.plays(p.begun(v1alpha1.OperationApply), run.Report{Plan: plan, Applied: true, Serial: 1, Outputs: map[string]json.RawMessage{"url": text("https://a")}})
	p.says(ready, v1alpha1.ReasonSucceeded)
	return plan
}

// TestManual takes a stack through its life with approvals.
func TestManual(t *testing.T) {
	t.Parallel()
	p := newPlay(t, "manual", outputsTo)
	first := p.applied()
	p.settled()
	p.wantStory("Plan Apply")
	if a := p.stack.Status.Applied; a == nil || a.Digest != first.Digest || a.Revision != "r1" || p.stack.Status.Approved != first.Digest {
		t.Errorf("applied: %+v, approved %s", a, p.stack.Status.Approved)
	}
	if diff := cmp.Diff([]string{"account", "binding", "outputs", "policy"}, p.rights()); diff != "" {
		t.Errorf("what stands (-want +got):\n%s", diff)
	}
	secret := &corev1.Secret{ObjectMeta: stage.In(p.workspace.TargetNamespace(), "uscite")}
	p.Read(secret)
	if string(secret.Data["url"]) != "https://a" {
		t.Errorf("outputs: %q", secret.Data)
	}

	// another source is planned, and the old approval lets nothing pass, not even the very same plan
	stage.Edit(p.Stage, p.stack, func(s *v1alpha1.Stack) { s.Spec.Source.Inline["main.tf"] = "# something" })
	p.plays(p.begun(v1alpha1.OperationPlan), run.Report{Plan: first})
	p.says(reconciling, v1alpha1.ReasonAwaitingApproval)
	p.settled()
	p.approve("")
	p.says(reconciling, v1alpha1.ReasonAwaitingApproval)
	p.approve(first.Digest)
	apply := p.begun(v1alpha1.OperationApply)
	p.plays(apply, run.Report{Plan: first, Applied: true})
	p.says(ready, v1alpha1.ReasonSucceeded)

	// what nobody approves in time is planned anew; a plan of nothing needs no approval
	stage.Edit(p.Stage, p.stack, func(s *v1alpha1.Stack) { s.Spec.Source.Inline["main.tf"] = "# more" })
	second := p.changes()
	p.plays(p.begun(v1alpha1.OperationPlan), run.Report{Plan: second})
	p.says(reconciling, v1alpha1.ReasonAwaitingApproval)
	p.later(25 * time.Hour)
	p.approve(second.Digest)
	p.plays(p.begun(v1alpha1.OperationPlan), run.Report{Plan: nothing})
	p.says(ready, v1alpha1.ReasonSucceeded)
	p.wantStory("Plan Apply Plan Apply Plan Plan")
	p.settled()

	// people ask for a plan
	stage.Edit(p.Stage, p.stack, func(s *v1alpha1.Stack) { s.Annotations = map[string]string{v1alpha1.AnnotationReplan: "1"} })
	p.plays(p.begun(v1alpha1.OperationPlan), run.Report{Plan: nothing})
	p.says(ready, v1alpha1.ReasonSucceeded)
	p.settled()

	p.Remove(p.stack)
	p.plays(p.begun(v1alpha1.OperationDestroy), run.Report{Plan: p.changes(), Applied: true})
	p.gone()
	if left := p.rights(); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
	if _, _, err := p.vault.AppliedInputs(t.Context(), p.of()); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("the vault keeps what was applied: %v", err)
	}
}

// TestOutputsMove has the outputs follow the name of their Secret.
func TestOutputsMove(t *testing.T) {
	t.Parallel()
	p := newPlay(t, "outputs", outputsTo)
	p.applied()
	p.says(ready, v1alpha1.ReasonSucceeded)
	has := func(name, want string) {
		t.Helper()
		p.until("Secret "+name, func() error {
			secret := &corev1.Secret{ObjectMeta: stage.In(p.workspace.TargetNamespace(), name)}
			err := client.IgnoreNotFound(p.Admin.Get(t.Context(), client.ObjectKeyFromObject(secret), secret))
			if got := string(secret.Data["url"]); err != nil || got != want {
				return errors.Join(fmt.Errorf("it has %q, want %q", got, want), err)
			}
			return nil
		})
	}
	has("uscite", "https://a")
	stage.Edit(p.Stage, p.stack, func(s *v1alpha1.Stack) { s.Spec.OutputsTo.Secret = "altrove" })
	has("altrove", "https://a")
	has("uscite", "")
	stage.Edit(p.Stage, p.stack, func(s *v1alpha1.Stack) { s.Spec.OutputsTo = nil })
	has("altrove", "")
	p.wantStory("Plan Apply")
	p.settled()
}

// TestAutomatic fails, is retried ever later, and stalls where only its author can help.
func TestAutomatic(t *testing.T) {
	t.Parallel()
	p := newPlay(t, "auto", automatic)
	p.plays(p.begun(v1alpha1.OperationConverge), failing(v1alpha1.FailureEngine))
	p.says(reconciling, v1alpha1.ReasonRunFailed)
	p.settled()
	p.later(31 * time.Second)
	p.plays(p.begun(v1alpha1.OperationConverge), failing(v1alpha1.FailureEngine))
	p.says(reconciling, v1alpha1.ReasonRunFailed)
	if p.stack.Status.Attempts != 2 {
		t.Errorf("%d attempts, want 2", p.stack.Status.Attempts)
	}
	p.later(31 * time.Second)
	p.settled()
	p.later(31 * time.Second)
	p.plays(p.begun(v1alpha1.OperationConverge), failing(v1alpha1.FailureInput))
	p.says(stalled, v1alpha1.ReasonRunFailed)
	p.later(24 * time.Hour)
	p.settled()
	stage.Edit(p.Stage, p.stack, func(s *v1alpha1.Stack) { s.Spec.Source.Inline["main.tf"] = "# better" })
	p.plays(p.begun(v1alpha1.OperationConverge), run.Report{Plan: p.changes(), Applied: true, Outputs: nil})
	p.says(ready, v1alpha1.ReasonSucceeded)
	p.settled()
	p.wantStory("Converge!Engine Converge!Engine Converge!Input Converge")
}

// TestLost kills runners: nothing begins before the pod is gone, the lock goes, and a plan follows.
func TestLost(t *testing.T) {
	t.Parallel()
	p := newPlay(t, "lost")
	plan := p.changes()
	p.plays(p.begun(v1alpha1.OperationPlan), run.Report{Plan: plan})
	p.says(reconciling, v1alpha1.ReasonAwaitingApproval)
	p.approve(plan.Digest)
	apply := p.begun(v1alpha1.OperationApply)
	pod := p.pod(apply)
	p.becomes(pod, corev1.PodRunning)
	lock := vault.Lock{Run: apply.Name, RunUID: apply.UID, PodUID: pod.UID, Pod: pod.Name, Since: time.Now()}
	if _, err := p.vault.TakeLock(t.Context(), p.of(), lock); err != nil {
		t.Fatal(err)
	}
	p.says(v1alpha1.ConditionLocked, v1alpha1.ReasonStateLocked)
	p.settled()
	if l := p.stack.Status.Lock; l == nil || l.Run != apply.Name || l.Pod != pod.Name {
		t.Errorf("lock: %+v", l)
	}

	stage.Edit(p.Stage, p.stack, func(s *v1alpha1.Stack) { s.Annotations = map[string]string{v1alpha1.AnnotationUnlock: apply.Name} })
	p.finished(apply) // the pod has no node: it goes as soon as it is asked to
	p.says(reconciling, v1alpha1.ReasonRunLost)
	if held, err := p.vault.Lock(t.Context(), p.of()); err != nil || held != nil || p.stack.Status.Lock != nil {
		t.Errorf("it is locked by %+v, says %+v: %v", held, p.stack.Status.Lock, err)
	}
	events := strings.Join(p.Events(), "\n")
	if !strings.Contains(events, "Unlocked") {
		t.Errorf("nobody told of the lock: %s", events)
	}
	p.settled()
	p.later(time.Minute)
	p.plays(p.begun(v1alpha1.OperationPlan), run.Report{Plan: plan}) // the same again, and the approval was used
	p.says(reconciling, v1alpha1.ReasonAwaitingApproval)
	p.settled()
	p.wantStory("Plan Apply!Lost Plan")
}

// TestShortRun tells nobody that a run is under way which has but begun, and who holds its state: most end before anybody reads it.
func TestShortRun(t *testing.T) {
	t.Parallel()
	p := newPlay(t, "short")
	one := p.begun(v1alpha1.OperationPlan)
	pod := p.pod(one)
	started := fmt.Sprintf(`{"status":{"phase":"Running","startTime":%q}}`, p.Now().UTC().Format(time.RFC3339))
	if err := p.Admin.Status().Patch(t.Context(), pod, client.RawPatch(types.MergePatchType, []byte(started))); err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, patience, "the cache knows that the pod runs", func() error {
		if err := p.Operator().Get(t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil || pod.Status.Phase != corev1.PodRunning {
			return fmt.Errorf("it is %s: %w", pod.Status.Phase, err)
		}
		return nil
	})
	result, err := p.look()
	if p.Read(one); err != nil || one.Status.Phase != v1alpha1.RunPending || result.RequeueAfter <= 0 || result.RequeueAfter > outcome.Patience {
		t.Errorf("the run is %s, and is looked at again after %s: %v", one.Status.Phase, result.RequeueAfter, err)
	}
	p.later(outcome.Patience)
	p.until("the run is said to be under way", func() error {
		if p.Read(one); one.Status.Phase != v1alpha1.RunRunning {
			return errors.New(string(one.Status.Phase))
		}
		return nil
	})
}

// TestDrift looks for drift, says so, plans and repairs.
func TestDrift(t *testing.T) {
	t.Parallel()
	p := newPlay(t, "drift", automatic, func(s *v1alpha1.Stack) { s.Spec.Drift = &v1alpha1.Drift{EveryHours: 1} })
	p.plays(p.begun(v1alpha1.OperationConverge), run.Report{Plan: p.changes(), Applied: true})
	p.says(ready, v1alpha1.ReasonSucceeded)
	p.settled()
	p.later(67 * time.Minute)
	look := p.begun(v1alpha1.OperationLook)
	p.says(ready, v1alpha1.ReasonSucceeded) // a look takes nothing away
	p.plays(look, run.Report{Plan: p.changes()})
	p.says(v1alpha1.ConditionDrifted, v1alpha1.ReasonDrifted)
	p.says(ready, v1alpha1.ReasonSucceeded)
	p.settled()
	since := p.stack.Status.Drift.Since
	if since == nil {
		t.Fatalf("drift: %+v", p.stack.Status.Drift)
	}
	p.later(67 * time.Minute)
	p.plays(p.begun(v1alpha1.OperationLook), run.Report{Plan: p.changes()})
	p.settled()
	p.Read(p.stack)
	if d := p.stack.Status.Drift; d.Since == nil || !d.Since.Equal(since) || !d.LookedAt.After(since.Time) {
		t.Errorf("drift: %+v, first seen %s", d, since)
	}
	stage.Edit(p.Stage, p.stack, func(s *v1alpha1.Stack) { s.Spec.Drift.Action = v1alpha1.DriftApply })
	p.plays(p.begun(v1alpha1.OperationConverge), run.Report{Plan: p.changes(), Applied: true})
	p.says(ready, v1alpha1.ReasonSucceeded)
	if meta.IsStatusConditionTrue(p.stack.Status.Conditions, v1alpha1.ConditionDrifted) || p.stack.Status.Drift.Since != nil {
		t.Errorf("what was repaired has drifted: %+v", p.stack.Status.Drift)
	}
	p.settled()
	p.wantStory("Converge Look Look Converge")
}

// TestKilled dies after each of its writes, once, and comes to the same end.
func TestKilled(t *testing.T) {
	t.Parallel()
	k := &killed{seen: map[string]bool{}}
	p := newPlayOver(t, "killed", func(c client.Client) client.Client { return once{c, k} }, vault.NewMemory(), outputsTo)
	p.applied()
	p.settled()
	p.wantStory("Plan Apply")
	p.Remove(p.stack)
	p.plays(p.begun(v1alpha1.OperationDestroy), run.Report{Plan: p.changes(), Applied: true})
	p.gone()
	if left := p.rights(); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
	if len(k.seen) < 12 {
		t.Errorf("it was killed %d times only: %v", len(k.seen), k.seen)
	}
}

// TestSecrets takes inputs of Secrets that say what they are for, and of no others.
func TestSecrets(t *testing.T) {
	t.Parallel()
	p := newPlay(t, "secret", func(s *v1alpha1.Stack) {
		s.Spec.VariablesFrom = []v1alpha1.VariablesSource{{Secret: "inputs", Presence: v1alpha1.Required}}
	})
	p.says(stalled, v1alpha1.ReasonSecretNotUsable)
	secret := &corev1.Secret{ObjectMeta: stage.In(p.stack.Namespace, "inputs"), StringData: map[string]string{"password": "segreto"}}
	p.Create(secret)
	p.says(stalled, v1alpha1.ReasonSecretNotUsable)
	stage.Edit(p.Stage, secret, func(s *corev1.Secret) { s.Labels = map[string]string{v1alpha1.LabelUse: v1alpha1.UseStackVariables} })
	one := p.begun(v1alpha1.OperationPlan)
	order, err := p.vault.Order(t.Context(), p.of(), one.UID)
	if err != nil || string(order.Inputs["password"]) != `"segreto"` || !slices.Equal(order.Secret, []string{"password"}) {
		t.Errorf("the order has inputs %s, secret %s: %v", order.Inputs["password"], order.Secret, err)
	}
	p.plays(one, run.Report{Plan: nothing})
	p.says(ready, v1alpha1.ReasonSucceeded)
	p.settled()
	stage.Edit(p.Stage, secret, func(s *corev1.Secret) { s.Data["password"] = []byte("altro") })
	p.begun(v1alpha1.OperationPlan)
}

// TestDeletion deletes stacks that nobody can or may destroy.
func TestDeletion(t *testing.T) {
	t.Parallel()
	p := newPlay(t, "delete", automatic)
	p.plays(p.begun(v1alpha1.OperationConverge), run.Report{Plan: p.changes(), Applied: true})
	p.says(ready, v1alpha1.ReasonSucceeded)
	p.Remove(p.stack)
	p.plays(p.begun(v1alpha1.OperationDestroy), failing(v1alpha1.FailureRefused))
	p.says(stalled, v1alpha1.ReasonNotAllowed)
	p.settled()
	stage.Edit(p.Stage, p.stack, func(s *v1alpha1.Stack) { s.Spec.DeletionPolicy = v1alpha1.StackOrphan })
	p.gone()

	// one that only plans is not waited for
	p.stack = newStack(p.stack.Namespace)
	p.Create(p.stack)
	p.begun(v1alpha1.OperationPlan)
	p.Remove(p.stack)
	p.gone()
}
