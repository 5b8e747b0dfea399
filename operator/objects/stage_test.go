package objects_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/acting"
	"github.com/broletto/broletto/operator/objects"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// scene is a tenant with workspaces in which the backup's account stands.
type scene struct {
	*stage.Stage
	tenant *v1alpha1.Tenant
	client *objects.Client
}

func newScene(t *testing.T, name string, workspaces ...string) scene {
	t.Helper()
	s := stage.New(t, name)
	c, a := s.Consortium(), s.Tenant("a")
	s.Ready(c, a)
	for _, name := range workspaces {
		w := s.Workspace(a, name)
		s.Ready(w)
		maker := acting.Maker{Client: s.Operator(), Live: s.Live()}
		if err := maker.Make(t.Context(), acting.Backup, w.TargetNamespace(), w.UID); err != nil {
			t.Fatal(err)
		}
	}
	out, err := objects.New(cluster.Operator(t))
	if err != nil {
		t.Fatal(err)
	}
	return scene{s, a, out}
}

// stranger has no right anywhere.
func (s scene) stranger() authenticationv1.UserInfo {
	return authenticationv1.UserInfo{Username: s.ID("eve"), Groups: []string{"system:authenticated"}}
}

func (s scene) in(workspace string) string { return s.tenant.Name + "--" + workspace }

// administrator is one of the tenant's people, who has every right that a tenant has.
func (s scene) administrator() authenticationv1.UserInfo {
	return authenticationv1.UserInfo{Username: s.ID("anna"), Groups: []string{stage.Group(s.tenant.Name, "ict"), "system:authenticated"}}
}

// write makes the objects of a manifest in a workspace as somebody.
func (s scene) write(as client.Client, workspace, manifest string) (out []*unstructured.Unstructured) {
	s.Helper()
	for _, o := range s.parse(manifest) {
		o.SetNamespace(s.in(workspace))
		if err := as.Create(s.Context(), o); err != nil {
			s.Fatalf("%s %s: %v", o.GetKind(), o.GetName(), err)
		}
		out = append(out, o)
	}
	return out
}

func (s scene) parse(manifest string) (out []*unstructured.Unstructured) {
	s.Helper()
	documents, err := cluster.Documents([]byte(manifest))
	if err != nil {
		s.Fatal(err)
	}
	for _, document := range documents {
		text, err := yaml.YAMLToJSON(document)
		if err != nil {
			s.Fatal(err)
		}
		o := &unstructured.Unstructured{}
		if err := o.UnmarshalJSON(text); err != nil {
			s.Fatal(err, string(text))
		}
		out = append(out, o)
	}
	return out
}

func (s scene) anna() client.Client {
	s.Helper()
	return cluster.Client(s, cluster.As(s.administrator().Username, s.administrator().Groups[0]))
}

// entry is one object of an archive.
type entry struct {
	resource objects.Resource
	object   *unstructured.Unstructured
}

func (e entry) String() string { return e.resource.String() + "/" + e.object.GetName() }

// collect collects a workspace, and what was left out.
func (s scene) collect(workspace string, may ...objects.May) (all []entry, leftOut []objects.LeftOut) {
	s.Helper()
	leftOut, err := s.client.Collect(s.Context(), s.in(workspace), may, func(r objects.Resource, o *unstructured.Unstructured) error {
		all = append(all, entry{r, o})
		return nil
	})
	if err != nil {
		s.Fatal(err)
	}
	return all, leftOut
}

// pages are entries in the order in which they are put back, a page each.
func pages(all []entry) iter.Seq2[objects.Page, error] {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b entry) int { return cmp.Compare(objects.Wave(a.resource), objects.Wave(b.resource)) })
	return func(yield func(objects.Page, error) bool) {
		for _, e := range all {
			if !yield(objects.Page{Resource: e.resource, Objects: []*unstructured.Unstructured{e.object.DeepCopy()}}, nil) {
				return
			}
		}
	}
}

// broken are pages of which the last cannot be read.
func broken(all []entry) iter.Seq2[objects.Page, error] {
	return func(yield func(objects.Page, error) bool) {
		for p, err := range pages(all) {
			if !yield(p, err) {
				return
			}
		}
		yield(objects.Page{}, errors.New("the store is down"))
	}
}

// order is to put everything back where it was, as the administrator asks for it.
func (s scene) order(workspace string, edit ...func(*objects.Order)) objects.Order {
	o := objects.Order{
		Namespace: s.in(workspace), From: s.in(workspace), Conflicts: objects.Skip, Bindings: true, Names: 100,
		May: s.client.May(s.in(workspace), s.administrator()),
	}
	for _, e := range edit {
		e(&o)
	}
	return o
}

func (s scene) apply(all []entry, o objects.Order) objects.Report {
	s.Helper()
	report, err := s.client.Apply(s.Context(), o, pages(all))
	if err != nil {
		s.Fatal(err)
	}
	return report
}

