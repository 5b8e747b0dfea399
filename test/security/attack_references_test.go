package security

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// turning is a sound object of the tenant's own, and a change that makes it reach what is not.
type turning struct{ reason, sound, change, want string }

// turnings are one or more of every kind that the policies judge.
func (w *town) turnings() map[string]turning {
	named := func(name, kind, rest string) string {
		return "{" + kind + ", metadata: {name: " + name + ", namespace: SITE}, " + rest + "}"
	}
	const ingress, policy = "apiVersion: networking.k8s.io/v1, kind: Ingress", "apiVersion: networking.k8s.io/v1, kind: NetworkPolicy"
	const deployment, pods = "apiVersion: apps/v1, kind: Deployment", "spec: {replicas: 0, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {POD}}}"
	const binding = "apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding"
	const view = "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: broletto-workspace-view}, subjects: [{kind: ServiceAccount, name: default, namespace: SITE}]"
	const service, ports = "apiVersion: v1, kind: Service", "spec: {ports: [{port: 80}]}"
	const rules = "spec: {rules: [{host: www.OWN.example}]}"
	return map[string]turning{
		"host":       {"another's", named("i1", ingress, rules), "spec: {rules: [{host: www.OTHER.example}]}", "is not this workspace's to serve"},
		"back end":   {"everybody's requests", named("i2", ingress, rules), "spec: {defaultBackend: {service: {name: s, port: {number: 80}}}}", "defaultBackend takes"},
		"annotation": {"a snippet", named("i3", ingress, rules), "metadata: {annotations: {nginx.ingress.kubernetes.io/server-snippet: x}}", "a snippet runs"},
		"network":    {"everybody", named("n1", policy, "spec: {podSelector: {}}"), "spec: {ingress: [{}]}", "opens the workspace to everybody"},
		"addresses":  {"past egress", named("n2", policy, "spec: {podSelector: {}}"), "spec: {egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}", "may not name addresses"},
		"subjects":   {"a stranger", named("b1", binding, view), "subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: PREFIX-ex}]", "is not one of your tenant's subjects"},
		"account":    {"of the victims", named("b2", binding, view), "subjects: [{kind: ServiceAccount, name: default, namespace: TARGET}]", "is not one of your tenant's subjects"},
		"addresses2": {"CVE-2020-8554", named("s1", service, ports), "spec: {externalIPs: [198.51.100.7]}", "externalIPs takes over"},
		"type":       {"a port of every node", named("s2", service, ports), "spec: {type: NodePort}", "is not granted to this workspace"},
		"node":       {"past the scheduler", named("d1", deployment, pods), "spec: {template: {spec: {nodeName: n1}}}", "nodeName is the scheduler's"},
		"pool":       {"another's nodes", named("d2", deployment, pods), "spec: {template: {spec: {nodeSelector: {broletto.dev/node-pool: finance}}}}", "your tenant has the pools"},
		"inline":     {"the node mounts what it reaches", named("d3", deployment, pods), "spec: {template: {spec: {volumes: [{name: v, csi: {driver: nfs.csi.k8s.io, volumeAttributes: {server: 10.0.0.1, share: /}}}]}}}", "a volume of type csi"},
		"affinity": {"others' pods find no node", named("d4", deployment, pods),
			"spec: {template: {spec: {affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, namespaceSelector: {}}]}}}}}", "affinity to pods of other namespaces"},
		"affinity2": {"others' pods find no node", named("d5", deployment, pods),
			"spec: {template: {spec: {affinity: {podAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: z, namespaces: [TARGET]}}]}}}}}", "affinity to pods of other namespaces"},
	}
}

// TestTurned changes sound objects in every form into what reaches others: the rules of creation hold for every change.
func TestTurned(t *testing.T) {
	t.Parallel()
	w := newTown(t, "turned", restricted)
	attacks, targets := map[string]attack{}, []client.Object{}
	for name, row := range w.turnings() {
		o := w.make(w.administrator(), row.sound)
		targets = append(targets, o)
		add(attacks, name, row.reason, row.want, w.forms(o, row.change))
	}
	settled(w, targets)
	w.suffers("administrator", w.administrator(), attacks, targets...)
	for name, a := range attacks {
		attacks[name] = attack{a.reason, a.do, ""}
	}
	for who, cfg := range w.identities() {
		w.suffers(who, cfg, attacks, targets...)
	}
}

