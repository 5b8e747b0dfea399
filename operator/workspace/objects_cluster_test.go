package workspace_test

import (
	"fmt"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
)

// id is a name of this test.
func (s *stage) id(name string) string { return s.name + "-" + name }

// group is the group of a tenant's people.
func group(tenant, people string) string { return tenant + ":" + people }

// consortium creates a Swiss consortium.
func (s *stage) consortium(edit ...func(*v1alpha1.Consortium)) *v1alpha1.Consortium {
	s.Helper()
	c := &v1alpha1.Consortium{ObjectMeta: metav1.ObjectMeta{Name: s.id("c")}}
	c.Spec = v1alpha1.ConsortiumSpec{
		DisplayName: "Comuni in cloud", Country: v1alpha1.Switzerland, Currency: "CHF", TimeZone: "Europe/Zurich",
		Agreement: v1alpha1.Agreement{
			Kind: "FrameworkAgreement", SignedOn: "2024-04-04", From: "2024-04-04", Purposes: []string{"gestione congiunta"},
			Consultation: "conferenza dei sindaci", Obligations: "riparto secondo chiave", NoticeMonths: 12,
		},
		JointEntity: v1alpha1.JointEntity{Name: "Società TIC", Form: "Planned"},
		Defaults: v1alpha1.Defaults{Workspace: v1alpha1.WorkspaceDefaults{Quota: v1alpha1.Quota{
			"requests.cpu": "2", "requests.memory": "4Gi", "limits.cpu": "4", "limits.memory": "8Gi", "requests.storage": "20Gi", "pods": "20",
		}}},
	}
	for _, e := range edit {
		e(c)
	}
	s.create(c)
	return c
}

// tenant creates a tenant of the test's consortium, a member since 2024. Its code and its domain are its own.
func (s *stage) tenant(name string, edit ...func(*v1alpha1.Tenant)) *v1alpha1.Tenant {
	s.Helper()
	t := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: s.id(name)}}
	t.Spec = v1alpha1.TenantSpec{
		DisplayName: "Associazione", Kind: v1alpha1.Association, Consortium: s.id("c"),
		Codes:          v1alpha1.Codes{Other: strings.ToUpper(t.Name)},
		Memberships:    []v1alpha1.Membership{membership("2024-04-04", "")},
		Administrators: []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: group(t.Name, "ict")}},
		Viewers:        []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: group(t.Name, "revisione")}},
		Domains:        []v1alpha1.Hostname{v1alpha1.Hostname(t.Name + ".example")},
		Quota: v1alpha1.Quota{
			"requests.cpu": "8", "requests.memory": "32Gi", "limits.cpu": "16", "limits.memory": "64Gi", "requests.storage": "100Gi", "pods": "100",
		},
		StorageClasses: []v1alpha1.StorageClass{{Name: "standard", Quota: "100Gi"}, {Name: "encrypted"}},
	}
	for _, e := range edit {
		e(t)
	}
	s.create(t)
	return t
}

func membership(entry, exit v1alpha1.Date) v1alpha1.Membership {
	return v1alpha1.Membership{Entry: entry, Exit: exit, Act: "accordo quadro", ConvenienceStudy: "studio preliminare"}
}

// workspace creates the shortest workspace in a tenant's home.
func (s *stage) workspace(t *v1alpha1.Tenant, name string, edit ...func(*v1alpha1.Workspace)) *v1alpha1.Workspace {
	s.Helper()
	w := &v1alpha1.Workspace{ObjectMeta: metav1.ObjectMeta{Namespace: t.Name, Name: name}}
	w.Spec = v1alpha1.WorkspaceSpec{Environment: v1alpha1.Test, DataClass: v1alpha1.DataClassOrdinary, PersonalData: new(false)}
	for _, e := range edit {
		e(w)
	}
	s.create(w)
	return w
}

// create creates an object as the platform engineer and lets the operator's cache see it.
func (s *stage) create(o client.Object) {
	s.Helper()
	if err := s.admin.Create(s.Context(), o); err != nil {
		s.Fatalf("creating %T %s: %v", o, client.ObjectKeyFromObject(o), err)
	}
	s.caughtUp(o)
}

// edit changes an object as the platform engineer and lets the operator's cache see it.
func edit[T client.Object](s *stage, o T, change func(T)) {
	s.Helper()
	cluster.Eventually(s, patience, "changing "+o.GetName(), func() error {
		s.read(o)
		change(o)
		return s.admin.Update(s.Context(), o)
	})
	s.caughtUp(o)
}

// remove deletes an object as the platform engineer and lets the operator's cache see it.
func (s *stage) remove(o client.Object) {
	s.Helper()
	if err := s.admin.Delete(s.Context(), o); err != nil {
		s.Fatalf("deleting %T %s: %v", o, client.ObjectKeyFromObject(o), err)
	}
	s.caughtUp(o)
}

// read fills an object in from the API server; there must be one.
func (s *stage) read(o client.Object) {
	s.Helper()
	if !s.exists(o) {
		s.Fatalf("there is no %T %s", o, client.ObjectKeyFromObject(o))
	}
}

// exists tells whether there is such an object and fills it in.
func (s *stage) exists(o client.Object) bool {
	s.Helper()
	fresh := reflect.New(reflect.TypeOf(o).Elem()) // what is decoded into an object leaves old fields of it standing
	err := s.admin.Get(s.Context(), client.ObjectKeyFromObject(o), fresh.Interface().(client.Object))
	if client.IgnoreNotFound(err) != nil {
		s.Fatal(err)
	}
	if err == nil {
		reflect.ValueOf(o).Elem().Set(fresh.Elem())
	}
	return err == nil
}

// gone looks at everything until an object is there no more.
func (s *stage) gone(o client.Object) {
	s.Helper()
	s.until(fmt.Sprintf("%T %s is gone", o, o.GetName()), func() error {
		if s.exists(o) {
			return fmt.Errorf("it is there, deletion asked for at %v", o.GetDeletionTimestamp())
		}
		return nil
	})
}

// caughtUp waits until the operator's cache holds an object as the API server does, if it is of those that it holds.
func (s *stage) caughtUp(o client.Object) {
	s.Helper()
	onlyOurs := false
	switch o.(type) {
	case *v1alpha1.Consortium, *v1alpha1.Tenant, *v1alpha1.Workspace, *corev1.Namespace, *storagev1.StorageClass:
	case *corev1.ServiceAccount, *corev1.ResourceQuota, *corev1.LimitRange, *corev1.PersistentVolumeClaim, *networkingv1.NetworkPolicy, *rbacv1.RoleBinding:
		onlyOurs = true
	default:
		return
	}
	live, cached := o.DeepCopyObject().(client.Object), o.DeepCopyObject().(client.Object)
	cluster.Eventually(s, patience, "the cache sees "+o.GetName(), func() error {
		found := s.exists(live) && (!onlyOurs || live.GetLabels()[v1alpha1.LabelOwner] != "")
		err := s.cached.Get(s.Context(), client.ObjectKeyFromObject(o), cached)
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
