package workspace

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/guardrail"
	"github.com/broletto/broletto/operator/metrics"
)

var (
	info = prometheus.NewDesc("broletto_workspace_info",
		"A workspace: its namespace and how it is classified.", []string{"tenant", "workspace", "target_namespace", "environment", "data_class", "personal_data"}, nil)
	quotaGranted = prometheus.NewDesc("broletto_workspace_quota",
		"What a workspace may use, in the base unit of the resource.", []string{"tenant", "workspace", "resource"}, nil)
	used = prometheus.NewDesc("broletto_workspace_quota_used",
		"What a workspace uses, in the base unit of the resource, as the controller manager counts it.", []string{"tenant", "workspace", "resource"}, nil)
)

// Collector exports workspaces.
func Collector(cache client.Reader) prometheus.Collector {
	return metrics.Collector[*v1alpha1.Workspace]{
		Kind:   "Workspace",
		Series: []*prometheus.Desc{info, quotaGranted, used},
		List:   metrics.Items(cache, func(l *v1alpha1.WorkspaceList) []v1alpha1.Workspace { return l.Items }),
		Each:   func(w *v1alpha1.Workspace, emit metrics.Emit) { measure(cache, w, emit) },
	}
}

func measure(cache client.Reader, w *v1alpha1.Workspace, emit metrics.Emit) {
	personal := "false"
	if w.Spec.PersonalData != nil && *w.Spec.PersonalData {
		personal = "true"
	}
	emit(info, 1, w.Namespace, w.Name, w.TargetNamespace(), string(w.Spec.Environment), string(w.Spec.DataClass), personal)
	for resource, amount := range w.Status.Quota {
		emit(quotaGranted, amount.AsApproximateFloat64(), w.Namespace, w.Name, string(resource))
	}
	if w.Status.Namespace == "" {
		return
	}
	var q corev1.ResourceQuota
	key := client.ObjectKey{Namespace: w.Status.Namespace, Name: guardrail.QuotaName}
	if err := cache.Get(context.Background(), key, &q, client.UnsafeDisableDeepCopy); err != nil {
		log.Log.V(1).Info("no quota to measure", "namespace", key.Namespace, "cause", err.Error())
		return
	}
	for resource := range w.Status.Quota {
		amount := q.Status.Used[resource]
		emit(used, amount.AsApproximateFloat64(), w.Namespace, w.Name, string(resource))
	}
}
