package stack_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/manager"
	"github.com/broletto/broletto/operator/run"
	"github.com/broletto/broletto/operator/vault"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// TestWatches runs the whole operator and touches nothing but what people, kubelets and runners do. It does not run beside other tests: the
// operator would work on their stacks too.
func TestWatches(t *testing.T) {
	s := stage.New(t, "watch")
	store := vault.NewMemory()
	v := vault.New(store, store)
	s.OperateStacks(time.Now(), &manager.Stacks{Vault: v, RunnerImage: "registry.example/runner:1", BrokerURL: "https://broker.example"})
	_, a := s.Consortium(), s.Tenant("a")
	s.Says(a, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	o := newStack(a.Name)
	s.Create(o)
	s.Says(o, v1alpha1.ConditionReconciling, v1alpha1.ReasonWorkspaceNotReady)
	s.Workspace(a, "sito") // and it goes on as soon as that is ready
	p := &play{Stage: s, vault: v, stack: o}
	plan := p.changes()
	act := func(operation v1alpha1.Operation, report run.Report) {
		t.Helper()
		var one *v1alpha1.StackRun
		cluster.Eventually(t, patience, string(operation)+" is under way", func() error {
			for _, r := range p.runs() {
				if r.Spec.Operation == operation && !r.Finished() && r.Status.JobUID != "" {
					one = r
					return nil
				}
			}
			return errors.New(p.story())
		})
		pod := p.pod(one)
		p.becomes(pod, corev1.PodRunning)
		cluster.Eventually(t, patience, "the run is said to run", func() error {
			if s.Read(one); one.Status.Phase != v1alpha1.RunRunning {
				return errors.New(string(one.Status.Phase))
			}
			return nil
		})
		if order, err := v.Order(t.Context(), p.of(), one.UID); err != nil {
			t.Fatal(err)
		} else if order.Source != nil {
			err = v.PutSource(t.Context(), p.of(), one.UID, nil)
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := v.PutReport(t.Context(), p.of(), one.UID, report); err != nil {
			t.Fatal(err)
		}
		p.becomes(pod, corev1.PodSucceeded)
	}
	act(v1alpha1.OperationPlan, run.Report{Plan: plan})
	s.Says(o, v1alpha1.ConditionReconciling, v1alpha1.ReasonAwaitingApproval)
	p.approve(plan.Digest)
	act(v1alpha1.OperationApply, run.Report{Plan: plan, Applied: true})
	s.Says(o, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	stage.Edit(s, o, func(o *v1alpha1.Stack) { o.Annotations = map[string]string{v1alpha1.AnnotationReplan: "1"} })
	act(v1alpha1.OperationPlan, run.Report{Plan: nothing})
	s.Says(o, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	if text := strings.TrimSpace(p.story()); text != "Plan Apply Plan" {
		t.Error(text)
	}
	s.Remove(o) // nothing was let apply, as the vault knows: it goes at once
	cluster.Eventually(t, patience, "the stack is gone", func() error {
		if s.Exists(o) {
			return errors.New(stage.Conditions(o))
		}
		return nil
	})
}
