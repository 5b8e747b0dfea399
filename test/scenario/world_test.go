package scenario

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/test/cluster"
)

// world is a consortium made up for one test, and what the test adds to it.
type world struct {
	t          testing.TB
	admin      client.Client
	consortium string
	end        func() // takes it away; what comes when the test ends at the latest
}

// newWorld makes a consortium of whom a workspace that says nothing gets 1 CPU. At the end of the test all of it goes.
func newWorld(t testing.TB, consortium string) *world {
	t.Helper()
	w := &world{t: t, admin: admin(t), consortium: consortium}
	before := inventory(t)
	w.make(&v1alpha1.Consortium{
		ObjectMeta: metav1.ObjectMeta{Name: consortium},
		Spec: v1alpha1.ConsortiumSpec{
			DisplayName: consortium, Country: v1alpha1.Switzerland, Currency: "CHF", TimeZone: "Europe/Zurich",
			Agreement: v1alpha1.Agreement{
				Kind: "Convention", SignedOn: "2024-01-01", From: "2024-01-01", Purposes: []string{"prova"},
				Consultation: "assemblea", Obligations: "riparto", NoticeMonths: 6, ExpulsionClause: false,
			},
			JointEntity: v1alpha1.JointEntity{Name: "Azienda", Form: "InHouseCompany"},
			Defaults: v1alpha1.Defaults{Workspace: v1alpha1.WorkspaceDefaults{Quota: v1alpha1.Quota{
				"requests.cpu": "1", "requests.memory": "1Gi", "limits.cpu": "2", "limits.memory": "2Gi", "requests.storage": "10Gi", "pods": "10",
			}}},
		},
	})
	w.end = sync.OnceFunc(func() { w.takeAway(lasting(t), before) })
	t.Cleanup(w.end)
	return w
}

// takeAway deletes the consortium and all that belongs to it, and wants that nothing is left.
func (w *world) takeAway(t testing.TB, before []string) {
	w.t = t
	if err := w.admin.Delete(t.Context(), &v1alpha1.Consortium{ObjectMeta: metav1.ObjectMeta{Name: w.consortium}}); err != nil {
		t.Error(err)
	}
	cluster.Eventually(t, long, "consortium "+w.consortium+" is gone with all that belongs to it", func() error {
		for _, tenant := range w.tenants() {
			for _, o := range w.workspaces(tenant.Name) {
				if o.Spec.DeletionPolicy != v1alpha1.DeletionDelete {
					w.change(&o, func() { o.Spec.DeletionPolicy = v1alpha1.DeletionDelete })
				}
				w.discard(&o)
			}
			w.discard(&tenant)
		}
		o := &v1alpha1.Consortium{}
		err := w.admin.Get(t.Context(), client.ObjectKey{Name: w.consortium}, o)
		if err == nil {
			return isReady(o)
		}
		return client.IgnoreNotFound(err)
	})
	wantInventory(t, before)
}

// lasting is a test whose context does not end with it, for what is done when it is over.
func lasting(t testing.TB) testing.TB { return undying{t} }

type undying struct{ testing.TB }

func (t undying) Context() context.Context { return context.WithoutCancel(t.TB.Context()) }

func (w *world) make(objects ...client.Object) {
	w.t.Helper()
	for _, o := range objects {
		if err := w.admin.Create(w.t.Context(), o); err != nil {
			w.t.Fatalf("creating %T %s: %v", o, client.ObjectKeyFromObject(o), err)
		}
	}
}

// discard deletes an object that may be gone already.
func (w *world) discard(o client.Object) {
	w.t.Helper()
	if o.GetDeletionTimestamp().IsZero() {
		if err := client.IgnoreNotFound(w.admin.Delete(w.t.Context(), o)); err != nil {
			w.t.Fatalf("deleting %T %s: %v", o, client.ObjectKeyFromObject(o), err)
		}
	}
}

