package security

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/isolation"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// trial is something that a tenant's administrator tries for real, and what comes of it.
type trial struct {
	what, reason string
	do           func(context.Context, *mtb) error
	want         string // a part of the refusal; empty: it works
}

// mtb is the town seen by the administrator of one of its tenants.
type mtb struct {
	*town
	client.Client
}

// TestBenchmark tries all checks of the multi-tenancy benchmark, by number: what must be refused beside what must work.
func TestBenchmark(t *testing.T) {
	t.Parallel()
	w := newTown(t, "mtb", func(t *v1alpha1.Tenant) { t.Spec.Limits.ObjectsPerWorkspace = new(int32(12)) })
	stage.Edit(w.Stage, w.consortium, func(c *v1alpha1.Consortium) { c.Spec.Defaults.Workspace.ImagePullPolicy = corev1.PullAlways })
	w.Rest()
	m := &mtb{w, cluster.Client(w, w.administrator())}
	proofs := mtbProofs()
	for _, check := range isolation.Benchmark() {
		t.Run(fmt.Sprintf("%02d %s %s", check.Number, check.Name, check.Upstream), func(t *testing.T) {
			trials := proofs[check.Name]
			delete(proofs, check.Name)
			refusals := 0
			for _, try := range trials {
				if try.want != "" {
					refusals++
				}
				if err := refused(try.do(t.Context(), m), try.want); err != nil {
					t.Errorf("%s (%s): %v", try.what, try.reason, err)
				}
			}
			if refusals == 0 || refusals == len(trials) {
				t.Errorf("%d of %d trials are refused: what is refused stands beside what works", refusals, len(trials))
			}
		})
	}
	for name := range proofs {
		t.Errorf("%s is no check", name)
	}
}

// mtbProofs are the trials of every check, by its name.
func mtbProofs() map[string][]trial {
	out := mtbPods()
	for _, more := range []map[string][]trial{mtbRights(), mtbQuotas(), mtbVolumes(), mtbNetwork(), mtbSelfService()} {
		maps.Copy(out, more)
	}
	return out
}

// mtbPods are the checks of what pods may do on their node.
func mtbPods() map[string][]trial {
	const standard = "violates PodSecurity"
	inContainer := func(what, context, want string) trial {
		return dry(what, "one of its containers asks for it", "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: SITE}, spec: {securityContext: {seccompProfile: {type: RuntimeDefault}}, "+
			"containers: [{name: app, image: registry.example/app:1, "+context+"}]}}", want)
	}
	secured := func(context string) string {
		return "securityContext: {runAsNonRoot: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}" + context + "}"
	}
	inPod := func(what, spec, want string) trial {
		return dry(what, "the pod asks for it", "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: SITE}, spec: {"+spec+", POD}}", want)
	}
	template := func(what, spec, want string) trial {
		return dry(what, "its pods are refused when the controller makes them, and the author is warned", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, namespace: SITE}, "+
			"spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {"+spec+", POD}}}}", want)
	}
	sound := inContainer("a sound container", secured(""), "")
	return map[string][]trial{
		"add-capabilities": {
			inContainer("SYS_ADMIN", "securityContext: {runAsNonRoot: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL], add: [SYS_ADMIN]}}", standard),
			inContainer("SETPCAP", "securityContext: {runAsNonRoot: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL], add: [SETPCAP]}}", standard),
			inContainer("the node's defaults", "securityContext: {runAsNonRoot: true, allowPrivilegeEscalation: false}", standard),
			inContainer("a port below 1024", "securityContext: {runAsNonRoot: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}", ""),
			sound,
		},
		"image-pull-always": {
			pulled("IfNotPresent"), pulled("Never"),
			{"a container added later", "it is made to pull, too", ephemeral, ""},
			dry("a pull secret of another's", "they cannot read it, so they cannot use it", "{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: TARGET}}", "cannot create resource"),
		},
		"run-as-non-root": {
			inContainer("nothing said", "securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}", standard),
			inContainer("root allowed", "securityContext: {runAsNonRoot: false, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}", standard),
			inContainer("uid 0", secured(", runAsUser: 0"), standard),
			inContainer("uid 1000", secured(", runAsUser: 1000"), ""),
		},
		"privileged-containers": {inContainer("privileged", "securityContext: {runAsNonRoot: true, privileged: true}", standard), sound},
		"privilege-escalation": {
			inContainer("allowed", "securityContext: {runAsNonRoot: true, allowPrivilegeEscalation: true, capabilities: {drop: [ALL]}}", standard),
			inContainer("nothing said", "securityContext: {runAsNonRoot: true, capabilities: {drop: [ALL]}}", standard),
			sound,
		},
		"host-path": {
			inPod("the root of the node", "volumes: [{name: v, hostPath: {path: /}}]", standard),
			inPod("the runtime's socket", "volumes: [{name: v, hostPath: {path: /run/containerd/containerd.sock, type: Socket}}]", standard),
			inPod("an empty volume", "volumes: [{name: v, emptyDir: {}}]", ""),
		},
		"host-network": {
			inPod("the node's network", "hostNetwork: true", standard),
			inContainer("a port of the node", "ports: [{containerPort: 8080, hostPort: 8080}], "+secured(""), standard),
			inContainer("a port of the pod", "ports: [{containerPort: 8080}], "+secured(""), ""),
		},
		"host-pid": {inPod("the node's processes", "hostPID: true", standard), inPod("one process space for its containers", "shareProcessNamespace: true", "")},
		"host-ipc": {inPod("the node's shared memory", "hostIPC: true", standard), inPod("its own", "hostIPC: false", "")},
		"claims-for-storage": {
			inPod("NFS", "volumes: [{name: v, nfs: {server: nfs.example, path: /}}]", standard),
			inPod("iSCSI", "volumes: [{name: v, iscsi: {targetPortal: '192.0.2.1:3260', iqn: 'iqn.2001-04.example:x', lun: 0}}]", standard),
			inPod("whatever a driver of the node mounts", "volumes: [{name: v, csi: {driver: nfs.csi.example, volumeAttributes: {server: nfs.example, share: /}}}]", "a volume of type csi"),
			inPod("a claim", "volumes: [{name: v, persistentVolumeClaim: {claimName: documenti}}]", ""),
			template("a claim, by Deployment", "volumes: [{name: v, persistentVolumeClaim: {claimName: documenti}}]", ""),
		},
	}
}

