package chart

import (
	"path/filepath"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"sigs.k8s.io/yaml"
)

// No cluster of ours knows the kind of a ServiceMonitor, so it is read as what the Prometheus Operator takes it for.
func TestServiceMonitors(t *testing.T) {
	manifests := map[string]string{"kustomize": build(t, "prometheus")}
	for _, path := range cases(t) {
		manifests[filepath.Base(filepath.Dir(path))] = render(t, system, readValues(t, path)).manifest()
	}
	found := map[string]bool{}
	for name, manifest := range manifests {
		for _, o := range objects(t, manifest) {
			if o.GetKind() != "ServiceMonitor" {
				continue
			}
			found[name] = true
			text, err := yaml.Marshal(o.Object)
			if err != nil {
				t.Fatal(err)
			}
			var monitor monitoringv1.ServiceMonitor
			if err := yaml.UnmarshalStrict(text, &monitor); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			port(t, name, manifest, monitor.Spec.Endpoints[0].Port)
		}
	}
	if !found["kustomize"] || !found["monitored"] || len(found) != 2 {
		t.Errorf("ServiceMonitors are in %v, want them in kustomize and monitored", found)
	}
}

// port shows that the Service of metrics of the chart has the port of that name. That of config/ has it too: another test compares the two.
func port(t *testing.T, name, manifest, want string) {
	t.Helper()
	for _, o := range objects(t, manifest) {
		if o.GetKind() == "Service" && o.GetLabels()["app.kubernetes.io/component"] != "broker" {
			first := o.Object["spec"].(map[string]any)["ports"].([]any)[0].(map[string]any)
			if first["name"] != want {
				t.Errorf("%s: the monitor reads port %s, the service has %v", name, want, first)
			}
		}
	}
}
