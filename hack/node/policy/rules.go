package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// State is all that the rules of a node depend on.
type State struct {
	Node       string       // whose pods are policed
	PodCIDR    netip.Prefix // that node's range of addresses for pods
	Pods       []*corev1.Pod
	Namespaces []*corev1.Namespace
	Policies   []*networkingv1.NetworkPolicy
}

// Rules renders the table of a node, as a script for nft that replaces the one that is there. The order of the lists makes no difference.
func Rules(s State) string {
	c := newCluster(s)
	var chains strings.Builder
	verdicts := map[string][]string{}
	for _, e := range c.endpoints {
		if e.pod.Spec.NodeName != s.Node {
			continue
		}
		for _, d := range []direction{egress, ingress} {
			verdict := "return"
			if allowed, policed := c.allowed(d, e); policed {
				chain := d.name + "-" + e.address.String()
				verdict = "goto " + chain
				fmt.Fprintf(&chains, "\n\tchain %s {\n\t\t%s\n\t\tcounter drop%s\n\t}\n", chain, strings.Join(allowed, "\n\t\t"),
					comment(e.pod.Namespace+"/"+e.pod.Name))
			}
			verdicts[d.name] = append(verdicts[d.name], e.address.String()+" : "+verdict)
		}
	}
	return table + judge(egress, verdicts[egress.name], s.PodCIDR) + judge(ingress, verdicts[ingress.name], s.PodCIDR) + chains.String() + "}\n"
}

// Table is the name of the table, of the family ip.
const Table = "broletto-policy"

// table replaces the table and judges first packets by their source, then by their destination. That the first judgement returns rather than
// accepts is what lets the second take place when both pods are on this node.
const table = "table ip " + Table + "\ndelete table ip " + Table + "\ntable ip " + Table + ` {
	chain forward {
		type filter hook forward priority filter - 5; policy accept;
		ct state established,related accept
		jump egress
		jump ingress
	}
`

// judge is the chain that sends the traffic of each pod to that pod's own chain. "goto" makes a return there end this chain as well.
func judge(d direction, verdicts []string, local netip.Prefix) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n\tchain %s {\n", d.name)
	if len(verdicts) > 0 {
		fmt.Fprintf(&b, "\t\t%s vmap {\n\t\t\t%s\n\t\t}\n", d.pod, strings.Join(verdicts, ",\n\t\t\t"))
	}
	fmt.Fprintf(&b, "\t\t%s %s counter drop comment \"not known to be a pod\"\n\t}\n", d.pod, local.Masked())
	return b.String()
}

// comment makes a comment that nft accepts: at most 128 bytes. Names in Kubernetes need no quoting.
func comment(text string) string {
	return fmt.Sprintf(" comment %q", text[:min(len(text), 120)])
}

// direction is which end of a connection a chain judges.
type direction struct {
	name, pod, peer string // pod and peer are where the addresses of the two stand in a packet
}

var (
	egress  = direction{name: "egress", pod: "ip saddr", peer: "ip daddr"}
	ingress = direction{name: "ingress", pod: "ip daddr", peer: "ip saddr"}
)

// endpoint is a pod that has an address of its own.
type endpoint struct {
	pod     *corev1.Pod
	address netip.Addr
}

// cluster is a state in a fixed order, with what is not on the network left out.
type cluster struct {
	endpoints  []endpoint
	namespaces map[string]labels.Set
	policies   []*networkingv1.NetworkPolicy
}

func newCluster(s State) *cluster {
	c := &cluster{namespaces: map[string]labels.Set{}}
	claims := map[netip.Addr]int{}
	for _, pod := range s.Pods {
		if address, ok := address(pod); ok {
			claims[address]++
			c.endpoints = append(c.endpoints, endpoint{pod, address})
		}
	}
	// An address can pass to the next pod before the last one's status says so. Whose policies hold is open until it does, so none opens it.
	c.endpoints = slices.DeleteFunc(c.endpoints, func(e endpoint) bool { return claims[e.address] > 1 })
	slices.SortFunc(c.endpoints, func(a, b endpoint) int { return a.address.Compare(b.address) })
	for _, ns := range s.Namespaces {
		c.namespaces[ns.Name] = ns.Labels
	}
	c.policies = slices.SortedFunc(slices.Values(s.Policies), func(a, b *networkingv1.NetworkPolicy) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return c
}

// address returns the IPv4 address that is the pod's own while it lives.
func address(pod *corev1.Pod) (netip.Addr, bool) {
	if pod.Spec.HostNetwork || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return netip.Addr{}, false
	}
	for _, ip := range append([]corev1.PodIP{{IP: pod.Status.PodIP}}, pod.Status.PodIPs...) {
		if a, err := netip.ParseAddr(ip.IP); err == nil && a.Is4() {
			return a, true
		}
	}
	return netip.Addr{}, false
}
