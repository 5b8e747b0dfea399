package tenant_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// stalled is a tenant that gets nothing, why it says so, and what a person does about it.
type stalled struct {
	reason    string
	edit      func(*v1alpha1.Tenant)
	why       string // the reason of the verdict
	condition string // the question that is answered with no
	message   string
	heal      func(*stage.Stage, *v1alpha1.Tenant)
}

func stalledRows(s *stage.Stage, holder *v1alpha1.Tenant) map[string]stalled {
	held := string(holder.Spec.Domains[0])
	give := func(s *stage.Stage, _ *v1alpha1.Tenant) {
		stage.Edit(s, holder, func(holder *v1alpha1.Tenant) { holder.Spec.Domains = nil })
	}
	domains := func(domain string) func(*v1alpha1.Tenant) {
		return func(t *v1alpha1.Tenant) { t.Spec.Domains = []v1alpha1.Hostname{v1alpha1.Hostname(domain)} }
	}
	return map[string]stalled{
		"later": {
			reason: "a consortium that does not exist", why: v1alpha1.ReasonConsortiumNotFound, condition: v1alpha1.ConditionConsortiumFound,
			edit:    func(t *v1alpha1.Tenant) { t.Spec.Consortium = s.ID("later") },
			message: fmt.Sprintf("there is no consortium %[1]s: create it, or make the tenant anew under another", s.ID("later")),
			heal: func(s *stage.Stage, _ *v1alpha1.Tenant) {
				s.Consortium(func(c *v1alpha1.Consortium) { c.Name = s.ID("later") })
			},
		},
		"italian": {
			reason: "the land register's code is of another country", why: v1alpha1.ReasonCodeSystemMismatch, condition: v1alpha1.ConditionConsortiumFound,
			edit:    func(t *v1alpha1.Tenant) { t.Spec.Codes.IPA = "c_l682" },
			message: fmt.Sprintf("spec.codes are of another country than consortium %s, which is in CH: bfs belongs to CH; istat, cadastral and ipa to IT", s.ID("c")),
			heal: func(s *stage.Stage, t *v1alpha1.Tenant) {
				stage.Edit(s, t, func(t *v1alpha1.Tenant) { t.Spec.Codes.IPA = "" })
			},
		},
		"namesake": {
			reason: "a code that an older tenant holds", why: v1alpha1.ReasonDuplicateCode, condition: v1alpha1.ConditionCodesUnique,
			edit:    func(t *v1alpha1.Tenant) { t.Spec.Codes = holder.Spec.Codes },
			message: fmt.Sprintf("other:%s is held by tenant %s; correct spec.codes, or delete the tenant that should not be", holder.Spec.Codes.Other, holder.Name),
			heal: func(s *stage.Stage, t *v1alpha1.Tenant) {
				stage.Edit(s, t, func(t *v1alpha1.Tenant) { t.Spec.Codes.Other += "-2" })
			},
		},
		"equal": {
			reason: "a domain that an older tenant holds", why: v1alpha1.ReasonDomainConflict, condition: v1alpha1.ConditionDomainsUnique,
			edit:    domains(held),
			message: fmt.Sprintf("domain:%s is held by tenant %s; take it out of spec.domains of one of the two", held, holder.Name),
			heal:    give,
		},
		"below": {
			reason: "a domain below one that an older tenant holds", why: v1alpha1.ReasonDomainConflict, condition: v1alpha1.ConditionDomainsUnique,
			edit:    domains("sito." + held),
			message: fmt.Sprintf("domain:sito.%s overlaps domain:%s of tenant %s; take it out of spec.domains of one of the two", held, held, holder.Name),
			heal: func(s *stage.Stage, t *v1alpha1.Tenant) {
				stage.Edit(s, t, domains("sito-"+held))
			},
		},
		"above": {
			reason: "a domain around one that an older tenant holds", why: v1alpha1.ReasonDomainConflict, condition: v1alpha1.ConditionDomainsUnique,
			edit:    domains(s.Prefix + ".example"),
			message: fmt.Sprintf("domain:%s.example overlaps domain:%s of tenant %s; take it out of spec.domains of one of the two", s.Prefix, held, holder.Name),
			heal: func(s *stage.Stage, t *v1alpha1.Tenant) {
				stage.Edit(s, t, func(t *v1alpha1.Tenant) { t.Spec.Domains = nil })
			},
		},
		"past": {
			reason: "a membership that was over before the tenant was written", why: v1alpha1.ReasonMembershipEnded, condition: v1alpha1.ConditionMember,
			edit: func(t *v1alpha1.Tenant) {
				t.Spec.Memberships = []v1alpha1.Membership{stage.Membership("2018-06-20", "2020-12-31")}
			},
			message: ended,
			heal: func(s *stage.Stage, t *v1alpha1.Tenant) {
				stage.Edit(s, t, func(t *v1alpha1.Tenant) {
					t.Spec.Memberships = append(t.Spec.Memberships, stage.Membership("2024-01-01", ""))
				})
			},
		},
		"taken": {
			reason: "a namespace that somebody else made", why: v1alpha1.ReasonNamespaceConflict, condition: v1alpha1.ConditionNamespaceOwned,
			message: fmt.Sprintf("namespace %[1]s exists already and is not ours; nothing was written to it: delete it, or take another name", s.ID("taken")),
			heal: func(s *stage.Stage, t *v1alpha1.Tenant) {
				s.Remove(namespaceOf(t))
			},
		},
	}
}

