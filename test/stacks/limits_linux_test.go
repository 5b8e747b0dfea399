package stacks

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/embedded"
	"github.com/broletto/broletto/operator/run"
	"github.com/broletto/broletto/test/cluster"
)

// TestDiskFull fills the disk that a run writes to: while it plans, and when it has made the first of three objects. The run says what is wrong
// and gives the state back, and what it made is known.
func TestDiskFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts a small disk in a run's jail")
	}
	t.Parallel()
	town := newTown(t, "pieno")
	for name, full := range map[string]struct{ asked, made string }{
		"planning": {asked: "POST " + run.PathOrder},
		"applying": {made: "ConfigMap applying-a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := *town
			w.T = t
			s := w.three(name, v1alpha1.OpenTofu)
			key := stackKey{s.Namespace, s.Name}
			var d disk
			w.gate.watch(key, func(m moment) verdict {
				switch {
				case m.what == "POST "+run.PathOrder && !m.served:
					d.shrink(w.witness, key)
				case m.what == full.asked && m.served:
					d.fill()
				}
				return passes
			})
			w.witness.watch(key, func(kind, name string) {
				if kind+" "+name == full.made {
					d.fill()
				}
			})
			w.create(s)
			first := w.ended(s, 1)
			w.gate.watch(key, nil)
			w.witness.watch(key, nil)
			if err := d.verdict(); err != nil {
				t.Fatal(err)
			}
			if f := first.Status.Failure; full.asked != "" && (f == nil || !strings.Contains(f.Message, "no space left on device")) {
				t.Errorf("a run without a disk to write to: %+v", f)
			}
			w.settle(s)
			w.wantNoneLeft(s)
			w.wantOnce(s)
			if first.Status.Failure != nil {
				t.Log(first.Status.Failure.Message)
				if again := w.ended(s, 2); full.made != "" && again.Status.Plan.Adds > 2 {
					t.Errorf("what the run made before is not known: %+v", again.Status.Plan)
				}
			}
			w.wantKnown(s, func() { w.remove(s) })
		})
	}
}

// ended waits for the end of a stack's run.
func (w *town) ended(s *v1alpha1.Stack, attempt int) *v1alpha1.StackRun {
	w.Helper()
	one := &v1alpha1.StackRun{ObjectMeta: w.home(fmt.Sprintf("%s-%d", s.Name, attempt))}
	w.until(one.Name+" has ended", func() error {
		if err := w.admin.Get(w.Context(), client.ObjectKeyFromObject(one), one); err != nil {
			return err
		}
		if !one.Finished() {
			return errors.New(string(one.Status.Phase))
		}
		return nil
	})
	return one
}

// disk is a small one that a run writes to.
type disk struct {
	once, filled sync.Once
	lock         sync.Mutex
	root         string // the jail's, as this machine sees it
	failed       error
}

// shrink mounts it in the jail of a stack's newest pod, below what is mounted there.
func (d *disk) shrink(w *witness, s stackKey) {
	d.once.Do(func() {
		pods := w.podsOf(s)
		for _, p := range processesOf(pods[len(pods)-1]) {
			d.lock.Lock()
			d.root = fmt.Sprintf("/proc/%d/root", p.pid)
			d.lock.Unlock()
			done := make(chan error)
			go func() {
				runtime.LockOSThread() // and never unlocked: the thread is of no use afterwards
				done <- mountSmall(p.pid)
			}()
			d.fail(<-done)
			return
		}
		d.fail(errors.New("no process of the pod is to be found"))
	})
}

func mountSmall(pid int) error {
	space, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	if err != nil {
		return err
	}
	if err := errors.Join(unix.Unshare(unix.CLONE_FS), unix.Setns(int(space.Fd()), unix.CLONE_NEWNS)); err != nil {
		return err
	}
	var owner unix.Stat_t
	if err := unix.Stat(run.DefaultWork, &owner); err != nil {
		return err
	}
	state, err := unix.OpenTree(unix.AT_FDCWD, run.DefaultState, unix.OPEN_TREE_CLONE)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return err
	}
	isMounted := err == nil
	if err := unix.Mount("tmpfs", run.DefaultWork, "tmpfs", 0, fmt.Sprintf("size=8m,mode=0700,uid=%d,gid=%d", owner.Uid, owner.Gid)); err != nil {
		return err
	}
	if !isMounted {
		return nil
	}
	return errors.Join(unix.Mkdir(run.DefaultState, 0o700), unix.MoveMount(state, "", unix.AT_FDCWD, run.DefaultState, unix.MOVE_MOUNT_F_EMPTY_PATH))
}

