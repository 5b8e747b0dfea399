package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/operator/manager"
	"github.com/broletto/broletto/operator/probe"
)

const (
	// trafficImage is the operator's, under a name that the tenants of the samples may use.
	trafficImage = "registry.ticino.example/probe:1"
	trafficLabel = "broletto-demo"
	// tries is how long a client tries what is closed.
	tries = 5 * time.Second
)

// The server of the demo's traffic, and who tries to reach it. The sample says whom it lets in, and who asks to be.
var (
	trafficServer  = place{"lugano", "identita"}
	trafficClients = []struct {
		from place
		why  string
	}{
		{place{"lugano", "identita"}, "the same workspace"},
		{place{"lugano", "sportello"}, "both workspaces name each other"},
		{place{"bellinzona", "sportello"}, "another comune, and both name each other"},
		{place{"lugano", "living-lab"}, "the same comune, and nobody named it"},
		{place{"locarno", "sportello"}, "another comune"},
	}
)

// place is a workspace.
type place struct{ tenant, workspace string }

func (p place) namespace() string { return p.tenant + "--" + p.workspace }

// traffic runs a server and clients as the administrators of the comuni, and prints who reaches whom.
func (d *demo) traffic(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	server, err := d.run(ctx, trafficServer, "serve")
	if err != nil {
		return err
	}
	if err := d.until(ctx, server, func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning && p.Status.PodIP != "" }); err != nil {
		return err
	}
	address := net.JoinHostPort(server.Status.PodIP, strconv.Itoa(probe.Port))
	var clients []*corev1.Pod
	for _, c := range trafficClients {
		pod, err := d.run(ctx, c.from, "try", "--until=open", "--within="+tries.String(), "--report="+corev1.TerminationMessagePathDefault, "tcp://"+address, "udp://"+address)
		if err != nil {
			return err
		}
		clients = append(clients, pod)
	}
	fmt.Fprintf(d.Out, "\nTraffic to a pod in %s, tried by pods:\n", trafficServer.namespace())
	table := tabwriter.NewWriter(d.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "  FROM\tTCP\tUDP\tBECAUSE")
	for i, pod := range clients {
		if err := d.until(ctx, pod, finished); err != nil {
			return err
		}
		tcp, udp, err := outcomes(pod)
		if err != nil {
			return err
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\t%s\n", pod.Namespace, tcp, udp, trafficClients[i].why)
	}
	return table.Flush()
}

// run makes a pod that tries the network, as the administrator of its comune, in place of those of an earlier demo.
func (d *demo) run(ctx context.Context, p place, arguments ...string) (*corev1.Pod, error) {
	cfg, err := d.cluster.Config(sampleUser, p.tenant+":ict")
	if err != nil {
		return nil, err
	}
	scheme, err := manager.Scheme()
	if err != nil {
		return nil, err
	}
	c, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	verb := arguments[0]
	ours := client.MatchingLabels{trafficLabel: verb}
	if err := c.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(p.namespace()), ours, client.GracePeriodSeconds(0)); err != nil {
		return nil, fmt.Errorf("removing an earlier demo's pods from %s: %w", p.namespace(), err)
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "demo-" + verb + "-", Namespace: p.namespace(), Labels: ours},
		Spec: corev1.PodSpec{
			RestartPolicy:   corev1.RestartPolicyNever,
			SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			Containers: []corev1.Container{{
				Name: verb, Image: trafficImage, Args: append([]string{"probe"}, arguments...),
				SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
			}},
		},
	}
	if err := c.Create(ctx, pod); err != nil {
		return nil, fmt.Errorf("making a pod in %s as %s of %s: %w", p.namespace(), sampleUser, p.tenant, err)
	}
	return pod, nil
}

// until looks at a pod until something holds of it.
func (d *demo) until(ctx context.Context, pod *corev1.Pod, holds func(*corev1.Pod) bool) error {
	for !holds(pod) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("pod %s in %s is %s: %w; see kubectl describe pod", pod.Name, pod.Namespace, pod.Status.Phase, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
		if err := d.client.Get(ctx, client.ObjectKeyFromObject(pod), pod); err != nil {
			return fmt.Errorf("looking at pod %s in %s: %w", pod.Name, pod.Namespace, err)
		}
	}
	return nil
}

func finished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// outcomes are what a client wrote down last: of TCP, and of UDP.
func outcomes(pod *corev1.Pod) (tcp, udp probe.Outcome, err error) {
	if len(pod.Status.ContainerStatuses) == 0 || pod.Status.ContainerStatuses[0].State.Terminated == nil {
		return "", "", fmt.Errorf("pod %s in %s left no result", pod.Name, pod.Namespace)
	}
	message := pod.Status.ContainerStatuses[0].State.Terminated.Message
	decoder := json.NewDecoder(bytes.NewBufferString(message))
	var results [2]probe.Result
	for i := range results {
		if err := decoder.Decode(&results[i]); err != nil {
			return "", "", errors.Join(fmt.Errorf("pod %s in %s wrote %q", pod.Name, pod.Namespace, message), err)
		}
	}
	return results[0].Outcome, results[1].Outcome, nil
}
