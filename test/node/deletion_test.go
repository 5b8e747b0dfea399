package node

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/probe"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// TestDeletionNeverOpens deletes a workspace whose pod takes its time to end, while another tenant's pod tries without pause to reach it.
// Network policies of a namespace that goes could go before its pods (CVE-2024-7598): then one of the tries would get through.
func TestDeletionNeverOpens(t *testing.T) {
	cities(t)
	const victim = "mendrisio--effimero"
	_, admin := the.as(t, "administrator", "mendrisio:ict")
	w := &v1alpha1.Workspace{ObjectMeta: stage.In("mendrisio", "effimero")}
	w.Spec = v1alpha1.WorkspaceSpec{Environment: v1alpha1.Test, DataClass: v1alpha1.DataClassOrdinary, PersonalData: new(false)}
	if err := admin.Create(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	ready(t, w)
	target, inside, attacker := spot{victim, near}, clientOf(victim), clientOf(bellinzona)
	for _, s := range []spot{target, inside} {
		if err := admin.Create(t.Context(), lingering(s)); err != nil {
			t.Fatal(err)
		}
	}
	at := settle(t, target, inside, attacker)
	inside.reaches(t, true, at[target].targets()...)
	attacker.reaches(t, false, at[target].targets()...)

	attack, stop := context.WithCancel(t.Context())
	outsider, insider := &hammer{by: attacker}, &hammer{by: inside, may: true}
	var hammering sync.WaitGroup
	for _, h := range []*hammer{outsider, outsider, insider} {
		hammering.Go(func() { h.try(attack, t, at[target].targets()) })
	}
	if err := admin.Delete(t.Context(), w); err != nil {
		t.Error(err)
	}
	cluster.Eventually(t, 2*time.Minute, "the workspace is gone", func() error {
		err := the.admin(t).Get(t.Context(), client.ObjectKeyFromObject(w), w)
		if err == nil {
			return fmt.Errorf("it says %v", w.Status.Conditions)
		}
		return client.IgnoreNotFound(err)
	})
	stop()
	hammering.Wait()
	t.Logf("while it went, another tenant tried %d times to reach a pod, and the workspace's own pod reached it %d times", outsider.tries.Load(), insider.tries.Load())
	if outsider.tries.Load() < 50 || insider.tries.Load() < 10 {
		t.Error("that is too little to prove anything")
	}
}

// lingering is a pod that answers for some seconds after it was asked to end.
func lingering(s spot) *corev1.Pod {
	pod := s.pod()
	pod.Spec.TerminationGracePeriodSeconds = new(int64(10))
	pod.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 6}}}
	return pod
}

// hammer tries without pause to reach something, and counts.
type hammer struct {
	by    spot
	may   bool
	tries atomic.Int64 // of one that may, those that got through
}

func (h *hammer) try(ctx context.Context, t *testing.T, targets []string) {
	arguments := append([]string{"--timeout=300ms"}, slices.Repeat(targets, 5)...)
	for ctx.Err() == nil {
		results, err := h.by.try(ctx, arguments...)
		if err != nil {
			if !h.may && ctx.Err() == nil {
				t.Errorf("trying from %s: %v", h.by.key(), err)
			}
			return // who may is deleted as well
		}
		for _, r := range results {
			through := r.Reached() || r.Outcome == probe.Refused // also a refusal is an answer
			if through == h.may {
				h.tries.Add(1)
			}
			if through && !h.may {
				t.Errorf("%s reached %s: %s by %q", h.by.key(), r.Target, r.Outcome, r.AnsweredBy)
			}
		}
	}
}

// ready waits until an object of ours is as it should be.
func ready(t *testing.T, o condition.Object) {
	t.Helper()
	c := the.admin(t)
	cluster.Eventually(t, 2*time.Minute, o.GetName()+" is ready", func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		if !condition.True(o, v1alpha1.ConditionReady) {
			return fmt.Errorf("it says %v", *o.GetConditions())
		}
		return nil
	})
}
