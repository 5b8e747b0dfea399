package workspace_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/broletto/broletto/api/v1alpha1"
)

// TestConsent lets two workspaces of two tenants, and two of one, name each other one by one. Nothing is open before both have, and
// nothing any more as soon as one has not.
func TestConsent(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		reason string
		apart  bool
	}{
		"of two tenants": {"each says so in its own home", true},
		"of one tenant":  {"one's own tenant need not be named", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, "consent")
			c, a, b := s.consortium(), s.tenant("a"), s.tenant("b")
			s.ready(c, a, b)
			client, home := s.workspace(a, "client"), a
			if row.apart {
				home = b
			}
			server := s.workspace(home, "server")
			s.ready(client, server)
			s.consents(client, server, row.apart)
		})
	}
}

func (s *stage) consents(client, server *v1alpha1.Workspace, apart bool) {
	s.Helper()
	peer := func(w *v1alpha1.Workspace) []v1alpha1.Peer {
		if apart {
			return []v1alpha1.Peer{{Tenant: v1alpha1.TenantName(w.Namespace), Workspace: v1alpha1.WorkspaceName(w.Name)}}
		}
		return []v1alpha1.Peer{{Workspace: v1alpha1.WorkspaceName(w.Name)}}
	}
	ask := func(w *v1alpha1.Workspace) { w.Spec.Network.ConnectTo = peer(server) }
	allow := func(w *v1alpha1.Workspace) { w.Spec.Network.AllowFrom = peer(client) }
	unask := func(w *v1alpha1.Workspace) { w.Spec.Network.ConnectTo = nil }
	disallow := func(w *v1alpha1.Workspace) { w.Spec.Network.AllowFrom = nil }
	waits := "False ConsentMissing closed until they name this workspace too: "

	s.consent(client, server, false, "", "")
	edit(s, client, ask)
	s.consent(client, server, false, waits+server.Namespace+"/server", "")
	edit(s, server, allow)
	s.consent(client, server, true, "True Succeeded ", "True Succeeded ")
	edit(s, client, unask)
	s.consent(client, server, false, "", waits+client.Namespace+"/client")
	edit(s, client, ask)
	s.consent(client, server, true, "True Succeeded ", "True Succeeded ")
	edit(s, server, disallow)
	s.consent(client, server, false, waits+server.Namespace+"/server", "")
	edit(s, server, func(w *v1alpha1.Workspace) { w.Spec.Network.ConnectTo = peer(client) })
	s.consent(client, server, false, waits+server.Namespace+"/server", waits+client.Namespace+"/client") // both ask, neither allows
	edit(s, server, allow)
	s.consent(client, server, true, "True Succeeded ", waits+client.Namespace+"/client")
	edit(s, server, unask)
	edit(s, client, unask)
	edit(s, client, func(w *v1alpha1.Workspace) { w.Spec.Network.AllowFrom = peer(server) })
	s.consent(client, server, false, waits+server.Namespace+"/server", waits+client.Namespace+"/client") // both allow, neither asks
	if !apart {
		return
	}
	s.remove(client)
	s.gone(client)
	s.rest()
	s.read(server)
	if got := ingress(s, server); len(got) > 0 {
		s.Errorf("the peer is gone, open to %v", got)
	}
}

// consent checks what is open between two workspaces, and what each says about it.
func (s *stage) consent(client, server *v1alpha1.Workspace, open bool, clientSays, serverSays string) {
	s.Helper()
	s.ready(client, server)
	var from, to []string
	if open {
		from, to = []string{client.TargetNamespace()}, []string{server.TargetNamespace()}
	}
	if diff := cmp.Diff(from, ingress(s, server)); diff != "" {
		s.Errorf("open into the server (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(to, egress(s, client)); diff != "" {
		s.Errorf("open out of the client (-want +got):\n%s", diff)
	}
	if in, out := ingress(s, client), egress(s, server); len(in)+len(out) > 0 {
		s.Errorf("open the other way round: %v %v", in, out)
	}
	for w, want := range map[*v1alpha1.Workspace]string{client: clientSays, server: serverSays} {
		got := ""
		if c := meta.FindStatusCondition(w.Status.Conditions, v1alpha1.ConditionPeersConsent); c != nil {
			got = string(c.Status) + " " + c.Reason + " " + c.Message
		}
		if diff := cmp.Diff(want, got); diff != "" {
			s.Errorf("%s says (-want +got):\n%s", w.Name, diff)
		}
	}
}

// ingress are the namespaces that may connect to a workspace, beside its own.
func ingress(s *stage, w *v1alpha1.Workspace) (out []string) {
	s.Helper()
	for _, rule := range s.granted(w).Ingress {
		out = append(out, namespaces(rule.From)...)
	}
	return out
}

// egress are the namespaces that a workspace may connect to, beside its own and the cluster's DNS.
func egress(s *stage, w *v1alpha1.Workspace) (out []string) {
	s.Helper()
	for _, rule := range s.granted(w).Egress[1:] {
		out = append(out, namespaces(rule.To)...)
	}
	return out
}

func namespaces(peers []networkingv1.NetworkPolicyPeer) (out []string) {
	for _, p := range peers {
		if p.NamespaceSelector != nil {
			out = append(out, p.NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"])
		}
	}
	return out
}

func (s *stage) granted(w *v1alpha1.Workspace) networkingv1.NetworkPolicySpec {
	s.Helper()
	policy := &networkingv1.NetworkPolicy{ObjectMeta: in(w.TargetNamespace(), "granted")}
	s.read(policy)
	return policy.Spec
}
