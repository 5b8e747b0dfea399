package workspace

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	networkingv1ac "k8s.io/client-go/applyconfigurations/networking/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/apply"
)

// closed are the ranges that no egress opens, whatever it names: link-local addresses of both families, among which are
// the metadata services of most clouds (169.254.169.254), and the metadata services that live elsewhere: AWS over IPv6,
// Alibaba, Azure's wire server, Oracle's classic platform.
var closed = []netip.Prefix{
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("fd00:ec2::254/128"),
	netip.MustParsePrefix("100.100.100.200/32"),
	netip.MustParsePrefix("168.63.129.16/32"),
	netip.MustParsePrefix("192.0.0.192/32"),
}

// granted is the network policy of all that a workspace may do: what default-deny leaves closed and this does not name stays closed.
func granted(w *v1alpha1.Workspace, c Context) apply.Object {
	return networkingv1ac.NetworkPolicy("granted", w.TargetNamespace()).WithSpec(networkingv1ac.NetworkPolicySpec().
		WithPodSelector(metav1ac.LabelSelector()).
		WithPolicyTypes(networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress).
		WithIngress(ingress(w, c)...).
		WithEgress(egress(w, c)...))
}

// ingress opens the own namespace, the ingress controller of the exposure, and peers that both sides named.
func ingress(w *v1alpha1.Workspace, c Context) []*networkingv1ac.NetworkPolicyIngressRuleApplyConfiguration {
	from := []*networkingv1ac.NetworkPolicyPeerApplyConfiguration{ownPods()}
	switch w.Spec.Network.Exposure {
	case v1alpha1.ExposureInternet:
		from = append(from, namespacePods(c.Consortium.Spec.Network.InternetIngress))
	case v1alpha1.ExposureConsortium:
		from = append(from, namespacePods(c.Consortium.Spec.Network.ConsortiumIngress))
	case v1alpha1.ExposureNone:
	}
	for _, namespace := range consenting(w, w.Spec.Network.AllowFrom, c.Callers) {
		from = append(from, namespacePods(namespace))
	}
	return []*networkingv1ac.NetworkPolicyIngressRuleApplyConfiguration{networkingv1ac.NetworkPolicyIngressRule().WithFrom(from...)}
}

// egress opens the cluster's DNS, the own namespace, peers that both sides named, and address ranges outside.
func egress(w *v1alpha1.Workspace, c Context) []*networkingv1ac.NetworkPolicyEgressRuleApplyConfiguration {
	to := []*networkingv1ac.NetworkPolicyPeerApplyConfiguration{ownPods()}
	for _, namespace := range consenting(w, w.Spec.Network.ConnectTo, c.Called) {
		to = append(to, namespacePods(namespace))
	}
	rules := []*networkingv1ac.NetworkPolicyEgressRuleApplyConfiguration{
		networkingv1ac.NetworkPolicyEgressRule().
			WithTo(namespacePods("kube-system").WithPodSelector(metav1ac.LabelSelector().WithMatchLabels(map[string]string{"k8s-app": "kube-dns"}))).
			WithPorts(port(corev1.ProtocolUDP, 53), port(corev1.ProtocolTCP, 53)),
		networkingv1ac.NetworkPolicyEgressRule().WithTo(to...),
	}
	for _, e := range w.Spec.Network.Egress {
		if _, shut := inside(e.CIDR, c.Consortium); shut {
			continue
		}
		rule := networkingv1ac.NetworkPolicyEgressRule().WithTo(networkingv1ac.NetworkPolicyPeer().WithIPBlock(block(e.CIDR, c)))
		for _, number := range slices.Sorted(slices.Values(e.Ports)) {
			rule.WithPorts(port(corev1.Protocol(e.Protocol), number))
		}
		rules = append(rules, rule)
	}
	return rules
}

