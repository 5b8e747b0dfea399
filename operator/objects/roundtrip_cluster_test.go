package objects_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/operator/objects"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

const podSpec = "{securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}, containers: [{name: c, image: 'registry.example/c:1', " +
	"securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]"

// town is what a workspace may hold.
var town = strings.NewReplacer("PODSPEC", podSpec).Replace(`
{apiVersion: v1, kind: ConfigMap, metadata: {name: albo, labels: {app: albo}, annotations: {nota: "due\nrighe"}}, data: {ente: Comune}, binaryData: {logo: AAEC}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: fisso}, immutable: true, data: {a: b}}
---
{apiVersion: v1, kind: Secret, metadata: {name: db}, stringData: {password: geheim}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: robot}, imagePullSecrets: [{name: db}]}
---
{apiVersion: v1, kind: Service, metadata: {name: sito}, spec: {selector: {app: sito}, ports: [{name: http, port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: senza}, spec: {clusterIP: None, selector: {app: sito}, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: dati}, spec: {accessModes: [ReadWriteOnce], storageClassName: standard, resources: {requests: {storage: 1Gi}}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: solo}, spec: PODSPEC}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: sito}, spec: {replicas: 1, selector: {matchLabels: {app: sito}}, template: {metadata: {labels: {app: sito}}, spec: PODSPEC}}}}
---
{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: banca}, spec: {replicas: 1, serviceName: senza, selector: {matchLabels: {app: banca}}, template: {metadata: {labels: {app: banca}}, spec: PODSPEC}}}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: carica}, spec: {template: {spec: PODSPEC, restartPolicy: Never}}}}
---
{apiVersion: batch/v1, kind: CronJob, metadata: {name: notte}, spec: {schedule: "0 4 * * *", jobTemplate: {spec: {template: {spec: PODSPEC, restartPolicy: Never}}}}}}
---
{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: sito}, spec: {minReplicas: 1, maxReplicas: 2, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: sito}}}
---
{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: sito}, spec: {minAvailable: 1, selector: {matchLabels: {app: sito}}}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: dentro}, spec: {podSelector: {matchLabels: {app: banca}}, ingress: [{from: [{podSelector: {matchLabels: {app: sito}}}]}]}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: legge}, rules: [{apiGroups: [""], resources: [configmaps, pods/log], verbs: [get]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: legge}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: legge}, subjects: [{kind: ServiceAccount, name: robot, namespace: SITE}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: vede}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: broletto-workspace-view}, subjects: [{kind: ServiceAccount, name: robot, namespace: SITE}]}
`)

