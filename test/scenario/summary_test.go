package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/broker"
	"github.com/broletto/broletto/operator/embedded"
	"github.com/broletto/broletto/test/cluster"
)

// everything lists every object of every kind that the API server has, but for events, which tell what was and go by themselves,
// and leases, which are renewed at rest.
func everything(t testing.TB) (out []unstructured.Unstructured) {
	t.Helper()
	client, err := dynamic.NewForConfig(quietly())
	if err != nil {
		t.Fatal(err)
	}
	for _, resource := range listable(t) {
		list, err := client.Resource(resource).List(t.Context(), metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			t.Fatalf("listing %s: %v", resource, err)
		}
		out = append(out, list.Items...)
	}
	return out
}

// quietly is the administrator who does not hear that a kind is deprecated: we list them all.
func quietly() *rest.Config {
	cfg := cluster.Admin()
	cfg.WarningHandlerWithContext = rest.NoWarnings{}
	return cfg
}

// isRootCA knows the object that Kubernetes puts into every namespace, some time.
func isRootCA(o unstructured.Unstructured) bool {
	return o.GetKind() == "ConfigMap" && o.GetName() == "kube-root-ca.crt"
}

// isAuthority knows what the first operator that ever starts makes for its broker: all that start later find it.
func isAuthority(o unstructured.Unstructured) bool {
	return o.GetKind() == "Secret" && o.GetNamespace() == embedded.Namespace && o.GetName() == broker.SecretName
}

func listable(t testing.TB) (out []schema.GroupVersionResource) {
	t.Helper()
	client, err := discovery.NewDiscoveryClientForConfig(quietly())
	if err != nil {
		t.Fatal(err)
	}
	lists, err := client.ServerPreferredResources()
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list", "watch"}}, lists) {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list.APIResources {
			if r.Name != "events" && r.Name != "leases" {
				out = append(out, gv.WithResource(r.Name))
			}
		}
	}
	return out
}

// inventory names everything that the cluster holds.
func inventory(t testing.TB) (out []string) {
	t.Helper()
	for _, o := range everything(t) {
		if isRootCA(o) || isAuthority(o) {
			continue
		}
		out = append(out, strings.Join([]string{o.GetKind(), o.GroupVersionKind().Group, o.GetNamespace(), o.GetName()}, "/"))
	}
	slices.Sort(out)
	return out
}

// wantInventory wants that the cluster comes to hold just this: nothing was left behind and nothing of others is gone.
func wantInventory(t testing.TB, want []string) {
	t.Helper()
	cluster.Eventually(t, long, "the cluster holds what it held before", func() error {
		if diff := cmp.Diff(want, inventory(t)); diff != "" {
			return fmt.Errorf("-want +got:\n%s", diff)
		}
		return nil
	})
}

// versions are the resource versions of everything that the operator makes, and of our own objects. Those of quotas move when the
// controller manager counts, so their content stands there instead.
func versions(t testing.TB) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, o := range everything(t) {
		version := o.GetResourceVersion()
		if o.GetKind() == "ResourceQuota" {
			version = fmt.Sprint(o.GetLabels(), o.GetAnnotations(), o.Object["spec"])
		}
		if o.GetLabels()[v1alpha1.LabelOwner] != "" || o.GroupVersionKind().Group == v1alpha1.GroupVersion.Group {
			out[o.GetKind()+" "+o.GetNamespace()+"/"+o.GetName()] = version
		}
	}
	return out
}

// wantGolden compares what a scenario ended up with to testdata/<scenario>.yaml.
func wantGolden(t testing.TB, scenario string, rewrite bool) {
	t.Helper()
	path := filepath.Join("testdata", scenario+".yaml")
	got := summary(t, scenario)
	if rewrite {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s ended up otherwise than %s says, -want +got (-update rewrites):\n%s", scenario, path, diff)
	}
}

// entry is one content in a summary, and where it stands. What is alike everywhere stands there once.
type entry struct {
	object  string
	in      []string
	content map[string]any
}

