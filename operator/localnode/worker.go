package localnode

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// worker runs one pod, once.
type worker struct {
	node *Node
	pod  *corev1.Pod // as it was bound
	slot int
	log  *logbook

	written *corev1.Pod // as it was when this worker wrote its status last; nil: to be read. One write at a time

	ended bool // the node's mutex holds it

	doomed   context.Context // ends when the pod's deletion begins
	doom     context.CancelFunc
	mutex    sync.Mutex
	deleteBy time.Time     // when the pod has to be gone, once it is being deleted
	changed  chan struct{} // has one element when deleteBy changed
}

// launch runs a pod in a slot, which it gives back.
func (n *Node) launch(ctx context.Context, pod *corev1.Pod, slot int) {
	w := &worker{node: n, pod: pod, slot: slot, changed: make(chan struct{}, 1)}
	w.doomed, w.doom = context.WithCancel(ctx)
	n.mutex.Lock()
	n.workers[pod.UID] = w
	n.mutex.Unlock()
	n.task(func() {
		defer w.doom()
		err := w.run(ctx)
		n.mutex.Lock()
		w.ended = true
		if err != nil || w.by().Equal(never) {
			n.drop(pod.UID) // gone from the API server, or never told: a later look tells
		}
		n.mutex.Unlock()
		n.vacate(slot)
		if err != nil && !gone(err) && ctx.Err() == nil {
			n.Log.Error(err, "pod not run to its end", "namespace", pod.Namespace, "pod", pod.Name)
		}
	})
}

// nudge tells that a pod is being deleted, and until when.
func (w *worker) nudge(pod *corev1.Pod) {
	if pod.DeletionTimestamp != nil {
		w.deleted(pod.DeletionTimestamp.Time)
	}
}

// never is the time by which a pod that is no more had to be gone.
var never = time.Unix(0, 0)

// gone tells that a pod is no more.
func (w *worker) gone() { w.deleted(never) }

func (w *worker) deleted(by time.Time) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if !w.deleteBy.IsZero() && !by.Before(w.deleteBy) {
		return
	}
	w.deleteBy = by
	w.doom()
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func (w *worker) by() time.Time {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.deleteBy
}

// run claims the pod, runs its process, and tells how it ended. An error: the pod is gone, or could not be told about.
func (w *worker) run(ctx context.Context) error {
	tell, cancel := lasting(ctx)
	defer cancel()
	started := time.Now()
	if err := w.write(tell, func(s *corev1.PodStatus) { claimed(s, w.pod, started) }); err != nil {
		return fmt.Errorf("claiming the pod: %w", err)
	}
	defer func() {
		if err := os.RemoveAll(w.path()); err != nil {
			w.node.Log.Error(err, "folder of a pod not removed")
		}
	}()
	r, err := w.execute(ctx, tell, started)
	if err != nil {
		if gone(err) {
			return err
		}
		message := fmt.Sprintf("the pod cannot be started: %v", err)
		return w.write(tell, func(s *corev1.PodStatus) { failed(s, w.pod, "CannotStart", message) })
	}
	return w.write(tell, func(s *corev1.PodStatus) { completed(s, w.pod, r) })
}

// write changes the pod's status: of the pod as this worker wrote it last or, if somebody else has changed it since, as it is now.
func (w *worker) write(ctx context.Context, change func(*corev1.PodStatus)) error {
	return insist(ctx, func() (err error) {
		if w.written == nil {
			w.written, err = w.node.client.CoreV1().Pods(w.pod.Namespace).Get(ctx, w.pod.Name, metav1.GetOptions{})
		}
		if err == nil && w.written.UID != w.pod.UID {
			err = errReplaced
		}
		if err == nil {
			w.written, err = w.node.update(ctx, w.written, change)
		}
		if err != nil {
			w.written = nil
		}
		return err
	})
}

// execute prepares what the process needs, starts it and waits for its end.
func (w *worker) execute(ctx, tell context.Context, claimed time.Time) (result, error) {
	start, cancel := w.startable(ctx)
	defer cancel()
	plan, err := w.prepare(start)
	if err != nil {
		return result{}, err
	}
	if w.log, err = w.node.openLog(w.pod.UID); err != nil {
		return result{}, err
	}
	defer w.log.end()
	p, err := w.node.spawn(plan, w.log)
	if err != nil {
		return result{}, err
	}
	r := result{started: time.Now()}
	fresh, stale := context.WithCancel(ctx)
	var refresher sync.WaitGroup
	refresher.Go(func() { w.refresh(fresh, plan) })
	defer refresher.Wait()
	defer stale()
	var news sync.WaitGroup
	news.Go(func() {
		if err := w.write(tell, func(s *corev1.PodStatus) { running(s, w.pod, r.started) }); err != nil && gone(err) {
			w.gone()
		}
	})
	w.await(ctx, p, claimed, &r)
	news.Wait() // so that Running is not written after the end
	r.code, r.signal, r.ended = p.code, p.signal, time.Now()
	return r, nil
}

// startable is a context that ends with the node, with the pod's deletion, or when starting takes too long.
func (w *worker) startable(ctx context.Context) (context.Context, context.CancelFunc) {
	start, cancel := context.WithTimeout(ctx, 2*time.Minute)
	unhook := context.AfterFunc(w.doomed, cancel)
	return start, func() { unhook(); cancel() }
}

// await waits for the end of a process, and brings it about when the pod is deleted, its time is over, or the node stops.
func (w *worker) await(ctx context.Context, p *process, claimed time.Time, r *result) {
	var overdue <-chan time.Time
	if seconds := w.pod.Spec.ActiveDeadlineSeconds; seconds != nil {
		overdue = time.After(time.Until(claimed.Add(time.Duration(*seconds) * time.Second)))
	}
	kill := time.NewTimer(time.Hour)
	kill.Stop()
	stopping := ctx.Done()
	var by time.Time // when it is killed
	end := func(at time.Time) {
		if by.IsZero() {
			p.interrupt()
		}
		if by.IsZero() || at.Before(by) {
			by = at
			kill.Reset(time.Until(at))
		}
	}
	for {
		select {
		case <-p.done:
			return
		case <-w.changed:
			r.reason, r.message = "Deleted", "the pod was deleted while it ran"
			end(w.by())
		case <-overdue:
			overdue = nil
			r.reason, r.message, r.overdue = "DeadlineExceeded", "Pod was active on the node longer than the specified deadline", true
			end(time.Now().Add(w.grace()))
		case <-stopping:
			stopping = nil
			r.reason, r.message = "NodeStopped", "the local node was stopped while the pod ran"
			end(time.Now().Add(w.node.Grace))
		case <-kill.C:
			p.kill()
		}
	}
}

// grace is what the pod asked for between being asked to end and being killed.
func (w *worker) grace() time.Duration {
	if seconds := w.pod.Spec.TerminationGracePeriodSeconds; seconds != nil {
		return time.Duration(*seconds) * time.Second
	}
	return corev1.DefaultTerminationGracePeriodSeconds * time.Second
}

func (w *worker) path(names ...string) string {
	return w.node.path(append([]string{"pods", string(w.pod.UID)}, names...)...)
}