// told is a report in words, "created secrets/a".
func told(r objects.Report) (out []string) {
	for _, t := range []struct {
		name string
		objects.Tally
	}{{"created", r.Created}, {"replaced", r.Replaced}, {"same", r.Same}, {"skipped", r.Skipped}, {"withheld", r.Withheld}, {"refused", r.Refused}} {
		for _, n := range t.First {
			out = append(out, strings.TrimSuffix(t.name+" "+n.Object+": "+n.Why, ": "))
		}
		if len(t.First) != t.Count {
			out = append(out, fmt.Sprintf("%d %s, of which %d are named", t.Count, t.name, len(t.First)))
		}
	}
	return out
}

// counts are a report's figures: created, replaced, same, skipped, withheld, refused.
func counts(r objects.Report) [6]int {
	return [6]int{r.Created.Count, r.Replaced.Count, r.Same.Count, r.Skipped.Count, r.Withheld.Count, r.Refused.Count}
}

// substance is what of collected objects has to come back: all but what names the objects of before.
func substance(all []entry) map[string]map[string]any {
	out := map[string]map[string]any{}
	for _, e := range all {
		o := e.object.DeepCopy()
		unstructured.RemoveNestedField(o.Object, "metadata", "uid")
		owners := o.GetOwnerReferences()
		for i := range owners {
			owners[i].UID = ""
		}
		if len(owners) > 0 {
			o.SetOwnerReferences(owners)
		}
		switch e.resource.String() {
		case "services":
			unstructured.RemoveNestedField(o.Object, "spec", "clusterIP")
			unstructured.RemoveNestedField(o.Object, "spec", "clusterIPs")
		case "jobs.batch":
			unstructured.RemoveNestedField(o.Object, "spec", "selector")
			unstructured.RemoveNestedField(o.Object, "metadata", "labels")
			unstructured.RemoveNestedField(o.Object, "spec", "template", "metadata")
		}
		out[e.String()] = o.Object
	}
	return out
}

// empty deletes all that was collected, and waits until it is gone.
func (s scene) empty(workspace string, all []entry) {
	s.Helper()
	now := int64(0)
	for _, e := range all {
		err := s.Admin.Delete(s.Context(), e.object.DeepCopy(), client.GracePeriodSeconds(now), client.PropagationPolicy(metav1.DeletePropagationBackground))
		if client.IgnoreNotFound(err) != nil {
			s.Fatal(err)
		}
	}
	cluster.Eventually(s, stage.Patience, workspace+" is empty", func() error {
		if left, _ := s.collect(workspace); len(left) > 0 {
			return fmt.Errorf("there is %s", left[0])
		}
		return nil
	})
}

// widgets installs a custom resource that administrators of workspaces may write, and returns its group. Broletto's account may not.
func (s scene) widgets() (group string) {
	s.Helper()
	group = s.ID("w") + ".example"
	manifest := strings.ReplaceAll(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.GROUP}
spec:
  group: GROUP
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
  - {name: v1beta1, served: true, storage: false, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`, "GROUP", group)
	for _, o := range cluster.Apply(s, s.Admin, []byte(manifest)) {
		s.Cleanup(func() { _ = s.Admin.Delete(context.Background(), o) })
	}
	s.role("widgets-"+group, nil, group)
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: s.ID("widgets")}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "widgets-" + group},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: s.administrator().Groups[0]}},
	}
	if err := s.Admin.Create(s.Context(), binding); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = s.Admin.Delete(context.Background(), binding) })
	cluster.Eventually(s, stage.Patience, "widgets are served", func() error {
		return s.anna().List(s.Context(), s.widgetList(group), client.InNamespace(s.tenant.Name))
	})
	return group
}

func (s scene) widgetList(group string) *unstructured.UnstructuredList {
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion(group + "/v1")
	list.SetKind("WidgetList")
	return list
}

// role lets whom it is bound to do everything with widgets.
func (s scene) role(name string, labels map[string]string, group string) {
	s.Helper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{group}, Resources: []string{"widgets"}, Verbs: []string{"get", "list", "create", "update", "patch", "delete"},
	}}}
	if err := s.Admin.Create(s.Context(), role); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = s.Admin.Delete(context.Background(), role) })
}

// live is an object of an archive as it stands in a namespace; nil where there is none.
func (s scene) live(e entry, namespace string) *unstructured.Unstructured {
	s.Helper()
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(e.object.GroupVersionKind())
	err := s.Admin.Get(s.Context(), client.ObjectKey{Namespace: namespace, Name: e.object.GetName()}, o)
	if client.IgnoreNotFound(err) != nil && !meta.IsNoMatchError(err) && !errors.Is(err, context.Canceled) {
		s.Fatal(err)
	}
	if err != nil {
		return nil
	}
	return o
}
