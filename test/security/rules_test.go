package security

import (
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
)

// rule is one thing that somebody writes, and what the API server says to it.
type rule struct {
	reason string
	object string // YAML; SITE, ANNEX, TARGET, HOME, OWN and OTHER stand for names of the town, POD for the rest of a sound pod's spec
	want   string // a part of the refusal; empty: it passes
}

// pod is the rest of a sound pod's spec, within braces.
const pod = `securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}, ` +
	`containers: [{name: app, image: registry.example/app:1, securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]`

// names replaces what stands for names of the town.
func (w *town) names(text string) string {
	return strings.NewReplacer(
		"SITE", w.site.TargetNamespace(), "ANNEX", w.annex.TargetNamespace(), "TARGET", w.target.TargetNamespace(),
		"HOME", w.own.Name, "OWN", w.own.Name, "OTHER", w.other.Name, "PREFIX", w.Prefix, "POD", pod,
	).Replace(text)
}

// read makes an object of YAML.
func (w *town) read(text string) *unstructured.Unstructured {
	w.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(w.names(text)), &o.Object); err != nil {
		w.Fatalf("%s: %v", w.names(text), err)
	}
	return o
}

// refused is nil where the answer is a refusal that says what is wanted, or passes where nothing is wanted.
func refused(err error, want string) error {
	switch {
	case want == "" && err != nil:
		return fmt.Errorf("want it to pass: %w", err)
	case want != "" && err == nil:
		return fmt.Errorf("want it forbidden by %q, and it passes", want)
	case want != "" && !apierrors.IsForbidden(err):
		return fmt.Errorf("want it forbidden by %q, got: %w", want, err)
	case want != "" && !strings.Contains(err.Error(), want):
		return fmt.Errorf("want the refusal to say %q, got: %w", want, err)
	}
	return nil
}

// try writes what each rule has, without effect, and wants the API server's answer.
func (w *town) try(who *rest.Config, rules map[string]rule) {
	w.Helper()
	c := cluster.Client(w, who)
	for name, r := range rules {
		w.Run(name, func(t *testing.T) {
			w := &town{Stage: w.On(t), consortium: w.consortium, own: w.own, other: w.other, site: w.site, annex: w.annex, target: w.target}
			o := w.read(r.object)
			if err := refused(c.Create(t.Context(), o, client.DryRunAll), r.want); err != nil {
				t.Errorf("%s: %v", r.reason, err)
			}
		})
	}
}

// restricted is a tenant that says what its pods may use.
func restricted(t *v1alpha1.Tenant) {
	t.Spec.Registries = []string{"registry.example/", "registry.a.example:5000/comune/"}
	t.Spec.NodePools = []string{"shared", "gis"}
	t.Spec.PriorityClasses = []string{"tenant-high"}
	t.Spec.RuntimeClasses = []string{"gvisor"}
}

func podRule(reason, spec, want string) rule {
	return rule{reason, "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: SITE}, spec: {" + spec + ", POD}}", want}
}

// container is a container of a pod that is sound but for its image.
func container(list, image string) string {
	return fmt.Sprintf("%s: [{name: x, image: '%s', securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]", list, image)
}

