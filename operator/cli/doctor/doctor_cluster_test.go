package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/config"
	"github.com/broletto/broletto/operator/embedded"
	"github.com/broletto/broletto/operator/evidence"
	"github.com/broletto/broletto/operator/probe"
	"github.com/broletto/broletto/test/cluster"
)

// enforces is how a network behaves that does what policies say.
func enforces(r role, _, _ string, policies bool) probe.Outcome {
	if policies && r != allowed {
		return probe.Timeout
	}
	return probe.Open
}

// TestNetwork plays the kubelets of two nodes whose network behaves in different ways.
func TestNetwork(t *testing.T) {
	cases := map[string]struct {
		reason  string
		network network
		want    map[string]string // by node: the state, and what the finding says
		seen    map[string]bool   // what is written down
	}{
		"enforces": {
			"all is proven", enforces,
			map[string]string{"node-a": "ok what network policies forbid is cut", "node-b": "ok what network policies forbid is cut"},
			map[string]bool{"node-a": true, "node-b": true},
		},
		"knows no policies": {
			"what is forbidden passes", func(role, string, string, bool) probe.Outcome { return probe.Open },
			map[string]string{
				"node-a": "fail network policies are not enforced: TCP over IPv4 from a pod on node-a to one on node-a, forbidden to come in: open",
				"node-b": "fail network policies are not enforced: TCP over IPv4 from a pod on node-a to one on node-b, forbidden to come in: open",
			},
			map[string]bool{"node-a": false, "node-b": false},
		},
		"one node lets all out": {
			"the other one is sound", func(r role, from, to string, policies bool) probe.Outcome {
				if r == mute && from == "node-b" {
					return probe.Open
				}
				return enforces(r, from, to, policies)
			},
			map[string]string{
				"node-a": "ok what network policies forbid is cut",
				"node-b": "fail network policies are not enforced: TCP over IPv4 from a pod on node-b to one on node-b, forbidden to go out: open",
			},
			map[string]bool{"node-a": true, "node-b": false},
		},
		"no way between nodes": {
			"a broken network proves nothing", func(r role, from, to string, policies bool) probe.Outcome {
				if from != to {
					return probe.Timeout
				}
				return enforces(r, from, to, policies)
			},
			map[string]string{"node-a": "fail could not be tried: ", "node-b": "fail could not be tried: "}, nil,
		},
	}
	admin := cluster.Client(t, cluster.Admin())
	forget(t, admin)
	install(t, admin)
	nodes := map[string]*corev1.Node{"node-a": node(t, admin, "node-a"), "node-b": node(t, admin, "node-b")}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			forget(t, admin)
			playKubelets(t, admin, c.network, nil)
			d := connected(t)
			findings, err := d.network(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range findings {
				name := strings.TrimPrefix(f.Object, "node ")
				if got := string(f.State) + " " + f.Cause; !strings.HasPrefix(got, c.want[name]) || c.want[name] == "" {
					t.Errorf("%s: %s: got %q, want %q", c.reason, name, got, c.want[name])
				}
			}
			if len(findings) != len(c.want) {
				t.Errorf("%s: %d findings, want %d: %v", c.reason, len(findings), len(c.want), findings)
			}
			wantEvidence(t, admin, nodes, c.seen)
			wantNothingLeft(t, admin)
		})
	}
}

