package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/operator/evidence"
	"github.com/broletto/broletto/operator/probe"
)

const (
	// abandoned is the age at which a trial's namespace is called that of a killed one.
	abandoned = deadline + time.Minute
	// cleanup bounds the requests that clean up, also after a stop.
	cleanup = 20 * time.Second
)

// network tries the network of every node that is ready, and writes down what was seen.
func (d *doctor) network(ctx context.Context) (out []Finding, err error) {
	if !d.Network {
		return nil, nil
	}
	image, err := d.image(ctx)
	if err != nil {
		return nil, err
	}
	swept, err := d.sweep(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range swept {
		out = append(out, warn("namespace "+name, "", "left by a doctor that was killed; taken away"))
	}
	var list corev1.NodeList
	if err := d.client.List(ctx, &list); err != nil {
		return out, err
	}
	nodes := map[string]*corev1.Node{}
	for i := range list.Items {
		if node := &list.Items[i]; nodeReady(node) {
			nodes[node.Name] = node
		}
	}
	if len(nodes) == 0 {
		return out, nil // which the check of nodes has told
	}
	attempts, problems, err := d.trial(ctx, image, slices.Sorted(maps.Keys(nodes)))
	if err != nil {
		return out, err
	}
	seen := evidence.Network{}
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		v := judge(name, attempts)
		if problem := problems[name]; problem != "" && !v.known {
			v.why = problem
		}
		if v.known {
			seen[name] = evidence.Node{UID: nodes[name].UID, Enforced: v.enforced, At: d.now(), Seen: v.why}
		}
		out = append(out, v.finding(name))
	}
	return out, d.write(ctx, seen)
}

func (v verdict) finding(node string) Finding {
	switch object := "node " + node; {
	case !v.known:
		return fail(object, "repair what is named, and run it again", "could not be tried: %s", v.why)
	case v.enforced:
		return ok(object, "what network policies forbid is cut, what they allow passes")
	default:
		return fail(object, "install a network plugin that enforces network policies, or repair it", "network policies are not enforced: %s", v.why)
	}
}

// image is that of the pods.
func (d *doctor) image(ctx context.Context) (string, error) {
	if d.Image != "" {
		return d.Image, nil
	}
	operator, err := d.deployment(ctx)
	if err != nil {
		return "", err
	}
	if operator == nil {
		return "", fmt.Errorf("which image to try the network with: there is no Deployment of the operator in namespace %s: say --image", d.Namespace)
	}
	return operator.Spec.Template.Spec.Containers[0].Image, nil
}

// sweep takes away what killed trials left.
func (d *doctor) sweep(ctx context.Context) (swept []string, err error) {
	var left corev1.NamespaceList
	if err := d.client.List(ctx, &left, client.MatchingLabels{labelManagedBy: fieldManager}); err != nil {
		return nil, err
	}
	for i := range left.Items {
		ns := &left.Items[i]
		if !ns.DeletionTimestamp.IsZero() || d.now().Sub(ns.CreationTimestamp.Time) < abandoned {
			continue
		}
		if err := client.IgnoreNotFound(d.client.Delete(ctx, ns)); err != nil {
			return swept, err
		}
		swept = append(swept, ns.Name)
	}
	return swept, nil
}

// write replaces the evidence by what was seen. Where nothing was seen at all, what was known stays.
func (d *doctor) write(ctx context.Context, seen evidence.Network) error {
	if len(seen) == 0 {
		return nil
	}
	written, err := seen.ConfigMap(d.Namespace)
	if err != nil {
		return err
	}
	if err := d.client.Apply(ctx, written, client.ForceOwnership); err != nil {
		return fmt.Errorf("writing config map %s in namespace %s: %w", evidence.Name, d.Namespace, err)
	}
	return nil
}

// trial is one try of the network. What it made is taken away, also when somebody stops it.
func (d *doctor) trial(ctx context.Context, image string, nodes []string) (attempts []attempt, problems map[string]string, err error) {
	ns := trialNamespace()
	if err := d.client.Create(ctx, ns); err != nil {
		return nil, nil, fmt.Errorf("making a namespace to try the network in: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanup)
		defer cancel()
		if failure := client.IgnoreNotFound(d.client.Delete(ctx, ns)); failure != nil {
			err = errors.Join(err, fmt.Errorf("deleting namespace %s: %w; delete it by hand", ns.Name, failure))
		}
	}()
	t := &trial{doctor: d, namespace: ns.Name, image: image, problems: map[string]string{}}
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return t.serve(ctx, nodes) }, t.forbidden, t.allowed,
	} {
		if err := step(ctx); err != nil {
			return nil, nil, err
		}
	}
	return t.attempts, t.problems, nil
}

