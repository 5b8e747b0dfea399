package security

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// application is an ordinary web application, as its author applies it. APP is its name.
const application = `
{apiVersion: v1, kind: ConfigMap, metadata: {name: APP, namespace: SITE}, data: {colour: blue}}
---
{apiVersion: v1, kind: Secret, metadata: {name: APP, namespace: SITE}, stringData: {password: x}}
---
{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: APP, namespace: SITE}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: APP, namespace: SITE}
spec:
  replicas: 2
  selector: {matchLabels: {app: APP}}
  template:
    metadata: {labels: {app: APP}}
    spec:
      automountServiceAccountToken: false
      affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: APP}}}}]}}
      topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: APP}}}]
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: app
          image: registry.example/app:1
          envFrom: [{configMapRef: {name: APP}}, {secretRef: {name: APP}}]
          ports: [{containerPort: 8080}]
          resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {cpu: 100m, memory: 64Mi}}
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
          volumeMounts: [{name: tmp, mountPath: /tmp}]
      volumes: [{name: tmp, emptyDir: {}}]
---
{apiVersion: v1, kind: Service, metadata: {name: APP, namespace: SITE}, spec: {selector: {app: APP}, ports: [{port: 80, targetPort: 8080}]}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: APP, namespace: SITE, annotations: {nginx.ingress.kubernetes.io/proxy-body-size: 64m, cert-manager.io/cluster-issuer: acme}}
spec:
  tls: [{hosts: [www.OWN.example], secretName: APP-tls}]
  rules: [{host: www.OWN.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: APP, port: {number: 80}}}}]}}]
---
{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: APP, namespace: SITE}, spec: {maxReplicas: 4, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: APP}}}
---
{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: APP, namespace: SITE}, spec: {minAvailable: 1, selector: {matchLabels: {app: APP}}}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: APP, namespace: SITE}, spec: {template: {metadata: {labels: {job: APP}}, spec: {restartPolicy: Never, POD}}}}
---
{apiVersion: batch/v1, kind: CronJob, metadata: {name: APP, namespace: SITE}, spec: {schedule: "30 2 * * *", timeZone: Europe/Zurich, jobTemplate: {spec: {template: {spec: {restartPolicy: Never, POD}}}}}}
`

const network = `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: APP, namespace: SITE}, spec: {podSelector: {matchLabels: {app: APP}}, ` +
	`ingress: [{from: [{podSelector: {}}, {namespaceSelector: {matchLabels: {broletto.dev/tenant: OWN}}}]}]}}`

// TestApplicationWorks applies an application as those who may, twice, and looks at what the controllers make of it in a guarded
// namespace: nothing of the guard stands in their way.
func TestApplicationWorks(t *testing.T) {
	t.Parallel()
	w := newTown(t, "works")
	for name, who := range map[string]struct {
		cfg      *rest.Config
		manifest string
	}{
		"admin":  {w.administrator(), application + "---\n" + network},
		"edit":   {w.member(), application},
		"deploy": {w.token(w.administrator(), "pipeline"), application},
	} {
		t.Run(name, func(t *testing.T) { w.on(t).runs(name, who.cfg, who.manifest) })
	}
	w.Rest()
}

func (w *town) runs(name string, cfg *rest.Config, manifest string) {
	w.Helper()
	c, site := cluster.Client(w, cfg), w.site.TargetNamespace()
	text := []byte(strings.ReplaceAll(w.names(manifest), "APP", name))
	cluster.Apply(w, c, text)
	applied := cluster.Apply(w, c, text) // as a pipeline does, over and over
	w.pods("app="+name, 2)
	w.pods("job="+name, 1)
	cluster.Eventually(w, stage.Patience, "the controllers have made and counted what they do", func() error {
		slices := &discoveryv1.EndpointSliceList{}
		if len(w.List(slices, site)) == 0 {
			return errors.New("there is no endpoint slice")
		}
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: stage.In(site, name)}
		w.Read(claim)
		quota := &corev1.ResourceQuota{ObjectMeta: stage.In(site, "broletto")}
		w.Read(quota)
		pods := quota.Status.Used[corev1.ResourcePods]
		return errors.Join(stage.Same([]string{"kubernetes.io/pvc-protection"}, claim.Finalizers), stage.Same(int64(len(w.List(&corev1.PodList{}, site))), pods.Value()))
	})
	w.rollsOut(name, c)
	for _, o := range applied {
		if err := c.Delete(w.Context(), o, client.PropagationPolicy(metav1.DeletePropagationForeground)); err != nil {
			w.Errorf("deleting %s: %v", o.GetKind(), err)
		}
	}
	for _, o := range applied {
		cluster.Eventually(w, stage.Patience, o.GetKind()+" is gone", func() error { return gone(w.Context(), w.Admin, o) })
	}
	w.pods("app="+name, 0)
	w.pods("job="+name, 0)
}

