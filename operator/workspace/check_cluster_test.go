package workspace_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/stage"
)

// refused is a wish that a tenant may not have, what is said about it, and what a person does.
type refused struct {
	reason  string
	wish    func(*v1alpha1.Workspace)
	why     string
	message string
	heal    func(*stage.Stage, *v1alpha1.Workspace)
}

func refusedRows(s *stage.Stage, a *v1alpha1.Tenant) map[string]refused {
	host := func(hosts ...v1alpha1.Hostname) func(*v1alpha1.Workspace) {
		return func(w *v1alpha1.Workspace) {
			w.Spec.Network.Exposure, w.Spec.Network.Hosts = v1alpha1.ExposureInternet, hosts
		}
	}
	volume := func(size v1alpha1.Amount, class string) func(*v1alpha1.Workspace) {
		return func(w *v1alpha1.Workspace) {
			w.Spec.DeletionPolicy = v1alpha1.DeletionDelete
			w.Spec.Storage = &v1alpha1.WorkspaceStorage{Volumes: []v1alpha1.Volume{{Name: "dati", Size: size, Class: class}}}
		}
	}
	reach := func(cidr v1alpha1.CIDR) func(*v1alpha1.Workspace) {
		return func(w *v1alpha1.Workspace) {
			w.Spec.Network.Egress = []v1alpha1.Egress{{CIDR: cidr, Ports: []int32{443}}}
		}
	}
	change := func(wish func(*v1alpha1.Workspace)) func(*stage.Stage, *v1alpha1.Workspace) {
		return func(s *stage.Stage, w *v1alpha1.Workspace) { stage.Edit(s, w, wish) }
	}
	closed := change(func(w *v1alpha1.Workspace) { w.Spec.Network.Egress = nil })
	domain := a.Name + ".example"
	return map[string]refused{
		"critical": {
			reason: "a data class that the tenant may not host", why: v1alpha1.ReasonDataClassNotAllowed,
			wish:    func(w *v1alpha1.Workspace) { w.Spec.DataClass = v1alpha1.DataClassCritical },
			message: fmt.Sprintf("spec.dataClass: tenant %s may host Ordinary, not Critical; ask the platform to add the class to the tenant", a.Name),
			heal: func(s *stage.Stage, _ *v1alpha1.Workspace) {
				stage.Edit(s, a, func(a *v1alpha1.Tenant) { a.Spec.DataClasses = append(a.Spec.DataClasses, v1alpha1.DataClassCritical) })
			},
		},
		"outside": {
			reason: "a host that only ends like the domain", why: v1alpha1.ReasonHostNotAllowed, wish: host(v1alpha1.Hostname("x" + domain)),
			message: fmt.Sprintf("spec.network.hosts: x%[2]s lies outside the domains of tenant %[1]s (%[2]s)", a.Name, domain),
			heal:    change(host(v1alpha1.Hostname("x." + domain))),
		},
		"served": {
			reason: "a host that another workspace serves", why: v1alpha1.ReasonHostConflict, wish: host(v1alpha1.Hostname("www." + domain)),
			message: fmt.Sprintf("spec.network.hosts: www.%s is served by workspace first; take it out of one of the two", domain),
			heal: func(s *stage.Stage, _ *v1alpha1.Workspace) {
				stage.Edit(s, &v1alpha1.Workspace{ObjectMeta: stage.In(a.Name, "first")}, host())
			},
		},
		"class": {
			reason: "a storage class that is not the tenant's", why: v1alpha1.ReasonStorageClassNotAllowed, wish: volume("1Gi", "gold"),
			message: fmt.Sprintf("spec.storage.volumes: dati wants class gold; tenant %s may use standard, encrypted", a.Name),
			heal: func(s *stage.Stage, _ *v1alpha1.Workspace) {
				stage.Edit(s, a, func(a *v1alpha1.Tenant) {
					a.Spec.StorageClasses = append(a.Spec.StorageClasses, v1alpha1.StorageClass{Name: "gold"})
				})
			},
		},
		"full": {
			reason: "more volumes than requests.storage", why: v1alpha1.ReasonVolumesExceedQuota, wish: volume("21Gi", ""),
			message: "spec.storage.volumes: together 21Gi, more than the workspace's requests.storage of 20Gi; raise spec.quota",
			heal:    change(func(w *v1alpha1.Workspace) { w.Spec.Quota = v1alpha1.Quota{"requests.storage": "21Gi"} }),
		},
		"metadata": {
			reason: "cloud metadata, by a range in a link-local one", why: v1alpha1.ReasonEgressProtected, wish: reach("169.254.169.254/32"), heal: closed,
			message: "spec.network.egress: 169.254.169.254/32 lies inside 169.254.0.0/16, which no workspace may open by address; reach another workspace by connectTo, or ask the platform for an exception",
		},
		"inside": {
			reason: "a range of the cluster", why: v1alpha1.ReasonEgressProtected, wish: reach("10.96.0.0/16"), heal: closed,
			message: "spec.network.egress: 10.96.0.0/16 lies inside 10.0.0.0/8, which no workspace may open by address; reach another workspace by connectTo, or ask the platform for an exception",
		},
	}
}

