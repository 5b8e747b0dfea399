package isolation

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/broletto/broletto/api/v1alpha1"
)

// both is met when each of two is.
func both(a, b judge) judge {
	return func(f facts, found *findings) {
		a(f, found)
		b(f, found)
	}
}

// everywhere asks a question of each managed namespace of the tenant.
func everywhere(ask func(facts, place, *findings)) judge {
	return func(f facts, found *findings) {
		for _, p := range f.places {
			ask(f, p, found)
		}
	}
}

// enforces is met when every namespace is pinned to one of these Pod Security Standards.
func enforces(levels ...string) judge {
	return everywhere(func(_ facts, p place, found *findings) {
		level := p.namespace.Labels["pod-security.kubernetes.io/enforce"]
		found.note(slices.Contains(levels, level), p.namespace, "namespace %s enforces %q", p.namespace.Name, level)
	})
}

// guarded is met when admission policies stand, and every namespace carries the label by which they know it.
func guarded(policies ...string) judge {
	return func(f facts, found *findings) {
		for _, name := range policies {
			p := f.policies[name]
			text := "policy %s is not as it should be"
			if p.stands {
				text = "policy %s is in force"
			}
			found.noteAt(p.stands, p.at, text, name)
		}
		for _, p := range f.places {
			label := p.namespace.Labels[v1alpha1.LabelTenant]
			found.note(label == f.tenant.Name, p.namespace, "namespace %s is labelled as that of tenant %q", p.namespace.Name, label)
		}
	}
}

// pullsAlways is met where every pod asks the registry for its images. Where the consortium leaves that to pods, their nodes may see to it
// that nobody runs another's image; nothing in the cluster tells.
func pullsAlways(_ facts, p place, found *findings) {
	always := p.namespace.Labels[v1alpha1.LabelPullAlways]
	found.note(always == "true", p.namespace, "namespace %s has its pods pull always: %q", p.namespace.Name, always)
}

// sharesBounded is met when what nodes and stores give out is bounded: by amounts, or since nothing that takes them may be there.
func sharesBounded(_ facts, p place, found *findings) {
	var names []corev1.ResourceName
	if !p.none(corev1.ResourcePods) {
		names = append(names, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory)
	}
	if !p.none(corev1.ResourcePersistentVolumeClaims) {
		names = append(names, corev1.ResourceRequestsStorage)
	}
	p.bounded(names, found)
}

// objectsBounded is met when the number of objects is bounded, of kinds that cost something or fill the cluster's store.
func objectsBounded(_ facts, p place, found *findings) {
	p.bounded([]corev1.ResourceName{
		corev1.ResourcePods, corev1.ResourcePersistentVolumeClaims, corev1.ResourceServicesLoadBalancers, corev1.ResourceServicesNodePorts,
		"count/configmaps", "count/secrets", "count/services",
	}, found)
}

func hasQuota(_ facts, p place, found *findings) { p.bounded(nil, found) }

// none tells whether the quota allows none of something.
func (p place) none(name corev1.ResourceName) bool {
	if p.quota == nil {
		return false
	}
	limit, named := p.quota.Spec.Hard[name]
	return named && limit.IsZero()
}

// bounded notes whether the quota bounds all these. While the controller manager has counted nothing yet, the API server admits nothing
// that a quota names; what is named later is not bounded before it was counted.
func (p place) bounded(names []corev1.ResourceName, found *findings) {
	if p.quota == nil {
		found.note(false, nil, "namespace %s has no quota of ours", p.namespace.Name)
		return
	}
	var open []string
	for _, name := range names {
		_, named := p.quota.Spec.Hard[name]
		_, known := p.quota.Status.Hard[name]
		_, counted := p.quota.Status.Used[name]
		if !named || (!(known && counted) && len(p.quota.Status.Hard) > 0) {
			open = append(open, string(name))
		}
	}
	if len(open) > 0 {
		found.note(false, p.quota, "the quota of namespace %s does not bound %s", p.namespace.Name, strings.Join(open, ", "))
		return
	}
	found.note(true, p.quota, "the quota of namespace %s bounds it", p.namespace.Name)
}

// noNodePorts is met where no port of the nodes is granted: the policy reads the annotation, Kubernetes the quota.
func noNodePorts(_ facts, p place, found *findings) {
	granted := slices.Contains(strings.Fields(p.namespace.Annotations[v1alpha1.AnnotationServiceTypes]), string(corev1.ServiceTypeNodePort))
	switch {
	case !granted:
		found.note(true, p.namespace, "no NodePort is granted to namespace %s", p.namespace.Name)
	case p.none(corev1.ResourceServicesNodePorts):
		found.note(true, p.quota, "the quota of namespace %s allows no NodePort", p.namespace.Name)
	default:
		found.note(false, p.namespace, "NodePort is granted to namespace %s", p.namespace.Name)
	}
}

