package security

import (
	"encoding/json"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/test/cluster"
)

func TestRoutes(t *testing.T) {
	t.Parallel()
	withRoutes(t)
	w := newTown(t, "routes")
	for name, kind := range map[string]routeKind{
		"HTTPRoute":                      {"v1", "HTTPRoute", true},
		"HTTPRoute, of an older version": {"v1beta1", "HTTPRoute", true},
		"GRPCRoute":                      {"v1", "GRPCRoute", true},
		"TLSRoute":                       {"v1", "TLSRoute", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := &town{Stage: w.On(t), own: w.own, other: w.other, site: w.site, annex: w.annex, target: w.target}
			standing := w.read(kind.rule("", "", "", "www.OWN.example").object)
			standing.SetName("standing" + strings.ToLower(kind.version+kind.name))
			if err := cluster.Client(t, w.member()).Create(t.Context(), standing); err != nil {
				t.Fatal(err)
			}
			rules := kind.rules()
			w.try(w.member(), rules)
			w.change(w.member(), standing, rules)
			w.change(w.administrator(), standing, rules)
		})
	}
}

// TestRoutesOfNobody is about what the roles keep from tenants: kinds of the Gateway API without hosts, and those of who runs the gateways.
func TestRoutesOfNobody(t *testing.T) {
	t.Parallel()
	withRoutes(t)
	w := newTown(t, "gateways")
	of := func(reason, kind, spec, want string) rule {
		return rule{reason, "{apiVersion: gateway.networking.k8s.io/v1, kind: " + kind + ", metadata: {name: x, namespace: SITE}, spec: {" + spec + "}}", want}
	}
	const ports = "parentRefs: [{name: public, namespace: gateways}], rules: [{backendRefs: [{name: web, port: 80}]}]"
	const cannot, denied = "cannot create resource", "is not this workspace's to serve"
	w.try(w.administrator(), map[string]rule{
		"TCPRoute":         of("all that comes to a port", "TCPRoute", ports, cannot),
		"UDPRoute":         of("all that comes to a port", "UDPRoute", ports, cannot),
		"Gateway":          of("an address, and hosts of its own", "Gateway", "gatewayClassName: x, listeners: [{name: l, port: 80, protocol: HTTP}]", cannot),
		"ListenerSet":      of("hosts of its own", "ListenerSet", "parentRef: {name: public, namespace: gateways}, listeners: [{name: l, port: 80, protocol: HTTP}]", cannot),
		"ReferenceGrant":   of("lets others' routes in", "ReferenceGrant", "from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: TARGET}], to: [{group: '', kind: Secret}]", cannot),
		"BackendTLSPolicy": of("whom the gateway trusts", "BackendTLSPolicy", "targetRefs: [{group: '', kind: Service, name: web}], validation: {hostname: x, wellKnownCACertificates: System}", cannot),
	})
	// What RBAC keeps from tenants, the policies keep from who has more rights than sense, too.
	w.try(cluster.ClusterAdmin(), map[string]rule{
		"TCPRoute": of("all that comes to a port", "TCPRoute", ports, denied),
		"UDPRoute": of("all that comes to a port", "UDPRoute", ports, denied),
	})
}

// routeKind is a kind of routes by host.
type routeKind struct {
	version, name string
	hostless      bool // its schema lets a route without hosts pass
}

// rule is a route with an annotation for hosts; "-" stands for none, not even an empty list.
func (k routeKind) rule(reason, want, annotation string, hosts ...string) rule {
	hostnames := ", hostnames: [" + strings.Join(hosts, ", ") + "]"
	if len(hosts) == 1 && hosts[0] == "-" {
		hostnames = ""
	}
	return rule{reason, "{apiVersion: gateway.networking.k8s.io/" + k.version + ", kind: " + k.name + ", metadata: {name: r, namespace: SITE, annotations: {" + annotation + "}}, " +
		"spec: {parentRefs: [{name: public, namespace: gateways}], rules: [{backendRefs: [{name: web, port: 80}]}]" + hostnames + "}}", want}
}

func (k routeKind) rules() map[string]rule {
	const denied, dns = "is not this workspace's to serve", "external-dns.alpha.kubernetes.io/"
	rules := map[string]rule{
		"own":               k.rule("the workspace's host", "", "", "www.OWN.example"),
		"another tenant's":  k.rule("grabbed", denied, "", "www.OTHER.example"),
		"another's of ours": k.rule("of another workspace of the tenant", denied, "", "annesso.OWN.example"),
		"undeclared":        k.rule("within the domain, and in no Workspace", denied, "", "neu.OWN.example"),
		"suffix, no dot":    k.rule("ends alike", denied, "", "evil-www.OWN.example"),
		"below":             k.rule("below the own host", denied, "", "x.www.OWN.example"),
		"wildcard":          k.rule("all below", denied, "", "'*.OWN.example'"),
		"wildcard of all":   k.rule("all below", denied, "", "'*.example'"),
		"second of two":     k.rule("the first is fine", denied, "", "www.OWN.example", "www.OTHER.example"),
		"first of two":      k.rule("the second is fine", denied, "", "'*.OWN.example'", "www.OWN.example"),
		"DNS":               k.rule("a DNS record by annotation", denied, dns+"hostname: www.OTHER.example", "www.OWN.example"),
		"DNS, inner":        k.rule("a DNS record by annotation", denied, dns+"internal-hostname: www.OTHER.example", "www.OWN.example"),
		"DNS, own":          k.rule("the own host", "", dns+"hostname: www.OWN.example", "www.OWN.example"),
	}
	if k.hostless {
		rules["none"] = k.rule("it is for all hosts of its gateway", denied, "", "-")
		rules["empty"] = k.rule("it is for all hosts of its gateway", denied, "")
	}
	return rules
}

// change writes what each rule has in the place of an object that stands, without effect, by an update and by a patch, and wants the API
// server's answer.
func (w *town) change(who *rest.Config, standing *unstructured.Unstructured, rules map[string]rule) {
	w.Helper()
	c := cluster.Client(w, who)
	for name, r := range rules {
		changed := w.read(r.object)
		w.Run("changed to "+name, func(t *testing.T) {
			changed.SetName(standing.GetName())
			changed.SetResourceVersion(standing.GetResourceVersion())
			patch, err := json.Marshal([]map[string]any{
				{"op": "replace", "path": "/spec", "value": changed.Object["spec"]},
				{"op": "add", "path": "/metadata/annotations", "value": changed.GetAnnotations()},
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := refused(c.Patch(t.Context(), standing.DeepCopy(), client.RawPatch(types.JSONPatchType, patch), client.DryRunAll), r.want); err != nil {
				t.Errorf("patched, %s: %v", r.reason, err)
			}
			if err := refused(c.Update(t.Context(), changed, client.DryRunAll), r.want); err != nil {
				t.Errorf("updated, %s: %v", r.reason, err)
			}
		})
	}
}