// TestRefused asks for what the tenant may not have, once in a new workspace, which gets nothing, and once in one that runs, which
// goes on without it; and shows that the way out which the message names is one.
func TestRefused(t *testing.T) {
	t.Parallel()
	for _, age := range []string{"new", "old"} {
		t.Run(age, func(t *testing.T) {
			t.Parallel()
			s := stage.New(t, "refused")
			c, a := s.Consortium(), s.Tenant("a", func(t *v1alpha1.Tenant) {
				t.Spec.Quota["requests.cpu"], t.Spec.Quota["limits.cpu"] = "100", "100"
				t.Spec.Quota["requests.memory"], t.Spec.Quota["requests.storage"] = "64Gi", "500Gi"
				t.Spec.Quota["pods"], t.Spec.StorageClasses[0].Quota = "500", ""
			})
			s.Ready(c, a)
			first := s.Workspace(a, "first", func(w *v1alpha1.Workspace) {
				w.Spec.Network = v1alpha1.WorkspaceNetwork{Exposure: v1alpha1.ExposureInternet, Hosts: []v1alpha1.Hostname{v1alpha1.Hostname("www." + a.Name + ".example")}}
			})
			s.Ready(first)
			refuses(s, a, age == "old")
			sound(s, a)
		})
	}
}

func refuses(s *stage.Stage, a *v1alpha1.Tenant, old bool) {
	s.Helper()
	rows, workspaces := refusedRows(s, a), map[string]*v1alpha1.Workspace{}
	for name, row := range rows {
		workspaces[name] = s.Workspace(a, name, func(w *v1alpha1.Workspace) {
			if !old {
				row.wish(w)
			}
		})
	}
	for name, row := range rows {
		if old {
			s.Ready(workspaces[name])
			stage.Edit(s, workspaces[name], row.wish)
		}
	}
	for name, row := range rows {
		w := workspaces[name]
		if diff := cmp.Diff(row.message, s.Await(w, v1alpha1.ConditionStalled, row.why)); diff != "" {
			s.Errorf("%s, %s: message (-want +got):\n%s", name, row.reason, diff)
		}
		if s.Exists(namespaceOf(w)) != old {
			s.Errorf("%s, %s: a namespace is there: %v", name, row.reason, !old)
		}
		if old {
			goesOn(s, w)
		}
	}
	for name, row := range rows {
		row.heal(s, workspaces[name])
	}
	for name := range rows {
		s.Ready(workspaces[name])
	}
	if !s.Exists(&corev1.PersistentVolumeClaim{ObjectMeta: stage.In(a.Name+"--full", "dati")}) || !s.Exists(&corev1.PersistentVolumeClaim{ObjectMeta: stage.In(a.Name+"--class", "dati")}) {
		s.Error("a volume that was refused before is not there")
	}
}