// reclaimed is met when what the tenant's storage classes make goes with its claim. A class that is not there makes nothing.
func reclaimed(f facts, found *findings) {
	for _, wanted := range f.tenant.Spec.StorageClasses {
		class := f.classes[wanted.Name]
		if class == nil {
			found.note(true, nil, "there is no storage class %s", wanted.Name)
			continue
		}
		policy := corev1.PersistentVolumeReclaimDelete // Kubernetes' default
		if class.ReclaimPolicy != nil {
			policy = *class.ReclaimPolicy
		}
		found.note(policy == corev1.PersistentVolumeReclaimDelete, class, "storage class %s reclaims by %s", class.Name, policy)
	}
}

// closed is met when every namespace is closed, and what we opened beside that opens other tenants' namespaces only by consent.
func closed(f facts, found *findings) {
	for _, p := range f.places {
		deny := slices.IndexFunc(p.network, isDenial)
		if deny < 0 {
			found.note(false, nil, "namespace %s has no policy that closes it", p.namespace.Name)
			continue
		}
		found.note(true, p.network[deny], "policy %s closes namespace %s", p.network[deny].Name, p.namespace.Name)
		for _, policy := range p.network {
			leaks := f.leaks(p, policy)
			for _, leak := range leaks {
				found.note(false, policy, "policy %s of namespace %s opens %s", policy.Name, p.namespace.Name, leak)
			}
			if len(leaks) == 0 && policy != p.network[deny] {
				found.note(true, policy, "policy %s of namespace %s opens to no other tenant but by consent", policy.Name, p.namespace.Name)
			}
		}
	}
}

// isDenial tells whether a policy closes all pods of its namespace in both directions and opens nothing.
func isDenial(policy *networkingv1.NetworkPolicy) bool {
	s := policy.Spec
	return len(s.PodSelector.MatchLabels)+len(s.PodSelector.MatchExpressions)+len(s.Ingress)+len(s.Egress) == 0 &&
		slices.Contains(s.PolicyTypes, networkingv1.PolicyTypeIngress) && slices.Contains(s.PolicyTypes, networkingv1.PolicyTypeEgress)
}

// leaks are what a policy opens that nobody consented to.
func (f facts) leaks(p place, policy *networkingv1.NetworkPolicy) (out []string) {
	for _, rule := range policy.Spec.Ingress {
		out = append(out, f.strangers(p, rule.From, callers)...)
		if slices.ContainsFunc(rule.From, func(peer networkingv1.NetworkPolicyPeer) bool { return peer.IPBlock != nil }) {
			out = append(out, "addresses, which other tenants' pods have")
		}
	}
	for _, rule := range policy.Spec.Egress {
		out = append(out, f.strangers(p, rule.To, called)...)
	}
	return out
}

// direction is whom of two workspaces each has to name.
type direction func(*v1alpha1.Workspace) (theirs, ours []v1alpha1.Peer)

func callers(w *v1alpha1.Workspace) (theirs, ours []v1alpha1.Peer) {
	return w.Spec.Network.ConnectTo, w.Spec.Network.AllowFrom
}

func called(w *v1alpha1.Workspace) (theirs, ours []v1alpha1.Peer) {
	return w.Spec.Network.AllowFrom, w.Spec.Network.ConnectTo
}

// strangers are the peers of a rule that it must not have: everybody, namespaces that are not named, other tenants without consent.
// On the way out a range of addresses opens no tenant: each is closed on its own side.
func (f facts) strangers(p place, peers []networkingv1.NetworkPolicyPeer, toward direction) (out []string) {
	if len(peers) == 0 {
		out = append(out, "everybody")
	}
	for _, peer := range peers {
		s := peer.NamespaceSelector
		if s == nil {
			continue
		}
		name := s.MatchLabels[corev1.LabelMetadataName]
		tenant, _, _ := strings.Cut(name, "--")
		switch {
		case name == "" || len(s.MatchExpressions) > 0:
			out = append(out, "namespaces that it does not name")
		case tenant != f.tenant.Name && f.tenants[tenant] && !f.consented(p.workspace, f.workspaces[name], toward):
			out = append(out, "namespace "+name+" without consent")
		}
	}
	return out
}

// consented tells whether two workspaces name each other.
func (f facts) consented(own, other *v1alpha1.Workspace, toward direction) bool {
	if own == nil || other == nil {
		return false
	}
	names := func(w *v1alpha1.Workspace, list []v1alpha1.Peer, peer *v1alpha1.Workspace) bool {
		return slices.ContainsFunc(list, func(p v1alpha1.Peer) bool {
			tenant := string(p.Tenant)
			if tenant == "" {
				tenant = w.Namespace
			}
			return tenant == peer.Namespace && string(p.Workspace) == peer.Name
		})
	}
	theirs, _ := toward(other)
	_, ours := toward(own)
	return names(own, ours, other) && names(other, theirs, own)
}