// TestNodeWithoutServer keeps the server of one node from starting: the other is tried all the same.
func TestNodeWithoutServer(t *testing.T) {
	admin := cluster.Client(t, cluster.Admin())
	forget(t, admin)
	install(t, admin)
	nodes := map[string]*corev1.Node{"node-a": node(t, admin, "node-a"), "node-b": node(t, admin, "node-b")}
	playKubelets(t, admin, enforces, func(pod *corev1.Pod) bool { return pod.Spec.NodeName == "node-b" })
	d := connected(t)
	d.pace.starting = 3 * time.Second
	findings, err := d.network(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []Finding{
		ok("node node-a", "what network policies forbid is cut, what they allow passes"),
		fail("node node-b", "repair what is named, and run it again", "could not be tried: its server does not run: ImagePullBackOff no such image"),
	}
	if diff := cmp.Diff(want, findings); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	wantEvidence(t, admin, nodes, map[string]bool{"node-a": true})
	wantNothingLeft(t, admin)
}

// TestStopped stops a trial in the middle, as Ctrl-C does, and finds what one that was killed left.
func TestStopped(t *testing.T) {
	admin := cluster.Client(t, cluster.Admin())
	forget(t, admin)
	install(t, admin)
	node(t, admin, "node-a")
	ctx, stop := context.WithCancel(t.Context())
	time.AfterFunc(2*time.Second, stop)
	if findings, err := connected(t).network(ctx); !errors.Is(err, context.Canceled) { // no kubelet: its server never runs
		t.Errorf("stopped: %v, %v", findings, err)
	}
	wantNothingLeft(t, admin)
	wantEvidence(t, admin, nil, nil)

	left := trialNamespace()
	if err := admin.Create(t.Context(), left); err != nil {
		t.Fatal(err)
	}
	d := connected(t)
	if swept, err := d.sweep(t.Context()); err != nil || len(swept) > 0 {
		t.Errorf("a trial that may be under way was taken away: %v, %v", swept, err)
	}
	d.now = func() time.Time { return time.Now().Add(abandoned) }
	if swept, err := d.sweep(t.Context()); err != nil || !slices.Equal(swept, []string{left.Name}) {
		t.Errorf("taken away: %v, %v, want %s", swept, err, left.Name)
	}
	wantNothingLeft(t, admin)
}

// TestLook looks at a cluster in which only the control plane is right, and at the same one without a definition.
func TestLook(t *testing.T) {
	admin := cluster.Client(t, cluster.Admin())
	forget(t, admin)
	d := connected(t)
	d.Network = false
	want := map[string]State{
		"version": OK, "kinds": OK, "policies": OK, "operator": Fail, "storage": OK, "quota": OK, "dns": Fail, "nodes": Fail,
	}
	wantStates(t, d, want)

	install(t, admin)
	node(t, admin, "node-a")
	ticino, err := config.Samples.ReadFile("samples/ticino/10-tenants.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, tenant := range cluster.Apply(t, admin, ticino) {
		t.Cleanup(func() {
			if err := cluster.Discard(context.WithoutCancel(t.Context()), admin, tenant); err != nil {
				t.Error(err)
			}
		})
	}
	crd := "workspaces.broletto.dev"
	right := cluster.Apply(t, admin, definition(t, crd))[0]
	other := right.DeepCopy()
	if err := unstructured.SetNestedStringSlice(other.Object, []string{"other"}, "spec", "names", "shortNames"); err != nil {
		t.Fatal(err)
	}
	if err := admin.Patch(t.Context(), other.DeepCopy(), client.MergeFrom(right)); err != nil {
		t.Fatal(err)
	}
	want["kinds"], want["storage"], want["nodes"] = Fail, Fail, OK
	wantStates(t, d, want)
	if err := admin.Patch(t.Context(), right.DeepCopy(), client.MergeFrom(other)); err != nil {
		t.Fatal(err)
	}
}

// definition is the definition of a kind as users install it.
func definition(t *testing.T, crd string) []byte {
	t.Helper()
	plural, group, _ := strings.Cut(crd, ".")
	text, err := config.CRDs.ReadFile("crd/" + group + "_" + plural + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// wantStates wants each check's worst finding.
func wantStates(t *testing.T, d *doctor, want map[string]State) {
	t.Helper()
	findings, err := d.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, order := map[string]State{}, []State{OK, Warn, Fail}
	for _, f := range findings {
		if slices.Index(order, f.State) >= slices.Index(order, got[f.Check]) {
			got[f.Check] = f.State
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		var text strings.Builder
		_ = printText(&text, findings)
		t.Errorf("states (-want +got):\n%s\n%s", diff, text.String())
	}
}

// connected is a doctor that waits for less than usual.
func connected(t *testing.T) *doctor {
	t.Helper()
	d, err := connect(cluster.ClusterAdmin(), Options{Namespace: embedded.Namespace, Network: true})
	if err != nil {
		t.Fatal(err)
	}
	d.pace = pace{starting: 20 * time.Second, opening: 20 * time.Second, closing: 20 * time.Second, settling: time.Second, often: 50 * time.Millisecond}
	return d
}

// install makes the operator's Deployment, which nobody runs.
func install(t *testing.T, admin client.Client) {
	t.Helper()
	labels := map[string]string{"app.kubernetes.io/name": "broletto", "app.kubernetes.io/component": "operator"}
	operator := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: embedded.Namespace, Name: "broletto-operator", Labels: labels}}
	operator.Spec.Replicas = new(int32(0))
	operator.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	operator.Spec.Template.Labels = labels
	operator.Spec.Template.Spec.ServiceAccountName = "broletto-operator"
	operator.Spec.Template.Spec.Containers = []corev1.Container{{Name: "operator", Image: "broletto:test"}}
	keep(t, admin, operator)
}

// node is one that is ready, without a machine.
func node(t *testing.T, admin client.Client, name string) *corev1.Node {
	t.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	keep(t, admin, n)
	bare := n.DeepCopy()
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now()}}
	if err := admin.Status().Patch(t.Context(), n, client.MergeFrom(bare)); err != nil {
		t.Fatal(err)
	}
	return n
}

