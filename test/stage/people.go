package stage

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
)

// Consortium creates a Swiss consortium.
func (s *Stage) Consortium(edit ...func(*v1alpha1.Consortium)) *v1alpha1.Consortium {
	s.Helper()
	c := &v1alpha1.Consortium{ObjectMeta: metav1.ObjectMeta{Name: s.ID("c")}}
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
	s.Create(c)
	return c
}

// Tenant creates a tenant of the test's consortium, a member since 2024. Its code and its domain are its own.
func (s *Stage) Tenant(name string, edit ...func(*v1alpha1.Tenant)) *v1alpha1.Tenant {
	s.Helper()
	t := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: s.ID(name)}}
	t.Spec = v1alpha1.TenantSpec{
		DisplayName: "Associazione", Kind: v1alpha1.Association, Consortium: s.ID("c"),
		Codes:          v1alpha1.Codes{Other: strings.ToUpper(t.Name)},
		Memberships:    []v1alpha1.Membership{Membership("2024-04-04", "")},
		Administrators: []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: Group(t.Name, "ict")}},
		Viewers:        []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: Group(t.Name, "revisione")}},
		Domains:        []v1alpha1.Hostname{v1alpha1.Hostname(t.Name + ".example")},
		Quota: v1alpha1.Quota{
			"requests.cpu": "8", "requests.memory": "32Gi", "limits.cpu": "16", "limits.memory": "64Gi", "requests.storage": "100Gi", "pods": "100",
		},
		StorageClasses: []v1alpha1.StorageClass{{Name: "standard", Quota: "100Gi"}, {Name: "encrypted"}},
	}
	for _, e := range edit {
		e(t)
	}
	s.Create(t)
	return t
}

// Group is the group of a tenant's people: "ict" are its administrators, "revisione" its viewers.
func Group(tenant, people string) string { return tenant + ":" + people }

// Membership is one from a day on, until another if there is one.
func Membership(entry, exit v1alpha1.Date) v1alpha1.Membership {
	return v1alpha1.Membership{Entry: entry, Exit: exit, Act: "accordo quadro", ConvenienceStudy: "studio preliminare"}
}

// Flux adds an account for a tool, flux, to a tenant's administrators.
func Flux(t *v1alpha1.Tenant) {
	t.Spec.Administrators = append(t.Spec.Administrators, v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Name: "flux"})
}

// Workspace creates the shortest workspace in a tenant's home.
func (s *Stage) Workspace(t *v1alpha1.Tenant, name string, edit ...func(*v1alpha1.Workspace)) *v1alpha1.Workspace {
	s.Helper()
	w := &v1alpha1.Workspace{ObjectMeta: In(t.Name, name)}
	w.Spec = v1alpha1.WorkspaceSpec{Environment: v1alpha1.Test, DataClass: v1alpha1.DataClassOrdinary, PersonalData: new(false)}
	for _, e := range edit {
		e(w)
	}
	s.Create(w)
	return w
}
