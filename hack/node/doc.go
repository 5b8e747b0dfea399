// Package node runs real Kubernetes nodes on this machine, in namespaces of the kernel that no packet leaves.
package node