func TestWorkloads(t *testing.T) {
	t.Parallel()
	w := newTown(t, "workloads", restricted)
	deployment := `{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, namespace: SITE}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {%s, POD}}}}`
	job := `{apiVersion: batch/v1, kind: Job, metadata: {name: d, namespace: SITE}, spec: {template: {spec: {restartPolicy: Never, %s, POD}}}}`
	cron := `{apiVersion: batch/v1, kind: CronJob, metadata: {name: d, namespace: SITE}, spec: {schedule: "0 4 * * *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, %s, POD}}}}}}`
	const fine, foreign = "terminationGracePeriodSeconds: 5", "docker.io/evil:1"
	w.try(w.administrator(), map[string]rule{
		"sound":               podRule("it is what a workspace is for", fine, ""),
		"nodeName":            podRule("past the scheduler", "nodeName: control-plane", "nodeName is the scheduler's"),
		"pool":                podRule("one of the tenant's", "nodeSelector: {broletto.dev/node-pool: gis}", ""),
		"pool of others":      podRule("a pool that is not the tenant's", "nodeSelector: {broletto.dev/node-pool: finance}", "your tenant has the pools shared, gis"),
		"pool, empty":         podRule("no pool is not every pool", "nodeSelector: {broletto.dev/node-pool: ''}", "your tenant has the pools shared, gis"),
		"host":                podRule("narrower than a pool", "nodeSelector: {kubernetes.io/hostname: n1}", ""),
		"toleration":          podRule("the taint of a pool", "tolerations: [{key: broletto.dev/node-pool, value: gis}]", ""),
		"wild toleration":     podRule("of every taint", "tolerations: [{operator: Exists}]", "toleration of \"everything\""),
		"control plane":       podRule("the cluster's own nodes", "tolerations: [{key: node-role.kubernetes.io/control-plane, operator: Exists}]", "opens nodes that are not"),
		"toleration of pools": podRule("of every pool", "tolerations: [{key: broletto.dev/node-pool, operator: Exists}]", "opens nodes that are not"),
		"toleration of pool":  podRule("of another's pool", "tolerations: [{key: broletto.dev/node-pool, value: finance}]", "opens nodes that are not"),
		"not ready":           podRule("what Kubernetes itself adds", "tolerations: [{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 30}]", ""),
		"critical":            podRule("pushes others off", "priorityClassName: system-cluster-critical", "priorityClassName"),
		"runtime":             {"one that is not the tenant's", fmt.Sprintf(deployment, "runtimeClassName: kata"), "runtimeClassName kata"},
		"init image":          podRule("init containers run too", container("initContainers", foreign), foreign+" comes from outside"),
		"init image, own":     podRule("one of the tenant's", container("initContainers", "registry.a.example:5000/comune/x"), ""),
		"image volume":        podRule("an image as a volume is one, too", "volumes: [{name: v, image: {reference: docker.io/evil:1}}]", foreign+" comes from outside"),
		"prefix":              podRule("a registry that begins alike", container("initContainers", "registry.example.evil.example/x"), "comes from outside"),
		"path":                podRule("another path of a shared registry", container("initContainers", "registry.a.example:5000/altro/x"), "comes from outside"),
		"path, up":            podRule("out of the path", container("initContainers", "registry.example/../x"), "comes from outside"),
		"upper case":          podRule("hosts have no case, images do", container("initContainers", "REGISTRY.example/x"), "comes from outside"),
		"short name":          podRule("means whatever the node takes it for", container("initContainers", "nginx"), "comes from outside"),
		"deployment":          {"its author hears at once", fmt.Sprintf(deployment, fine), ""},
		"deployment, image":   {"its author hears at once", fmt.Sprintf(deployment, container("initContainers", foreign)), "comes from outside"},
		"deployment, pool":    {"its author hears at once", fmt.Sprintf(deployment, "nodeSelector: {broletto.dev/node-pool: finance}"), "your tenant has the pools"},
		"deployment, node":    {"its author hears at once", fmt.Sprintf(deployment, "nodeName: n1"), "nodeName is the scheduler's"},
		"job, image":          {"its author hears at once", fmt.Sprintf(job, container("initContainers", foreign)), "comes from outside"},
		"cron job, image":     {"its author hears at once", fmt.Sprintf(cron, container("initContainers", foreign)), "comes from outside"},
		"cron job":            {"it is what a workspace is for", fmt.Sprintf(cron, fine), ""},
	})
}