// change sends what f changes of an object, which may be gone already.
func (w *world) change(o client.Object, f func()) {
	w.t.Helper()
	before := o.DeepCopyObject().(client.Object)
	f()
	if err := client.IgnoreNotFound(w.admin.Patch(w.t.Context(), o, client.MergeFrom(before))); err != nil {
		w.t.Fatalf("changing %T %s: %v", o, client.ObjectKeyFromObject(o), err)
	}
}

// tenant is a member with 100 CPUs, whose administrators are the group "<name>:ict".
func (w *world) tenant(name string, options ...func(*v1alpha1.Tenant)) *v1alpha1.Tenant {
	t := &v1alpha1.Tenant{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.TenantSpec{
			DisplayName: name, Kind: "Association", Consortium: w.consortium, Codes: v1alpha1.Codes{Other: "PROVA-" + strings.ToUpper(name)},
			Memberships:    []v1alpha1.Membership{{Entry: "2024-01-01", Act: "atto", ConvenienceStudy: "studio"}},
			Administrators: []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: name + ":ict"}},
			Domains:        []v1alpha1.Hostname{v1alpha1.Hostname(name + ".example")},
			Quota: v1alpha1.Quota{
				"requests.cpu": "100", "requests.memory": "100Gi", "limits.cpu": "200", "limits.memory": "200Gi", "requests.storage": "1000Gi", "pods": "1000",
			},
			StorageClasses: []v1alpha1.StorageClass{{Name: "standard"}},
			Limits:         v1alpha1.Limits{Workspaces: new(int32(100))},
			Population:     &v1alpha1.Population{Value: 1000, Definition: "Census", ReferenceDate: "2024-01-01", Source: "prova"},
		},
	}
	for _, option := range options {
		option(t)
	}
	return t
}

// workspace is one that says nothing.
func (w *world) workspace(tenant, name string, options ...func(*v1alpha1.Workspace)) *v1alpha1.Workspace {
	o := &v1alpha1.Workspace{
		ObjectMeta: metav1.ObjectMeta{Namespace: tenant, Name: name},
		Spec:       v1alpha1.WorkspaceSpec{Environment: "Test", DataClass: v1alpha1.DataClassOrdinary, PersonalData: new(false)},
	}
	for _, option := range options {
		option(o)
	}
	return o
}

func (w *world) tenants() []v1alpha1.Tenant {
	w.t.Helper()
	var list v1alpha1.TenantList
	if err := w.admin.List(w.t.Context(), &list); err != nil {
		w.t.Fatal(err)
	}
	return slices.DeleteFunc(list.Items, func(t v1alpha1.Tenant) bool { return t.Spec.Consortium != w.consortium })
}

func (w *world) workspaces(tenant string) []v1alpha1.Workspace {
	w.t.Helper()
	var list v1alpha1.WorkspaceList
	if err := w.admin.List(w.t.Context(), &list, client.InNamespace(tenant)); err != nil {
		w.t.Fatal(err)
	}
	return list.Items
}

// awaitReady waits until all these objects are.
func (w *world) awaitReady(objects ...condition.Object) {
	w.t.Helper()
	cluster.Eventually(w.t, long, fmt.Sprintf("%d objects are Ready", len(objects)), func() error {
		for _, o := range objects {
			if err := w.admin.Get(w.t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
				return err
			}
			if err := isReady(o); err != nil {
				return err
			}
		}
		return nil
	})
}

// awaitGone waits until none of these objects is there.
func (w *world) awaitGone(objects ...client.Object) {
	w.t.Helper()
	cluster.Eventually(w.t, long, fmt.Sprintf("%d objects are gone", len(objects)), func() error {
		for _, o := range objects {
			err := w.admin.Get(w.t.Context(), client.ObjectKeyFromObject(o), o)
			if err == nil {
				return fmt.Errorf("%T %s is there", o, client.ObjectKeyFromObject(o))
			}
			if !apierrors.IsNotFound(err) {
				return err
			}
		}
		return nil
	})
}
