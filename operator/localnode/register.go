package localnode

import (
	"context"
	"encoding/json"
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
	"k8s.io/apimachinery/pkg/types"
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

// tell writes what of the node's status is its own; the rest, and the taints, are the controllers'. So it is a patch.
func (n *Node) tell(ctx context.Context, ready corev1.ConditionStatus, reason, message string) error {
	now := metav1.Now()
	capacity := corev1.ResourceList{
		corev1.ResourceCPU:  *resource.NewQuantity(int64(runtime.NumCPU()), resource.DecimalSI),
		corev1.ResourcePods: *resource.NewQuantity(int64(n.Slots), resource.DecimalSI),
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{
		"capacity": capacity, "allocatable": capacity,
		"addresses":       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: loopback}},
		"daemonEndpoints": corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: n.servingPort()}},
		"nodeInfo":        map[string]string{"operatingSystem": runtime.GOOS, "architecture": runtime.GOARCH},
		"conditions": []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: ready, Reason: reason, Message: message, LastHeartbeatTime: now, LastTransitionTime: now,
		}},
	}})
	if err != nil {
		return err
	}
	_, err = n.client.CoreV1().Nodes().Patch(ctx, Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil {
		return fmt.Errorf("writing the status of node %s: %w", Name, err)
	}
	return nil
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
