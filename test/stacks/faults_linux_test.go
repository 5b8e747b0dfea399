package stacks

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/run"
)

// point is a step of a run, as it is seen from outside. One field says which, beside served.
type point struct {
	asked  string // a request of the runner
	served bool   // when the broker has served it, and the runner does not know
	made   string // "<kind> <name>": the object has just been made; a stack's name is @
	runs   string // the engine runs with this argument
	early  bool   // nothing was made yet, so that a program without objects does
	manual bool   // the plan waits for its approval
}

// victim is who is killed.
type victim string

const (
	theEngine   victim = "engine"
	theRunner   victim = "runner"
	theOperator victim = "operator"
)

// kills are the steps of a run, and who is killed right then; later the same one is killed at a step of the run that destroys.
var kills = []struct {
	name string
	at   point
	who  []victim
	end  point
}{
	{"run-made", point{made: "StackRun @-1", early: true}, []victim{theOperator}, point{}},
	{"job-made", point{made: "Job stack-@-1", early: true}, []victim{theOperator}, point{}},
	{"ordering", point{asked: "POST " + run.PathOrder, early: true}, []victim{theRunner, theOperator}, point{}},
	{"ordered", point{asked: "POST " + run.PathOrder, served: true, early: true}, []victim{theRunner, theOperator}, point{}},
	{"init", point{runs: "init", early: true}, []victim{theEngine, theRunner, theOperator}, point{}},
	{"planning", point{runs: "plan", early: true}, []victim{theEngine, theRunner, theOperator}, point{}},
	{"plan-saving", point{asked: "PUT " + run.PathPlan, early: true, manual: true}, []victim{theRunner, theOperator}, point{}},
	{"plan-saved", point{asked: "PUT " + run.PathPlan, served: true, early: true, manual: true}, []victim{theRunner, theOperator}, point{}},
	{"recalled", point{asked: "GET " + run.PathPlan, served: true, early: true, manual: true}, []victim{theRunner, theOperator}, point{}},
	{"approved", point{asked: "POST " + run.PathApplying, served: true, manual: true}, []victim{theRunner, theOperator}, point{asked: "POST " + run.PathOrder, served: true}},
	{"asking", point{asked: "POST " + run.PathApplying, early: true}, []victim{theRunner, theOperator}, point{asked: "POST " + run.PathApplying}},
	{"allowed", point{asked: "POST " + run.PathApplying, served: true}, []victim{theRunner, theOperator}, point{asked: "POST " + run.PathApplying, served: true}},
	{"applying", point{runs: "apply"}, []victim{theEngine, theRunner, theOperator}, point{made: "no ConfigMap @-c"}},
	{"half-applied", point{made: "ConfigMap @-b"}, []victim{theEngine, theRunner, theOperator}, point{made: "no ConfigMap @-b"}},
	{"state-saving", point{asked: "PUT " + run.PathState}, []victim{theRunner, theOperator}, point{asked: "PUT " + run.PathState}},
	{"state-saved", point{asked: "PUT " + run.PathState, served: true}, []victim{theRunner, theOperator}, point{asked: "PUT " + run.PathState, served: true}},
	{"reporting", point{asked: "PUT " + run.PathReport}, []victim{theRunner, theOperator}, point{asked: "PUT " + run.PathReport}},
	{"reported", point{asked: "PUT " + run.PathReport, served: true}, []victim{theRunner, theOperator}, point{asked: "PUT " + run.PathReport, served: true}},
}

// TestKill kills the engine, the runner or the operator at each step of a run. The stack reaches its end all the same, by what the documentation
// says; every object was made once, the state knows them all, nothing runs on, and nobody holds the state.
func TestKill(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: what belongs to a run is known by its jail")
	}
	town := newTown(t, "guasti")
	for _, k := range kills {
		for _, who := range k.who {
			t.Run(k.name+"/"+string(who), func(t *testing.T) {
				t.Parallel()
				w := *town
				w.T = t
				w.survives(k.name+"-"+string(who), v1alpha1.OpenTofu, k.at, k.end, who)
			})
		}
	}
}