func TestServices(t *testing.T) {
	t.Parallel()
	w := newTown(t, "services")
	service := func(reason, spec, want string) rule {
		return rule{reason, "{apiVersion: v1, kind: Service, metadata: {name: s, namespace: SITE}, spec: {ports: [{port: 80}], " + spec + "}}", want}
	}
	named := func(reason, host, want string) rule {
		return rule{reason, "{apiVersion: v1, kind: Service, metadata: {name: s, namespace: SITE, annotations: {external-dns.alpha.kubernetes.io/hostname: '" + host +
			"'}}, spec: {ports: [{port: 80}]}}", want}
	}
	w.try(w.administrator(), map[string]rule{
		"ClusterIP":      service("it is what a workspace is for", "selector: {a: b}", ""),
		"headless":       service("it is what a workspace is for", "clusterIP: None, selector: {a: b}", ""),
		"NodePort":       service("a port of every node", "type: NodePort", "services.nodeports in spec.quota"),
		"LoadBalancer":   service("an address that costs", "type: LoadBalancer", "services.loadbalancers in spec.quota"),
		"ExternalName":   service("another's name", "type: ExternalName, externalName: kubernetes.default.svc", "spec.network.egress"),
		"externalIPs":    service("another's address (CVE-2020-8554)", "externalIPs: [198.51.100.7]", "externalIPs takes over traffic"),
		"DNS, own":       named("the workspace's host", "www.OWN.example", ""),
		"DNS, another's": named("another's host", "www.OTHER.example", "is not among this workspace's hosts"),
		"DNS, both":      named("one of two is another's", "www.OWN.example,www.OTHER.example", "is not among this workspace's hosts"),
	})
}

func TestHosts(t *testing.T) {
	t.Parallel()
	w := newTown(t, "hosts")
	backend := "{service: {name: s, port: {number: 80}}}"
	ingress := func(reason, spec, want string) rule {
		return rule{reason, "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i, namespace: SITE}, spec: {" + spec + "}}", want}
	}
	host := func(reason, host, want string) rule {
		return ingress(reason, "rules: [{host: '"+host+"', http: {paths: [{path: /, pathType: Prefix, backend: "+backend+"}]}}]", want)
	}
	noted := func(reason, annotation, want string) rule {
		return rule{reason, "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i, namespace: SITE, annotations: {" + annotation +
			"}}, spec: {rules: [{host: www.OWN.example}]}}", want}
	}
	const denied = "is not this workspace's to serve"
	w.try(w.administrator(), map[string]rule{
		"own":               host("the workspace's host", "www.OWN.example", ""),
		"another tenant's":  host("grabbed", "www.OTHER.example", denied),
		"another's of ours": host("of another workspace of the tenant", "annesso.OWN.example", denied),
		"undeclared":        host("within the domain, and in no Workspace", "neu.OWN.example", denied),
		"suffix, no dot":    host("ends alike", "evil-www.OWN.example", denied),
		"below":             host("below the own host", "x.www.OWN.example", denied),
		"wildcard":          host("all below", "*.OWN.example", denied),
		"wildcard of all":   host("all below", "*.example", denied),
		"none":              ingress("a rule without host is for all hosts", "rules: [{http: {paths: [{path: /, pathType: Prefix, backend: "+backend+"}]}}]", denied),
		"punycode":          host("looks alike on screen", "xn--www-bpa.OTHER.example", denied),
		"default backend":   ingress("the rest of everybody's requests", "defaultBackend: "+backend, "defaultBackend takes the requests"),
		"both":              ingress("one of two", "rules: [{host: www.OWN.example}, {host: www.OTHER.example}]", denied),
		"certificate":       ingress("for the own host", "tls: [{hosts: [www.OWN.example], secretName: s}], rules: [{host: www.OWN.example}]", ""),
		"certificate, else": ingress("for another's", "tls: [{hosts: [www.OTHER.example], secretName: s}], rules: [{host: www.OWN.example}]", denied),
		"certificate, all":  ingress("for all", "tls: [{secretName: s}], rules: [{host: www.OWN.example}]", denied),
		"alias":             noted("a second host by annotation", "nginx.ingress.kubernetes.io/server-alias: www.OTHER.example", denied),
		"alias, own":        noted("the own host", "nginx.ingress.kubernetes.io/server-alias: www.OWN.example", ""),
		"DNS":               noted("a DNS record by annotation", "external-dns.alpha.kubernetes.io/hostname: www.OTHER.example", denied),
		"snippet":           noted("code in the controller (CVE-2021-25742)", "nginx.ingress.kubernetes.io/configuration-snippet: 'return 200;'", "a snippet runs in the ingress controller"),
		"foreign secret":    noted("the controller reads what the tenant cannot", "nginx.ingress.kubernetes.io/auth-secret: TARGET/s", "names a Secret or ConfigMap of another namespace"),
		"own secret":        noted("as Ingress has it", "nginx.ingress.kubernetes.io/auth-secret: SITE/s", ""),
	})
}