// rollsOut changes the image, looks for the pods that have it, and scales.
func (w *town) rollsOut(name string, c client.Client) {
	w.Helper()
	d := &appsv1.Deployment{ObjectMeta: stage.In(w.site.TargetNamespace(), name)}
	patch := client.RawPatch("application/strategic-merge-patch+json", []byte(`{"spec":{"strategy":{"rollingUpdate":{"maxUnavailable":"100%"}},"template":{"spec":{"containers":[{"name":"app","image":"registry.example/app:2"}]}}}}`))
	if err := c.Patch(w.Context(), d, patch); err != nil {
		w.Fatal(err)
	}
	cluster.Eventually(w, stage.Patience, "the pods have the new image", func() error {
		for _, o := range w.List(&corev1.PodList{}, d.Namespace) {
			if p := o.(*corev1.Pod); p.Labels["app"] == name && p.Spec.Containers[0].Image != "registry.example/app:2" {
				return fmt.Errorf("%s has %s", p.Name, p.Spec.Containers[0].Image)
			}
		}
		return nil
	})
	if err := c.SubResource("scale").Get(w.Context(), d, &autoscalingv1.Scale{}); err != nil {
		w.Fatal(err)
	}
	three := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":3}}`))
	if err := c.SubResource("scale").Patch(w.Context(), d, three); err != nil {
		w.Fatal(err)
	}
	w.pods("app="+name, 3)
}

// pods waits until there are so many pods of a label that do not go.
func (w *town) pods(label string, n int) {
	w.Helper()
	cluster.Eventually(w, stage.Patience, fmt.Sprintf("%d pods of %s", n, label), func() error {
		there := 0
		for _, o := range w.List(&corev1.PodList{}, w.site.TargetNamespace()) {
			for key, value := range o.GetLabels() {
				if key+"="+value == label && o.GetDeletionTimestamp() == nil {
					there++
				}
			}
		}
		return stage.Same(n, there)
	})
}

// token is an account of the site, by a token that somebody asked for.
func (w *town) token(who *rest.Config, account string) *rest.Config {
	w.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(86400))}}
	if err := cluster.Client(w, who).SubResource("token").Create(w.Context(), &corev1.ServiceAccount{ObjectMeta: stage.In(w.site.TargetNamespace(), account)}, request); err != nil {
		w.Fatal(err)
	}
	cfg := rest.AnonymousClientConfig(who)
	cfg.BearerToken = request.Status.Token
	return cfg
}