// settled waits until the controllers have written what they write to new objects.
func settled(w *town, objects []client.Object) {
	w.Helper()
	cluster.Eventually(w, stage.Patience, "the controllers have seen everything", func() error {
		for _, o := range objects {
			live := w.live(o)
			if seen, found, _ := unstructuredGeneration(live.Object); live.GetKind() == "Deployment" && (!found || seen != live.GetGeneration()) {
				return errNotYet
			}
		}
		return nil
	})
}

// TestIngressReferences asks the ingress controller, by annotations, for what is others': names, certificates, secrets, its
// configuration (CVE-2021-25742, -25745, -25746, CVE-2023-5043, -5044, CVE-2024-7646, CVE-2025-1097, -1098, -24514, -1974).
func TestIngressReferences(t *testing.T) {
	t.Parallel()
	w := newTown(t, "references")
	noted := func(reason, key, value, want string) rule {
		return rule{reason, "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i, namespace: SITE, annotations: {" + key + ": " + value +
			"}}, spec: {rules: [{host: www.OWN.example}]}}", want}
	}
	path := func(reason, path, want string) rule {
		return rule{reason, "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i, namespace: SITE}, spec: {rules: [{host: www.OWN.example, http: {paths: [{path: " + path +
			", pathType: ImplementationSpecific, backend: {service: {name: s, port: {number: 80}}}}]}}]}}", want}
	}
	const nginx, haproxy, traefik = "nginx.ingress.kubernetes.io/", "haproxy-ingress.github.io/", "traefik.ingress.kubernetes.io/"
	const host, secret, snippet, escapes = "is not this workspace's to serve", "of another namespace", "a snippet runs", "would write the ingress controller's configuration"
	rules := map[string]rule{
		"certificate, name":  noted("a certificate for another's host", "cert-manager.io/common-name", "www.OTHER.example", host),
		"certificate, names": noted("one of two is another's", "cert-manager.io/alt-names", "'www.OWN.example,www.OTHER.example'", host),
		"certificate, own":   noted("the own host", "cert-manager.io/alt-names", "www.OWN.example", ""),
		"traefik's":          noted("a certificate for another's host", traefik+"router.tls.domains.0.sans", "www.OTHER.example", host),
		"traefik, foreign":   noted("another's middleware", traefik+"router.middlewares", "TARGET-auth@kubernetescrd", secret),
		"traefik, transport": noted("another's client certificate", traefik+"service.serverstransport", "TARGET-mtls@kubernetescrd", secret),
		"traefik, second":    noted("the first is fine", traefik+"router.middlewares", "'SITE-a@kubernetescrd, TARGET-auth@kubernetescrd'", secret),
		"traefik, own":       noted("the own middleware", traefik+"router.middlewares", "SITE-auth@kubernetescrd", ""),
		"traefik, shared":    noted("what the platform offers", traefik+"router.middlewares", "security@file", ""),
		"client certificate": noted("another's secret", nginx+"auth-tls-secret", "TARGET/s", secret),
		"upstream secret":    noted("another's secret", nginx+"proxy-ssl-secret", "TARGET/s", secret),
		"headers":            noted("another's ConfigMap", nginx+"custom-headers", "TARGET/c", secret),
		"haproxy secret":     noted("another's secret", haproxy+"auth-tls-secret", "TARGET/s", secret),
		"server snippet":     noted("CVE-2021-25742", nginx+"server-snippet", "'location /x {}'", snippet),
		"auth snippet":       noted("CVE-2021-25742", nginx+"auth-snippet", "x", snippet),
		"nginx.org":          noted("the other nginx", "nginx.org/location-snippets", "x", snippet),
		"haproxy snippet":    noted("HAProxy's", "haproxy.org/backend-config-snippet", "x", snippet),
		"haproxy config":     noted("HAProxy's", haproxy+"config-backend", "x", snippet),
		"line feed":          noted("CVE-2024-7646: the annotation's check ends at the line", nginx+"rewrite-target", `"/\n}\nserver{"`, escapes),
		"carriage return":    noted("CVE-2024-7646", nginx+"rewrite-target", `"/\rx"`, escapes),
		"redirect":           noted("CVE-2023-5044", nginx+"permanent-redirect", `"https://x/;} location /y { x;"`, escapes),
		"auth-url":           noted("CVE-2025-24514", nginx+"auth-url", `"http://x/#;load_module /tmp/x;"`, escapes),
		"match":              noted("CVE-2025-1097", nginx+"auth-tls-match-cn", `"CN=x #(\n){}\n"`, escapes),
		"mirror":             noted("CVE-2025-1098", nginx+"mirror-target", `"x;\n}"`, escapes),
		"rewrite":            noted("an ordinary one", nginx+"rewrite-target", "/$2", ""),
		"sign-in":            noted("an ordinary one", nginx+"auth-signin", "'https://www.OWN.example/oauth2/start?rd=$escaped_request_uri'", ""),
		"size":               noted("an ordinary one", nginx+"proxy-body-size", "64m", ""),
		"path":               path("CVE-2021-25745: the path ends the location", `"/x {alias /run/secrets/;} #"`, escapes),
		"path, line feed":    path("CVE-2021-25745", `"/x\n"`, escapes),
		"path, expression":   path("an ordinary one", `"/api/v[0-9]{1,2}(/|$)(.*)"`, ""),
	}
	w.try(w.administrator(), rules)
	for name, r := range rules { // an account of the workspace gets no other answers
		if r.want == "" {
			delete(rules, name)
		}
	}
	w.try(w.account(), rules)
}