func TestNetworkPolicies(t *testing.T) {
	t.Parallel()
	w := newTown(t, "netpol")
	policy := func(reason, spec, want string) rule {
		return rule{reason, "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: net, namespace: SITE}, spec: {podSelector: {}, " + spec + "}}", want}
	}
	const own = "select namespaces of your own tenant only"
	w.try(w.administrator(), map[string]rule{
		"own pods":             policy("within the workspace", "ingress: [{from: [{podSelector: {matchLabels: {a: b}}}]}]", ""),
		"own tenant":           policy("within the tenant", "ingress: [{from: [{namespaceSelector: {matchLabels: {broletto.dev/tenant: OWN}}}]}]", ""),
		"own workspace":        policy("within the tenant", "egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ANNEX}}}]}]", ""),
		"nothing":              policy("closes, which is closed already", "policyTypes: [Ingress, Egress]", ""),
		"everybody, in":        policy("a rule without from", "ingress: [{}]", "opens the workspace to everybody"),
		"everybody, out":       policy("a rule without to", "egress: [{ports: [{port: 443}]}]", "opens the workspace to everybody"),
		"everybody, named":     policy("an empty list is none", "ingress: [{from: []}]", "opens the workspace to everybody"),
		"empty selector":       policy("all namespaces", "ingress: [{from: [{namespaceSelector: {}}]}]", own),
		"another tenant":       policy("without consent", "egress: [{to: [{namespaceSelector: {matchLabels: {broletto.dev/tenant: OTHER}}}]}]", own),
		"another's workspace":  policy("without consent", "ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: TARGET}}}]}]", own),
		"name begins alike":    policy("OWN is a prefix of it", "ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: OWN-x}}}]}]", own),
		"by expression":        policy("all but one", "ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: broletto.dev/tenant, operator: NotIn, values: [OWN]}]}}]}]", own),
		"second of two":        policy("the first is fine", "ingress: [{from: [{podSelector: {}}, {namespaceSelector: {}}]}]", own),
		"second rule":          policy("the first is fine", "ingress: [{from: [{podSelector: {}}]}, {from: [{namespaceSelector: {}}]}]", own),
		"another label":        policy("which others carry too", "ingress: [{from: [{namespaceSelector: {matchLabels: {broletto.dev/consortium: x}}}]}]", own),
		"addresses, out":       policy("past spec.network.egress", "egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]", "may not name addresses"),
		"addresses, in":        policy("pods of others have addresses", "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}]", "may not name addresses"),
		"metadata service":     policy("the cloud's", "egress: [{to: [{ipBlock: {cidr: 169.254.169.254/32}}]}]", "may not name addresses"),
		"passed off as ours":   {"the label is the operator's", "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: net, namespace: SITE, labels: {broletto.dev/owner: x}}, spec: {podSelector: {}}}", "carries the label broletto.dev/owner"},
		"under a guard's name": {"the operator's is there", "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: zz, namespace: OTHER}, spec: {podSelector: {}}}", "cannot create resource"},
	})
}

