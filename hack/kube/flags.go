package kube

import (
	"net"
	"strconv"
)

// All processes run in the data folder and name files relative to it. For sockets that is a must: the system
// limits their paths to some hundred characters, which temporary folders can exceed.
const (
	etcdSocket = "unix://etcd.sock"
	peerSocket = "unix://peer.sock" // nobody calls it, but etcd insists on listening to its peers

	// What etcd tells other members about itself must look like a host and port. There are no other members.
	nowhere = "http://127.0.0.1:0"
)

// serverNames are the processes in the order in which they start.
var serverNames = []string{"etcd", "kube-apiserver", "kube-controller-manager"}

func etcdFlags() []string {
	return []string{
		"--name=default",
		"--data-dir=etcd",
		"--listen-client-urls=" + etcdSocket,
		"--advertise-client-urls=" + nowhere,
		"--listen-peer-urls=" + peerSocket,
		"--initial-advertise-peer-urls=" + nowhere,
		"--initial-cluster=default=" + nowhere,
		// A crash of the machine may cost the data. They are a test's, and writing is several times faster.
		"--unsafe-no-fsync",
		"--log-level=warn",
		"--log-format=console",
	}
}

func apiServerFlags(address net.IP, port int) []string {
	return append([]string{
		"--etcd-servers=" + etcdSocket,
		"--secure-port=" + strconv.Itoa(port),
		"--tls-cert-file=pki/apiserver.crt",
		"--tls-private-key-file=pki/apiserver.key",
		"--client-ca-file=pki/ca.crt",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=pki/sa.pub",
		"--service-account-signing-key-file=pki/sa.key",
		"--service-cluster-ip-range=" + ServiceRange,
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--audit-policy-file=audit-policy.yaml",
		"--audit-log-path=" + auditName,
		"--audit-log-mode=blocking", // what is buffered is lost when the server is killed
		"--audit-log-maxsize=0",     // a rotation would surprise readers
		// Enough that the server's fair queuing never slows a test down.
		"--max-requests-inflight=3000",
		"--max-mutating-requests-inflight=1000",
		"--profiling=false",
		// How it asks a node for the log of a pod.
		"--kubelet-client-certificate=pki/kubelet-client.crt",
		"--kubelet-client-key=pki/kubelet-client.key",
		"--kubelet-preferred-address-types=InternalIP",
	}, whereabouts(address)...)
}

// whereabouts are the API server's flags that depend on whether there are nodes.
func whereabouts(address net.IP) []string {
	if address == nil {
		return []string{
			"--bind-address=" + loopback,
			"--advertise-address=" + loopback,
			// Endpoints may not have loopback addresses, and there is no pod to use them.
			"--endpoint-reconciler-type=none",
			// A stand-in node serves logs with a certificate of ours; a real kubelet signs its own.
			"--kubelet-certificate-authority=pki/ca.crt",
		}
	}
	return []string{
		"--bind-address=0.0.0.0",
		"--advertise-address=" + address.String(),
		"--endpoint-reconciler-type=lease",
	}
}

// What nodes and their pods get.
const (
	PodRange     = "10.244.0.0/16"
	ServiceRange = "10.96.0.0/16"
)

func controllerManagerFlags(address net.IP) []string {
	flags := []string{
		"--kubeconfig=pki/controller-manager.kubeconfig",
		"--controllers=*",
		"--use-service-account-credentials=true",
		"--leader-elect=false",
		"--root-ca-file=pki/ca.crt",
		"--service-account-private-key-file=pki/sa.key",
		"--cluster-signing-cert-file=pki/ca.crt",
		"--cluster-signing-key-file=pki/ca.key",
		// At the default of 20 requests a second, creating the controllers' service accounts alone takes seconds.
		"--kube-api-qps=1000",
		"--kube-api-burst=2000",
		// An object made at the same moment as its quota is counted at the next full sync, by default after five minutes.
		"--resource-quota-sync-period=10s",
		"--secure-port=0", // nobody asks it anything
		"--profiling=false",
	}
	if address != nil {
		flags = append(flags,
			"--cluster-cidr="+PodRange, "--service-cluster-ip-range="+ServiceRange, "--allocate-node-cidrs=false", // whoever makes the nodes does
			// A node that is lost is known to be so after 16 s instead of 50, and its pods go 10 s later.
			"--node-monitor-grace-period=16s",
		)
	}
	return flags
}
