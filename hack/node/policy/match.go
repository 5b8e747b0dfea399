package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// rule is what rules for ingress and for egress have in common: everything but the names of their fields.
type rule struct {
	peers []networkingv1.NetworkPolicyPeer
	ports []networkingv1.NetworkPolicyPort
}

// rules returns what a policy allows in a direction, and whether it governs that direction at all.
func (d direction) rules(spec networkingv1.NetworkPolicySpec) (rules []rule, governs bool) {
	if d == ingress {
		for _, r := range spec.Ingress {
			rules = append(rules, rule{r.From, r.Ports})
		}
		return rules, len(spec.PolicyTypes) == 0 || slices.Contains(spec.PolicyTypes, networkingv1.PolicyTypeIngress)
	}
	for _, r := range spec.Egress {
		rules = append(rules, rule{r.To, r.Ports})
	}
	return rules, len(spec.PolicyTypes) == 0 && len(rules) > 0 || slices.Contains(spec.PolicyTypes, networkingv1.PolicyTypeEgress)
}

// allowed returns the nft rules that let the traffic of a pod pass, and whether any policy asks for them; all others are then cut.
func (c *cluster) allowed(d direction, e endpoint) (lines []string, policed bool) {
	lines = []string{fmt.Sprintf("%s %s return", d.peer, e.address)} // by way of a Service: no policy cuts a pod off from itself
	for _, p := range c.policies {
		if p.Namespace != e.pod.Namespace || !selects(&p.Spec.PodSelector, e.pod.Labels) {
			continue
		}
		rules, governs := d.rules(p.Spec)
		if !governs {
			continue
		}
		policed = true
		for _, r := range rules {
			for _, match := range c.matches(d, e, p.Namespace, r) {
				lines = append(lines, match+"return"+comment(p.Namespace+"/"+p.Name))
			}
		}
	}
	return lines, policed
}

// matches returns what a packet is to match, one of it, so that a rule of a policy in a namespace allows it.
func (c *cluster) matches(d direction, e endpoint, namespace string, r rule) (out []string) {
	peers := c.peers(d, namespace, r.peers)
	if len(r.ports) == 0 {
		return peers
	}
	for _, p := range r.ports {
		switch protocol := strings.ToLower(string(protocol(p.Protocol))); {
		case p.Port == nil:
			out = append(out, product(peers, "meta l4proto "+protocol+" ")...)
		case p.Port.Type == intstr.Int && p.EndPort != nil:
			out = append(out, product(peers, fmt.Sprintf("%s dport %d-%d ", protocol, p.Port.IntVal, *p.EndPort))...)
		case p.Port.Type == intstr.Int:
			out = append(out, product(peers, fmt.Sprintf("%s dport %d ", protocol, p.Port.IntVal))...)
		case d == ingress:
			for _, number := range named(e.pod, p) {
				out = append(out, product(peers, fmt.Sprintf("%s dport %d ", protocol, number))...)
			}
		default:
			numbers := c.namedAt(namespace, r.peers, p)
			for _, number := range slices.Sorted(maps.Keys(numbers)) {
				out = append(out, fmt.Sprintf("%s %s%s dport %d ", d.peer, set(numbers[number]), protocol, number))
			}
		}
	}
	return out
}

func product(peers []string, port string) (out []string) {
	for _, peer := range peers {
		out = append(out, peer+port)
	}
	return out
}

func protocol(p *corev1.Protocol) corev1.Protocol {
	if p == nil {
		return corev1.ProtocolTCP
	}
	return *p
}

// peers returns what the peer's address is to match, one of it. No peers in a policy are all peers; selectors that find no pod are none.
func (c *cluster) peers(d direction, namespace string, peers []networkingv1.NetworkPolicyPeer) (out []string) {
	if len(peers) == 0 {
		return []string{""}
	}
	var found []netip.Addr
	for _, e := range c.endpoints {
		if slices.ContainsFunc(peers, func(p networkingv1.NetworkPolicyPeer) bool { return p.IPBlock == nil && c.isPeer(e, namespace, p) }) {
			found = append(found, e.address)
		}
	}
	if len(found) > 0 {
		out = append(out, d.peer+" "+set(found))
	}
	for _, p := range peers {
		b, ok := parseBlock(p.IPBlock)
		switch {
		case ok && len(b.except) > 0:
			out = append(out, fmt.Sprintf("%s %s %s != %s", d.peer, b.cidr, d.peer, set(b.except)))
		case ok:
			out = append(out, fmt.Sprintf("%s %s ", d.peer, b.cidr))
		}
	}
	return out
}