// mtbRights are the checks of what people may do at all.
func mtbRights() map[string][]trial {
	const denied = "cannot"
	site := func(m *mtb) string { return m.site.TargetNamespace() }
	modified := func(what string, o func(*mtb) client.Object) []trial {
		return []trial{
			{what + ", changed", "it is the platform's", func(ctx context.Context, m *mtb) error { return m.Patch(ctx, o(m), mtbMark) }, "forbidden"},
			{what + ", deleted", "it is the platform's", func(ctx context.Context, m *mtb) error { return m.Delete(ctx, o(m)) }, "forbidden"},
		}
	}
	in := func(o client.Object, name string) func(*mtb) client.Object {
		return func(m *mtb) client.Object {
			o := o.DeepCopyObject().(client.Object)
			o.SetNamespace(site(m))
			o.SetName(name)
			return o
		}
	}
	own := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "mine"}}
	return map[string][]trial{
		"cluster-resources": {
			{"every right on every cluster-scoped resource", "by the API server's own word", noneOf(false, func(*mtb) []string { return []string{""} }), "has none of"},
			{"list nodes", "the cluster's", func(ctx context.Context, m *mtb) error { return m.List(ctx, &corev1.NodeList{}) }, denied},
			{"list namespaces", "it names all tenants", func(ctx context.Context, m *mtb) error { return m.List(ctx, &corev1.NamespaceList{}) }, denied},
			{"list tenants", "it names all tenants", func(ctx context.Context, m *mtb) error { return m.List(ctx, &v1alpha1.TenantList{}) }, denied},
			dry("an offering", "the catalogue is the consortium's", "{apiVersion: broletto.dev/v1alpha1, kind: ServiceOffering, metadata: {name: mtb}, spec: {"+offered+"}}", denied),
			{"read the catalogue", "it is everybody's to choose from", func(ctx context.Context, m *mtb) error { return m.List(ctx, &v1alpha1.ServiceOfferingList{}) }, ""},
			dry("a cluster role", "beyond all namespaces", "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: mtb}}", denied),
			dry("a binding of all", "beyond all namespaces", "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: mtb}, "+
				"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: broletto-workspace-view}}", denied),
			{"list workspaces at home", "what they live by", func(ctx context.Context, m *mtb) error {
				return m.List(ctx, &v1alpha1.WorkspaceList{}, client.InNamespace(m.own.Name))
			}, ""},
		},
		"multitenant-resources": slices.Concat(
			modified("default deny", in(&networkingv1.NetworkPolicy{}, "default-deny")),
			modified("what is granted", in(&networkingv1.NetworkPolicy{}, "granted")),
			modified("the administrators' binding", in(&rbacv1.RoleBinding{}, "tenant-admin")),
			modified("the limits", in(&corev1.LimitRange{}, "broletto")),
			modified("the default account", in(&corev1.ServiceAccount{}, "default")),
			modified("the namespace", func(m *mtb) client.Object { return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: site(m)}} }),
			modified("default deny at home", func(m *mtb) client.Object {
				return &networkingv1.NetworkPolicy{ObjectMeta: stage.In(m.own.Name, "default-deny")}
			}),
			[]trial{
				{"all network policies at once", "ours are among them", func(ctx context.Context, m *mtb) error {
					return m.DeleteAllOf(ctx, &networkingv1.NetworkPolicy{}, client.InNamespace(site(m)))
				}, "forbidden"},
				{"a network policy of their own", "it only opens within the tenant", func(ctx context.Context, m *mtb) error {
					o := own.DeepCopy()
					o.Namespace = site(m)
					return errors.Join(m.Create(ctx, o), m.Patch(ctx, o, mtbMark), m.Delete(ctx, o))
				}, ""},
			},
		),
		"other-tenant-resources": {
			{"every right on every resource of another tenant", "by the API server's own word", noneOf(true, func(m *mtb) []string { return []string{m.other.Name, m.target.TargetNamespace()} }), "has none of"},
			{"list another's secrets", "they are another's", func(ctx context.Context, m *mtb) error {
				return m.List(ctx, &corev1.SecretList{}, client.InNamespace(m.target.TargetNamespace()))
			}, denied},
			{"read another's workspace", "it is another's", func(ctx context.Context, m *mtb) error {
				return m.Get(ctx, client.ObjectKeyFromObject(m.target), &v1alpha1.Workspace{})
			}, denied},
			{"delete another's pods", "they are another's", func(ctx context.Context, m *mtb) error {
				return m.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(m.target.TargetNamespace()))
			}, denied},
			{"list all secrets", "others' are among them", func(ctx context.Context, m *mtb) error { return m.List(ctx, &corev1.SecretList{}) }, denied},
			{"list their own secrets", "what they live by", func(ctx context.Context, m *mtb) error {
				return m.List(ctx, &corev1.SecretList{}, client.InNamespace(site(m)))
			}, ""},
		},
		"role-escalation": {
			may("escalate roles", "escalate", rbacv1.GroupName, "roles", "", "may not"),
			may("bind cluster-admin", "bind", rbacv1.GroupName, "clusterroles", "cluster-admin", "may not"),
			may("be another account", "impersonate", "", "serviceaccounts", "default", "may not"),
			dry("a Role of more than they have", "past what they have", "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: r, namespace: SITE}, rules: [{apiGroups: [''], resources: [resourcequotas], verbs: [update]}]}", "attempting to grant"),
			dry("a binding of cluster-admin", "past what they have", mtbBinding("kind: ClusterRole, name: cluster-admin"), "attempting to grant"),
			dry("a binding of the built-in edit", "whatever is aggregated into it tomorrow", mtbBinding("kind: ClusterRole, name: edit"), "forbidden"),
			dry("a Role of what they have", "it gives no more", "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: r, namespace: SITE}, rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]}", ""),
		},
	}
}

