package localnode

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"runtime"
	"strconv"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
)

const (
	loopback = "127.0.0.1"
	// beatEvery and leaseLife are a kubelet's.
	beatEvery = 10 * time.Second
	leaseLife = 40 * time.Second
)

// address is where pods reach the API server.
func address(cfg *rest.Config) (host, port string, err error) {
	u, err := url.Parse(cfg.Host)
	if err != nil {
		return "", "", fmt.Errorf("reading the API server's address %s: %w", cfg.Host, err)
	}
	if host, port, err = net.SplitHostPort(u.Host); err != nil {
		return "", "", fmt.Errorf("reading the API server's address %s: %w", cfg.Host, err)
	}
	return host, port, nil
}

// register makes the node, or takes up the one that is there, and says that it is ready.
func (n *Node) register(ctx context.Context) error {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: Name, Labels: map[string]string{
		Label: "true", corev1.LabelOSStable: runtime.GOOS, corev1.LabelArchStable: runtime.GOARCH, corev1.LabelHostname: Name,
	}}}
	if _, err := n.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("registering node %s: %w", Name, err)
	}
	if err := n.renew(ctx); err != nil {
		return err
	}
	return n.tell(ctx, corev1.ConditionTrue, "LocalNodeReady", "runs the pods of stack runs as processes of this machine")
}

// leave says that nothing runs here any more. The node stays, as the pods that ran on it do.
func (n *Node) leave(ctx context.Context) error {
	err := n.tell(ctx, corev1.ConditionFalse, "LocalNodeStopped", "the program that ran it was stopped")
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// tell writes the node's status.
func (n *Node) tell(ctx context.Context, ready corev1.ConditionStatus, reason, message string) error {
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		node, err := n.client.CoreV1().Nodes().Get(ctx, Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		node.Status.Capacity = corev1.ResourceList{
			corev1.ResourceCPU:  *resource.NewQuantity(int64(runtime.NumCPU()), resource.DecimalSI),
			corev1.ResourcePods: *resource.NewQuantity(int64(n.Slots), resource.DecimalSI),
		}
		node.Status.Allocatable = node.Status.Capacity
		node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: loopback}}
		node.Status.DaemonEndpoints.KubeletEndpoint.Port = n.servingPort()
		node.Status.NodeInfo.OperatingSystem, node.Status.NodeInfo.Architecture = runtime.GOOS, runtime.GOARCH
		node.Status.Conditions = withReady(node.Status.Conditions, ready, reason, message)
		_, err = n.client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("writing the status of node %s: %w", Name, err)
	}
	return nil
}

// withReady sets the Ready condition and leaves the others, which controllers may have written.
func withReady(all []corev1.NodeCondition, status corev1.ConditionStatus, reason, message string) []corev1.NodeCondition {
	now := metav1.Now()
	c := corev1.NodeCondition{
		Type: corev1.NodeReady, Status: status, Reason: reason, Message: message, LastHeartbeatTime: now, LastTransitionTime: now,
	}
	for i := range all {
		if all[i].Type == c.Type {
			if all[i].Status == status {
				c.LastTransitionTime = all[i].LastTransitionTime
			}
			all[i] = c
			return all
		}
	}
	return append(all, c)
}

// beat renews the lease, by which the node lifecycle controller knows that the node lives.
func (n *Node) beat(ctx context.Context) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := n.renew(ctx); err != nil && ctx.Err() == nil {
				n.Log.Error(err, "lease not renewed")
			}
		}
	}
}

func (n *Node) renew(ctx context.Context) error {
	leases := n.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	spec := coordinationv1.LeaseSpec{
		HolderIdentity: new(Name), LeaseDurationSeconds: new(int32(leaseLife.Seconds())), RenewTime: new(metav1.NowMicro()),
	}
	err := retry.OnError(retry.DefaultBackoff, leaseMoved, func() error {
		lease, err := leases.Get(ctx, Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			_, err = leases.Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: Name}, Spec: spec}, metav1.CreateOptions{})
			return err
		}
		if err != nil {
			return err
		}
		lease.Spec = spec
		_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("renewing the lease of node %s: %w", Name, err)
	}
	return nil
}

// leaseMoved says whether another try may do: somebody else wrote it, or the namespace of a new cluster is not there yet.
func leaseMoved(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
}

func (n *Node) servingPort() int32 {
	_, port, err := net.SplitHostPort(n.listener.Addr().String())
	if err != nil {
		return 0
	}
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		return 0
	}
	return int32(number)
}