// TestAdministratorsDay gives rights, reads what there is, and asks for a workspace, changes it and lets it go.
func TestAdministratorsDay(t *testing.T) {
	t.Parallel()
	w := newTown(t, "day")
	c, site := cluster.Client(t, w.administrator()), w.site.TargetNamespace()
	for _, text := range []string{
		"{apiVersion: v1, kind: ServiceAccount, metadata: {name: robot, namespace: SITE}}",
		"{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: robot, namespace: SITE}, rules: [{apiGroups: [''], resources: [configmaps], verbs: [get, list, create]}]}",
		"{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: robot, namespace: SITE}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: robot}, " +
			"subjects: [{kind: ServiceAccount, name: robot, namespace: SITE}, {apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'OWN:ict'}]}",
		"{apiVersion: v1, kind: Pod, metadata: {name: shell, namespace: SITE}, spec: {serviceAccountName: robot, POD}}",
	} {
		w.make(w.administrator(), text)
	}
	robot := cluster.Client(t, w.token(w.administrator(), "robot"))
	if err := robot.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: stage.In(site, "by-robot")}); err != nil {
		t.Error(err)
	}
	for _, list := range []client.ObjectList{
		&corev1.ResourceQuotaList{}, &corev1.LimitRangeList{}, &corev1.EventList{}, &networkingv1.NetworkPolicyList{}, &rbacv1.RoleBindingList{}, &batchv1.JobList{}, &policyv1.PodDisruptionBudgetList{},
	} {
		if err := c.List(t.Context(), list, client.InNamespace(site)); err != nil {
			t.Error(err)
		}
	}
	evicts := func(ctx context.Context, c client.Client) error {
		return c.SubResource("eviction").Create(ctx, &corev1.Pod{ObjectMeta: stage.In(site, "shell")}, &policyv1.Eviction{ObjectMeta: stage.In(site, "shell")})
	}
	w.Try("administrator", w.administrator(), stage.Attempts{
		"evicts a pod":         stage.Passes("it is the tenant's", evicts),
		"deletes an account":   stage.Passes("it is the tenant's", stage.Deleting(&corev1.ServiceAccount{ObjectMeta: stage.In(site, "robot")})),
		"deletes a role":       stage.Passes("it is the tenant's", stage.Deleting(&rbacv1.Role{ObjectMeta: stage.In(site, "robot")})),
		"deletes a binding":    stage.Passes("it is the tenant's", stage.Deleting(&rbacv1.RoleBinding{ObjectMeta: stage.In(site, "robot")})),
		"deletes ConfigMap":    stage.Passes("it is the tenant's", stage.Deleting(&corev1.ConfigMap{ObjectMeta: stage.In(site, "by-robot")})),
		"writes a note, home":  stage.Passes("it is the tenant's", stage.Making(&corev1.ConfigMap{ObjectMeta: stage.In(w.own.Name, "note")})),
		"deletes a note, home": stage.Passes("it is the tenant's", deleting(&corev1.ConfigMap{}, w.own.Name, client.MatchingFields{"metadata.name": "note"})),
	})

	fresh := &v1alpha1.Workspace{ObjectMeta: stage.In(w.own.Name, "nuovo"), Spec: w.annex.DeepCopy().Spec}
	fresh.Spec.Network, fresh.Spec.Quota = v1alpha1.WorkspaceNetwork{}, v1alpha1.Quota{"pods": "5"}
	if err := c.Create(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	w.Ready(fresh)
	if err := w.patched(c, fresh, `{"spec":{"quota":{"pods":"7","requests.cpu":"1"},"access":[{"role":"Edit","kind":"Group","name":"x"}]}}`)(); err != nil {
		t.Fatal(err)
	}
	w.Ready(fresh)
	if got := w.Hard(fresh.TargetNamespace()); got["pods"] != "7" || got["requests.cpu"] != "1" {
		t.Errorf("quota: %v", got)
	}
	w.site = fresh // in which there is something when it goes
	cluster.Apply(t, c, []byte(strings.ReplaceAll(w.names("{apiVersion: apps/v1, kind: Deployment, metadata: {name: APP, namespace: SITE}, spec: {selector: {matchLabels: {app: APP}}, template: {metadata: {labels: {app: APP}}, spec: {POD}}}}"), "APP", "x")))
	w.pods("app=x", 1)
	if err := c.Delete(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	w.Gone(fresh)
	if w.Exists(namespaceNamed(fresh.TargetNamespace())) {
		t.Error("the namespace stays")
	}
}

// TestBreakGlass changes what only Broletto writes, as the platform's group may, and finds each change in the audit log.
func TestBreakGlass(t *testing.T) {
	t.Parallel()
	w := newTown(t, "glass")
	site := w.site.TargetNamespace()
	from := cluster.Mark(t)
	platform := cluster.Client(t, cluster.Admin())
	for policy, o := range map[string]client.Object{
		"broletto-namespaces": namespaceNamed(site),
		"broletto-guardrails": &corev1.ResourceQuota{ObjectMeta: stage.In(site, "broletto")},
	} {
		if err := stage.Patching(o)(t.Context(), platform); err != nil {
			t.Errorf("%s: %v", policy, err)
		}
	}
	if err := w.patched(platform, w.site, `{"status":{"allocationRevision":1}}`)(); err != nil {
		t.Error(err)
	}
	w.make(w.administrator(), "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: SITE}}")
	noted := map[string]string{}
	for _, e := range cluster.Since(t, from) {
		for key, value := range e.Annotations {
			if policy, broken := strings.CutSuffix(key, "/break-glass"); broken && e.Namespace+e.Name != "" && (e.Namespace == site || e.Name == site || e.Namespace == w.own.Name) {
				noted[policy+" "+e.Resource] = value
			}
		}
	}
	want := map[string]string{"broletto-namespaces namespaces": "broletto-admin", "broletto-guardrails resourcequotas": "broletto-admin"}
	if err := stage.Same(want, noted); err != nil {
		t.Errorf("the audit log: %v", err)
	}
	w.Ready(w.site) // and what was changed is as it should be again, or was of no consequence
}