// mtbQuotas are the checks of fair shares.
func mtbQuotas() map[string][]trial {
	quota := func(namespace func(*mtb) string) func(*mtb) *corev1.ResourceQuota {
		return func(m *mtb) *corev1.ResourceQuota {
			return &corev1.ResourceQuota{ObjectMeta: stage.In(namespace(m), "broletto")}
		}
	}
	named := func(names ...corev1.ResourceName) func(context.Context, *mtb) error {
		return func(ctx context.Context, m *mtb) error {
			q := quota(func(m *mtb) string { return m.site.TargetNamespace() })(m)
			if err := m.Get(ctx, client.ObjectKeyFromObject(q), q); err != nil {
				return err
			}
			for _, name := range names {
				if _, counted := q.Status.Used[name]; !counted {
					return fmt.Errorf("%s is not counted: %v", name, q.Status)
				}
			}
			return nil
		}
	}
	sized := func(what, cpu, want string) trial {
		return dry(what, "a share of the nodes", "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: SITE}, spec: {securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}, "+
			"containers: [{name: app, image: registry.example/app:1, resources: {requests: {cpu: '"+cpu+"'}, limits: {cpu: '"+cpu+"'}}, "+
			"securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]}}", want)
	}
	out := map[string][]trial{
		"resource-quotas": {
			{"the quota, counted", "it names CPU, memory and storage", named("requests.cpu", "limits.cpu", "requests.memory", "limits.memory", "requests.storage"), ""},
			sized("a pod that fits", "1", ""), sized("a pod that does not", "900", "exceeded quota"),
			dry("a claim that does not fit", "a share of the store", mtbClaim("storageClassName: standard", "900Gi"), "exceeded quota"),
			dry("a claim that fits", "a share of the store", mtbClaim("storageClassName: standard", "1Gi"), ""),
		},
		"object-limits": {
			{"the quota, counted", "it names what fills the store", named("pods", "persistentvolumeclaims", "services.loadbalancers", "services.nodeports", "count/configmaps", "count/secrets", "count/services"), ""},
			{"one ConfigMap", "it fits", func(ctx context.Context, m *mtb) error { return m.Create(ctx, mtbConfigMap(m, 0)) }, ""},
			{"ConfigMaps without end", "the store is everybody's", func(ctx context.Context, m *mtb) error {
				for i := 1; i <= 12; i++ {
					if err := m.Create(ctx, mtbConfigMap(m, i)); err != nil {
						return err
					}
				}
				return nil
			}, "exceeded quota"},
			dry("a Service at home", "no pod runs there", "{apiVersion: v1, kind: Service, metadata: {name: s, namespace: HOME}, spec: {ports: [{port: 80}]}}", "cannot create resource"),
		},
	}
	for name, namespace := range map[string]func(*mtb) string{"workspace": func(m *mtb) string { return m.site.TargetNamespace() }, "home": func(m *mtb) string { return m.own.Name }} {
		of := quota(namespace)
		out["quota-modification"] = append(out["quota-modification"],
			trial{name + ": read", "what they may use", func(ctx context.Context, m *mtb) error { return m.Get(ctx, client.ObjectKeyFromObject(of(m)), of(m)) }, ""},
			trial{name + ": another", "quotas are the platform's", func(ctx context.Context, m *mtb) error {
				q := of(m)
				q.Name = "mine"
				return m.Create(ctx, q)
			}, "cannot create resource"},
			trial{name + ": update", "quotas are the platform's", func(ctx context.Context, m *mtb) error {
				q := of(m)
				if err := m.Get(ctx, client.ObjectKeyFromObject(q), q); err != nil {
					return err
				}
				q.Spec.Hard = nil
				return m.Update(ctx, q)
			}, "cannot update resource"},
			trial{name + ": patch", "quotas are the platform's", func(ctx context.Context, m *mtb) error {
				return m.Patch(ctx, of(m), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"hard":null}}`)))
			}, "cannot patch resource"},
			trial{name + ": delete", "quotas are the platform's", func(ctx context.Context, m *mtb) error { return m.Delete(ctx, of(m)) }, "cannot delete resource"},
			trial{name + ": delete all", "quotas are the platform's", func(ctx context.Context, m *mtb) error {
				return m.DeleteAllOf(ctx, &corev1.ResourceQuota{}, client.InNamespace(namespace(m)))
			}, "cannot deletecollection resource"},
			trial{name + ": the Workspace's status", "it is the operator's word", func(ctx context.Context, m *mtb) error {
				return m.Status().Patch(ctx, &v1alpha1.Workspace{ObjectMeta: stage.In(m.site.Namespace, m.site.Name)}, client.RawPatch(types.MergePatchType, []byte(`{"status":{"quota":null}}`)))
			}, "cannot patch resource"},
		)
	}
	return out
}

// mtbVolumes are the checks of what volumes hold.
func mtbVolumes() map[string][]trial {
	fits := dry("a claim of their own class", "a volume is made for it, and goes with it", mtbClaim("storageClassName: standard", "1Gi"), "")
	return map[string][]trial{
		"reclaim-delete": {
			dry("a class of their own", "it would say what becomes of volumes", "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: mtb}, provisioner: example.com/disk, reclaimPolicy: Retain}", "cannot create resource"),
			dry("a volume of their own", "it would stay behind", "{apiVersion: v1, kind: PersistentVolume, metadata: {name: mtb}, spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], "+
				"persistentVolumeReclaimPolicy: Retain, hostPath: {path: /x}}}", "cannot create resource"),
			{"a volume's policy", "it would stay behind", func(ctx context.Context, m *mtb) error {
				return m.Patch(ctx, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}}, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}`)))
			}, "cannot patch resource"},
			{"read a class", "the cluster's", func(ctx context.Context, m *mtb) error {
				return m.Get(ctx, client.ObjectKey{Name: "standard"}, &storagev1.StorageClass{})
			}, "cannot get resource"},
			dry("a class that nobody gave them", "which may keep volumes", mtbClaim("storageClassName: archive", "1Gi"), "is not your tenant's"),
			fits,
		},
		"existing-volumes": {
			dry("a volume by name", "it may hold another's data", mtbClaim("storageClassName: standard, volumeName: pv", "1Gi"), "volumeName would take a volume"),
			dry("a volume by label", "it may hold another's data", mtbClaim("storageClassName: standard, selector: {matchLabels: {a: b}}", "1Gi"), "selector would take a volume"),
			dry("a volume without class", "they are made by hand", mtbClaim("storageClassName: ''", "1Gi"), "is not your tenant's"),
			{"list volumes", "they are everybody's", func(ctx context.Context, m *mtb) error { return m.List(ctx, &corev1.PersistentVolumeList{}) }, "cannot list resource"},
			fits,
		},
	}
}

