// Package localnode is the stand-in node of a control plane that has none: it runs the pods of stack runs, and no others, as processes of this
// machine. It tells the API server what a kubelet would tell, so that Jobs end and `kubectl logs` answers. It never pulls an image: whatever a
// pod's container names, the program that runs is the runner of [Options].
//
// On Linux as root a pod is jailed: PID, mount, IPC and UTS namespaces of its own, a root of its own in which nothing of this machine is but
// libraries, certificates and the engines, read-only, a user that no other pod has, no way to more rights, and limits. The network is this
// machine's: its pods reach what the machine reaches, loopback too, and network policies hold nothing here. Anywhere else a pod is a session
// of the caller's own user and can do what that user can: good enough for code that one wrote oneself.
//
// The node is nobody of the operator's: it acts as system:node:local, and binds pods as a user with three rights; see [For].
package localnode