// fill leaves no byte.
func (d *disk) fill() {
	d.filled.Do(func() {
		d.lock.Lock()
		path := filepath.Join(d.root, run.DefaultWork, "filler")
		d.lock.Unlock()
		f, err := os.Create(path)
		for zeros := make([]byte, 1<<12); err == nil; {
			_, err = f.Write(zeros)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			d.fail(err)
		}
		_ = f.Close() // it is full
	})
}

func (d *disk) fail(err error) {
	d.lock.Lock()
	defer d.lock.Unlock()
	d.failed = errors.Join(d.failed, err)
}

func (d *disk) verdict() error {
	d.lock.Lock()
	defer d.lock.Unlock()
	return d.failed
}

// TestBrokerGone has no broker when the first state is to be saved: none at all for a while, one that fails, one whose answers break off. The
// run takes its time and comes to its end; no second one is needed.
func TestBrokerGone(t *testing.T) {
	town := newTown(t, "assente")
	for name, v := range map[string]verdict{"gone": lost, "failing": failing, "broken": broken} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := *town
			w.T = t
			s := w.three(name, v1alpha1.OpenTofu)
			var times atomic.Int32
			w.gate.watch(stackKey{s.Namespace, s.Name}, func(m moment) verdict {
				if m.what != "PUT "+run.PathState || m.served != (v == broken) {
					return passes
				}
				n := times.Add(1)
				if n > 3 {
					return passes
				}
				if v == lost && n == 1 {
					w.operator.halt()
					time.AfterFunc(5*time.Second, w.operator.resume)
				}
				return v
			})
			w.create(s)
			w.ready(s)
			w.gate.watch(stackKey{s.Namespace, s.Name}, nil)
			if times.Load() < 3 {
				t.Errorf("the state was kept at once, after %d tries", times.Load())
			}
			if s.Status.Run != s.Name+"-1" {
				t.Errorf("it took more than one run: %s", s.Status.Run)
			}
			w.wantNoneLeft(s)
			w.wantOnce(s)
			w.wantKnown(s, func() { w.remove(s) })
		})
	}
}

// TestTwoLeaders has two operators that both believe to lead, and stops now one, now the other in the middle of its work: what it saw is old
// when it goes on.
func TestTwoLeaders(t *testing.T) {
	w := newTown(t, "duumviri")
	other := w.operator.settings
	other.Metrics = "0"
	other.Broker = cluster.FreeAddress(t)
	second := newOperator(other)
	w.gate.serve(other.Broker)
	over := make(chan struct{})
	var turns sync.WaitGroup
	turns.Go(func() {
		for both := []*operator{w.operator, second}; ; both[0], both[1] = both[1], both[0] {
			both[0].signal(syscall.SIGSTOP)
			time.Sleep(700 * time.Millisecond)
			both[0].signal(syscall.SIGCONT)
			select {
			case <-over:
				return
			case <-time.After(300 * time.Millisecond):
			}
		}
	})
	t.Cleanup(func() {
		close(over)
		turns.Wait()
		w.gate.serve()
		second.halt()
	})
	var all []*v1alpha1.Stack
	for i := range 4 {
		s := w.three(fmt.Sprintf("due-%d", i), v1alpha1.OpenTofu)
		w.create(s)
		all = append(all, s)
	}
	for _, s := range all {
		w.settle(s)
		w.wantNoneLeft(s)
		w.wantOnce(s)
	}
	for _, s := range all {
		w.remove(s)
		w.wantNothingKept(s)
	}
}

// TestLarge has a plan and a state of more than one Secret may hold.
func TestLarge(t *testing.T) {
	t.Parallel()
	w := newTown(t, "grande")
	s := w.stack("grande", v1alpha1.OpenTofu, "opentofu")
	s.Spec.Variables = nil
	s.Spec.Source.Inline = map[string]v1alpha1.SourceText{"main.tf": `
resource "terraform_data" "page" {
  count = 100
  input = join("", [for i in range(300) : base64sha512("${count.index}-${i}")])
}
`}
	w.create(s)
	w.waits(s)
	if s.Status.Plan.Adds != 100 {
		t.Errorf("%+v", s.Status.Plan)
	}
	w.approve(s)
	w.ready(s)
	if n := w.parts(s); n < 3 {
		t.Errorf("the vault holds it in %d parts: it is too small to prove anything", n)
	}
	w.wantNoneLeft(s)
	w.wantEmptyPlan(s)
	w.remove(s)
	w.wantNothingKept(s)
}

// parts are how many Secrets hold pieces of what the vault keeps of a stack.
func (w *town) parts(s *v1alpha1.Stack) (n int) {
	w.Helper()
	var list corev1.SecretList
	if err := w.admin.List(w.Context(), &list, client.InNamespace(embedded.Namespace)); err != nil {
		w.Fatal(err)
	}
	for _, secret := range list.Items {
		if strings.Contains(secret.Name, string(s.UID)) && strings.Contains(secret.Name, ".part-") {
			n++
		}
	}
	return n
}