// mtbNetwork are the checks of who reaches whom. Where pods run, test/node sends packets.
func mtbNetwork() map[string][]trial {
	policy := func(what, spec, want string) trial {
		return dry(what, "network policies add up", "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: net, namespace: SITE}, spec: {podSelector: {}, "+spec+"}}", want)
	}
	service := func(what, spec, want string) trial {
		return dry(what, "an address of its own", "{apiVersion: v1, kind: Service, metadata: {name: s, namespace: SITE}, spec: {ports: [{port: 80}], "+spec+"}}", want)
	}
	return map[string][]trial{
		"node-ports": {
			service("NodePort", "type: NodePort", "services.nodeports in spec.quota"),
			service("LoadBalancer, which opens one too", "type: LoadBalancer", "services.loadbalancers in spec.quota"),
			{"NodePort, later", "an update is a write like any", func(ctx context.Context, m *mtb) error {
				o := m.read("{apiVersion: v1, kind: Service, metadata: {name: later, namespace: SITE}, spec: {ports: [{port: 80}]}}")
				if err := m.Create(ctx, o); err != nil {
					return fmt.Errorf("creating it: %v", err) //nolint:errorlint // this refusal is not the one wanted
				}
				return m.Patch(ctx, o, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"type":"NodePort"}}`)))
			}, "services.nodeports in spec.quota"},
			service("ClusterIP", "selector: {a: b}", ""),
		},
		"tenant-network": {
			{"closed", "every namespace of theirs, before anybody opens anything", func(ctx context.Context, m *mtb) error {
				for _, namespace := range []string{m.own.Name, m.site.TargetNamespace(), m.annex.TargetNamespace()} {
					var deny networkingv1.NetworkPolicy
					if err := m.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "default-deny"}, &deny); err != nil {
						return err
					}
					if s := deny.Spec; len(s.PodSelector.MatchLabels)+len(s.Ingress)+len(s.Egress) > 0 || len(s.PolicyTypes) != 2 {
						return fmt.Errorf("%s: %+v", namespace, s)
					}
				}
				return nil
			}, ""},
			policy("another tenant, in", "ingress: [{from: [{namespaceSelector: {matchLabels: {broletto.dev/tenant: OTHER}}}]}]", "of your own tenant only"),
			policy("another tenant, out", "egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: TARGET}}}]}]", "of your own tenant only"),
			policy("everybody", "ingress: [{}]", "opens the workspace to everybody"),
			policy("pods by address", "egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}}]}]", "may not name addresses"),
			policy("their own tenant", "ingress: [{from: [{namespaceSelector: {matchLabels: {broletto.dev/tenant: OWN}}}]}]", ""),
			dry("addresses behind a Service", "the ingress controller would connect to them", "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: e, namespace: SITE}, addressType: IPv4, endpoints: [{addresses: [10.0.0.1]}]}", "cannot create resource"),
			service("another's name", "type: ExternalName, externalName: sito.TARGET.svc", "spec.network.egress"),
		},
	}
}

// mtbSelfService are the checks of what tenants manage by themselves, each verb for real.
func mtbSelfService() map[string][]trial {
	own := func(what string, text string, list func() client.ObjectList) trial {
		return trial{what, "every verb, on an object of their own", func(ctx context.Context, m *mtb) error {
			o := m.read(text)
			o.SetLabels(map[string]string{"mtb": "mine"})
			mine, all := client.MatchingLabels{"mtb": "mine"}, client.InNamespace(o.GetNamespace())
			if err := m.Create(ctx, o); err != nil {
				return fmt.Errorf("create: %w", err)
			}
			o.SetAnnotations(map[string]string{"a": "b"})
			return errors.Join(m.Update(ctx, o), m.Patch(ctx, o, mtbMark), m.Get(ctx, client.ObjectKeyFromObject(o), o), m.List(ctx, list(), all, mine),
				m.Delete(ctx, o), m.DeleteAllOf(ctx, o, all, mine))
		}, ""}
	}
	const role = "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: r, namespace: %s}, rules: [{apiGroups: [''], resources: [pods], verbs: [get, list]}]}"
	const policy = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: net, namespace: %s}, spec: {podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}}"
	return map[string][]trial{
		"network-policies": {
			own("network policies", fmt.Sprintf(policy, "SITE"), func() client.ObjectList { return &networkingv1.NetworkPolicyList{} }),
			dry("in another's", "theirs is theirs", fmt.Sprintf(policy, "TARGET"), "cannot create resource"),
		},
		"self-service-roles": {
			own("Roles", fmt.Sprintf(role, "SITE"), func() client.ObjectList { return &rbacv1.RoleList{} }),
			dry("in another's", "theirs is theirs", fmt.Sprintf(role, "TARGET"), "cannot create resource"),
			dry("a wildcard", "its reach grows by itself", "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: r, namespace: SITE}, rules: [{apiGroups: [''], resources: [pods], verbs: ['*']}]}", "forbidden"),
		},
		"self-service-role-bindings": {
			own("RoleBindings", mtbBinding("kind: ClusterRole, name: broletto-workspace-view"), func() client.ObjectList { return &rbacv1.RoleBindingList{} }),
			dry("to strangers", "whom nobody named", strings.Replace(mtbBinding("kind: ClusterRole, name: broletto-workspace-view"), "{kind: ServiceAccount, name: default, namespace: SITE}",
				"{apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'OTHER:ict'}", 1), "is not one of your tenant's subjects"),
			dry("in another's", "theirs is theirs", strings.ReplaceAll(mtbBinding("kind: ClusterRole, name: broletto-workspace-view"), "SITE", "TARGET"), "cannot create resource"),
		},
	}
}

var mtbMark = client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"eve":"was-here"}}}`))

func mtbBinding(role string) string {
	return "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: b, namespace: SITE}, roleRef: {apiGroup: rbac.authorization.k8s.io, " + role +
		"}, subjects: [{kind: ServiceAccount, name: default, namespace: SITE}]}"
}

func mtbClaim(spec, size string) string {
	return "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c, namespace: SITE}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: " + size + "}}, " + spec + "}}"
}

func mtbConfigMap(m *mtb, i int) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: stage.In(m.site.TargetNamespace(), fmt.Sprint("c", i))}
}