func TestRights(t *testing.T) {
	t.Parallel()
	w := newTown(t, "rights")
	binding := func(reason, role, subject, want string) rule {
		return rule{reason, "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: b, namespace: SITE}, roleRef: {apiGroup: rbac.authorization.k8s.io, " +
			role + "}, subjects: [" + subject + "]}", want}
	}
	role := func(reason, rules, want string) rule {
		return rule{reason, "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: r, namespace: SITE}, rules: [" + rules + "]}", want}
	}
	const edit, view = "kind: ClusterRole, name: broletto-workspace-edit", "kind: ClusterRole, name: broletto-workspace-view"
	const account = "{kind: ServiceAccount, name: default, namespace: SITE}"
	stranger := func(kind, name string) string {
		return "{apiGroup: rbac.authorization.k8s.io, kind: " + kind + ", name: '" + name + "'}"
	}
	const denied, escalates = "is not one of your tenant's subjects", "attempting to grant RBAC permissions not currently held"
	w.try(w.administrator(), map[string]rule{
		"own account":         binding("what a pipeline needs", edit, account, ""),
		"own group":           binding("whom the Tenant names", view, stranger("Group", "OWN:ict"), ""),
		"group of access":     binding("whom the Workspace names", view, stranger("Group", "PREFIX-web"), ""),
		"another group":       binding("whom nobody named", view, stranger("Group", "OTHER:ict"), denied),
		"user as group":       binding("a user of a group's name", view, stranger("User", "OWN:ict"), denied),
		"everybody":           binding("everybody", view, stranger("Group", "system:authenticated"), denied),
		"anonymous":           binding("everybody", view, stranger("User", "system:anonymous"), denied),
		"all accounts":        binding("of the cluster", view, stranger("Group", "system:serviceaccounts"), denied),
		"account of another":  binding("of the victims", view, "{kind: ServiceAccount, name: default, namespace: TARGET}", denied),
		"account of ours":     binding("of another workspace of the tenant", view, "{kind: ServiceAccount, name: default, namespace: ANNEX}", denied),
		"operator's account":  binding("of the operator", view, "{kind: ServiceAccount, name: broletto-operator, namespace: broletto-system}", denied),
		"second of two":       binding("the first is fine", view, account+", "+stranger("Group", "system:authenticated"), denied),
		"cluster-admin":       binding("more than they have", "kind: ClusterRole, name: cluster-admin", account, escalates),
		"built-in view":       binding("whatever is aggregated into it tomorrow", "kind: ClusterRole, name: view", account, escalates),
		"role of a home":      binding("for homes", "kind: ClusterRole, name: broletto-tenant-admin", account, escalates),
		"role":                role("within what they have", "{apiGroups: [''], resources: [pods], verbs: [get, list]}", ""),
		"role, escalated":     role("what they do not have", "{apiGroups: [''], resources: [nodes], verbs: [get]}", escalates),
		"role, quota":         role("what they do not have", "{apiGroups: [''], resources: [resourcequotas], verbs: [update]}", escalates),
		"passed off as ours":  {"the label is the operator's", "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: b, namespace: SITE, labels: {broletto.dev/owner: x}}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: broletto-workspace-view}}", "carries the label broletto.dev/owner"},
		"in another's":        {"of the victims", "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: b, namespace: TARGET}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: broletto-workspace-view}}", "cannot create resource"},
		"cluster-wide":        {"of the cluster", "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: b}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: broletto-workspace-view}}", "cannot create resource"},
		"the account itself":  {"an account of their own", "{apiVersion: v1, kind: ServiceAccount, metadata: {name: robot, namespace: SITE}}", ""},
		"an account as ours":  {"the label is the operator's", "{apiVersion: v1, kind: ServiceAccount, metadata: {name: robot, namespace: SITE, labels: {broletto.dev/owner: x}}}", "carries the label broletto.dev/owner"},
		"a token as a Secret": {"it never expires", "{apiVersion: v1, kind: Secret, metadata: {name: t, namespace: SITE, annotations: {kubernetes.io/service-account.name: default}}, type: kubernetes.io/service-account-token}", "a token that never expires"},
		"a token at home":     {"it never expires", "{apiVersion: v1, kind: Secret, metadata: {name: t, namespace: HOME, annotations: {kubernetes.io/service-account.name: flux}}, type: kubernetes.io/service-account-token}", "a token that never expires"},
		"a Secret":            {"it is what a workspace is for", "{apiVersion: v1, kind: Secret, metadata: {name: t, namespace: SITE}, stringData: {a: b}}", ""},
	})
	// What RBAC keeps from tenants, the policies keep from who has more rights than sense, too.
	const wild = "a Role may hold no wildcard"
	w.try(cluster.ClusterAdmin(), map[string]rule{
		"wild verbs":        role("every verb", "{apiGroups: [''], resources: [pods], verbs: ['*']}", wild),
		"wild resources":    role("every resource", "{apiGroups: [''], resources: ['*'], verbs: [get]}", wild),
		"wild groups":       role("every group", "{apiGroups: ['*'], resources: [pods], verbs: [get]}", wild),
		"wild subresources": role("every subresource", "{apiGroups: [''], resources: ['*/exec'], verbs: [create]}", wild),
		"second rule":       role("the first is fine", "{apiGroups: [''], resources: [pods], verbs: [get]}, {apiGroups: [''], resources: [pods], verbs: ['*']}", wild),
		"impersonate":       role("being somebody else", "{apiGroups: [''], resources: [serviceaccounts], verbs: [impersonate]}", wild),
		"escalate":          role("past the check of RBAC", "{apiGroups: [rbac.authorization.k8s.io], resources: [roles], verbs: [escalate]}", wild),
		"bind":              role("past the check of RBAC", "{apiGroups: [rbac.authorization.k8s.io], resources: [roles], verbs: [bind]}", wild),
		"no rules":          role("a role that gives nothing", "", ""),
		"cluster-admin":     binding("of the cluster", "kind: ClusterRole, name: cluster-admin", account, "ClusterRole cluster-admin may give more"),
		"view":              binding("whatever is aggregated into it tomorrow", "kind: ClusterRole, name: view", account, "ClusterRole view may give more"),
		"role of a home":    binding("for homes", "kind: ClusterRole, name: broletto-tenant-admin", account, "may give more"),
		"everybody":         binding("everybody", view, stranger("Group", "system:authenticated"), denied),
	})
}

