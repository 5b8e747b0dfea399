package objects

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/broletto/broletto/api/v1alpha1"
)

// remade says why an object is made anew by somebody and so neither kept nor put back; empty if it is not.
func remade(r Resource, o *unstructured.Unstructured) string {
	labels := o.GetLabels()
	_, owned := labels[v1alpha1.LabelOwner]
	_, ofRun := labels[v1alpha1.LabelRun]
	_, ofStack := labels[v1alpha1.LabelStack]
	controller := metav1.GetControllerOf(o)
	switch name := r.String(); {
	case ofRun && slices.Contains([]string{"jobs.batch", "pods"}, name):
		return "it is of a run of a Stack, or of a mover"
	case ofRun && strings.HasPrefix(o.GetName(), "move-") && slices.Contains([]string{"persistentvolumeclaims", "volumesnapshots.snapshot.storage.k8s.io"}, name):
		return "it is a mover's copy of a volume"
	case owned && (ofStack || slices.Contains(guarded, name)):
		return "it is Broletto's, which makes it itself"
	case controller != nil && slices.Contains([]string{"pods", "replicasets.apps", "jobs.batch"}, name):
		return "its " + controller.Kind + " makes it"
	case controller != nil && controller.APIVersion == "v1" && controller.Kind == "Pod":
		return "it goes with its pod"
	case name == "secrets" && slices.Contains([]string{string(corev1.SecretTypeServiceAccountToken), string(corev1.SecretTypeBootstrapToken)}, text(o.Object, "type")):
		return "it holds a token: ask for a new one"
	case name == "configmaps" && o.GetName() == "kube-root-ca.crt":
		return "the cluster makes it"
	}
	return ""
}

// guarded are the resources of which only Broletto writes what carries its label: config/policies/guardrails.yaml and claims.yaml.
var guarded = []string{
	"serviceaccounts", "resourcequotas", "limitranges", "persistentvolumeclaims",
	"networkpolicies.networking.k8s.io", "rolebindings.rbac.authorization.k8s.io",
}

// finished tells whether an object has done its work: put back, it would do it again.
func finished(r Resource, o *unstructured.Unstructured) bool {
	switch r.String() {
	case "pods":
		return slices.Contains([]string{string(corev1.PodSucceeded), string(corev1.PodFailed)}, text(o.Object, "status", "phase"))
	case "jobs.batch":
		conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
		return slices.ContainsFunc(conditions, func(c any) bool {
			condition, _ := c.(map[string]any)
			return condition["status"] == "True" && (condition["type"] == "Complete" || condition["type"] == "Failed")
		})
	}
	return false
}

// generic are the fields of metadata that an object does not bring back.
var generic = []string{
	"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
	"managedFields", "selfLink", "generateName", "ownerReferences", "finalizers",
}

// bare is an object without what the API server and controllers gave it in the place where it was: it can be made from that in another, and
// compared with what stands there. Owners come back when they are known again; finalizers are added by who takes them off.
func bare(r Resource, o *unstructured.Unstructured, status bool) *unstructured.Unstructured {
	out := o.DeepCopy()
	strip(r, out, status)
	return out
}

// strip makes an object bare.
func strip(r Resource, o *unstructured.Unstructured, status bool) {
	for _, field := range generic {
		unstructured.RemoveNestedField(o.Object, "metadata", field)
	}
	if status {
		delete(o.Object, "status")
	}
	if quirk := quirks[r.String()]; quirk != nil {
		quirk(o)
	}
	for _, field := range []string{"labels", "annotations"} {
		if all, isMap, _ := unstructured.NestedMap(o.Object, "metadata", field); isMap && len(all) == 0 {
			unstructured.RemoveNestedField(o.Object, "metadata", field)
		}
	}
}

var quirks = map[string]func(*unstructured.Unstructured){
	"services": func(o *unstructured.Unstructured) { // addresses and ports are allotted anew
		if text(o.Object, "spec", "clusterIP") != corev1.ClusterIPNone {
			remove(o, "spec", "clusterIP", "clusterIPs")
		}
		remove(o, "spec", "healthCheckNodePort")
		each(o, func(port map[string]any) { delete(port, "nodePort") }, "spec", "ports")
	},
	"serviceaccounts": func(o *unstructured.Unstructured) { delete(o.Object, "secrets") }, // tokens of another account of that name
	"persistentvolumeclaims": func(o *unstructured.Unstructured) { // the volume is another, and its data comes by another way
		remove(o, "spec", "volumeName", "dataSource", "dataSourceRef")
		forget(o, "annotations", func(key string) bool {
			return strings.HasPrefix(key, "pv.kubernetes.io/") || key == "volume.kubernetes.io/selected-node" ||
				key == "volume.kubernetes.io/storage-provisioner" || key == "volume.beta.kubernetes.io/storage-provisioner"
		})
	},
	"deployments.apps": func(o *unstructured.Unstructured) {
		forget(o, "annotations", func(key string) bool { return key == "deployment.kubernetes.io/revision" })
	},
	"jobs.batch": func(o *unstructured.Unstructured) { // the selector names the Job's old UID
		if manual, _, _ := unstructured.NestedBool(o.Object, "spec", "manualSelector"); manual {
			return
		}
		generated := func(key string) bool {
			return slices.Contains([]string{"controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"}, key)
		}
		remove(o, "spec", "selector")
		forget(o, "labels", generated)
		forget(o, "annotations", func(key string) bool { return key == "batch.kubernetes.io/job-tracking" })
		if template, isMap, _ := unstructured.NestedMap(o.Object, "spec", "template"); isMap {
			pod := &unstructured.Unstructured{Object: template}
			forget(pod, "labels", generated)
			if labels, isMap, _ := unstructured.NestedMap(pod.Object, "metadata", "labels"); isMap && len(labels) == 0 {
				remove(pod, "metadata", "labels")
			}
			_ = unstructured.SetNestedMap(o.Object, template, "spec", "template")
		}
	},
	"pods": func(o *unstructured.Unstructured) { // the scheduler and admission fill these in
		remove(o, "spec", "nodeName", "priority", "preemptionPolicy", "overhead", "ephemeralContainers")
		isToken := func(item any) bool {
			volume, _ := item.(map[string]any)
			name, _ := volume["name"].(string)
			return strings.HasPrefix(name, "kube-api-access-")
		}
		without(o, isToken, "spec", "volumes")
		for _, containers := range []string{"containers", "initContainers"} {
			each(o, func(container map[string]any) {
				without(&unstructured.Unstructured{Object: container}, isToken, "volumeMounts")
			}, "spec", containers)
		}
	},
}

