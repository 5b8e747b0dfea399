//go:build linux

package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/broletto/broletto/hack/kube"
)

// box is what the main process of a box knows.
type box struct {
	setting
	say func(format string, args ...any)

	ordering sync.Mutex // one order at a time

	plane   *kube.ControlPlane
	units   units
	config  *rest.Config
	client  kubernetes.Interface
	dynamic dynamic.Interface
}

// start brings everything up, what does not depend on one another at the same time.
func (b *box) start() error {
	ctx, cancel := context.WithTimeout(context.Background(), upPatience)
	defer cancel()
	b.units.dir = b.Dir
	if err := makeNetwork(len(Nodes)); err != nil {
		return err
	}
	if err := together(
		func() error { return b.startControlPlane(ctx) },
		func() error { return together(b.eachNode(func(n *node) error { return n.startContainers(ctx) })...) },
	); err != nil {
		return err
	}
	b.say("control plane and containers run")
	if err := b.connect(); err != nil {
		return err
	}
	if err := together(append(b.eachNode(func(n *node) error { return n.startPods(ctx) }), func() error { return b.startAddons(ctx) })...); err != nil {
		return err
	}
	b.say("%d nodes are ready", len(Nodes))
	if err := b.awaitAddons(ctx); err != nil {
		return err
	}
	b.say("names and volumes are served")
	return nil
}

// eachNode makes a step for each node.
func (b *box) eachNode(step func(*node) error) []func() error {
	var steps []func() error
	for i, name := range Nodes {
		n := &node{box: b, name: name, address: nodeAddress(i + 1), podRange: podRange(i + 1)}
		steps = append(steps, func() error { return step(n) })
	}
	return steps
}

// together runs the steps at the same time.
func together(steps ...func() error) error {
	failed := make([]error, len(steps))
	var all sync.WaitGroup
	for i, step := range steps {
		all.Go(func() { failed[i] = step() })
	}
	all.Wait()
	return errors.Join(failed...)
}

// startControlPlane runs the control plane on the bridge, and the scheduler.
func (b *box) startControlPlane(ctx context.Context) (err error) {
	// Its binaries are built already: what it is told to take for its cache holds them.
	if err := os.Setenv("KUBEBUILDER_ASSETS", b.ControlBin); err != nil {
		return err
	}
	b.plane, err = kube.Start(ctx, b.planeOptions())
	if err != nil {
		return err
	}
	config, err := b.kubeconfig("scheduler", "system:kube-scheduler")
	if err != nil {
		return err
	}
	return b.units.run(&unit{name: "kube-scheduler", command: []string{
		filepath.Join(b.Bin, "kube-scheduler"), "--kubeconfig=" + config, "--authentication-kubeconfig=" + config, "--authorization-kubeconfig=" + config,
		"--leader-elect=false", "--bind-address=127.0.0.1", "--secure-port=0", "--profiling=false",
	}})
}

func (b *box) planeOptions() kube.Options {
	return kube.Options{Dir: filepath.Join(b.Dir, "control"), Port: 6443, Address: net.ParseIP(controlAddress)}
}

// Users of ours in the box, beside those that Kubernetes names. They may do everything: what they do is not what is tested.
const (
	policyUser  = "policy"
	volumesUser = "system:serviceaccount:kube-system:volumes" // as where it runs in a pod: admission policies know it for a controller
)

// connect makes clients that may do everything, and kubeconfigs for what runs in the box.
func (b *box) connect() error {
	text, err := b.plane.Kubeconfig(kube.AdminUser, kube.AdminGroup)
	if err != nil {
		return err
	}
	if b.config, err = clientcmd.RESTConfigFromKubeConfig(text); err != nil {
		return err
	}
	b.config.QPS = -1
	if b.client, err = kubernetes.NewForConfig(b.config); err != nil {
		return err
	}
	if b.dynamic, err = dynamic.NewForConfig(b.config); err != nil {
		return err
	}
	for user, groups := range map[string][]string{"system:kube-proxy": nil, policyUser: {kube.AdminGroup}, volumesUser: {kube.AdminGroup}} {
		if _, err := b.kubeconfig(user[strings.LastIndex(user, ":")+1:], user, groups...); err != nil {
			return err
		}
	}
	return nil
}

// kubeconfig writes one for a user to a file, for use in the box.
func (b *box) kubeconfig(file, user string, groups ...string) (path string, err error) {
	text, err := b.plane.Kubeconfig(user, groups...)
	if err != nil {
		return "", err
	}
	path = filepath.Join(b.Dir, "control", "pki", file+".kubeconfig")
	return path, os.WriteFile(path, text, 0o600)
}

// await asks again and again until the answer is nil, or ctx ends.
func await(ctx context.Context, what string, ask func(context.Context) error) error {
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w; the last answer was: %w", what, ctx.Err(), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
