package workspace_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/stage"
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
			s := stage.New(t, "consent")
			c, a, b := s.Consortium(), s.Tenant("a"), s.Tenant("b")
			s.Ready(c, a, b)
			client, home := s.Workspace(a, "client"), a
			if row.apart {
				home = b
			}
			server := s.Workspace(home, "server")
			s.Ready(client, server)
			consents(s, client, server, row.apart)
		})
	}
}

func consents(s *stage.Stage, client, server *v1alpha1.Workspace, apart bool) {
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

	consent(s, client, server, false, "", "")
	stage.Edit(s, client, ask)
	consent(s, client, server, false, waits+server.Namespace+"/server", "")
	stage.Edit(s, server, allow)
	consent(s, client, server, true, "True Succeeded ", "True Succeeded ")
	stage.Edit(s, client, unask)
	consent(s, client, server, false, "", waits+client.Namespace+"/client")
	stage.Edit(s, client, ask)
	consent(s, client, server, true, "True Succeeded ", "True Succeeded ")
	stage.Edit(s, server, disallow)
	consent(s, client, server, false, waits+server.Namespace+"/server", "")
	stage.Edit(s, server, func(w *v1alpha1.Workspace) { w.Spec.Network.ConnectTo = peer(client) })
	consent(s, client, server, false, waits+server.Namespace+"/server", waits+client.Namespace+"/client") // both ask, neither allows
	stage.Edit(s, server, allow)
	consent(s, client, server, true, "True Succeeded ", waits+client.Namespace+"/client")
	stage.Edit(s, server, unask)
	stage.Edit(s, client, unask)
	stage.Edit(s, client, func(w *v1alpha1.Workspace) { w.Spec.Network.AllowFrom = peer(server) })
	consent(s, client, server, false, waits+server.Namespace+"/server", waits+client.Namespace+"/client") // both allow, neither asks
	if !apart {
		return
	}
	s.Remove(client)
	s.Gone(client)
	s.Rest()
	s.Read(server)
	if got := ingress(s, server); len(got) > 0 {
		s.Errorf("the peer is gone, open to %v", got)
	}
}

// consent checks what is open between two workspaces, and what each says about it.
func consent(s *stage.Stage, client, server *v1alpha1.Workspace, open bool, clientSays, serverSays string) {
	s.Helper()
	s.Ready(client, server)
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
		if diff := cmp.Diff(want, stage.Condition(w, v1alpha1.ConditionPeersConsent)); diff != "" {
			s.Errorf("%s says (-want +got):\n%s", w.Name, diff)
		}
	}
}

// ingress are the namespaces that may connect to a workspace, beside its own.
func ingress(s *stage.Stage, w *v1alpha1.Workspace) (out []string) {
	s.Helper()
	for _, rule := range granted(s, w).Ingress {
		out = append(out, namespaces(rule.From)...)
	}
	return out
}

// egress are the namespaces that a workspace may connect to, beside its own and the cluster's DNS.
func egress(s *stage.Stage, w *v1alpha1.Workspace) (out []string) {
	s.Helper()
	for _, rule := range granted(s, w).Egress[1:] {
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

func granted(s *stage.Stage, w *v1alpha1.Workspace) networkingv1.NetworkPolicySpec {
	s.Helper()
	policy := &networkingv1.NetworkPolicy{ObjectMeta: stage.In(w.TargetNamespace(), "granted")}
	s.Read(policy)
	return policy.Spec
}