func TestClaims(t *testing.T) {
	t.Parallel()
	w := newTown(t, "claims")
	claim := func(reason, spec, want string) rule {
		return rule{reason, "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c, namespace: SITE}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}" + spec + "}}", want}
	}
	w.try(w.administrator(), map[string]rule{
		"own class":       claim("one of the tenant's", ", storageClassName: standard", ""),
		"no class":        claim("gets the tenant's first", "", ""),
		"another class":   claim("which others pay for", ", storageClassName: fast", `storage class "fast" is not your tenant's: name one of standard, encrypted`),
		"class, empty":    claim("means a volume made by hand", ", storageClassName: ''", `storage class "" is not your tenant's`),
		"volume":          claim("which may be another's", ", storageClassName: standard, volumeName: pv-of-another", "volumeName would take a volume"),
		"selector":        claim("by label", ", storageClassName: standard, selector: {matchLabels: {a: b}}", "selector would take a volume"),
		"own copy":        claim("of the own claim", ", storageClassName: standard, dataSource: {kind: PersistentVolumeClaim, name: documenti}", ""),
		"more than quota": claim("the ledger's bound", ", storageClassName: standard, resources: {requests: {storage: 900Gi}}", "exceeded quota"),
		"passed off": {"the label is the operator's", "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c, namespace: SITE, labels: {broletto.dev/owner: x}}," +
			"spec: {storageClassName: standard, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}", "the label broletto.dev/owner"},
	})
}

func TestOwners(t *testing.T) {
	t.Parallel()
	w := newTown(t, "owners")
	owned := func(reason, owner, want string) rule {
		return rule{reason, "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: SITE, ownerReferences: [{" + owner + ", name: x, uid: 00000000-0000-0000-0000-000000000001}]}}", want}
	}
	w.try(w.administrator(), map[string]rule{
		"within the namespace": owned("as every controller does", "apiVersion: apps/v1, kind: Deployment, blockOwnerDeletion: true", ""),
		"the tenant":           owned("its deletion would wait", "apiVersion: broletto.dev/v1alpha1, kind: Tenant, blockOwnerDeletion: true", "names an object of the cluster"),
		"a volume":             owned("its deletion would wait", "apiVersion: v1, kind: PersistentVolume", "names an object of the cluster"),
		"the namespace":        owned("its deletion would wait", "apiVersion: v1, kind: Namespace, blockOwnerDeletion: true", "names an object of the cluster"),
	})
}
