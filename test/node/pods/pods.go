// Package pods is what the tests do with running pods: start a command in one, ask one what it reaches, and tell why one does not run.
package pods

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/operator/probe"
)

// patience bounds one command in a pod.
const patience = time.Minute

// Exec runs a command in the only container of a pod, as whom the configuration acts, and returns what it prints.
func Exec(ctx context.Context, cfg *rest.Config, pod client.ObjectKey, command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	set, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return "", err
	}
	options := &corev1.PodExecOptions{Command: command, Stdout: true, Stderr: true}
	request := set.CoreV1().RESTClient().Get().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("exec").
		VersionedParams(options, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(cfg, "GET", request.URL().String())
	if err != nil {
		return "", err
	}
	var out, complaint bytes.Buffer
	if err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &complaint}); err != nil {
		return out.String(), fmt.Errorf("%s in pod %s: %w: %s%s", strings.Join(command, " "), pod, err, out.String(), complaint.String())
	}
	return out.String(), nil
}

// Result is what a pod found out about a target.
type Result struct{ probe.Result }

// Reached tells whether packets passed both ways, whoever answered.
func (r Result) Reached() bool { return r.Open || r.Outcome == probe.Connected }

// Try asks a pod of the operator's image what it reaches. Options come before the targets, such as "--until=open".
func Try(ctx context.Context, cfg *rest.Config, pod client.ObjectKey, arguments ...string) ([]Result, error) {
	out, err := Exec(ctx, cfg, pod, append([]string{"/broletto", "probe", "try"}, arguments...)...)
	if err != nil {
		return nil, err
	}
	var results []Result
	for line := range strings.Lines(out) {
		var r Result
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return nil, fmt.Errorf("pod %s said %q: %w", pod, line, err)
		}
		results = append(results, r)
	}
	return results, nil
}

// Explain tells what a namespace's pods do and what was last said about its objects.
func Explain(ctx context.Context, c client.Client, namespace string) string {
	var out strings.Builder
	var pods corev1.PodList
	if err := c.List(ctx, &pods, client.InNamespace(namespace)); err != nil {
		return err.Error()
	}
	for _, pod := range pods.Items {
		fmt.Fprintf(&out, "pod %s on %q: %s %s %s\n", pod.Name, pod.Spec.NodeName, pod.Status.Phase, pod.Status.Reason, pod.Status.Message)
		for _, status := range pod.Status.ContainerStatuses {
			state, _ := json.Marshal(status.State)
			fmt.Fprintf(&out, "  container %s: ready %t, restarts %d, %s\n", status.Name, status.Ready, status.RestartCount, state)
		}
	}
	var events corev1.EventList
	if err := c.List(ctx, &events, client.InNamespace(namespace)); err != nil {
		return out.String() + err.Error()
	}
	slices.SortFunc(events.Items, func(a, b corev1.Event) int { return when(a).Compare(when(b)) })
	for _, e := range events.Items[max(0, len(events.Items)-20):] {
		fmt.Fprintf(&out, "event %s %s %s %s: %s\n", when(e).Format(time.TimeOnly), e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Reason, e.Message)
	}
	return out.String()
}

func when(e corev1.Event) time.Time {
	if e.LastTimestamp.IsZero() {
		return e.EventTime.Time
	}
	return e.LastTimestamp.Time
}
