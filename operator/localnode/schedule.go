package localnode

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/broletto/broletto/api/v1alpha1"
)

// lookEvery is when everything is looked at again though nothing was heard: what failed is tried again.
const lookEvery = 5 * time.Second

// watch fills the stores and keeps them; it returns when they are full for the first time.
func (n *Node) watch(ctx, run context.Context) error {
	mine := informer(n.client, func(o *metav1.ListOptions) { o.FieldSelector = "spec.nodeName=" + Name })
	waiting := informer(n.scheduler, func(o *metav1.ListOptions) { o.FieldSelector, o.LabelSelector = "spec.nodeName=", v1alpha1.LabelRun })
	n.mine, n.waiting = mine.GetStore(), waiting.GetStore()
	wake := func(any) { n.wake() }
	for i, forget := range map[cache.SharedIndexInformer]func(any){
		mine:    func(o any) { n.forget(o) },
		waiting: wake,
	} {
		handler := cache.ResourceEventHandlerFuncs{AddFunc: wake, UpdateFunc: func(_, o any) { wake(o) }, DeleteFunc: forget}
		if _, err := i.AddEventHandler(handler); err != nil {
			return err
		}
		n.task(func() { i.RunWithContext(run) })
	}
	if !cache.WaitForCacheSync(ctx.Done(), mine.HasSynced, waiting.HasSynced) {
		return fmt.Errorf("reading pods: %w", context.Cause(ctx))
	}
	return nil
}

func informer(c kubernetes.Interface, which func(*metav1.ListOptions)) cache.SharedIndexInformer {
	return informers.NewSharedInformerFactoryWithOptions(c, 0, informers.WithTweakListOptions(which)).Core().V1().Pods().Informer()
}

// forget drops what is kept of a pod that is gone, and ends its process if it has one still: it was deleted by force.
func (n *Node) forget(o any) {
	if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = last.Obj
	}
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return
	}
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if w := n.workers[pod.UID]; w != nil {
		w.gone()
		if !w.ended {
			return // it forgets itself when it ends
		}
	}
	n.drop(pod.UID)
}

// drop removes the rest of a pod; the mutex is held.
func (n *Node) drop(uid types.UID) {
	delete(n.workers, uid)
	delete(n.logs, uid)
	if err := os.Remove(n.logFile(uid)); err != nil && !errors.Is(err, os.ErrNotExist) {
		n.Log.Error(err, "log not removed")
	}
}

// loop looks at all pods whenever there is news. It never waits for a pod.
func (n *Node) loop(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		n.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-n.kick:
		case <-tick.C:
		}
	}
}

func (n *Node) look(ctx context.Context) {
	for _, pod := range byAge(n.mine) {
		if err := n.tend(ctx, pod); err != nil && ctx.Err() == nil {
			n.Log.Error(err, "pod not looked after", "namespace", pod.Namespace, "pod", pod.Name)
		}
	}
	pending := byAge(n.waiting)
	maps.DeleteFunc(n.refused, func(uid types.UID, _ struct{}) bool {
		return !slices.ContainsFunc(pending, func(pod *corev1.Pod) bool { return pod.UID == uid })
	})
	for _, pod := range pending {
		if ctx.Err() != nil {
			return
		}
		if err := n.take(ctx, pod); err != nil && ctx.Err() == nil {
			n.Log.Error(err, "pod not bound", "namespace", pod.Namespace, "pod", pod.Name)
		}
	}
}

// byAge are the pods of a store, the oldest first.
func byAge(store cache.Store) (pods []*corev1.Pod) {
	for _, o := range store.List() {
		if pod, ok := o.(*corev1.Pod); ok {
			pods = append(pods, pod)
		}
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		if by := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); by != 0 {
			return by
		}
		return slices.Compare([]string{a.Namespace, a.Name}, []string{b.Namespace, b.Name})
	})
	return pods
}