// dry creates an object without effect.
func dry(what, reason, object, want string) trial {
	return trial{what, reason, func(ctx context.Context, m *mtb) error { return m.Create(ctx, m.read(object), client.DryRunAll) }, want}
}

// pulled creates a pod that would run images that others pulled, and wants that it does not.
func pulled(policy string) trial {
	return trial{"a pod that says " + policy, "it is made to pull", func(ctx context.Context, m *mtb) error {
		image := fmt.Sprintf("image: registry.example/x:1, imagePullPolicy: %s, securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}", policy)
		o := m.read("{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: SITE}, spec: {securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}, " +
			"volumes: [{name: none, emptyDir: {}}, {name: v, image: {reference: 'registry.example/x:1', pullPolicy: " + policy + "}}], " +
			"initContainers: [{name: a, " + image + "}], containers: [{name: b, " + image + "}, {name: c, " + image + "}]}}")
		if err := m.Create(ctx, o, client.DryRunAll); err != nil {
			return err
		}
		volumes, _, _ := unstructured.NestedSlice(o.Object, "spec", "volumes")
		if got, _, _ := unstructured.NestedString(volumes[1].(map[string]any), "image", "pullPolicy"); got != "Always" {
			return fmt.Errorf("an image as a volume: %v", got)
		}
		for _, list := range []string{"initContainers", "containers"} {
			containers, _, _ := unstructured.NestedSlice(o.Object, "spec", list)
			for _, c := range containers {
				if got := c.(map[string]any)["imagePullPolicy"]; got != "Always" {
					return fmt.Errorf("%s: %v", list, got)
				}
			}
		}
		return nil
	}, ""}
}