// block is a range without what is closed in it.
func block(cidr v1alpha1.CIDR, c Context) *networkingv1ac.IPBlockApplyConfiguration {
	out := networkingv1ac.IPBlock().WithCIDR(string(cidr))
	outer, err := netip.ParsePrefix(string(cidr))
	if err != nil {
		return out
	}
	for _, inner := range closedRanges(c.Consortium) {
		if outer.Bits() < inner.Bits() && outer.Contains(inner.Addr()) {
			out.WithExcept(inner.String())
		}
	}
	return out
}

// inside returns the closed range that a CIDR lies in, if it does.
func inside(cidr v1alpha1.CIDR, c *v1alpha1.Consortium) (netip.Prefix, bool) {
	inner, err := netip.ParsePrefix(string(cidr))
	if err != nil {
		return netip.Prefix{}, false
	}
	for _, outer := range closedRanges(c) {
		if outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr()) {
			return outer, true
		}
	}
	return netip.Prefix{}, false
}

// closedRanges are sorted and without ranges that lie within another: a policy lists each address once.
func closedRanges(c *v1alpha1.Consortium) []netip.Prefix {
	all := slices.Clone(closed)
	for _, cidr := range c.Spec.Network.ProtectedCIDRs {
		if prefix, err := netip.ParsePrefix(string(cidr)); err == nil {
			all = append(all, prefix.Masked())
		}
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		if a.Addr() != b.Addr() {
			return a.Addr().Compare(b.Addr())
		}
		return a.Bits() - b.Bits()
	})
	var out []netip.Prefix
	for _, prefix := range all {
		if last := len(out) - 1; last < 0 || !out[last].Overlaps(prefix) {
			out = append(out, prefix)
		}
	}
	return out
}

// consenting are the namespaces of the named peers that name this workspace too, sorted.
func consenting(w *v1alpha1.Workspace, named []v1alpha1.Peer, consent []Peer) []string {
	var out []string
	for _, p := range named {
		if peer := peerOf(w, p); slices.Contains(consent, peer) {
			out = append(out, peer.Tenant+"--"+peer.Workspace)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// unanswered are the named peers that do not name this workspace, as "tenant/workspace", sorted.
func unanswered(w *v1alpha1.Workspace, named []v1alpha1.Peer, consent []Peer) []string {
	var out []string
	for _, p := range named {
		if peer := peerOf(w, p); !slices.Contains(consent, peer) {
			out = append(out, peer.Tenant+"/"+peer.Workspace)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// peerOf completes a peer that names no tenant with one's own.
func peerOf(w *v1alpha1.Workspace, p v1alpha1.Peer) Peer {
	if p.Tenant == "" {
		return Peer{Tenant: w.Namespace, Workspace: string(p.Workspace)}
	}
	return Peer{Tenant: string(p.Tenant), Workspace: string(p.Workspace)}
}

// names tells whether a workspace lists a peer.
func names(w *v1alpha1.Workspace, list []v1alpha1.Peer, peer Peer) bool {
	return slices.ContainsFunc(list, func(p v1alpha1.Peer) bool { return peerOf(w, p) == peer })
}

func ownPods() *networkingv1ac.NetworkPolicyPeerApplyConfiguration {
	return networkingv1ac.NetworkPolicyPeer().WithPodSelector(metav1ac.LabelSelector())
}

// namespacePods are all pods of one namespace, by the label that the API server itself puts on it.
func namespacePods(namespace string) *networkingv1ac.NetworkPolicyPeerApplyConfiguration {
	return networkingv1ac.NetworkPolicyPeer().WithNamespaceSelector(
		metav1ac.LabelSelector().WithMatchLabels(map[string]string{corev1.LabelMetadataName: namespace}))
}

func port(protocol corev1.Protocol, number int32) *networkingv1ac.NetworkPolicyPortApplyConfiguration {
	return networkingv1ac.NetworkPolicyPort().WithProtocol(protocol).WithPort(intstr.FromInt32(number))
}

// hostWithin tells whether a host is one of the domains or lies below one.
func hostWithin(host v1alpha1.Hostname, domains []v1alpha1.Hostname) bool {
	return slices.ContainsFunc(domains, func(d v1alpha1.Hostname) bool {
		return host == d || strings.HasSuffix(string(host), "."+string(d))
	})
}
