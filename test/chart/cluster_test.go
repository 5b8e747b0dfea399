package chart

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/broletto/broletto/hack/kube"
	"github.com/broletto/broletto/operator/embedded"
	"github.com/broletto/broletto/test/cluster"
)

// home is the release's namespace: not the one that config/ names, so what the chart does not move is found out.
const home = "hosting"

// account is the operator's service account, which the release makes.
const account = "broletto-operator"

// TestInstalled applies a release to a control plane, and then does with it what a platform does. The parts build on each other.
func TestInstalled(t *testing.T) {
	i := install(t)
	t.Run("KubernetesHasNothingToSay", i.quiet)
	t.Run("PodMayRunWhereOnlyRestrictedOnesMay", func(t *testing.T) { i.podAdmitted(t, home, i.objects) })
	t.Run("KustomizationIsAcceptedToo", i.kustomization)
	t.Run("OperatorWorksWithTheRightsItHas", i.operate)
}

// installation is a release on a control plane of its own.
type installation struct {
	plane    *embedded.Cluster
	admin    client.Client
	objects  []*unstructured.Unstructured
	warnings *warnings
	metrics  string // addresses at which the operator will serve
	probes   string
}

// warnings collects what the API server says beside its answers.
type warnings struct {
	sync.Mutex
	texts []string
}

func (w *warnings) HandleWarningHeader(_ int, _ string, text string) {
	w.Lock()
	defer w.Unlock()
	w.texts = append(w.texts, text)
}

// install applies the release before the controller manager starts, so that quotas count our kinds at once.
func install(t *testing.T) *installation {
	t.Helper()
	i := &installation{warnings: &warnings{}, metrics: cluster.FreeAddress(t), probes: cluster.FreeAddress(t)}
	values := map[string]any{"extraArgs": []any{"--metrics-bind-address=" + i.metrics, "--health-probe-bind-address=" + i.probes, "--broker-bind-address=127.0.0.1:0"}}
	manifest := render(t, home, values).manifest()
	i.objects = objects(t, manifest)
	prepare := func(_ context.Context, plane *kube.ControlPlane) error {
		i.plane = &embedded.Cluster{ControlPlane: plane}
		t.Cleanup(func() {
			if err := plane.Stop(); err != nil {
				t.Error(err)
			}
		})
		cfg, err := i.plane.Admin()
		if err != nil {
			return err
		}
		cfg.WarningHandler = i.warnings
		i.admin = cluster.Client(t, cfg)
		cluster.Apply(t, i.admin, restricted(t, home))
		cluster.Apply(t, i.admin, []byte(manifest))
		return nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute) // the first start on a machine compiles Kubernetes
	defer cancel()
	if _, err := kube.Start(ctx, kube.Options{Prepare: prepare}); err != nil {
		t.Fatal(err)
	}
	return i
}