// ephemeral adds a container to a pod that is there.
func ephemeral(ctx context.Context, m *mtb) error {
	o := m.read("{apiVersion: v1, kind: Pod, metadata: {name: debugged, namespace: SITE}, spec: {POD}}")
	if err := m.Create(ctx, o); err != nil {
		return err
	}
	var pod corev1.Pod
	if err := m.Get(ctx, client.ObjectKeyFromObject(o), &pod); err != nil {
		return err
	}
	sound := pod.Spec.Containers[0]
	pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
		Name: "debug", Image: sound.Image, ImagePullPolicy: corev1.PullNever, SecurityContext: sound.SecurityContext,
	}}}
	if err := m.SubResource("ephemeralcontainers").Update(ctx, &pod); err != nil {
		return err
	}
	if got := pod.Spec.EphemeralContainers[0].ImagePullPolicy; got != corev1.PullAlways {
		return fmt.Errorf("it pulls %s", got)
	}
	return m.Delete(ctx, &pod)
}

// may asks the API server whether they may do something in the site.
func may(what, verb, group, resource, name, want string) trial {
	return trial{what, "the right alone would do", func(ctx context.Context, m *mtb) error {
		return m.may(ctx, authorizationv1.ResourceAttributes{Verb: verb, Group: group, Resource: resource, Name: name, Namespace: m.site.TargetNamespace()})
	}, want}
}

