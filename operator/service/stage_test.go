package service_test

import (
	"encoding/json"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/yaml"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/service"
	"github.com/broletto/broletto/test/stage"
)

// scene is a stage with the catalogue's reconcilers, a tenant and its workspace, all Ready.
type scene struct {
	*stage.Stage
	tenant    *v1alpha1.Tenant
	workspace *v1alpha1.Workspace
}

func newScene(t *testing.T, name string) scene {
	t.Helper()
	s := stage.New(t, name)
	parts := s.Parts()
	acting, err := service.NewActing(parts.Manager.GetConfig(), parts.Manager.GetRESTMapper())
	if err != nil {
		t.Fatal(err)
	}
	s.Join(&v1alpha1.ServiceOffering{}, &v1alpha1.ServiceOfferingList{}, reconcile.AsReconciler(parts.Client, &service.Offerings{Client: parts.Client}))
	s.Join(&v1alpha1.ServiceInstance{}, &v1alpha1.ServiceInstanceList{}, reconcile.AsReconciler(parts.Client, &service.Instances{
		Client: parts.Client, Live: parts.Manager.GetAPIReader(), Acting: acting, Events: parts.Events, Now: parts.Now,
	}))
	c, a := s.Consortium(), s.Tenant("a")
	s.Ready(c, a)
	w := s.Workspace(a, "sito")
	s.Ready(w)
	return scene{s, a, w}
}

// configMap is the manifest of a ConfigMap.
const configMap = `{apiVersion: v1, kind: ConfigMap, metadata: {name: albo}, data: {ente: "${ente}", repliche: "x${repliche}"}}`

// parameters are those of configMap.
const parameters = `{type: object, required: [ente], properties: {ente: {type: string, minLength: 2, maxLength: 20}, repliche: {type: integer, minimum: 1, maximum: 3, default: 1}}}`

// offer makes an awarded offering with manifests.
func (s scene) offer(name string, edit ...func(*v1alpha1.ServiceOffering)) *v1alpha1.ServiceOffering {
	s.Helper()
	o := &v1alpha1.ServiceOffering{ObjectMeta: metav1.ObjectMeta{Name: s.ID(name)}}
	o.Spec = v1alpha1.ServiceOfferingSpec{
		Consortium: s.ID("c"), Version: "1.0.0", DataClasses: []v1alpha1.DataClass{v1alpha1.DataClassOrdinary},
		Procurement: v1alpha1.Procurement{Authority: "provincia", State: v1alpha1.ProcurementAwarded, AwardedOn: "2018-10-01"},
		Parameters:  raw(s, parameters), Provisions: v1alpha1.Provisions{Manifests: []apiextensionsv1.JSON{*raw(s, configMap)}},
	}
	for _, e := range edit {
		e(o)
	}
	s.Create(o)
	return o
}

// ask makes an instance in the tenant's home.
func (s scene) ask(o *v1alpha1.ServiceOffering, name string, edit ...func(*v1alpha1.ServiceInstance)) *v1alpha1.ServiceInstance {
	s.Helper()
	i := &v1alpha1.ServiceInstance{ObjectMeta: stage.In(s.tenant.Name, name)}
	i.Spec = v1alpha1.ServiceInstanceSpec{
		Offering: v1alpha1.OfferingName(o.Name), Workspace: "sito", Quantity: 1,
		Parameters: map[string]apiextensionsv1.JSON{"ente": {Raw: []byte(`"Comune di Malnate"`)}},
	}
	for _, e := range edit {
		e(i)
	}
	s.Create(i)
	return i
}

// made is a ConfigMap in the workspace.
func (s scene) made(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: stage.In(s.workspace.TargetNamespace(), name)}
}

type fataler interface {
	Helper()
	Fatal(values ...any)
}

func raw(t fataler, text string) *apiextensionsv1.JSON {
	t.Helper()
	out, err := yaml.YAMLToJSON([]byte(text))
	if err != nil || !json.Valid(out) {
		t.Fatal(err, text)
	}
	return &apiextensionsv1.JSON{Raw: out}
}

func manifests(s scene, texts ...string) func(*v1alpha1.ServiceOffering) {
	return func(o *v1alpha1.ServiceOffering) {
		o.Spec.Provisions.Manifests = []apiextensionsv1.JSON{}
		for _, text := range texts {
			o.Spec.Provisions.Manifests = append(o.Spec.Provisions.Manifests, *raw(s, text))
		}
	}
}

func day(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func jsonInto(text []byte, into any) error { return json.Unmarshal(text, into) }
