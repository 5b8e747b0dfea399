package localnode

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// patience bounds what is asked of the API server about one pod: it may be restarting, and it takes it a moment to know that a pod that
	// was bound just now is this node's to read and write.
	patience = 10 * time.Minute
	// farewell bounds the same once the node stops.
	farewell = 15 * time.Second
	// again is the time between two tries.
	again = 100 * time.Millisecond
)

// terminal says whether a pod has ended for good.
func terminal(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// errReplaced says that the pod of that name is another one now.
var errReplaced = errors.New("the pod was replaced")

// write changes a pod's status, once. A pod that has ended stays as it is.
func (n *Node) write(ctx context.Context, pod *corev1.Pod, change func(*corev1.PodStatus)) error {
	live, err := n.client.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if live.UID != pod.UID {
		return errReplaced
	}
	_, err = n.update(ctx, live, change)
	return err
}

// update changes the status of a pod that was read, unless it has ended, and returns the pod as it is then.
func (n *Node) update(ctx context.Context, live *corev1.Pod, change func(*corev1.PodStatus)) (*corev1.Pod, error) {
	if terminal(live) {
		return live, nil
	}
	next := live.DeepCopy()
	change(&next.Status)
	return n.client.CoreV1().Pods(next.Namespace).UpdateStatus(ctx, next, metav1.UpdateOptions{})
}

// gone says whether the pod that an error is about is no more.
func gone(err error) bool { return apierrors.IsNotFound(err) || errors.Is(err, errReplaced) }

// insist does the same until it succeeds, the pod is gone, or there is no use.
func insist(ctx context.Context, f func() error) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, again, true, func(context.Context) (bool, error) {
		last = f()
		switch {
		case last == nil:
			return true, nil
		case gone(last), apierrors.IsInvalid(last), apierrors.IsBadRequest(last):
			return false, last
		}
		return false, nil
	})
	if err != nil && last != nil {
		return last
	}
	return err
}

// lasting is a context that outlives the node's end by as much as it takes to tell the API server.
func lasting(run context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(run), patience)
	unhook := context.AfterFunc(run, func() { time.AfterFunc(farewell, cancel) })
	return ctx, func() { unhook(); cancel() }
}

// fail ends a pod that does not run.
func (n *Node) fail(ctx context.Context, pod *corev1.Pod, reason, message string) error {
	n.Log.Info("pod failed", "namespace", pod.Namespace, "pod", pod.Name, "reason", reason, "message", message)
	err := n.write(ctx, pod, func(s *corev1.PodStatus) { failed(s, pod, reason, message) })
	if err != nil && !gone(err) {
		return fmt.Errorf("marking the pod Failed: %w", err)
	}
	return nil
}

// release lets a pod go that has ended and is to be deleted, as a kubelet does: the API server waits for it.
func (n *Node) release(ctx context.Context, pod *corev1.Pod) error {
	if pod.DeletionTimestamp == nil || pod.DeletionGracePeriodSeconds != nil && *pod.DeletionGracePeriodSeconds == 0 {
		return nil
	}
	err := n.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: new(int64(0)), Preconditions: metav1.NewUIDPreconditions(string(pod.UID)),
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("letting the pod go: %w", err)
	}
	return nil
}

// claimed is the status of a pod that is about to start: what has it is never started again.
func claimed(s *corev1.PodStatus, pod *corev1.Pod, at time.Time) {
	s.Phase = corev1.PodPending
	s.HostIP, s.HostIPs = loopback, []corev1.HostIP{{IP: loopback}}
	s.StartTime = new(metav1.NewTime(at))
	conditions(s, corev1.ConditionFalse, "ContainersNotReady")
	containers(s, pod, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}})
}

// running is the status of a pod whose process runs.
func running(s *corev1.PodStatus, pod *corev1.Pod, at time.Time) {
	s.Phase = corev1.PodRunning
	conditions(s, corev1.ConditionTrue, "")
	containers(s, pod, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(at)}})
}

// failed is the status of a pod that never ran, or whose end nobody saw.
func failed(s *corev1.PodStatus, pod *corev1.Pod, reason, message string) {
	now := metav1.Now()
	s.Phase, s.Reason, s.Message = corev1.PodFailed, reason, message
	conditions(s, corev1.ConditionFalse, "PodFailed")
	containers(s, pod, corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: 137, Reason: "ContainerStatusUnknown", Message: message, FinishedAt: now, ContainerID: containerID(pod),
	}})
}

// result is how a process ended.
type result struct {
	code            int32
	signal          int32
	started, ended  time.Time
	reason, message string // of the pod, where the node ended it
	overdue         bool   // it had no more time: it failed, whatever its code
}

// completed is the status of a pod whose process has ended.
func completed(s *corev1.PodStatus, pod *corev1.Pod, r result) {
	why := "Completed"
	s.Phase = corev1.PodSucceeded
	if r.code != 0 {
		why = "Error"
	}
	if r.code != 0 || r.overdue {
		s.Phase, s.Reason, s.Message = corev1.PodFailed, r.reason, r.message
	}
	conditions(s, corev1.ConditionFalse, map[corev1.PodPhase]string{corev1.PodSucceeded: "PodCompleted", corev1.PodFailed: "PodFailed"}[s.Phase])
	containers(s, pod, corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: r.code, Signal: r.signal, Reason: why, StartedAt: metav1.NewTime(r.started), FinishedAt: metav1.NewTime(r.ended),
		ContainerID: containerID(pod),
	}})
}

func containerID(pod *corev1.Pod) string { return "local://" + string(pod.UID) }

func containers(s *corev1.PodStatus, pod *corev1.Pod, state corev1.ContainerState) {
	up := state.Running != nil
	s.ContainerStatuses = nil
	for _, c := range pod.Spec.Containers {
		status := corev1.ContainerStatus{Name: c.Name, Image: c.Image, State: state, Ready: up, Started: &up}
		if state.Waiting == nil {
			status.ContainerID = containerID(pod)
		}
		s.ContainerStatuses = append(s.ContainerStatuses, status)
	}
}

// conditions sets those that a kubelet writes.
func conditions(s *corev1.PodStatus, ready corev1.ConditionStatus, reason string) {
	now := metav1.Now()
	for _, c := range []corev1.PodCondition{
		{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue},
		{Type: corev1.PodInitialized, Status: corev1.ConditionTrue},
		{Type: corev1.PodReady, Status: ready, Reason: reason},
		{Type: corev1.ContainersReady, Status: ready, Reason: reason},
	} {
		c.LastTransitionTime = now
		found := false
		for i, old := range s.Conditions {
			if old.Type != c.Type {
				continue
			}
			if found = true; old.Status == c.Status {
				c.LastTransitionTime = old.LastTransitionTime
			}
			s.Conditions[i] = c
		}
		if !found {
			s.Conditions = append(s.Conditions, c)
		}
	}
}
