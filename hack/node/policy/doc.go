// Package policy enforces NetworkPolicies on one node: a test enforcer that stands for a conformant network plugin.
//
// It knows the whole of networking.k8s.io/v1 NetworkPolicy, for IPv4 only: pods are policed by, and peers known by, their IPv4 address, and a
// block of IPv6 addresses matches nothing. It must never be taken for a product: it believes source addresses, which a pod with CAP_NET_RAW
// can fake, and its text grows with pods times policies.
//
// [Run] watches the cluster, [Rules] renders one nftables table from what is there, and each change replaces the table whole, in one
// transaction; so its counters start again, and no packet ever meets half a policy. The table stays when Run ends.
//
// # What is judged where
//
// The table stands on the forward hook. Pods must be attached so that traffic between pods of one node is forwarded too, as the ptp
// plugin does. Services are translated before, in prerouting, so that rules see the addresses of pods. What a node itself sends to its
// pods, probes above all, never passes this hook, and is never cut.
//
// A connection is judged twice: by the policies for egress of its source, on that pod's node, and by those for ingress of its
// destination, on that one's. Only a first packet is judged. Connections that are established stay when a policy that forbids them comes,
// as the API leaves to the plugin; a test that tightens a policy opens a new connection.
//
// # Who is judged how
//
// Pods on the host's network are neither policed nor peers: their address is the node's. Pods that have ended are no peers either. An
// address in the node's range that is not (or not clearly) a pod's, is cut off both ways: a pod runs before its address shows up in the API,
// and would be open until then. A pod whose namespace is being deleted is policed as long as it has an address, but by the
// policies that are left: the cluster may delete these first.
package policy
