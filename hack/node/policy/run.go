package policy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// pause is the shortest time between two writes. A cluster that comes up changes often.
const pause = 100 * time.Millisecond

// Run enforces the NetworkPolicies of the cluster on a node until ctx ends, in the network namespace that this process is in. It calls ready
// once, when the first rules are in force. Its user must be allowed to list and watch nodes, namespaces, pods and networkpolicies.
func Run(ctx context.Context, cfg *rest.Config, node string, ready func()) error {
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return fmt.Errorf("network policies of node %s: %w", node, err)
	}
	if err := run(ctx, client, node, load, ready); err != nil && ctx.Err() == nil {
		return fmt.Errorf("network policies of node %s: %w", node, err)
	}
	return nil
}

// run is Run with whatever writes the rules.
func run(ctx context.Context, client kubernetes.Interface, node string, write func(context.Context, string) error, ready func()) error {
	ctx, cancel := context.WithCancel(ctx)
	factory := informers.NewSharedInformerFactory(client, 0)
	defer factory.Shutdown()
	defer cancel()
	changed := make(chan struct{}, 1)
	seen, err := watch(factory, node, changed)
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	for applied := ""; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		state, err := seen()
		if err != nil {
			return err
		}
		if text := Rules(state); state.PodCIDR.IsValid() && text != applied {
			if err := write(ctx, text); err != nil {
				return err
			}
			if applied == "" {
				ready()
			}
			applied = text
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// watch makes every change in the cluster known to a channel, and returns what reads the state that they led to.
func watch(factory informers.SharedInformerFactory, node string, changed chan<- struct{}) (func() (State, error), error) {
	tell := func() {
		select {
		case changed <- struct{}{}:
		default: // one is waiting already, and will see this change too
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { tell() }, UpdateFunc: func(any, any) { tell() }, DeleteFunc: func(any) { tell() },
	}
	nodes, pods := factory.Core().V1().Nodes(), factory.Core().V1().Pods()
	namespaces, policies := factory.Core().V1().Namespaces(), factory.Networking().V1().NetworkPolicies()
	for _, i := range []cache.SharedIndexInformer{nodes.Informer(), pods.Informer(), namespaces.Informer(), policies.Informer()} {
		if _, err := i.AddEventHandler(handler); err != nil {
			return nil, err
		}
	}
	return func() (s State, err error) {
		s.Node = node
		// A node that is not there yet, or has no range yet, will be an event of its own.
		if n, err := nodes.Lister().Get(node); err == nil {
			s.PodCIDR = podCIDR(n)
		}
		var errs [3]error
		s.Pods, errs[0] = pods.Lister().List(labels.Everything())
		s.Namespaces, errs[1] = namespaces.Lister().List(labels.Everything())
		s.Policies, errs[2] = policies.Lister().List(labels.Everything())
		return s, errors.Join(errs[:]...)
	}, nil
}

// podCIDR returns the node's range of IPv4 addresses for pods, or the zero Prefix.
func podCIDR(n *corev1.Node) netip.Prefix {
	for _, text := range n.Spec.PodCIDRs {
		if p, err := netip.ParsePrefix(text); err == nil && p.Addr().Is4() {
			return p
		}
	}
	return netip.Prefix{}
}

// load has nft run a script, as one transaction.
func load(ctx context.Context, script string) error {
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("nft: %w; the rules loaded before stay in force: %s", err, strings.TrimSpace(said.String()))
	}
	return nil
}