// fill writes what a workspace may hold, with an object that another owns and what controllers make of it all.
func (s scene) fill(workspace string) {
	s.Helper()
	anna := s.anna()
	s.write(anna, workspace, strings.ReplaceAll(town, "SITE", s.in(workspace)))
	site := &unstructured.Unstructured{}
	site.SetAPIVersion("apps/v1")
	site.SetKind("Deployment")
	if err := anna.Get(s.Context(), client.ObjectKey{Namespace: s.in(workspace), Name: "sito"}, site); err != nil {
		s.Fatal(err)
	}
	s.write(anna, workspace, "{apiVersion: v1, kind: ConfigMap, metadata: {name: figlio, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: sito, uid: "+
		string(site.GetUID())+"}]}, data: {a: b}}")
	cluster.Eventually(s, stage.Patience, "the controllers have made pods", func() error {
		pods := s.List(&corev1.PodList{}, s.in(workspace))
		return stage.Same(true, len(pods) >= 4)
	})
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	s := newScene(t, "round", "qui", "la")
	s.fill("qui")
	before, leftOut := s.collect("qui", s.client.May(s.in("qui"), s.administrator()))
	if len(leftOut) != 0 {
		t.Errorf("left out: %v", leftOut)
	}
	want := []string{
		"configmaps/albo", "configmaps/figlio", "configmaps/fisso", "cronjobs.batch/notte", "deployments.apps/sito", "horizontalpodautoscalers.autoscaling/sito", "jobs.batch/carica",
		"networkpolicies.networking.k8s.io/dentro", "persistentvolumeclaims/dati", "poddisruptionbudgets.policy/sito", "pods/solo", "rolebindings.rbac.authorization.k8s.io/legge",
		"rolebindings.rbac.authorization.k8s.io/vede", "roles.rbac.authorization.k8s.io/legge", "secrets/db", "serviceaccounts/robot", "services/senza", "services/sito", "statefulsets.apps/banca",
	}
	if diff := cmp.Diff(want, names(before)); diff != "" {
		t.Fatalf("what was collected, in order (-want +got):\n%s", diff)
	}
	n := len(before)

	if got := s.apply(before, s.order("qui")); counts(got) != [6]int{2: n} {
		t.Errorf("nothing differs from itself: %q", told(got))
	}
	s.empty("qui", before)
	if got := s.apply(before, s.order("qui", func(o *objects.Order) { o.DryRun = true })); counts(got) != [6]int{n} {
		t.Errorf("a dry run says: %q", told(got))
	}
	if left, _ := s.collect("qui"); len(left) > 0 {
		t.Fatalf("a dry run wrote %v", left)
	}
	if got := s.apply(before, s.order("qui")); counts(got) != [6]int{n} {
		t.Errorf("it was not put back: %q", told(got))
	}
	after, _ := s.collect("qui")
	if diff := cmp.Diff(substance(before), substance(after)); diff != "" {
		t.Errorf("what came back (-before +after):\n%s", diff)
	}
	if got := s.apply(before, s.order("qui", func(o *objects.Order) { o.Conflicts = objects.Replace })); counts(got) != [6]int{2: n} {
		t.Errorf("a second time something is to be done: %q", told(got))
	}

	// Into another workspace: its accounts are those that the bindings name.
	got := s.apply(before, s.order("la", func(o *objects.Order) { o.From = s.in("qui") }))
	if counts(got) != [6]int{n} {
		t.Errorf("in the other workspace: %q", told(got))
	}
	other, _ := s.collect("la")
	text := strings.NewReplacer(s.in("qui"), "NS", s.in("la"), "NS")
	if diff := cmp.Diff(substance(before), substance(other), cmp.Transformer("place", func(in string) []byte { return []byte(text.Replace(in)) })); diff != "" {
		t.Errorf("what came to the other workspace (-before +after):\n%s", diff)
	}
}

func names(all []entry) (out []string) {
	for _, e := range all {
		out = append(out, e.String())
	}
	return out
}

// TestLeftOut has a custom resource that administrators may write: it is told until the platform lets it in, and comes back then.
func TestLeftOut(t *testing.T) {
	t.Parallel()
	s := newScene(t, "left", "qui")
	group := s.widgets()
	s.write(s.anna(), "qui", "{apiVersion: "+group+"/v1, kind: Widget, metadata: {name: w}, spec: {a: 1}, status: {b: 2}}")
	administrator, nobody := s.client.May(s.in("qui"), s.administrator()), s.client.May(s.in("qui"), s.stranger())
	all, leftOut := s.collect("qui", nobody, administrator)
	if len(all) != 0 || len(leftOut) != 1 || leftOut[0].What != "widgets."+group || !strings.Contains(leftOut[0].Why, "broletto.dev/backup") {
		t.Errorf("collected %v, left out %v", all, leftOut)
	}
	if _, leftOut := s.collect("qui", nobody); len(leftOut) != 0 {
		t.Errorf("left out though no administrator may make it: %v", leftOut)
	}
	s.role(s.ID("let-in"), map[string]string{"broletto.dev/backup": "true"}, group)
	cluster.Eventually(s, stage.Patience, "widgets are let in", func() error {
		all, leftOut = s.collect("qui", administrator)
		return stage.Same([]string{"widgets." + group + "/w"}, names(all))
	})
	if len(leftOut) != 0 {
		t.Errorf("left out: %v", leftOut)
	}
	s.empty("qui", all)
	if got := s.apply(all, s.order("qui")); counts(got) != [6]int{1} {
		t.Errorf("%q", told(got))
	}
	after, _ := s.collect("qui")
	if diff := cmp.Diff(substance(all), substance(after)); diff != "" { // without a subresource, status is content
		t.Errorf("(-before +after):\n%s", diff)
	}
	old := s.parse("{apiVersion: " + group + "/v1alpha1, kind: Widget, metadata: {name: vecchio}}")[0]
	other := s.parse("{apiVersion: " + group + "/v1beta1, kind: Widget, metadata: {name: nuovo}}")[0]
	got := s.apply([]entry{{all[0].resource, old}, {all[0].resource, other}}, s.order("qui"))
	if counts(got) != [6]int{0: 1, 5: 1} || !strings.Contains(got.Refused.First[0].Why, "in v1, v1beta1, not in") {
		t.Errorf("versions: %q", told(got))
	}
}
