package hooks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/broletto/broletto/api/v1alpha1"
)

// Moment is how long a pass of a reconciler waits for a command that it began: most end within it.
const Moment = 2 * time.Second

const (
	// inForce bounds the wait until the API server knows the rights of an account that was just made.
	inForce = 10 * time.Second
	// longest bounds what a command may print, in bytes: what it wants kept it writes to a file.
	longest = 64 << 20
)

// ErrNoPod says that no pod runs in which the command could be run.
var ErrNoPod = errors.New("no pod runs")

var (
	errTimedOut = errors.New("timed out")
	errTalks    = errors.New("talks too much")
)

// run runs a command to its end. The error names the pod and says what the command printed last.
func (r *Runner) run(ctx context.Context, c Command) error {
	limit := time.Duration(cmp.Or(c.Hook.TimeoutSeconds, 300)) * time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errTimedOut)
	defer cancel()
	pods, err := r.list(ctx, c)
	if err != nil {
		return fmt.Errorf("listing the pods of %s: %w", c.Namespace, err)
	}
	pod, container, err := choose(pods, c.Hook)
	if err != nil {
		return err
	}
	ctx, silence := context.WithCancelCause(ctx)
	defer silence(nil)
	said := &said{limit: longest, over: func() { silence(errTalks) }}
	err = r.exec(ctx, c, pod, container, said)
	switch cause := context.Cause(ctx); {
	case err == nil:
		return nil
	case errors.Is(cause, errTalks):
		return fmt.Errorf("in pod %s it printed more than %d MiB: have it write to a file", pod, longest>>20)
	case errors.Is(cause, errTimedOut):
		return fmt.Errorf("in pod %s it has not ended within %s, and may be running still%s", pod, limit, said)
	}
	if code, is := errors.AsType[exec.CodeExitError](err); is {
		return fmt.Errorf("in pod %s it ended with code %d%s", pod, code.Code, said)
	}
	return fmt.Errorf("in pod %s it could not be run: %w", pod, err)
}

// list lists the pods that a hook selects. An account that was just made has its rights a moment later.
func (r *Runner) list(ctx context.Context, c Command) (all []corev1.Pod, err error) {
	selector, err := metav1.LabelSelectorAsSelector(&c.Hook.PodSelector)
	if err != nil {
		return nil, err
	}
	var last error
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, inForce, true, func(ctx context.Context) (bool, error) {
		var list *corev1.PodList
		list, last = r.pods.Pods(c.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
		if last == nil {
			all = list.Items
		}
		if apierrors.IsForbidden(last) {
			return false, nil
		}
		return true, last
	})
	return all, cmp.Or(last, err)
}

// choose takes the first pod by name in which the container runs.
func choose(pods []corev1.Pod, h v1alpha1.Hook) (pod, container string, err error) {
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	for _, p := range pods {
		if _, ours := p.Labels[v1alpha1.LabelRun]; ours || !p.DeletionTimestamp.IsZero() || len(p.Spec.Containers) == 0 {
			continue
		}
		container = cmp.Or(h.Container, p.Spec.Containers[0].Name)
		if !slices.ContainsFunc(p.Spec.Containers, func(c corev1.Container) bool { return c.Name == container }) {
			return "", "", fmt.Errorf("pod %s has no container %s: correct the hook's container", p.Name, container)
		}
		if slices.ContainsFunc(p.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return s.Name == container && s.State.Running != nil }) {
			return p.Name, container, nil
		}
	}
	return "", "", fmt.Errorf("%w with the labels %s", ErrNoPod, metav1.FormatLabelSelector(&h.PodSelector))
}

// exec is what "kubectl exec" does.
func (r *Runner) exec(ctx context.Context, c Command, pod, container string, out *said) error {
	client := r.pods.RESTClient()
	url := client.Post().Resource("pods").Namespace(c.Namespace).Name(pod).SubResource("exec").VersionedParams(&corev1.PodExecOptions{
		Container: container, Command: c.words(), Stdout: true, Stderr: true,
	}, scheme.ParameterCodec).URL()
	socket, err := remotecommand.NewWebSocketExecutor(r.config, "GET", url.String())
	if err != nil {
		return err
	}
	old, err := remotecommand.NewSPDYExecutor(r.config, "POST", url)
	if err != nil {
		return err
	}
	either, err := remotecommand.NewFallbackExecutor(socket, old, httpstream.IsUpgradeFailure)
	if err != nil {
		return err
	}
	return either.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: out, Stderr: out})
}
