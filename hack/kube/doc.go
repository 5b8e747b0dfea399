// Package kube runs a real Kubernetes control plane on this machine, from nothing but Go modules.
//
// [Build] compiles etcd, kube-apiserver and kube-controller-manager into the user's cache, once for all clones of the
// repository. [Start] runs them on loopback with what a production cluster has and a fake client lacks: RBAC,
// admission, quota status, garbage collection, namespace deletion, an audit log. What it does not have is a node, so
// pods are accepted and never run.
//
//	cluster, err := kube.Start(ctx, kube.Options{Progress: os.Stderr})
//	if err != nil {
//		return err
//	}
//	defer cluster.Stop()
//	config, err := cluster.Kubeconfig(kube.AdminUser, kube.AdminGroup)
//
// # Where things are
//
// Binaries live in the user's cache folder under broletto/kube/<key>, where the key names everything that shapes them; those
// of [BuildEngines], which run stacks, under broletto/engines/<key>.
// BROLETTO_CACHE replaces the broletto folder; KUBEBUILDER_ASSETS names a folder whose binaries are used instead.
//
// Everything that a control plane writes is in [Options].Dir: keys and certificates in pki, etcd's data, one log per
// process in logs, audit.log, and state.json, which says what wrote the folder.
//
// # Who may connect
//
// The API server asks for client certificates or service account tokens, as everywhere. Etcd, which knows no users
// here, listens on Unix sockets in Dir, which only its owner may enter: on a shared machine a loopback port would hand
// the whole cluster to everybody.
//
// # Who outlives whom
//
// Nobody. On Linux the kernel kills the processes when ours dies, however it dies. Elsewhere only [ControlPlane.Stop]
// ends them; but they hold the lock on Dir too, so what a killed test left behind is reported by the next Start there
// rather than fought with.
//
// # What takes its time
//
// Two waits are built into Kubernetes, and no flag shortens them: a namespace goes five seconds after its deletion at
// the earliest, and garbage collection and quotas learn of a new custom resource within 30 seconds.
package kube
