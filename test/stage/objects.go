package stage

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
)

// In names an object in a namespace.
func In(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

// Create creates an object as the platform engineer and lets the operator's cache see it.
func (s *Stage) Create(o client.Object) {
	s.Helper()
	if err := s.Admin.Create(s.Context(), o); err != nil {
		s.Fatalf("creating %T %s: %v", o, client.ObjectKeyFromObject(o), err)
	}
	s.CaughtUp(o)
}

// Edit changes an object as the platform engineer and lets the operator's cache see it.
func Edit[T client.Object](s *Stage, o T, change func(T)) {
	s.Helper()
	cluster.Eventually(s, Patience, "changing "+o.GetName(), func() error {
		s.Read(o)
		change(o)
		return s.Admin.Update(s.Context(), o)
	})
	s.CaughtUp(o)
}

// Remove deletes an object as the platform engineer and lets the operator's cache see it.
func (s *Stage) Remove(o client.Object) {
	s.Helper()
	if err := s.Admin.Delete(s.Context(), o); err != nil {
		s.Fatalf("deleting %T %s: %v", o, client.ObjectKeyFromObject(o), err)
	}
	s.CaughtUp(o)
}

// Read fills an object in from the API server; there must be one.
func (s *Stage) Read(o client.Object) {
	s.Helper()
	if !s.Exists(o) {
		s.Fatalf("there is no %T %s", o, client.ObjectKeyFromObject(o))
	}
}

// Exists tells whether there is such an object and fills it in.
func (s *Stage) Exists(o client.Object) bool {
	s.Helper()
	fresh := reflect.New(reflect.TypeOf(o).Elem()) // what is decoded into an object leaves old fields of it standing
	err := s.Admin.Get(s.Context(), client.ObjectKeyFromObject(o), fresh.Interface().(client.Object))
	if client.IgnoreNotFound(err) != nil {
		s.Fatal(err)
	}
	if err == nil {
		reflect.ValueOf(o).Elem().Set(fresh.Elem())
	}
	return err == nil
}

// List fills a list in with all objects of its kind in a namespace, or in all, and returns them.
func (s *Stage) List(list client.ObjectList, namespace string) []client.Object {
	s.Helper()
	if err := s.Admin.List(s.Context(), list, client.InNamespace(namespace)); err != nil {
		s.Fatal(err)
	}
	return s.items(list)
}

func (s *Stage) items(list client.ObjectList) (out []client.Object) {
	s.Helper()
	items, err := meta.ExtractList(list)
	if err != nil {
		s.Fatal(err)
	}
	for _, item := range items {
		out = append(out, item.(client.Object))
	}
	return out
}

// CaughtUp waits until the operator's cache holds an object as the API server does, if it is of those that it holds.
func (s *Stage) CaughtUp(o client.Object) {
	s.Helper()
	onlyOurs := false
	switch o.(type) {
	case *v1alpha1.Consortium, *v1alpha1.Tenant, *v1alpha1.Workspace, *v1alpha1.Stack, *v1alpha1.StackRun, *v1alpha1.ServiceOffering, *v1alpha1.ServiceInstance, *v1alpha1.BackupRepository, *v1alpha1.BackupPolicy,
		*v1alpha1.Backup, *v1alpha1.Restore, *corev1.Namespace, *storagev1.StorageClass:
	case *corev1.ServiceAccount, *corev1.ResourceQuota, *corev1.LimitRange, *corev1.PersistentVolumeClaim, *networkingv1.NetworkPolicy, *rbacv1.RoleBinding:
		onlyOurs = true
	default:
		return
	}
	live, cached := o.DeepCopyObject().(client.Object), o.DeepCopyObject().(client.Object)
	cluster.Eventually(s, Patience, "the cache sees "+o.GetName(), func() error {
		found := s.Exists(live) && (!onlyOurs || live.GetLabels()[v1alpha1.LabelOwner] != "")
		err := s.operator.Get(s.Context(), client.ObjectKeyFromObject(o), cached)
		switch {
		case apierrors.IsNotFound(err) && !found:
			return nil
		case err != nil:
			return err
		case !found || cached.GetResourceVersion() != live.GetResourceVersion():
			return fmt.Errorf("the cache is at %s, the API server at %s", cached.GetResourceVersion(), live.GetResourceVersion())
		}
		return nil
	})
}

// Content is an object as the API server has it, without what changes with every write; nil if there is none.
func (s *Stage) Content(o client.Object) map[string]any {
	s.Helper()
	live := o.DeepCopyObject().(client.Object)
	if !s.Exists(live) {
		return nil
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(live)
	if err != nil {
		s.Fatal(err)
	}
	for _, field := range []string{"resourceVersion", "managedFields", "uid", "creationTimestamp", "generation"} {
		unstructured.RemoveNestedField(content, "metadata", field)
	}
	unstructured.RemoveNestedField(content, "status")
	return content
}

// Hard are the limits of our quota in a namespace.
func (s *Stage) Hard(namespace string) map[string]string {
	s.Helper()
	q := &corev1.ResourceQuota{ObjectMeta: In(namespace, "broletto")}
	s.Read(q)
	return Texts(q.Spec.Hard)
}

// Texts are amounts as people write them.
func Texts[K ~string](amounts map[K]resource.Quantity) map[string]string {
	out := map[string]string{}
	for name, amount := range amounts {
		out[string(name)] = amount.String()
	}
	return out
}

// Same is an error that tells what two values differ in, if they do; it is what Until and cluster.Eventually wait for.
func Same[T any](want, got T) error {
	if diff := cmp.Diff(want, got); diff != "" {
		return errors.New("it is not (-want +got):\n" + diff)
	}
	return nil
}