// summary is what a scenario ended up with, without what differs from run to run: everything that lies in its namespaces, whoever
// made it, everything else that carries an owner's label, and what our own objects say.
func summary(t testing.TB, scenario string) []byte {
	t.Helper()
	all := everything(t)
	owners, namespaces := belonging(all, scenario)
	entries := map[string]*entry{}
	for _, o := range all {
		_, owned := owners[o.GetLabels()[v1alpha1.LabelOwner]]
		_, own := owners[string(o.GetUID())]
		if owned || own || namespaces[o.GetNamespace()] || namespaces[o.GetName()] && o.GetKind() == "Namespace" {
			add(t, entries, o, owners)
		}
	}
	var out bytes.Buffer
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		e := entries[key]
		if slices.Sort(e.in); len(e.in) > 0 {
			e.content["in"] = e.in
		}
		text, err := yaml.Marshal(map[string]any{e.object: e.content})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "---\n%s", text)
	}
	return out.Bytes()
}

// belonging finds the objects of ours that a scenario consists of, by UID, and the namespaces that were made for them.
func belonging(all []unstructured.Unstructured, scenario string) (owners map[string]string, namespaces map[string]bool) {
	owners, namespaces = map[string]string{}, map[string]bool{}
	for _, o := range all {
		if o.GetKind() == "Namespace" && o.GetLabels()[v1alpha1.LabelConsortium] == scenario {
			namespaces[o.GetName()] = true
		}
	}
	for _, o := range all {
		consortium, _, _ := unstructured.NestedString(o.Object, "spec", "consortium")
		switch kind := o.GetKind(); {
		case o.GroupVersionKind().Group != v1alpha1.GroupVersion.Group:
		case kind == "Consortium" && o.GetName() == scenario, consortium == scenario:
			owners[string(o.GetUID())] = kind + " " + o.GetName()
		case namespaces[o.GetNamespace()]:
			owners[string(o.GetUID())] = kind + " " + o.GetNamespace() + "/" + o.GetName()
		}
	}
	return owners, namespaces
}

// add files an object under its content.
func add(t testing.TB, entries map[string]*entry, o unstructured.Unstructured, owners map[string]string) {
	t.Helper()
	if isRootCA(o) {
		return
	}
	content := normal(o, owners)
	text, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	ours := o.GroupVersionKind().Group == v1alpha1.GroupVersion.Group
	object := o.GetKind() + " " + o.GetName()
	if ours && o.GetNamespace() != "" {
		object = o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
	}
	key := object + "\n" + string(text)
	if entries[key] == nil {
		entries[key] = &entry{object: object, content: content}
	}
	if o.GetNamespace() != "" && !ours {
		entries[key].in = append(entries[key].in, o.GetNamespace())
	}
}

// normal is the content of an object without identities and times. The status is kept of our own kinds only, their spec is the sample.
func normal(o unstructured.Unstructured, owners map[string]string) map[string]any {
	text, _ := json.Marshal(o.Object) // it came as JSON
	for uid, name := range owners {
		text = bytes.ReplaceAll(text, []byte(uid), []byte(name))
	}
	var content map[string]any
	_ = json.Unmarshal(text, &content)
	labels, annotations := o.GetLabels(), o.GetAnnotations()
	if owner, found := owners[labels[v1alpha1.LabelOwner]]; found {
		labels[v1alpha1.LabelOwner] = strings.Fields(owner)[0] // which one the namespace tells
	}
	delete(annotations, "broletto.dev/applied") // a digest of the owner's identity among others
	for _, field := range []string{"apiVersion", "kind", "metadata"} {
		delete(content, field)
	}
	for field, value := range map[string]any{
		"labels": labels, "annotations": annotations, "finalizers": o.GetFinalizers(), "ownerReferences": o.GetOwnerReferences(),
	} {
		if text, _ := json.Marshal(value); string(text) != "null" && string(text) != "{}" {
			content[field] = value
		}
	}
	if o.GroupVersionKind().Group != v1alpha1.GroupVersion.Group {
		delete(content, "status")
		return content
	}
	delete(content, "spec")
	for _, field := range []string{"labels", "annotations"} {
		delete(content, field)
	}
	status, _ := content["status"].(map[string]any)
	if status["observedGeneration"] == float64(o.GetGeneration()) {
		status["observedGeneration"] = "the present one"
	}
	conditions, _ := status["conditions"].([]any)
	for _, c := range conditions {
		c, _ := c.(map[string]any)
		delete(c, "lastTransitionTime")
		delete(c, "observedGeneration") // of each condition that was looked at last
	}
	return content
}