// TestKillPulumi is TestKill for Pulumi, at the step at which most is at stake: one of three objects has just been made, or is just gone.
func TestKillPulumi(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: what belongs to a run is known by its jail")
	}
	t.Parallel()
	town := newTown(t, "guasti-pulumi")
	for _, who := range []victim{theEngine, theRunner, theOperator} {
		t.Run(string(who), func(t *testing.T) {
			t.Parallel()
			w := *town
			w.T = t
			w.survives("p-"+string(who), v1alpha1.Pulumi, point{made: "ConfigMap @-b"}, point{made: "no ConfigMap @-b"}, who)
		})
	}
}

// survives has a stack applied and destroyed, kills at a step of each, and wants that nothing is lost.
func (w *town) survives(name string, engine v1alpha1.EngineName, at, end point, who victim) {
	w.Helper()
	s := w.three(name, engine)
	if at.early {
		s.Spec.Source.Inline, s.Spec.Variables = map[string]v1alpha1.SourceText{"main.tf": `resource "terraform_data" "a" {}`}, nil
		s.Spec.DeletionPolicy = v1alpha1.StackOrphan
	}
	if at.manual {
		s.Spec.Approval = v1alpha1.ApprovalManual
	}
	p := w.set(s, at, who)
	w.create(s)
	p.wait(s)
	w.settle(s)
	w.wantNoneLeft(s)
	if at.early {
		w.remove(s)
		return
	}
	w.wantOnce(s)
	w.wantKnown(s, func() { w.destroyed(s, end, who) })
}

// three is a stack that makes three objects, one after the other, by itself.
func (w *town) three(name string, engine v1alpha1.EngineName) *v1alpha1.Stack {
	w.Helper()
	s := w.stack(name, engine, "three/"+string(engine))
	delete(s.Spec.Variables, "motto")
	s.Spec.Variables["name"] = text(name)
	s.Spec.Approval = v1alpha1.ApprovalAutomatic
	return s
}

// following is what an engine writes next after it was seen to have made something.
var following = map[string]string{"ConfigMap @-b": "CREATE @-c", "no ConfigMap @-b": "DELETE @-a", "no ConfigMap @-c": "DELETE @-b"}

// trap waits for a step of a stack's first run that gets there, and then kills.
type trap struct {
	*town
	stack  stackKey
	at     point
	who    victim
	lock   sync.Mutex
	sprung chan struct{} // closed under the lock
	pid    int           // of the engine, where it was looked for
	failed error
}

// set sets a trap.
func (w *town) set(s *v1alpha1.Stack, at point, who victim) *trap {
	w.Helper()
	t := &trap{town: w, stack: stackKey{s.Namespace, s.Name}, at: at, who: who, sprung: make(chan struct{})}
	t.at.made = strings.ReplaceAll(at.made, "@", s.Name)
	w.gate.watch(t.stack, t.asked)
	w.witness.watch(t.stack, t.made)
	w.Cleanup(func() { w.gate.watch(t.stack, nil); w.witness.watch(t.stack, nil) })
	if t.at.runs != "" {
		go t.look()
	}
	if write := following[at.made]; write != "" && who == theEngine {
		t.brake.hold(strings.ReplaceAll(write, "@", s.Name), t.sprung)
	}
	return t
}

// wait waits until it has sprung. An engine may be too quick for us: then it has to work again.
func (t *trap) wait(s *v1alpha1.Stack) {
	t.Helper()
	t.until("the run comes to this step", func() error {
		select {
		case <-t.sprung:
			return nil
		default:
		}
		if t.read(s); t.at.runs != "" && s.Status.Replanned == s.Annotations[v1alpha1.AnnotationReplan] && meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ConditionReady) {
			t.ask(s)
		}
		t.consent(s)
		return fmt.Errorf("it says %+v", s.Status.Conditions)
	})
	if t.failed != nil {
		t.Fatal(t.failed)
	}
	t.gate.watch(t.stack, nil)
	t.witness.watch(t.stack, nil)
}

func (t *trap) asked(m moment) verdict {
	if m.what == t.at.asked && m.served == t.at.served && t.spring() && t.who != theEngine {
		return lost
	}
	return passes
}

func (t *trap) made(kind, name string) {
	if kind+" "+name == t.at.made {
		t.spring()
	}
}

