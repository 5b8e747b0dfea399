package objects

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func TestBare(t *testing.T) {
	cases := map[string]struct {
		resource Resource
		in, out  string
	}{
		"what the API server writes": {Resource{Resource: "configmaps"},
			"{metadata: {name: a, uid: u, resourceVersion: '1', generation: 2, creationTimestamp: x, deletionTimestamp: x, managedFields: [{}], ownerReferences: [{}], finalizers: [f], labels: {}}, data: {a: b}}",
			"{metadata: {name: a}, data: {a: b}}"},
		"addresses and ports of a Service": {Resource{Resource: "services"},
			"{metadata: {name: a}, spec: {type: NodePort, clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], healthCheckNodePort: 30001, ports: [{port: 80, nodePort: 30000}]}, status: {}}",
			"{metadata: {name: a}, spec: {type: NodePort, ports: [{port: 80}]}}"},
		"a Service without an address": {Resource{Resource: "services"},
			"{metadata: {name: a}, spec: {clusterIP: None, clusterIPs: [None]}}", "{metadata: {name: a}, spec: {clusterIP: None, clusterIPs: [None]}}"},
		"an account's tokens": {Resource{Resource: "serviceaccounts"},
			"{metadata: {name: a}, secrets: [{name: a-token-x}], imagePullSecrets: [{name: b}]}", "{metadata: {name: a}, imagePullSecrets: [{name: b}]}"},
		"a claim's volume": {Resource{Resource: "persistentvolumeclaims"},
			"{metadata: {name: a, annotations: {pv.kubernetes.io/bind-completed: 'yes', volume.kubernetes.io/selected-node: n, volume.kubernetes.io/storage-provisioner: p, mine: x}}, " +
				"spec: {volumeName: pvc-1, dataSource: {kind: VolumeSnapshot, name: s}, dataSourceRef: {kind: VolumeSnapshot, name: s}, storageClassName: c}}",
			"{metadata: {name: a, annotations: {mine: x}}, spec: {storageClassName: c}}"},
		"a Job's selector": {Resource{Group: "batch", Resource: "jobs"},
			"{metadata: {name: a, labels: {controller-uid: u, batch.kubernetes.io/controller-uid: u, job-name: a, batch.kubernetes.io/job-name: a, mine: x}}, " +
				"spec: {selector: {matchLabels: {batch.kubernetes.io/controller-uid: u}}, template: {metadata: {labels: {controller-uid: u, batch.kubernetes.io/job-name: a}}, spec: {}}}}",
			"{metadata: {name: a, labels: {mine: x}}, spec: {template: {metadata: {}, spec: {}}}}"},
		"a Job's own selector": {Resource{Group: "batch", Resource: "jobs"},
			"{metadata: {name: a}, spec: {manualSelector: true, selector: {matchLabels: {a: b}}}}", "{metadata: {name: a}, spec: {manualSelector: true, selector: {matchLabels: {a: b}}}}"},
		"a pod's node and tokens": {Resource{Resource: "pods"},
			"{metadata: {name: a}, spec: {nodeName: n, priority: 0, volumes: [{name: kube-api-access-x}, {name: mine}], containers: [{name: c, volumeMounts: [{name: kube-api-access-x}]}, {name: d, volumeMounts: [{name: mine}]}]}, status: {phase: Running}}",
			"{metadata: {name: a}, spec: {volumes: [{name: mine}], containers: [{name: c}, {name: d, volumeMounts: [{name: mine}]}]}}"},
		"a Deployment's revision": {Resource{Group: "apps", Resource: "deployments"},
			"{metadata: {name: a, annotations: {deployment.kubernetes.io/revision: '7'}}, spec: {}, status: {}}", "{metadata: {name: a}, spec: {}}"},
		"fields of other types": {Resource{Resource: "services"}, "{metadata: {name: a, labels: []}, spec: {ports: 7}}", "{metadata: {name: a, labels: []}, spec: {ports: 7}}"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			in, out := read(t, c.in), read(t, c.out)
			untouched := in.DeepCopy()
			if diff := cmp.Diff(out.Object, bare(c.resource, in, true).Object); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(untouched.Object, in.Object); diff != "" {
				t.Errorf("it was changed itself:\n%s", diff)
			}
			if diff := cmp.Diff(out.Object, bare(c.resource, out, true).Object); diff != "" {
				t.Errorf("bare twice is not bare once (-want +got):\n%s", diff)
			}
		})
	}
}

// TestGrafted holds that what an update must not lose comes from what stands there.
func TestGrafted(t *testing.T) {
	cases := map[string]struct {
		resource         Resource
		want, live, sent string
	}{
		"addresses": {Resource{Resource: "services"}, "{metadata: {name: a}, spec: {type: NodePort, ports: [{port: 80}, {port: 81}]}}",
			"{metadata: {name: a, uid: u, resourceVersion: '7', finalizers: [f]}, spec: {clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], ports: [{port: 80, nodePort: 30000}]}}",
			"{metadata: {name: a, uid: u, resourceVersion: '7', finalizers: [f]}, spec: {type: NodePort, clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], ports: [{port: 80, nodePort: 30000}, {port: 81}]}}"},
		"ports that are none any more": {Resource{Resource: "services"}, "{metadata: {name: a}, spec: {type: ClusterIP, ports: [{port: 80}]}}",
			"{metadata: {name: a}, spec: {type: NodePort, ports: [{port: 80, nodePort: 30000}]}}", "{metadata: {name: a}, spec: {type: ClusterIP, ports: [{port: 80}]}}"},
		"volume": {Resource{Resource: "persistentvolumeclaims"}, "{metadata: {name: a}, spec: {}}",
			"{metadata: {name: a, annotations: {pv.kubernetes.io/bind-completed: 'yes', old: x}}, spec: {volumeName: v}}",
			"{metadata: {name: a, annotations: {pv.kubernetes.io/bind-completed: 'yes'}}, spec: {volumeName: v}}"},
		"owners": {Resource{Resource: "configmaps"}, "{metadata: {name: a}}", "{metadata: {name: a, ownerReferences: [{uid: o}]}}", "{metadata: {name: a, ownerReferences: [{uid: o}]}}"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(read(t, c.sent).Object, grafted(c.resource, read(t, c.want), read(t, c.live)).Object); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func read(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	out := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &out.Object); err != nil {
		t.Fatal(err)
	}
	return out
}
