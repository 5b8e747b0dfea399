package workspace_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/stage"
)

// full asks for something of everything.
func full(w *v1alpha1.Workspace) {
	w.Spec.DataClass = v1alpha1.DataClassCritical
	w.Spec.ExpiresAt = &metav1.Time{Time: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)}
	w.Spec.Quota = v1alpha1.Quota{"requests.cpu": "3", "requests.storage": "30Gi"}
	w.Spec.Access = []v1alpha1.Access{
		{Role: v1alpha1.RoleAdmin, Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: "ops"}},
		{Role: v1alpha1.RoleEdit, Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Name: "deployer"}},
		{Role: v1alpha1.RoleView, Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "carla"}},
	}
	w.Spec.Network = v1alpha1.WorkspaceNetwork{
		Exposure: v1alpha1.ExposureInternet, Hosts: []v1alpha1.Hostname{v1alpha1.Hostname("www." + w.Namespace + ".example")},
		Egress: []v1alpha1.Egress{{CIDR: "203.0.113.0/24", Ports: []int32{8443, 443}}, {CIDR: "0.0.0.0/0", Ports: []int32{123}, Protocol: "UDP"}},
	}
	w.Spec.Storage = &v1alpha1.WorkspaceStorage{Volumes: []v1alpha1.Volume{{Name: "documenti", Size: "10Gi"}, {Name: "chiavi", Size: "5Gi", Class: "encrypted"}}}
}

