package csi

// Sidecars are the programs of kubernetes-csi that make snapshots and expansions work, and their arguments: one process of each for the cluster,
// as its administrator. They call the controller's socket, wait for it to appear, and end when it goes away.
func Sidecars(socket, kubeconfig string) map[string][]string {
	cluster := []string{"--kubeconfig=" + kubeconfig, "--leader-election=false", "--kube-api-qps=50", "--kube-api-burst=100"}
	// Snapshots of groups want CRDs of their own, and half a minute is waited for these at each start.
	const noGroups = "--feature-gates=CSIVolumeGroupSnapshot=false"
	address := "--csi-address=" + socket
	return map[string][]string{
		"snapshot-controller": append(cluster[:len(cluster):len(cluster)], noGroups), // binds VolumeSnapshots to contents; knows no driver
		"csi-snapshotter":     append(cluster[:len(cluster):len(cluster)], noGroups, address),
		"csi-resizer":         append(cluster[:len(cluster):len(cluster)], address, "--handle-volume-inuse-error=false"), // no watch of all pods
	}
}