const ended = "no membership covers today: rights are withdrawn and workspaces suspended, data is kept; " +
	"add an interval to spec.memberships to take the tenant back, or delete its workspaces and then the tenant"

// TestStalled shows every way in which a tenant stalls before it was ever ready: what it says, that nobody gets a right, and that the
// way out which it names is one.
func TestStalled(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "stall")
	c, holder := s.Consortium(), s.Tenant("holder", func(t *v1alpha1.Tenant) {
		t.Spec.Domains = []v1alpha1.Hostname{v1alpha1.Hostname("comune." + s.Prefix + ".example")}
	})
	s.Ready(c, holder)
	foreign := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.ID("taken"), Labels: map[string]string{"mine": "yes"}}}
	s.Create(foreign)
	s.Create(&corev1.ConfigMap{ObjectMeta: stage.In(foreign.Name, "mine")})

	rows, tenants := stalledRows(s, holder), map[string]*v1alpha1.Tenant{}
	for name, row := range rows {
		tenants[name] = s.Tenant(name, func(t *v1alpha1.Tenant) {
			if row.edit != nil {
				row.edit(t)
			}
		})
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) { stalls(s.On(t), tenants[name], row) })
	}
	s.Read(foreign)
	if diff := cmp.Diff(map[string]string{"mine": "yes", "kubernetes.io/metadata.name": foreign.Name}, foreign.Labels); diff != "" || len(foreign.Annotations) > 0 {
		t.Errorf("the namespace of somebody else was written to (-want +got):\n%s\n%v", diff, foreign.Annotations)
	}
	s.Ready(holder)
	for name, row := range rows {
		row.heal(s, tenants[name])
	}
	for name := range rows {
		t.Run(name+" heals", func(t *testing.T) { s.On(t).Ready(tenants[name]) })
	}
}

// stalls checks one row: the verdict, the answer it rests on, and that there is nothing.
func stalls(s *stage.Stage, a *v1alpha1.Tenant, row stalled) {
	s.Helper()
	message := s.Await(a, v1alpha1.ConditionStalled, row.why)
	if diff := cmp.Diff(row.message, message); diff != "" {
		s.Errorf("%s: message (-want +got):\n%s", row.reason, diff)
	}
	if diff := cmp.Diff([]string{row.condition + "=False " + row.why + " " + row.message}, answers(a)); diff != "" {
		s.Errorf("%s: what is not in order (-want +got):\n%s", row.reason, diff)
	}
	nothing(s, a)
}

// answers are the reports of a tenant that are not True, other than the verdicts and what is the network's doing.
func answers(a *v1alpha1.Tenant) (out []string) {
	for _, c := range a.Status.Conditions {
		switch c.Type {
		case v1alpha1.ConditionReady, v1alpha1.ConditionStalled, v1alpha1.ConditionReconciling, v1alpha1.ConditionNetworkEnforced:
		default:
			if c.Status != metav1.ConditionTrue {
				out = append(out, fmt.Sprintf("%s=%s %s %s", c.Type, c.Status, c.Reason, c.Message))
			}
		}
	}
	return out
}