// restricted is the namespace of config/manager, which admits only what the strictest Pod Security Standard does, by another name.
func restricted(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(repository + "/config/manager/namespace.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return []byte(strings.Replace(string(text), "name: "+system, "name: "+name, 1))
}

func (i *installation) quiet(t *testing.T) {
	i.warnings.Lock()
	defer i.warnings.Unlock()
	if len(i.warnings.texts) > 0 {
		t.Errorf("the API server warns:\n%s", strings.Join(i.warnings.texts, "\n"))
	}
}

// podAdmitted asks the API server for the pod that the Deployment would make: nobody runs it here.
func (i *installation) podAdmitted(t *testing.T, namespace string, all []*unstructured.Unstructured) {
	t.Helper()
	pod := template(t, all)
	pod.Namespace, pod.Name = namespace, "broletto-operator-0"
	if err := client.NewDryRunClient(i.admin).Create(t.Context(), pod); err != nil {
		t.Error(err)
	}
	pod.ResourceVersion, pod.UID = "", ""
	pod.Spec.Containers[0].SecurityContext.AllowPrivilegeEscalation = nil
	if err := client.NewDryRunClient(i.admin).Create(t.Context(), pod); err == nil {
		t.Errorf("namespace %s admits a pod that is not restricted, so that it admits ours says nothing", namespace)
	}
	i.quiet(t)
}

func template(t *testing.T, all []*unstructured.Unstructured) *corev1.Pod {
	t.Helper()
	for _, o := range all {
		if o.GetKind() != "Deployment" {
			continue
		}
		content, _, err := unstructured.NestedMap(o.Object, "spec", "template")
		if err != nil {
			t.Fatal(err)
		}
		pod := &corev1.Pod{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, pod); err != nil {
			t.Fatal(err)
		}
		return pod
	}
	t.Fatal("no Deployment")
	return nil
}

// kustomization shows that the API server accepts config/default, of which only the namespace is made.
func (i *installation) kustomization(t *testing.T) {
	manifest := build(t, "default")
	for _, o := range objects(t, manifest) {
		c := client.NewDryRunClient(i.admin)
		if o.GetKind() == "Namespace" || o.GetKind() == "ServiceAccount" {
			c = i.admin
		}
		text, err := yaml.Marshal(o.Object)
		if err != nil {
			t.Fatal(err)
		}
		if o.GetNamespace() != "" || o.GetKind() == "Namespace" {
			cluster.Apply(t, c, text) // the rest has the names of the release's objects and, by another test, their content
		}
	}
	i.podAdmitted(t, system, objects(t, manifest))
}

// token acts as a service account, with the rights that its bindings give.
func (i *installation) token(t *testing.T, namespace, name string) string {
	t.Helper()
	owner := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	request := &authenticationv1.TokenRequest{}
	if err := i.admin.SubResource("token").Create(t.Context(), owner, request); err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}

// sample applies one object of config/samples as it stands.
func (i *installation) sample(t *testing.T, file, kind, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(repository + "/config/samples/" + file)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects(t, string(text)) {
		if o.GetKind() == kind && o.GetNamespace() == namespace && o.GetName() == name {
			document, err := yaml.Marshal(o.Object)
			if err != nil {
				t.Fatal(err)
			}
			cluster.Apply(t, i.admin, document)
			return o
		}
	}
	t.Fatalf("%s has no %s %s/%s", file, kind, namespace, name)
	return nil
}

// ready waits until the operator has seen the last change of an object and is content.
func (i *installation) ready(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	cluster.Eventually(t, 60*time.Second, identity(o)+" is ready", func() error {
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(o.GroupVersionKind())
		if err := i.admin.Get(t.Context(), client.ObjectKeyFromObject(o), live); err != nil {
			return err
		}
		conditions, _, _ := unstructured.NestedSlice(live.Object, "status", "conditions")
		for _, c := range conditions {
			c := c.(map[string]any)
			if c["type"] == "Ready" && c["status"] == "True" && c["observedGeneration"] == live.GetGeneration() {
				return nil
			}
		}
		return fmt.Errorf("conditions: %v", conditions)
	})
}

// gone deletes objects, with the data of workspaces, and waits until the operator has let them go.
func (i *installation) gone(t *testing.T, all ...*unstructured.Unstructured) {
	t.Helper()
	for _, o := range all {
		if o.GetKind() == "Workspace" {
			letGo := client.RawPatch(types.MergePatchType, []byte(`{"spec": {"deletionPolicy": "Delete"}}`))
			if err := i.admin.Patch(t.Context(), o, letGo); err != nil {
				t.Fatal(err)
			}
		}
		if err := i.admin.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range all {
		cluster.Eventually(t, 60*time.Second, identity(o)+" is gone", func() error {
			err := i.admin.Get(t.Context(), client.ObjectKeyFromObject(o), o)
			if err == nil {
				err = fmt.Errorf("status: %v", o.Object["status"])
			}
			return client.IgnoreNotFound(err)
		})
	}
}