// goesOn checks that a workspace with a wish that was refused has its rights, and nothing of the wish.
func goesOn(s *stage.Stage, w *v1alpha1.Workspace) {
	s.Helper()
	if !s.Exists(&rbacv1.RoleBinding{ObjectMeta: stage.In(w.TargetNamespace(), "tenant-admin")}) {
		s.Errorf("%s: the administrators have no rights", w.Name)
	}
	if s.Exists(&corev1.PersistentVolumeClaim{ObjectMeta: stage.In(w.TargetNamespace(), "dati")}) {
		s.Errorf("%s: there is a volume", w.Name)
	}
	granted := &networkingv1.NetworkPolicy{ObjectMeta: stage.In(w.TargetNamespace(), "granted")}
	s.Read(granted)
	if len(granted.Spec.Egress) != 2 {
		s.Errorf("%s: an address range is open: %v", w.Name, granted.Spec.Egress)
	}
}

// TestNotAHome writes a workspace where no tenant lives; then one comes to live there.
func TestNotAHome(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "nohome")
	s.Consortium()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.ID("a")}}
	s.Create(ns)
	w := &v1alpha1.Workspace{ObjectMeta: stage.In(ns.Name, "sito")}
	w.Spec = v1alpha1.WorkspaceSpec{Environment: v1alpha1.Test, DataClass: v1alpha1.DataClassOrdinary, PersonalData: new(false)}
	s.Create(w)
	want := "namespace " + ns.Name + " is no tenant's home: write workspaces in the namespace named like the tenant"
	if diff := cmp.Diff(want, s.Await(w, v1alpha1.ConditionStalled, v1alpha1.ReasonNotAHomeNamespace)); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	if s.Exists(namespaceOf(w)) {
		t.Error("a namespace was made")
	}
	a := s.Tenant("a")
	s.Await(a, v1alpha1.ConditionStalled, v1alpha1.ReasonNamespaceConflict)
	message := s.Await(w, v1alpha1.ConditionReconciling, v1alpha1.ReasonTenantNotReady)
	if diff := cmp.Diff("tenant "+a.Name+" is not ready: "+meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady).Message, message); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	s.Remove(w)
	s.Gone(w)
}

// TestForeignNamespace finds somebody else's namespace under the workspace's name and leaves every byte of it alone.
func TestForeignNamespace(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "foreign")
	c, a := s.Consortium(), s.Tenant("a")
	s.Ready(c, a)
	foreign := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: a.Name + "--sito", Labels: map[string]string{v1alpha1.LabelOwner: string(a.UID)}}}
	s.Create(foreign)
	w := s.Workspace(a, "sito")
	want := "namespace " + foreign.Name + " exists already and is not ours; nothing was written to it: ask the platform to delete it, or name the workspace differently"
	if diff := cmp.Diff(want, s.Await(w, v1alpha1.ConditionStalled, v1alpha1.ReasonNamespaceConflict)); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	after := foreign.DeepCopy()
	s.Read(after)
	if diff := cmp.Diff(foreign, after); diff != "" {
		t.Errorf("the namespace (-before +after):\n%s", diff)
	}
	if w.Status.Namespace != "" || w.Status.AllocationRevision != 0 {
		t.Errorf("status: %+v", w.Status)
	}
	s.Remove(foreign.DeepCopy())
	s.Ready(w)

	other := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: a.Name + "--altro"}}
	s.Create(other)
	leaves := s.Workspace(a, "altro")
	s.Await(leaves, v1alpha1.ConditionStalled, v1alpha1.ReasonNamespaceConflict)
	s.Remove(leaves)
	s.Gone(leaves)
	if !s.Exists(other) {
		t.Error("the namespace went with a workspace that never had it")
	}
}

func namespaceOf(w *v1alpha1.Workspace) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.TargetNamespace()}}
}

func policyOf(w *v1alpha1.Workspace) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{ObjectMeta: stage.In(w.TargetNamespace(), "default-deny")}
}
