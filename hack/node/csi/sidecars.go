//go:build linux

package csi

import "slices"

// Sidecars are the programs of kubernetes-csi that make snapshots and expansions work, and their arguments: one process of each for the cluster,
// as its administrator. They call the controller's socket, wait for it to appear, and end when it goes away.
func Sidecars(socket, kubeconfig string) map[string][]string {
	cluster := []string{"--kubeconfig=" + kubeconfig, "--leader-election=false", "--kube-api-qps=50", "--kube-api-burst=100"}
	address := []string{"--csi-address=" + socket}
	// Snapshots of groups want CRDs of their own, and half a minute is waited for these at each start.
	noGroups := []string{"--feature-gates=CSIVolumeGroupSnapshot=false"}
	return map[string][]string{
		"snapshot-controller": slices.Concat(cluster, noGroups), // binds snapshots to their contents, whatever the driver
		"csi-snapshotter":     slices.Concat(cluster, noGroups, address),
		"csi-resizer":         slices.Concat(cluster, address, []string{"--handle-volume-inuse-error=false"}), // else it watches all pods
	}
}