// TestConsentIsMutual names others, in every way, who do not name us: nothing opens on either side.
func TestConsentIsMutual(t *testing.T) {
	t.Parallel()
	w := newTown(t, "consent")
	theirs := &networkingv1.NetworkPolicy{ObjectMeta: stage.In(w.target.TargetNamespace(), "granted")}
	ours := &networkingv1.NetworkPolicy{ObjectMeta: stage.In(w.site.TargetNamespace(), "granted")}
	victims := []client.Object{theirs, namespaceNamed(w.target.TargetNamespace()), w.target}
	before := w.bytes(victims)
	other := v1alpha1.TenantName(w.other.Name)
	stage.Edit(w.Stage, w.site, func(w *v1alpha1.Workspace) {
		peers := []v1alpha1.Peer{{Tenant: other, Workspace: "sito"}, {Tenant: other, Workspace: "altro"}, {Workspace: "sito"}, {Tenant: "kube-system", Workspace: "sito"}}
		w.Spec.Network.AllowFrom, w.Spec.Network.ConnectTo = peers, peers
	})
	w.Ready(w.site)
	if diff := cmp.Diff(before, w.bytes(victims)); diff != "" {
		t.Errorf("the victims' side moved (-before +after):\n%s", diff)
	}
	for _, peer := range peersOf(w, ours) {
		if name := peer["kubernetes.io/metadata.name"]; name != "" && name != "kube-system" && name != "ingress-internet" && name != w.site.TargetNamespace() {
			t.Errorf("opened to %s, which did not consent", name)
		}
	}
	attacks := map[string]attack{}
	for _, bad := range []string{"{tenant: '*', workspace: sito}", "{tenant: OTHER, workspace: '*'}", "{tenant: 'OTHER--sito', workspace: x}", "{tenant: OTHER, workspace: 'sito--x'}", "{tenant: '../OTHER', workspace: sito}"} {
		add(attacks, bad, "a name that is none", "", w.forms(w.site, "spec: {network: {allowFrom: ["+bad+"], connectTo: ["+bad+"]}}"))
	}
	w.suffers("administrator", w.administrator(), attacks, w.site)
}