// keep makes an object that lasts as long as the test does.
func keep(t *testing.T, admin client.Client, o client.Object) {
	t.Helper()
	if err := admin.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.IgnoreNotFound(admin.Delete(context.WithoutCancel(t.Context()), o)); err != nil {
			t.Error(err)
		}
	})
}

// forget takes away what an earlier trial wrote down.
func forget(t *testing.T, admin client.Client) {
	t.Helper()
	written := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: embedded.Namespace, Name: evidence.Name}}
	if err := client.IgnoreNotFound(admin.Delete(t.Context(), written)); err != nil {
		t.Fatal(err)
	}
}

func wantEvidence(t *testing.T, admin client.Client, nodes map[string]*corev1.Node, want map[string]bool) {
	t.Helper()
	var written corev1.ConfigMap
	err := admin.Get(t.Context(), client.ObjectKey{Namespace: embedded.Namespace, Name: evidence.Name}, &written)
	if client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	known, err := evidence.Read(written.Data)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]bool
	for name, seen := range known {
		if got == nil {
			got = map[string]bool{}
		}
		got[name] = seen.Enforced
		if seen.UID != nodes[name].UID || time.Since(seen.At) > time.Minute {
			t.Errorf("evidence of node %s: %+v", name, seen)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("evidence (-want +got):\n%s", diff)
	}
}

// wantNothingLeft wants every namespace of a trial to be going, or gone.
func wantNothingLeft(t *testing.T, admin client.Client) {
	t.Helper()
	var left corev1.NamespaceList
	if err := admin.List(t.Context(), &left, client.MatchingLabels{labelManagedBy: fieldManager}); err != nil {
		t.Fatal(err)
	}
	for _, ns := range left.Items {
		if ns.DeletionTimestamp.IsZero() {
			t.Errorf("namespace %s is left", ns.Name)
		}
	}
}

// network says how an attempt ends.
type network func(r role, from, to string, policies bool) probe.Outcome