// namedAt returns, for a port that each destination numbers for itself, the peers that have it, by number.
func (c *cluster) namedAt(namespace string, peers []networkingv1.NetworkPolicyPeer, port networkingv1.NetworkPolicyPort) map[int32][]netip.Addr {
	out := map[int32][]netip.Addr{}
	for _, e := range c.endpoints {
		if len(peers) == 0 || slices.ContainsFunc(peers, func(p networkingv1.NetworkPolicyPeer) bool { return c.isPeer(e, namespace, p) }) {
			for _, number := range named(e.pod, port) {
				out[number] = append(out[number], e.address)
			}
		}
	}
	return out
}

// named returns the numbers that a port's name has in a pod.
func named(pod *corev1.Pod, port networkingv1.NetworkPolicyPort) (out []int32) {
	containers := slices.Clone(pod.Spec.Containers)
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways { // a sidecar, which serves like the rest
			containers = append(containers, c)
		}
	}
	for _, c := range containers {
		for _, p := range c.Ports {
			same := p.Protocol == protocol(port.Protocol) || p.Protocol == "" && protocol(port.Protocol) == corev1.ProtocolTCP
			if same && p.Name == port.Port.StrVal && !slices.Contains(out, p.ContainerPort) {
				out = append(out, p.ContainerPort)
			}
		}
	}
	return out
}

// isPeer says whether a pod is meant by a peer in a policy of a namespace.
func (c *cluster) isPeer(e endpoint, namespace string, p networkingv1.NetworkPolicyPeer) bool {
	if p.IPBlock != nil {
		b, ok := parseBlock(p.IPBlock)
		return ok && b.cidr.Contains(e.address) && !slices.ContainsFunc(b.except, func(x netip.Prefix) bool { return x.Contains(e.address) })
	}
	if p.NamespaceSelector == nil {
		return e.pod.Namespace == namespace && selects(p.PodSelector, e.pod.Labels)
	}
	its, known := c.namespaces[e.pod.Namespace]
	return known && selects(p.NamespaceSelector, its) && (p.PodSelector == nil || selects(p.PodSelector, e.pod.Labels))
}

// selects says whether a selector finds something so labelled. The API server lets no selector in that cannot be read.
func selects(s *metav1.LabelSelector, its labels.Set) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(its)
}

// block is a range of addresses, and what in it is not meant.
type block struct {
	cidr   netip.Prefix
	except []netip.Prefix // disjoint, as nft wants the elements of a set
}

// parseBlock returns false for what is no range of IPv4 addresses, or has an exception that cannot be read: then nothing in it is allowed.
func parseBlock(b *networkingv1.IPBlock) (block, bool) {
	if b == nil {
		return block{}, false
	}
	cidr, err := netip.ParsePrefix(b.CIDR)
	if err != nil || !cidr.Addr().Is4() {
		return block{}, false
	}
	var except []netip.Prefix
	for _, text := range b.Except {
		x, err := netip.ParsePrefix(text)
		if err != nil || !x.Addr().Is4() {
			return block{}, false
		}
		except = append(except, x.Masked())
	}
	slices.SortFunc(except, netip.Prefix.Compare) // a wider range stands before those in it
	out := block{cidr: cidr.Masked()}
	for _, x := range except {
		if n := len(out.except); n == 0 || !out.except[n-1].Contains(x.Addr()) {
			out.except = append(out.except, x)
		}
	}
	return out, true
}

// set renders a set of addresses or ranges.
func set[T fmt.Stringer](elements []T) string {
	var out []string
	for _, e := range elements {
		out = append(out, e.String())
	}
	return "{ " + strings.Join(out, ", ") + " } "
}