// tend does what a pod of this node needs next.
func (n *Node) tend(ctx context.Context, pod *corev1.Pod) error {
	if w, ended := n.worker(pod.UID); w != nil && !ended {
		w.nudge(pod)
		return nil
	} else if w != nil || terminal(pod) {
		return n.release(ctx, pod)
	}
	if err := n.legitimate(ctx, pod); err != nil {
		if refused, ok := errors.AsType[*refusal](err); ok {
			return n.fail(ctx, pod, refused.reason, refused.message)
		}
		return err
	}
	switch {
	case pod.Status.StartTime != nil: // claimed by an earlier process of this node, and its children died with it
		return n.fail(ctx, pod, "NodeRestarted", "the local node was started anew while the pod ran, which ended it")
	case pod.DeletionTimestamp != nil:
		return n.fail(ctx, pod, "Deleted", "the pod was deleted before it started")
	}
	if slot, ok := n.reserve(); ok {
		n.launch(ctx, pod, slot)
	}
	return nil
}

// take binds a waiting pod to this node, if it may run and there is a slot.
func (n *Node) take(ctx context.Context, pod *corev1.Pod) error {
	if pod.DeletionTimestamp != nil || len(pod.Spec.SchedulingGates) > 0 {
		return nil
	}
	if w, _ := n.worker(pod.UID); w != nil {
		return nil // bound just now, and the watch has not told yet
	}
	slot, ok := n.reserve()
	if !ok {
		return nil
	}
	if err := n.bind(ctx, pod); err != nil {
		n.vacate(slot)
		if refused, ok := errors.AsType[*refusal](err); ok {
			n.tellOnce(pod, refused)
			return nil
		}
		if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
			return nil // bound already, or gone
		}
		return err
	}
	n.launch(ctx, pod, slot)
	return nil
}

func (n *Node) bind(ctx context.Context, pod *corev1.Pod) error {
	if err := n.legitimate(ctx, pod); err != nil {
		return err
	}
	binding := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: Name},
	}
	return n.scheduler.CoreV1().Pods(pod.Namespace).Bind(ctx, binding, metav1.CreateOptions{})
}

// tellOnce logs why a pod stays Pending.
func (n *Node) tellOnce(pod *corev1.Pod, why *refusal) {
	if _, told := n.refused[pod.UID]; told {
		return
	}
	n.refused[pod.UID] = struct{}{}
	n.Log.Info("pod left Pending", "namespace", pod.Namespace, "pod", pod.Name, "reason", why.reason, "message", why.message)
}

// refusal is why a pod may not run here.
type refusal struct{ reason, message string }

func (r *refusal) Error() string { return r.message }

// legitimate makes sure that a pod works for a run: it and the Job that controls it say for the same one, and the Job is there.
func (n *Node) legitimate(ctx context.Context, pod *corev1.Pod) error {
	if !ours(pod) {
		return &refusal{"NotARun", "the local node runs pods of stack runs only, which have the label " + v1alpha1.LabelRun}
	}
	owner := metav1.GetControllerOf(pod)
	if owner == nil || owner.Kind != "Job" || owner.APIVersion != "batch/v1" {
		return &refusal{"NoJob", "the pod has the label " + v1alpha1.LabelRun + " but no Job controls it"}
	}
	job, err := n.scheduler.BatchV1().Jobs(pod.Namespace).Get(ctx, owner.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && job.UID != owner.UID {
		return &refusal{"NoJob", "Job " + owner.Name + " that controls the pod is gone"}
	}
	if err != nil {
		return fmt.Errorf("reading Job %s in %s: %w", owner.Name, pod.Namespace, err)
	}
	if job.Labels[v1alpha1.LabelRun] != pod.Labels[v1alpha1.LabelRun] {
		return &refusal{"NotARun", "Job " + owner.Name + " works for another run than the pod says"}
	}
	return nil
}

// worker is whoever runs a pod or has run it.
func (n *Node) worker(uid types.UID) (w *worker, ended bool) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	w = n.workers[uid]
	return w, w != nil && w.ended
}

// reserve takes a free slot.
func (n *Node) reserve() (slot int, ok bool) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	slot = slices.Index(n.slots, false)
	if slot < 0 {
		return 0, false
	}
	n.slots[slot] = true
	return slot, true
}

func (n *Node) vacate(slot int) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.slots[slot] = false
	n.wake()
}