// look looks for the engine until it is at work, among the children of the runner: all processes are too many to look at often.
func (t *trap) look() {
	for t.Context().Err() == nil {
		for _, p := range t.processes() {
			if p.does("broletto-runner", "") {
				t.lookBelow(p.pid)
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (t *trap) lookBelow(runner int) {
	for t.Context().Err() == nil {
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", runner))
		if len(lists) == 0 {
			return // it has ended
		}
		for _, list := range lists {
			children, _ := os.ReadFile(list)
			for child := range strings.FieldsSeq(string(children)) {
				if line, _ := os.ReadFile("/proc/" + child + "/cmdline"); strings.Contains(string(line), "\x00"+t.at.runs+"\x00") {
					t.pid, _ = strconv.Atoi(child)
					if t.spring() {
						return
					}
				}
			}
		}
		time.Sleep(time.Millisecond)
	}
}

// processes are those of the stack's newest pod.
func (t *trap) processes() []process {
	pods := t.witness.podsOf(t.stack)
	if len(pods) == 0 {
		return nil
	}
	return processesOf(pods[len(pods)-1])
}

func (t *trap) engine() (process, bool) {
	for _, p := range t.processes() {
		if p.does("tofu", "") || p.does("pulumi", "up") || p.does("pulumi", "destroy") {
			return p, true
		}
	}
	return process{}, false
}

// spring kills, the first time.
func (t *trap) spring() bool {
	t.lock.Lock()
	defer t.lock.Unlock()
	select {
	case <-t.sprung:
		return false
	default:
		t.kill()
		if t.pid != 0 && errors.Is(t.failed, syscall.ESRCH) { // it was quicker: another run follows
			return false
		}
		close(t.sprung)
		return true
	}
}

func (t *trap) kill() {
	switch t.who {
	case theOperator:
		t.operator.kill()
	case theEngine:
		if t.pid != 0 {
			t.failed = syscall.Kill(t.pid, syscall.SIGKILL)
		} else if p, found := t.engine(); !found {
			t.failed = errors.New("no engine runs at this step")
		} else {
			t.failed = syscall.Kill(p.pid, syscall.SIGKILL)
		}
	case theRunner:
		t.failed = errors.New("no runner runs at this step")
		for _, p := range t.processes() {
			if p.does("broletto-runner", "") {
				t.failed = syscall.Kill(p.pid, syscall.SIGKILL)
			}
		}
	}
}

// settle brings a stack to its end by what is told to people: a run that failed is tried again, at once if one asks for it.
func (w *town) settle(s *v1alpha1.Stack) {
	w.Helper()
	asked := ""
	w.until(s.Name+" is as its code says", func() error {
		w.read(s)
		ready := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionReady)
		switch {
		case ready == nil || s.Status.ObservedGeneration != s.Generation:
			return fmt.Errorf("it says %+v", s.Status.Conditions)
		case ready.Status == "True":
			return nil
		}
		w.consent(s)
		w.again(s, ready, &asked)
		return fmt.Errorf("it says %+v", s.Status.Conditions)
	})
}

// again asks for another try of a run that failed, once.
func (w *town) again(s *v1alpha1.Stack, ready *metav1.Condition, asked *string) {
	w.Helper()
	switch ready.Reason {
	case v1alpha1.ReasonRunFailed, v1alpha1.ReasonRunLost, v1alpha1.ReasonStateLocked:
		if ready.Message == "" {
			w.Errorf("run %s failed and nothing says why", s.Status.Run)
		}
		if *asked != s.Status.Run {
			*asked = s.Status.Run
			w.Logf("%s: %s: %s", s.Status.Run, ready.Reason, ready.Message)
			w.ask(s)
		}
	}
}

// destroyed deletes a stack, kills at a step of the run that destroys, and brings it to its end by what is told to people.
func (w *town) destroyed(s *v1alpha1.Stack, at point, who victim) {
	w.Helper()
	p := w.set(s, at, who)
	if err := w.admin.Delete(w.Context(), s); err != nil {
		w.Fatal(err)
	}
	asked := ""
	w.until(s.Name+" is gone", func() error {
		if err := w.admin.Get(w.Context(), client.ObjectKeyFromObject(s), s); err != nil {
			return client.IgnoreNotFound(err)
		}
		if ready := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
			w.again(s, ready, &asked)
		}
		return fmt.Errorf("it is there: %+v", s.Status.Conditions)
	})
	select {
	case <-p.sprung:
	default:
		w.Error("no run that destroys came to this step")
	}
	if p.failed != nil {
		w.Error(p.failed)
	}
	w.wantQuiet(s)
}

// consent approves the plan that waits, if one does. An approval that was used up by a run that was lost is given once more.
func (w *town) consent(s *v1alpha1.Stack) {
	w.Helper()
	ready := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Reason != v1alpha1.ReasonAwaitingApproval || s.Status.ObservedGeneration != s.Generation {
		return
	}
	digest := s.Status.Plan.Digest
	if s.Spec.ApprovedPlan == digest {
		digest = ""
	}
	w.edit(s, func() { s.Spec.ApprovedPlan = digest })
}

// ask asks for a new plan, as kubectl broletto plan does.
func (w *town) ask(s *v1alpha1.Stack) {
	w.Helper()
	question := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationReplan, time.Now().Format(time.RFC3339Nano))
	err := w.admin.Patch(w.Context(), s, client.RawPatch(types.MergePatchType, []byte(question)))
	if client.IgnoreNotFound(err) != nil { // a deleted one may be gone
		w.Fatal(err)
	}
}

// wantOnce wants that each of the three objects was made once.
func (w *town) wantOnce(s *v1alpha1.Stack) {
	w.Helper()
	made := w.witness.objectsOf(stackKey{s.Namespace, s.Name})
	for _, name := range []string{s.Name + "-a", s.Name + "-b", s.Name + "-c"} {
		if len(made[name]) != 1 {
			w.Errorf("object %s was made %d times", name, len(made[name]))
		}
	}
}

// wantNoneLeft is wantQuiet, and wants that nobody holds the state.
func (w *town) wantNoneLeft(s *v1alpha1.Stack) {
	w.Helper()
	if s.Status.Lock != nil || meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ConditionLocked) {
		w.Errorf("the state is still held: %+v", s.Status.Lock)
	}
	w.wantQuiet(s)
}

