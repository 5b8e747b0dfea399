package security

import (
	"testing"

	"k8s.io/client-go/rest"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// town is what the attacks are made in: two tenants of one consortium, each with workspaces, and the people of one of them. The operator
// works when a test says so, and not meanwhile: what is refused, the API server refuses by itself.
type town struct {
	*stage.Stage
	consortium *v1alpha1.Consortium
	own        *v1alpha1.Tenant    // the attackers'
	other      *v1alpha1.Tenant    // the victims'
	site       *v1alpha1.Workspace // the attackers', with a host, a volume and everybody's rights
	annex      *v1alpha1.Workspace // another of the attackers'
	target     *v1alpha1.Workspace // the victims'
}

// newTown brings everything to rest.
func newTown(t *testing.T, name string, edit ...func(*v1alpha1.Tenant)) *town {
	t.Helper()
	s := stage.New(t, name)
	w := &town{Stage: s, consortium: s.Consortium()}
	w.own, w.other = s.Tenant("a", append(edit, stage.Flux)...), s.Tenant("b")
	s.Ready(w.consortium, w.own, w.other)
	w.site = s.Workspace(w.own, "sito", w.people, serving("www."+w.own.Name+".example"), func(w *v1alpha1.Workspace) {
		w.Spec.Storage = &v1alpha1.WorkspaceStorage{Volumes: []v1alpha1.Volume{{Name: "documenti", Size: "1Gi"}}}
	})
	w.annex = s.Workspace(w.own, "annesso", serving("annesso."+w.own.Name+".example"))
	w.target = s.Workspace(w.other, "sito", serving("www."+w.other.Name+".example"))
	s.Ready(w.site, w.annex, w.target)
	return w
}

func serving(host string) func(*v1alpha1.Workspace) {
	return func(w *v1alpha1.Workspace) {
		w.Spec.Network.Exposure, w.Spec.Network.Hosts = v1alpha1.ExposureInternet, []v1alpha1.Hostname{v1alpha1.Hostname(host)}
	}
}

// people are those to whom spec.access of the site gives rights.
func (w *town) people(site *v1alpha1.Workspace) {
	site.Spec.Access = []v1alpha1.Access{
		{Role: v1alpha1.RoleEdit, Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: w.ID("web")}},
		{Role: v1alpha1.RoleEdit, Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Name: "pipeline"}},
		{Role: v1alpha1.RoleView, Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: w.ID("stampa")}},
	}
}

// The identities of an attack, each with a certificate or token of its own.

// administrator is of the tenant's administrators, who have all that a tenant may have.
func (w *town) administrator() *rest.Config {
	return cluster.As("anna", stage.Group(w.own.Name, "ict"))
}

// member edits the site and has no rights elsewhere.
func (w *town) member() *rest.Config { return cluster.As("dario", w.ID("web")) }

// viewer looks at the site.
func (w *town) viewer() *rest.Config { return cluster.As("bruno", w.ID("stampa")) }

// account is the site's pipeline.
func (w *town) account() *rest.Config {
	return cluster.Account(w, w.site.TargetNamespace(), "pipeline")
}

// removed was a member of something once.
func (w *town) removed() *rest.Config { return cluster.As("rita", w.ID("ex")) }

// anonymous shows no credential.
func (w *town) anonymous() *rest.Config { return rest.AnonymousClientConfig(cluster.Admin()) }

// neighbour is of the other tenant's administrators.
func (w *town) neighbour() *rest.Config {
	return cluster.As("elena", stage.Group(w.other.Name, "ict"))
}