// grafted is a wanted object as an update of the one that stands there: what bare took away of it stays as it is there.
func grafted(r Resource, want, live *unstructured.Unstructured) *unstructured.Unstructured {
	out := want.DeepCopy()
	for _, field := range []string{"uid", "resourceVersion", "ownerReferences", "finalizers"} {
		keep(out, live, "metadata", field)
	}
	switch r.String() {
	case "services":
		keepAll(out, live, "spec", "clusterIP", "clusterIPs", "healthCheckNodePort")
		nodePorts := map[any]any{}
		each(live, func(port map[string]any) { nodePorts[portOf(port)] = port["nodePort"] }, "spec", "ports")
		each(out, func(port map[string]any) {
			if number := nodePorts[portOf(port)]; number != nil && text(out.Object, "spec", "type") != string(corev1.ServiceTypeClusterIP) {
				port["nodePort"] = number
			}
		}, "spec", "ports")
	case "serviceaccounts":
		keep(out, live, "secrets")
	case "persistentvolumeclaims":
		keepAll(out, live, "spec", "volumeName", "dataSource", "dataSourceRef")
		keepAnnotations(out, live, bare(r, live, true))
	case "deployments.apps":
		keepAnnotations(out, live, bare(r, live, true))
	}
	return out
}

func portOf(port map[string]any) any { return [2]any{port["port"], port["protocol"]} }

// keepAnnotations takes over the annotations of a live object that it would lose by being made bare.
func keepAnnotations(out, live, stripped *unstructured.Unstructured) {
	annotations := maps.Clone(out.GetAnnotations())
	if annotations == nil {
		annotations = map[string]string{}
	}
	for key, value := range live.GetAnnotations() {
		if _, stays := stripped.GetAnnotations()[key]; !stays {
			annotations[key] = value
		}
	}
	if len(annotations) > 0 {
		out.SetAnnotations(annotations)
	}
}

func keep(out, live *unstructured.Unstructured, path ...string) {
	if value, found, _ := unstructured.NestedFieldCopy(live.Object, path...); found {
		_ = unstructured.SetNestedField(out.Object, value, path...)
	}
}

func keepAll(out, live *unstructured.Unstructured, parent string, fields ...string) {
	for _, field := range fields {
		if _, said, _ := unstructured.NestedFieldNoCopy(out.Object, parent, field); !said {
			keep(out, live, parent, field)
		}
	}
}

func text(o map[string]any, path ...string) string {
	out, _, _ := unstructured.NestedString(o, path...)
	return out
}

func remove(o *unstructured.Unstructured, parent string, fields ...string) {
	for _, field := range fields {
		unstructured.RemoveNestedField(o.Object, parent, field)
	}
}

// forget takes labels or annotations away.
func forget(o *unstructured.Unstructured, which string, gone func(key string) bool) {
	all, _, _ := unstructured.NestedFieldNoCopy(o.Object, "metadata", which)
	if all, isMap := all.(map[string]any); isMap {
		maps.DeleteFunc(all, func(key string, _ any) bool { return gone(key) })
	}
}

func each(o *unstructured.Unstructured, change func(map[string]any), path ...string) {
	items, _, _ := unstructured.NestedFieldNoCopy(o.Object, path...)
	list, _ := items.([]any)
	for _, item := range list {
		if item, isMap := item.(map[string]any); isMap {
			change(item)
		}
	}
}

// without takes items out of a list, and the list where none is left.
func without(o *unstructured.Unstructured, gone func(any) bool, path ...string) {
	items, _, _ := unstructured.NestedFieldNoCopy(o.Object, path...)
	list, isList := items.([]any)
	if !isList {
		return
	}
	list = slices.DeleteFunc(slices.Clone(list), gone)
	if len(list) == 0 {
		unstructured.RemoveNestedField(o.Object, path...)
		return
	}
	_ = unstructured.SetNestedField(o.Object, any(list), path...)
}