func (m *mtb) may(ctx context.Context, what authorizationv1.ResourceAttributes) error {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &what}}
	if err := m.Create(ctx, review); err != nil {
		return fmt.Errorf("asking: %v", err) //nolint:errorlint // a refusal to answer is no answer
	}
	if !review.Status.Allowed {
		return apierrors.NewForbidden(schema.GroupResource{Group: what.Group, Resource: what.Resource}, what.Name, fmt.Errorf("they may not %s it", what.Verb))
	}
	return nil
}

// noneOf asks for every verb on every resource that the API server serves, cluster-scoped or in these namespaces. It is refused when
// every single one is. What everybody may ask about themselves is no right, nor is reading the catalogue, which has a trial of its own.
func noneOf(namespaced bool, namespaces func(*mtb) []string) func(context.Context, *mtb) error {
	return func(ctx context.Context, m *mtb) error {
		served, err := discovery.NewDiscoveryClientForConfigOrDie(cluster.Admin()).ServerPreferredResources()
		if err != nil {
			return err
		}
		asked, granted := 0, []string{}
		for _, list := range served {
			gv, err := schema.ParseGroupVersion(list.GroupVersion)
			if err != nil {
				return err
			}
			for _, resource := range list.APIResources {
				if resource.Namespaced != namespaced || strings.HasPrefix(resource.Name, "selfsubject") {
					continue
				}
				for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"} {
					if resource.Name == "serviceofferings" && gv.Group == v1alpha1.GroupVersion.Group && slices.Contains([]string{"get", "list", "watch"}, verb) {
						continue
					}
					for _, namespace := range namespaces(m) {
						asked++
						err := m.may(ctx, authorizationv1.ResourceAttributes{Verb: verb, Group: gv.Group, Resource: resource.Name, Namespace: namespace})
						if !apierrors.IsForbidden(err) {
							granted = append(granted, fmt.Sprintf("%s %s in %q (%v)", verb, resource.Name, namespace, err))
						}
					}
				}
			}
		}
		if len(granted) > 0 || asked < 100 {
			return fmt.Errorf("of %d rights they have %v", asked, granted)
		}
		return apierrors.NewForbidden(schema.GroupResource{}, "", fmt.Errorf("the administrator has none of %d rights", asked))
	}
}