// wantQuiet wants that runs never overlapped, that none got leave to apply twice, and that nothing of them is left: no process and no file.
func (w *town) wantQuiet(s *v1alpha1.Stack) {
	w.Helper()
	key := stackKey{s.Namespace, s.Name}
	if err := w.witness.verdict(key); err != nil {
		w.Error(err)
	}
	for pod, times := range w.gate.granted() {
		if strings.HasPrefix(pod, "stack-"+s.Name+"-") && times > 1 {
			w.Errorf("pod %s got leave to apply %d times", pod, times)
		}
	}
	w.until("nothing of the runs is left", func() error {
		for _, pod := range w.witness.podsOf(key) {
			if left := processesOf(pod); len(left) > 0 {
				return fmt.Errorf("of pod %s there are %v", pod, left)
			}
			if _, err := os.Stat(w.node + "/pods/" + string(pod)); err == nil {
				return fmt.Errorf("of pod %s there is its folder", pod)
			}
		}
		return nil
	})
}

// wantKnown wants that the state knows everything: after more than one run, another plan does nothing; and what destroys it leaves nothing.
func (w *town) wantKnown(s *v1alpha1.Stack, destroy func()) {
	w.Helper()
	if s.Status.Run != s.Name+"-1" {
		w.wantEmptyPlan(s)
	}
	destroy()
	for _, end := range []string{"-a", "-b", "-c"} {
		o := w.insegna()
		o.Name = s.Name + end
		w.absent(o)
	}
	w.wantNothingKept(s)
}

// wantEmptyPlan wants that another plan of a stack that is as it should be does nothing.
func (w *town) wantEmptyPlan(s *v1alpha1.Stack) {
	w.Helper()
	last := s.Status.Run
	w.ask(s)
	w.until("another plan is made", func() error {
		w.read(s)
		if s.Status.Run == last || s.Status.Plan == nil || s.Status.Plan.Run != s.Status.Run || !meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ConditionReady) {
			return fmt.Errorf("it says %+v", s.Status.Conditions)
		}
		return nil
	})
	if !s.Status.Plan.Empty() {
		w.Errorf("another plan of what is as it should be: %+v", s.Status.Plan)
	}
}