// playKubelets is the kubelet of every node, and the network between them, until the test ends. What is broken never starts.
func playKubelets(t *testing.T, admin client.Client, n network, broken func(*corev1.Pod) bool) {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		k := kubelets{client: admin, network: n, broken: broken, addresses: map[string]*corev1.Pod{}}
		for ctx.Err() == nil {
			if err := k.look(ctx); err != nil && ctx.Err() == nil {
				t.Log("playing the kubelet:", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() { stop(); <-ended })
}

type kubelets struct {
	client    client.Client
	network   network
	broken    func(*corev1.Pod) bool
	addresses map[string]*corev1.Pod // of servers
}

func (k *kubelets) look(ctx context.Context) error {
	var pods corev1.PodList
	if err := k.client.List(ctx, &pods, client.MatchingLabels{labelManagedBy: fieldManager}); err != nil {
		return err
	}
	var failures []error
	for i := range pods.Items {
		pod := &pods.Items[i]
		if !pod.DeletionTimestamp.IsZero() {
			failures = append(failures, client.IgnoreNotFound(k.client.Delete(ctx, pod, client.GracePeriodSeconds(0))))
			continue
		}
		before := pod.DeepCopy()
		if err := k.run(ctx, pod); err != nil {
			failures = append(failures, err)
		} else if !cmp.Equal(before.Status, pod.Status) {
			failures = append(failures, client.IgnoreNotFound(k.client.Status().Update(ctx, pod)))
		}
	}
	return errors.Join(failures...)
}

// run brings a pod one step on.
func (k *kubelets) run(ctx context.Context, pod *corev1.Pod) error {
	s := &pod.Status
	var policies networkingv1.NetworkPolicyList
	if err := k.client.List(ctx, &policies, client.InNamespace(pod.Namespace)); err != nil {
		return err
	}
	inForce, init := len(policies.Items) == 3, pod.Spec.InitContainers
	switch {
	case k.broken != nil && k.broken(pod):
		s.Phase = corev1.PodPending
		s.ContainerStatuses = []corev1.ContainerStatus{{Name: "serve", Image: "broletto:test", State: corev1.ContainerState{
			Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "no such image"},
		}}}
	case isServer(pod):
		if s.Phase != corev1.PodRunning {
			ip := fmt.Sprintf("10.9.%d.1", len(k.addresses))
			s.Phase, s.PodIP, s.PodIPs = corev1.PodRunning, ip, []corev1.PodIP{{IP: ip}}
			k.addresses[ip] = pod.DeepCopy()
		}
	case len(init) > 0 && len(s.InitContainerStatuses) == 0:
		s.Phase = corev1.PodRunning
		s.InitContainerStatuses = k.ran(pod, init[0], inForce)
	case len(s.ContainerStatuses) == 0 && (len(init) == 0 || inForce):
		statuses := k.ran(pod, pod.Spec.Containers[0], inForce)
		if strings.Contains(statuses[0].State.Terminated.Message, `"open":true`) && len(init) > 0 && time.Since(policies.Items[0].CreationTimestamp.Time) < 3*time.Second {
			return nil // it waits for it to be closed
		}
		s.Phase, s.ContainerStatuses = corev1.PodSucceeded, statuses
	}
	return nil
}

// ran is a container of a client that has ended, with what it reported.
func (k *kubelets) ran(pod *corev1.Pod, c corev1.Container, policies bool) []corev1.ContainerStatus {
	var lines bytes.Buffer
	for _, target := range c.Command {
		protocol, address, isTarget := strings.Cut(target, "://")
		ip, _, _ := strings.Cut(address, ":")
		to := k.addresses[ip]
		if !isTarget || to == nil {
			continue
		}
		outcome := k.network(role(pod.Labels[labelRole]), pod.Spec.NodeName, to.Spec.NodeName, policies)
		r := probe.Result{Target: protocol + "://" + address, Outcome: outcome, Open: outcome == probe.Open, InRow: inRow}
		if r.Open {
			r.AnsweredBy = to.Name
		}
		_ = json.NewEncoder(&lines).Encode(r)
	}
	end := corev1.ContainerStateTerminated{Reason: "Completed", Message: lines.String(), FinishedAt: metav1.Now(), StartedAt: metav1.Now()}
	return []corev1.ContainerStatus{{Name: c.Name, Image: c.Image, State: corev1.ContainerState{Terminated: &end}}}
}