// trial is what is known while the network is tried.
type trial struct {
	*doctor
	namespace, image string

	nodes    []string               // whose servers run, sorted; by serve
	servers  map[string]*corev1.Pod // by node; by serve
	attempts []attempt
	problems map[string]string // by node
}

// serve starts a server on every node and goes on with the nodes on which it runs.
func (t *trial) serve(ctx context.Context, nodes []string) error {
	names := map[string]string{}
	for i, node := range nodes {
		names[node] = fmt.Sprintf("server-%d", i)
		if err := t.create(ctx, serverPod(t.namespace, node, names[node], t.image)); err != nil {
			return err
		}
	}
	running := func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodRunning && len(pod.Status.PodIPs) > 0 }
	pods, err := t.await(ctx, t.pace.starting, running)
	if err != nil {
		return err
	}
	t.servers = map[string]*corev1.Pod{}
	for _, node := range nodes {
		if pod := pods[names[node]]; pod != nil && running(pod) {
			t.nodes, t.servers[node] = append(t.nodes, node), pod
		} else {
			t.problems[node] = "its server does not run: " + why(pod)
		}
	}
	return nil
}

// forbidden lets strangers and mutes reach the servers, makes the policies, and waits until they reach them no more.
func (t *trial) forbidden(ctx context.Context) error {
	for _, r := range []role{stranger, mute} {
		if err := t.clients(ctx, r); err != nil {
			return err
		}
	}
	early, err := t.await(ctx, t.pace.opening+t.pace.settling/2, func(pod *corev1.Pod) bool {
		return isServer(pod) || report(pod.Status.InitContainerStatuses) != nil
	})
	if err != nil {
		return err
	}
	for _, policy := range policiesOf(t.namespace) {
		if err := t.client.Create(ctx, policy); err != nil {
			return fmt.Errorf("making network policy %s: %w", policy.Name, err)
		}
	}
	made, looked := t.now(), map[string]time.Duration{}
	pods, err := t.await(ctx, t.pace.closing+t.pace.settling, func(pod *corev1.Pod) bool {
		if !isServer(pod) && !finished(pod) {
			looked[pod.Name] = t.now().Sub(made)
			return false
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, r := range []role{stranger, mute} {
		t.collect(r, pods, func(pod *corev1.Pod, a *attempt) {
			if finished(early[pod.Name]) { // nothing was forbidden yet
				a.after, a.problem = nil, "it gave up before there was a policy"
			}
			a.settled = looked[pod.Name] >= t.pace.settling
		})
	}
	return nil
}

// allowed lets clients reach the servers as the policies allow.
func (t *trial) allowed(ctx context.Context) error {
	if err := t.clients(ctx, allowed); err != nil {
		return err
	}
	pods, err := t.await(ctx, t.pace.opening+t.pace.starting, func(pod *corev1.Pod) bool { return isServer(pod) || finished(pod) })
	if err != nil {
		return err
	}
	t.collect(allowed, pods, func(*corev1.Pod, *attempt) {})
	return nil
}

// clients starts one client of a role on every node, which tries the servers of its node and of the opposite one.
func (t *trial) clients(ctx context.Context, r role) error {
	for i, node := range t.nodes {
		var targets []string
		for _, to := range t.goals(node) {
			for _, path := range pathsTo(t.servers[to]) {
				targets = append(targets, path.target)
			}
		}
		if err := t.create(ctx, clientPod(t.namespace, node, fmt.Sprintf("%s-%d", r, i), t.image, r, t.pace, targets)); err != nil {
			return err
		}
	}
	return nil
}

// goals are the nodes whose servers a node tries.
func (t *trial) goals(node string) []string {
	return slices.Compact([]string{node, opposite(t.nodes, node)})
}

// collect turns what clients of a role reported into attempts.
func (t *trial) collect(r role, pods map[string]*corev1.Pod, complete func(*corev1.Pod, *attempt)) {
	for i, node := range t.nodes {
		pod := pods[fmt.Sprintf("%s-%d", r, i)]
		for _, to := range t.goals(node) {
			for _, path := range pathsTo(t.servers[to]) {
				a := attempt{role: r, from: node, to: to, protocol: path.protocol, server: t.servers[to].Name, problem: why(pod)}
				if pod != nil {
					a.before = report(pod.Status.InitContainerStatuses)[path.target]
					a.after = report(pod.Status.ContainerStatuses)[path.target]
					complete(pod, &a)
				}
				t.attempts = append(t.attempts, a)
			}
		}
	}
}

// create makes a pod. In a new namespace that is refused until its service account is there.
func (t *trial) create(ctx context.Context, pod *corev1.Pod) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, t.pace.often, cleanup, true, func(ctx context.Context) (bool, error) {
		if last = t.client.Create(ctx, pod); last == nil || !apierrors.IsForbidden(last) {
			return true, last
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("making pod %s on node %s: %w", pod.Name, pod.Spec.NodeName, errors.Join(last, ctx.Err()))
	}
	return nil
}

// await waits until all pods are as wanted or have failed, and returns them as they are then, or when the time is over.
func (t *trial) await(ctx context.Context, timeout time.Duration, wanted func(*corev1.Pod) bool) (pods map[string]*corev1.Pod, err error) {
	err = wait.PollUntilContextTimeout(ctx, t.pace.often, timeout, true, func(ctx context.Context) (bool, error) {
		seen, err := t.pods(ctx)
		if err != nil {
			return false, err // also when the time is over meanwhile: what was seen before counts then
		}
		pods = seen
		all := true
		for _, pod := range pods {
			all = (wanted(pod) || pod.Status.Phase == corev1.PodFailed) && all
		}
		return all, nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		err = nil // what is late is told by what it lacks
	}
	return pods, err
}

func (t *trial) pods(ctx context.Context) (map[string]*corev1.Pod, error) {
	var list corev1.PodList
	if err := t.client.List(ctx, &list, client.InNamespace(t.namespace)); err != nil {
		return nil, fmt.Errorf("listing the pods of namespace %s: %w", t.namespace, err)
	}
	pods := map[string]*corev1.Pod{}
	for i := range list.Items {
		pods[list.Items[i].Name] = &list.Items[i]
	}
	return pods, nil
}

// report is what the container of a client wrote when it ended, by target; nil: it has not. Others may have put containers of theirs beside it.
func report(statuses []corev1.ContainerStatus) map[string]*probe.Result {
	ours := slices.IndexFunc(statuses, func(s corev1.ContainerStatus) bool { return s.Name == untilOpen || s.Name == untilClosed })
	if ours < 0 || statuses[ours].State.Terminated == nil {
		return nil
	}
	out := map[string]*probe.Result{}
	decoder := json.NewDecoder(strings.NewReader(statuses[ours].State.Terminated.Message))
	for {
		var r probe.Result
		if decoder.Decode(&r) != nil { // the end, or not ours: what is missing then is told
			return out
		}
		out[r.Target] = &r
	}
}

func isServer(pod *corev1.Pod) bool { return pod.Labels[labelRole] == string(server) }

func finished(pod *corev1.Pod) bool {
	return pod != nil && report(pod.Status.ContainerStatuses) != nil
}

// why tells what keeps a pod from running; empty: nothing that can be seen.
func why(pod *corev1.Pod) string {
	if pod == nil {
		return "it is not there"
	}
	if pod.Status.Reason != "" || pod.Status.Message != "" {
		return strings.TrimSpace(pod.Status.Reason + " " + pod.Status.Message)
	}
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if w := s.State.Waiting; w != nil && w.Reason != "PodInitializing" && w.Reason != "ContainerCreating" {
			return strings.TrimSpace(w.Reason + " " + w.Message)
		}
		if e := s.State.Terminated; e != nil && e.ExitCode != 0 {
			return fmt.Sprintf("container %s ended with %d: %s", s.Name, e.ExitCode, e.Message)
		}
	}
	if pod.Status.Phase == corev1.PodPending {
		return "its pod " + pod.Name + " is pending"
	}
	return ""
}
