// Package node runs a real Kubernetes cluster with two nodes on one Linux machine, as root, from Go modules and Debian packages alone.
//
//	if err := node.Up(ctx, node.Options{Dir: dir, Source: repository, Progress: os.Stderr}); err != nil {
//		return err
//	}
//	defer node.Down(ctx, dir, node.RemoveFolder)
//
// # The box
//
// Everything lives in one set of kernel namespaces of its own (processes, mounts, network, host name): the box. It has no interface to
// the outside, so no packet leaves and no port is taken; the machine's firewall stays untouched. One process holds it, and when that one
// ends, the kernel ends every other process in it, and mounts and networks vanish. [Down] kills it, removes the cgroups, puts back the
// kernel's settings that kubelets change, removes the folder, and looks whether anything is left.
//
// A listener on 127.0.0.1, made outside and served inside, leads to the API server.
//
// # What is in it
//
// In the box's own network run the control plane and the scheduler, at 172.30.0.1, and the controllers of the volumes. Each node is a
// network namespace on the bridge 172.30.0.0/24, with containerd, kubelet, kube-proxy (nftables), and the enforcer of network policies
// of package policy; its pods are attached by the ptp plugin, so that all their traffic is forwarded, and judged, also that to a pod of the same
// node. One namespace more stands for the world: what is outside the cluster, with addresses that may be reached and ones that may not.
//
// Both versions of cgroups are supported; the second has not been tried on a machine of ours.
package node
