package policy

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"
)

// needs skips a test that cannot run here, but never in CI.
func needs(t *testing.T, tools ...string) {
	t.Helper()
	var missing []string
	if os.Getuid() != 0 {
		missing = append(missing, "root")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, tool)
		}
	}
	switch {
	case len(missing) == 0:
	case os.Getenv("CI") != "":
		t.Fatalf("needs %s", strings.Join(missing, ", "))
	default:
		t.Skipf("needs %s", strings.Join(missing, ", "))
	}
}

// TestNftAcceptsEveryGolden and the next test check only: nothing is loaded.
func TestNftAcceptsEveryGolden(t *testing.T) {
	needs(t, "nft", "nsenter")
	s := newSpace(t)
	for _, folder := range cases(t) {
		s.run(t, read(t, folder+"/out.nft"), "nft", "-c", "-f", "-")
	}
}

// TestNftAcceptsEveryState covers what the API server lets in, and some that it does not.
func TestNftAcceptsEveryState(t *testing.T) {
	needs(t, "nft", "nsenter")
	s := newSpace(t)
	rapid.Check(t, func(r *rapid.T) {
		script := Rules(someState(r))
		if out, err := s.command(script, "nft", "-c", "-f", "-").CombinedOutput(); err != nil {
			r.Fatalf("%v: %s\n%s", err, out, script)
		}
	})
}

// TestLoadSaysWhy loads nothing: nft reads no further than the mistake.
func TestLoadSaysWhy(t *testing.T) {
	needs(t, "nft")
	if err := load(t.Context(), "table ip {"); err == nil || !strings.Contains(err.Error(), "syntax error") {
		t.Errorf("got %v, want nft's own words", err)
	}
}

func someState(r *rapid.T) State {
	s := State{Node: "n1", PodCIDR: netip.MustParsePrefix("10.244.1.0/24")}
	for i := range some(r, 6) {
		s.Pods = append(s.Pods, somePod(r, fmt.Sprintf("pod-%d.%s", i, strings.Repeat("x", rapid.IntRange(0, 200).Draw(r, "length")))))
	}
	for i := range some(r, 4) {
		s.Policies = append(s.Policies, somePolicy(r, fmt.Sprintf("policy-%d", i)))
	}
	for _, name := range []string{"shop", "bank"} {
		s.Namespaces = append(s.Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}}})
	}
	return s
}

func somePod(r *rapid.T, name string) *corev1.Pod {
	p := pod(name, pick(r, "", "10.244.1.2", "10.244.1.3", "10.244.1.4", "192.0.2.9", "fd00::2"))
	p.Namespace, p.Labels = pick(r, "shop", "bank"), map[string]string{"app": pick(r, "web", "db")}
	p.Spec.NodeName, p.Spec.HostNetwork = pick(r, "n1", "n1", "n2"), pick(r, false, false, true)
	for range some(r, 3) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Ports: []corev1.ContainerPort{{
			Name: pick(r, "http", "dns"), ContainerPort: pick[int32](r, 1, 53, 8080, 65535), Protocol: pick(r, "", corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP),
		}}})
	}
	return p
}

func somePolicy(r *rapid.T, name string) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: pick(r, "shop", "bank")}}
	p.Spec.PolicyTypes = pick(r, nil, []networkingv1.PolicyType{"Ingress"}, []networkingv1.PolicyType{"Egress"}, []networkingv1.PolicyType{"Ingress", "Egress"})
	for range some(r, 3) {
		p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: somePeers(r), Ports: somePorts(r)})
		p.Spec.Egress = append(p.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: somePeers(r), Ports: somePorts(r)})
	}
	return p
}

func somePeers(r *rapid.T) (peers []networkingv1.NetworkPolicyPeer) {
	for range some(r, 3) {
		p := networkingv1.NetworkPolicyPeer{}
		if pick(r, true, false) {
			p.IPBlock = &networkingv1.IPBlock{CIDR: pick(r, "0.0.0.0/0", "10.0.0.0/8", "10.244.1.2/32", "10.244.1.2/31", "::/0")}
			for range some(r, 5) {
				p.IPBlock.Except = append(p.IPBlock.Except, pick(r, "10.0.0.0/9", "10.128.0.0/9", "10.244.0.0/16", "10.244.1.2/16", "10.244.1.2/32", "0.0.0.0/0"))
			}
		} else {
			selectors := []*metav1.LabelSelector{nil, {}, {MatchLabels: map[string]string{"app": "web"}}, {MatchLabels: map[string]string{"app": "shop"}}}
			p.PodSelector, p.NamespaceSelector = pick(r, selectors...), pick(r, selectors...)
		}
		peers = append(peers, p)
	}
	return peers
}

func somePorts(r *rapid.T) (ports []networkingv1.NetworkPolicyPort) {
	tcp, udp, sctp, last := corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP, int32(65535)
	for range some(r, 3) {
		p := networkingv1.NetworkPolicyPort{Protocol: pick(r, nil, &tcp, &udp, &sctp)}
		switch number := intstr.FromInt32(pick[int32](r, 1, 80, 8080, last)); pick(r, "none", "number", "range", "name") {
		case "number":
			p.Port = &number
		case "range":
			p.Port, p.EndPort = &number, &last
		case "name":
			name := intstr.FromString(pick(r, "http", "dns"))
			p.Port = &name
		}
		ports = append(ports, p)
	}
	return ports
}

func some(r *rapid.T, most int) int { return rapid.IntRange(0, most).Draw(r, "number") }

func pick[T any](r *rapid.T, of ...T) T { return rapid.SampledFrom(of).Draw(r, "choice") }
