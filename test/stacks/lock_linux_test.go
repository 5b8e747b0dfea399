package stacks

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/run"
	"github.com/broletto/broletto/test/cluster"
)

// TestStuckLock has a run cut off when it holds the state, and then deleted without its pod: nobody sees its end any more. The next run waits,
// and the status says for whom. Neither age nor a clock that is hours ahead frees the state, nor does unlock while the pod lives; once it is
// dead, unlock does.
func TestStuckLock(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: what belongs to a run is known by its jail")
	}
	t.Parallel()
	w := newTown(t, "serrata")
	s := w.stack("serrata", v1alpha1.OpenTofu, "three/OpenTofu")
	s.Spec.Source.Inline, s.Spec.Variables = map[string]v1alpha1.SourceText{"main.tf": `resource "terraform_data" "a" {}`}, nil
	s.Spec.Approval = v1alpha1.ApprovalAutomatic
	key := stackKey{s.Namespace, s.Name}
	pod := w.cutOff(key)
	w.create(s)
	holder := pod()
	one := &v1alpha1.StackRun{ObjectMeta: w.home(s.Name + "-1")}
	w.until("the stack tells of its run: else the next one gets its name", func() error {
		if w.read(s); s.Status.Run != one.Name {
			return fmt.Errorf("it tells of %q", s.Status.Run)
		}
		return nil
	})
	if err := w.admin.Delete(t.Context(), one, client.PropagationPolicy(metav1.DeletePropagationOrphan)); err != nil {
		t.Fatal(err)
	}
	if err := w.later(3 * time.Hour); err != nil {
		t.Fatal(err)
	}

	w.locked(s, "pod "+holder+" lives")
	switch l := s.Status.Lock; {
	case l.Run != one.Name || l.Pod != holder:
		t.Errorf("the state is held by pod %s of %s, it says: %+v", holder, one.Name, l)
	case l.Since.IsZero() || l.Beat == nil || l.Beat.Before(&l.Since):
		t.Errorf("since when, and the last sign of life: %+v", l)
	}
	kubeconfig := w.kubeconfig(cluster.As("anna", w.name+":ict", "system:authenticated"))
	w.wantRefusal(kubeconfig, "its state is held by "+one.Name+" since", "unlock", s.Name, s.Name+"-2")
	w.verb(kubeconfig, "unlock", s.Name, one.Name)
	w.touch(s)
	w.until("the operator has looked at it again", func() error {
		if w.read(s); s.Status.ObservedGeneration != s.Generation {
			return errors.New("it has not")
		}
		return nil
	})
	w.locked(s, "pod "+holder+" lives")
	w.edit(s, func() { delete(s.Annotations, v1alpha1.AnnotationUnlock) })

	for _, p := range processesOf(w.witness.podsOf(key)[0]) {
		if p.does("broletto-runner", "") {
			if err := syscall.Kill(p.pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.locked(s, "nothing of it lives")
	if want := fmt.Sprintf("kubectl broletto unlock %s %s", s.Name, one.Name); !strings.Contains(meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionLocked).Message, want) {
		t.Errorf("no word of %s: %+v", want, s.Status.Conditions)
	}
	if w.granted(s) > 0 {
		t.Error("a run got leave to apply while another held the state")
	}
	w.verb(kubeconfig, "unlock", s.Name, one.Name)
	w.settle(s)
	if n := w.granted(s); n != 1 {
		t.Errorf("runs got leave to apply %d times", n)
	}
	w.remove(s)
}

// cutOff holds back whatever the first pod of a stack asks from when it would apply, until the test ends. It returns a function that waits for that,
// and names the pod.
func (w *town) cutOff(key stackKey) func() string {
	var lock sync.Mutex
	var first string
	cut, over := make(chan struct{}), make(chan struct{})
	w.gate.watch(key, func(m moment) verdict {
		lock.Lock()
		if first == "" && m.what == "POST "+run.PathApplying {
			first = m.pod
			close(cut)
		}
		held := m.pod == first
		lock.Unlock()
		if held {
			<-over
			return lost
		}
		return passes
	})
	w.Cleanup(func() { close(over); w.gate.watch(key, nil) })
	return func() string {
		select {
		case <-cut:
		case <-time.After(patience):
			w.Fatal("the run does not come to apply")
		}
		return first
	}
}

// locked waits until the condition Locked is True and says something.
func (w *town) locked(s *v1alpha1.Stack, want string) {
	w.Helper()
	w.until("the state is said to be held: "+want, func() error {
		w.read(s)
		if c := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionLocked); c == nil || c.Status != "True" || !strings.Contains(c.Message, want) || s.Status.Lock == nil {
			return fmt.Errorf("it says %+v, %+v", s.Status.Lock, s.Status.Conditions)
		}
		return nil
	})
}

// granted is how often runs of a stack got leave to apply.
func (w *town) granted(s *v1alpha1.Stack) (n int) {
	for pod, times := range w.gate.granted() {
		if strings.HasPrefix(pod, "stack-"+s.Name+"-") {
			n += times
		}
	}
	return n
}