// nothing checks that a tenant has nothing and nobody a right.
func nothing(s *stage.Stage, a *v1alpha1.Tenant) {
	s.Helper()
	if a.Status.Namespace != "" {
		s.Errorf("status.namespace: %s", a.Status.Namespace)
	}
	if ns := namespaceOf(a); s.Exists(ns) && ns.Labels[v1alpha1.LabelOwner] != "" {
		s.Errorf("there is a home: %v", ns.Labels)
	}
	if bindings := bindingsIn(s, a.Name); len(bindings) > 0 {
		s.Errorf("there are bindings: %v", bindings)
	}
	for _, people := range []string{"ict", "revisione"} {
		if may(s, stage.Group(a.Name, people), authorizationv1.ResourceAttributes{Namespace: a.Name, Verb: "list", Group: "broletto.dev", Resource: "workspaces"}) {
			s.Errorf("group %s has rights", people)
		}
	}
}

// TestForeignNamespace finds somebody else's namespace under the home's name and leaves every byte of it alone.
func TestForeignNamespace(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "foreign")
	foreign := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.ID("a"), Labels: map[string]string{v1alpha1.LabelOwner: "somebody-else", v1alpha1.LabelTenant: s.ID("a")}}}
	s.Create(foreign)
	c, a := s.Consortium(), s.Tenant("a")
	s.Ready(c)
	s.Await(a, v1alpha1.ConditionStalled, v1alpha1.ReasonNamespaceConflict)
	after := foreign.DeepCopy()
	s.Read(after)
	if diff := cmp.Diff(foreign, after); diff != "" {
		t.Errorf("the namespace (-before +after):\n%s", diff)
	}
	s.Remove(a)
	s.Gone(a)
	if !s.Exists(foreign) {
		t.Error("the namespace went with a tenant that never had it")
	}
}

// TestOlderKeepsItsCode lets the operator see two tenants with one code and domain at once, and look at the newer first.
func TestOlderKeepsItsCode(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "older")
	s.Consortium()
	older := s.Tenant("z")
	cluster.Eventually(t, stage.Patience, "creations differ by a second", func() error {
		if time.Since(older.CreationTimestamp.Time) < time.Second {
			return errors.New("they do not")
		}
		return nil
	})
	newer := s.Tenant("a", func(t *v1alpha1.Tenant) {
		t.Spec.Codes, t.Spec.Domains = older.Spec.Codes, older.Spec.Domains
	})
	for range 3 {
		if _, err := s.Reconcile(newer); err != nil {
			t.Fatal(err)
		}
	}
	s.Ready(older)
	s.Await(newer, v1alpha1.ConditionStalled, v1alpha1.ReasonDuplicateCode)
	nothing(s, newer)

	s.Remove(older)
	s.Gone(older)
	s.Ready(newer)
}

// TestStalledLater stalls a tenant that was ready: it keeps what it has, and what it has is kept as it is.
func TestStalledLater(t *testing.T) {
	t.Parallel()
	s := stage.New(t, "later")
	c, a, b := s.Consortium(), s.Tenant("a"), s.Tenant("b")
	s.Ready(c, a, b)
	bindings := bindingsIn(s, b.Name)
	stage.Edit(s, b, func(b *v1alpha1.Tenant) { b.Spec.Domains = append(b.Spec.Domains, a.Spec.Domains...) })
	s.Await(b, v1alpha1.ConditionStalled, v1alpha1.ReasonDomainConflict)
	if diff := cmp.Diff(bindings, bindingsIn(s, b.Name)); diff != "" {
		t.Errorf("bindings (-before +after):\n%s", diff)
	}
	if b.Status.Namespace != b.Name {
		t.Errorf("status.namespace: %q", b.Status.Namespace)
	}
	if c := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionReady); c.Status != metav1.ConditionFalse {
		t.Errorf("Ready: %+v", c)
	}
	stage.Edit(s, a, func(a *v1alpha1.Tenant) { a.Spec.Domains = nil })
	s.Ready(a, b)
	if diff := cmp.Diff(3, len(b.Status.Claims)); diff != "" {
		t.Errorf("claims: %v", b.Status.Claims)
	}
}