// TestNamespace looks at all that a new workspace gets.
func TestNamespace(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "ns")
	c, a := s.Consortium(), s.Tenant("a", stage.Flux, func(t *v1alpha1.Tenant) {
		t.Spec.DataClasses = []v1alpha1.DataClass{v1alpha1.DataClassOrdinary, v1alpha1.DataClassCritical}
	})
	s.Ready(c, a)
	w := s.Workspace(a, "sito", full)
	s.Ready(w, a)
	ns := a.Name + "--sito"

	objects := objects(s, ns)
	for name, want := range wanted(a, w) {
		if diff := cmp.Diff(parse(t, want), objects[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		delete(objects, name)
	}
	if len(objects) > 0 {
		t.Errorf("there is more: %v", objects)
	}
	granted := map[string]string{
		"requests.cpu": "3", "requests.memory": "4Gi", "limits.cpu": "4", "limits.memory": "8Gi", "requests.storage": "30Gi", "pods": "20",
		"standard.storageclass.storage.k8s.io/requests.storage": "25Gi", "encrypted.storageclass.storage.k8s.io/requests.storage": "5Gi",
	}
	if diff := cmp.Diff(granted, stage.Texts(w.Status.Quota)); diff != "" || w.Status.Namespace != ns || w.Status.AllocationRevision != 1 {
		t.Errorf("status of the workspace: %+v (-want +got):\n%s", w.Status, diff)
	}
	entry := v1alpha1.Allocation{Workspace: "sito", UID: w.UID, Revision: 1, Quota: w.Status.Quota, Hosts: w.Spec.Network.Hosts}
	if diff := cmp.Diff([]v1alpha1.Allocation{entry}, a.Status.Allocations); diff != "" {
		t.Errorf("ledger (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(granted, stage.Texts(a.Status.Allocated)); diff != "" {
		t.Errorf("allocated (-want +got):\n%s", diff)
	}
	if told := s.Events(); len(told) > 0 {
		t.Errorf("nothing drifted, told: %q", told)
	}
}

// wanted are all objects of a namespace, as "Kind name" and what is in them beside names.
func wanted(a *v1alpha1.Tenant, w *v1alpha1.Workspace) map[string]string {
	role := func(role, subjects string) string {
		return fmt.Sprintf("{roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: broletto-%s}, subjects: [%s]}", role, subjects)
	}
	subject := func(kind, name string) string {
		return fmt.Sprintf("{kind: %s, name: %q, apiGroup: rbac.authorization.k8s.io}", kind, name)
	}
	claim := func(class, size string) string {
		return fmt.Sprintf("{spec: {accessModes: [ReadWriteOnce], storageClassName: %s, volumeMode: Filesystem, resources: {requests: {storage: %s}}}}", class, size)
	}
	return map[string]string{
		"Namespace " + w.TargetNamespace(): fmt.Sprintf(`{metadata: {labels: {kubernetes.io/metadata.name: %[1]s--sito,
			broletto.dev/owner: %[2]s, broletto.dev/consortium: %[3]s, broletto.dev/tenant: %[1]s, broletto.dev/workspace: sito,
			broletto.dev/environment: Test, broletto.dev/data-class: Critical, broletto.dev/cost-carrier: %[1]s,
			broletto.dev/any-node: "true", broletto.dev/any-registry: "true", broletto.dev/pull-always: "false",
			pod-security.kubernetes.io/enforce: restricted, pod-security.kubernetes.io/enforce-version: v1.34,
			pod-security.kubernetes.io/audit: restricted, pod-security.kubernetes.io/audit-version: v1.34,
			pod-security.kubernetes.io/warn: restricted, pod-security.kubernetes.io/warn-version: v1.34}}, spec: {finalizers: [kubernetes]}}`, a.Name, w.UID, a.Spec.Consortium),
		"ServiceAccount default":     "{automountServiceAccountToken: false}",
		"ServiceAccount deployer":    "{automountServiceAccountToken: false}",
		"NetworkPolicy default-deny": "{spec: {podSelector: {}, policyTypes: [Ingress, Egress]}}",
		"NetworkPolicy granted": `{spec: {podSelector: {}, policyTypes: [Ingress, Egress],
			ingress: [{from: [{podSelector: {}}, {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ingress-internet}}}]}],
			egress: [
			{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}],
				ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]},
			{to: [{podSelector: {}}]},
			{to: [{ipBlock: {cidr: 203.0.113.0/24}}], ports: [{protocol: TCP, port: 443}, {protocol: TCP, port: 8443}]},
			{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8, 100.64.0.0/10, 168.63.129.16/32, 169.254.0.0/16, 172.16.0.0/12, 192.0.0.192/32, 192.168.0.0/16]}}],
				ports: [{protocol: UDP, port: 123}]}]}}`,
		"ResourceQuota broletto": `{spec: {hard: {requests.cpu: "3", requests.memory: 4Gi, limits.cpu: "4", limits.memory: 8Gi, requests.storage: 30Gi, pods: "20",
			standard.storageclass.storage.k8s.io/requests.storage: 25Gi, encrypted.storageclass.storage.k8s.io/requests.storage: 5Gi,
			limits.ephemeral-storage: 40Gi, services.loadbalancers: "0", services.nodeports: "0", persistentvolumeclaims: "200",
			count/configmaps: "200", count/secrets: "200", count/services: "200", count/jobs.batch: "200", count/cronjobs.batch: "200",
			count/deployments.apps: "200", count/statefulsets.apps: "200", count/ingresses.networking.k8s.io: "200", count/roles.rbac.authorization.k8s.io: "200", count/horizontalpodautoscalers.autoscaling: "200", count/poddisruptionbudgets.policy: "200",
			count/replicasets.apps: "2200"}}}`,
		"LimitRange broletto": `{spec: {limits: [{type: Container, default: {cpu: 500m, memory: 512Mi, ephemeral-storage: 1Gi},
			defaultRequest: {cpu: 50m, memory: 128Mi, ephemeral-storage: 64Mi}}]}}`,
		"RoleBinding tenant-admin": role("workspace-admin", subject("Group", a.Name+":ict")+fmt.Sprintf(", {kind: ServiceAccount, name: flux, namespace: %s}", a.Name)),
		"RoleBinding tenant-view":  role("workspace-view", subject("Group", a.Name+":revisione")),
		"RoleBinding admin":        role("workspace-admin", subject("Group", "ops")),
		"RoleBinding edit":         role("workspace-edit", fmt.Sprintf("{kind: ServiceAccount, name: deployer, namespace: %s--sito}", a.Name)),
		"RoleBinding view":         role("workspace-view", subject("User", "carla")),

		"PersistentVolumeClaim documenti": claim("standard", "10Gi"),
		"PersistentVolumeClaim chiavi":    claim("encrypted", "5Gi"),
	}
}

func parse(t testing.TB, text string) (out map[string]any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(text, "\t", " ")), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// objects are a namespace and all that is in it of the kinds that the operator makes, as "Kind name", without what the API server
// writes by itself.
func objects(s *stage.Stage, namespace string) map[string]map[string]any {
	s.Helper()
	out := map[string]map[string]any{}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	s.Read(ns)
	out["Namespace "+namespace] = map[string]any{"metadata": map[string]any{"labels": plain(s, ns.Labels)}, "spec": plain(s, ns.Spec)}
	for kind, list := range map[string]client.ObjectList{
		"ServiceAccount": &corev1.ServiceAccountList{}, "NetworkPolicy": &networkingv1.NetworkPolicyList{}, "ResourceQuota": &corev1.ResourceQuotaList{},
		"LimitRange": &corev1.LimitRangeList{}, "RoleBinding": &rbacv1.RoleBindingList{}, "PersistentVolumeClaim": &corev1.PersistentVolumeClaimList{},
	} {
		for _, o := range s.List(list, namespace) {
			content := plain(s, o).(map[string]any)
			for _, field := range []string{"apiVersion", "kind", "metadata", "status"} {
				delete(content, field)
			}
			out[kind+" "+o.GetName()] = content
		}
	}
	return out
}

// plain is a value as JSON has it.
func plain(s *stage.Stage, value any) (out any) {
	s.Helper()
	text, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		s.Fatal(err)
	}
	return out
}
