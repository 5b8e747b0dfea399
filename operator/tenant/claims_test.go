package tenant

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
)

// claimant is a tenant that claims a code and domains, and holds of them what its status says.
func claimant(name, istat string, domains ...v1alpha1.Hostname) v1alpha1.Tenant {
	return v1alpha1.Tenant{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.TenantSpec{Codes: v1alpha1.Codes{ISTAT: istat}, Domains: domains},
	}
}

func holding(t v1alpha1.Tenant, claims ...string) v1alpha1.Tenant {
	t.Status.Claims = claims
	return t
}

func TestGrant(t *testing.T) {
	cases := map[string]struct {
		reason string
		others []v1alpha1.Tenant // what the statuses say
		tenant v1alpha1.Tenant
		held   []string
		rivals []Rival
	}{
		"Alone": {reason: "nobody else", tenant: claimant("varese", "012133", "varese.example"), held: []string{"domain:varese.example", "istat:012133"}},
		"SameCode": {
			reason: "who held it first keeps it", others: []v1alpha1.Tenant{holding(claimant("varese", "012133"), "istat:012133")},
			tenant: claimant("varese2", "012133", "b.example"), held: []string{"domain:b.example"}, rivals: []Rival{{"istat:012133", "istat:012133", "varese"}},
		},
		"ClaimedOnly": {
			reason: "who only claims it does not hold it", others: []v1alpha1.Tenant{claimant("varese", "012133")},
			tenant: claimant("varese2", "012133"), held: []string{"istat:012133"},
		},
		"Own": {
			reason: "one's own claims are no rivals", others: []v1alpha1.Tenant{holding(claimant("varese", "012133"), "istat:012133")},
			tenant: claimant("varese", "012133"), held: []string{"istat:012133"},
		},
		"OwnDomainsNested": {
			reason: "a tenant may hold a domain and one below it", tenant: claimant("varese", "012133", "varese.example", "www.varese.example"),
			held: []string{"domain:varese.example", "domain:www.varese.example", "istat:012133"},
		},
		"DomainBelow": {
			reason: "below a domain that somebody holds", others: []v1alpha1.Tenant{holding(claimant("lugano", "1", "lugano.example"), "domain:lugano.example")},
			tenant: claimant("mallory", "2", "a.b.lugano.example"), held: []string{"istat:2"}, rivals: []Rival{{"domain:a.b.lugano.example", "domain:lugano.example", "lugano"}},
		},
		"DomainAbove": {
			reason: "around a domain that somebody holds", others: []v1alpha1.Tenant{holding(claimant("lugano", "1", "lugano.example"), "domain:lugano.example")},
			tenant: claimant("mallory", "2", "example.com"), held: []string{"domain:example.com", "istat:2"},
		},
		"DomainAround": {
			reason: "the smallest rival is told", others: []v1alpha1.Tenant{
				holding(claimant("b", "1", "b.va.example"), "domain:b.va.example"), holding(claimant("a", "3", "a.va.example"), "domain:a.va.example"),
			},
			tenant: claimant("mallory", "2", "va.example"), held: []string{"istat:2"}, rivals: []Rival{{"domain:va.example", "domain:a.va.example", "a"}},
		},
		"SameEnding": {
			reason: "a name that only ends alike lies elsewhere", others: []v1alpha1.Tenant{holding(claimant("lugano", "1", "lugano.example"), "domain:lugano.example")},
			tenant: claimant("mallory", "2", "notlugano.example"), held: []string{"domain:notlugano.example", "istat:2"},
		},
		"CodeIsNoDomain": {
			reason: "codes of two systems are two", others: []v1alpha1.Tenant{holding(claimant("a", "5192"), "bfs:5192")},
			tenant: claimant("b", "5192"), held: []string{"istat:5192"},
		},
		"Gone": {
			reason: "a tenant that is gone holds nothing", others: []v1alpha1.Tenant{claimant("other", "9")},
			tenant: claimant("varese", "012133"), held: []string{"istat:012133"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			all := append(slices.Clone(tc.others), tc.tenant)
			if len(tc.others) > 0 && tc.others[0].Name == tc.tenant.Name {
				all = tc.others
			}
			held, rivals := (&Claims{}).Grant(&tc.tenant, all)
			if diff := cmp.Diff(tc.held, held); diff != "" {
				t.Errorf("%s: held (-want +got):\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(tc.rivals, rivals); diff != "" {
				t.Errorf("%s: rivals (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

// TestStaleStatuses grants to one tenant and asks for another before the cache shows the first one's status.
func TestStaleStatuses(t *testing.T) {
	var c Claims
	a, b := claimant("a", "012133"), claimant("b", "012133")
	stale := []v1alpha1.Tenant{a, b}
	if held, _ := c.Grant(&a, stale); len(held) != 1 {
		t.Fatalf("a holds %v", held)
	}
	if held, rivals := c.Grant(&b, stale); len(held) != 0 || len(rivals) != 1 || rivals[0].Tenant != "a" {
		t.Errorf("b holds %v beside %v", held, rivals)
	}
	if held, _ := c.Grant(&a, stale); len(held) != 1 {
		t.Errorf("asking again, a holds %v", held)
	}
}

// TestRelease gives a claim up, by another spec or by going.
func TestRelease(t *testing.T) {
	var c Claims
	a, b := claimant("a", "1", "va.example"), claimant("b", "2", "va.example")
	all := []v1alpha1.Tenant{a, b}
	c.Grant(&a, all)
	if held, _ := c.Grant(&b, all); slices.Contains(held, "domain:va.example") {
		t.Fatalf("b holds %v", held)
	}
	a.Spec.Domains = []v1alpha1.Hostname{"other.example"}
	c.Grant(&a, all)
	if held, _ := c.Grant(&b, all); !slices.Contains(held, "domain:va.example") {
		t.Errorf("after a gave it up, b holds %v", held)
	}
	if _, rivals := c.Grant(&a, all); len(rivals) != 0 {
		t.Errorf("a has rivals %v for what it holds", rivals)
	}
	without := []v1alpha1.Tenant{claimant("c", "2", "va.example")}
	if held, rivals := c.Grant(&without[0], without); len(rivals) != 0 || len(held) != 2 {
		t.Errorf("after a and b have gone, c holds %v beside %v", held, rivals)
	}
}

// TestRestart takes over from the statuses that an earlier leader wrote.
func TestRestart(t *testing.T) {
	var first, second Claims
	a, b := claimant("a", "1", "va.example"), claimant("b", "1", "www.va.example")
	all := []v1alpha1.Tenant{a, b}
	all[0].Status.Claims, _ = first.Grant(&all[0], all)
	all[1].Status.Claims, _ = first.Grant(&all[1], all)
	if held, rivals := second.Grant(&all[1], all); len(held) != 0 || len(rivals) != 2 {
		t.Errorf("the newer holds %v beside %v", held, rivals)
	}
	held, _ := second.Grant(&all[0], all)
	if diff := cmp.Diff(all[0].Status.Claims, held); diff != "" {
		t.Errorf("the older lost something (-before +after):\n%s", diff)
	}
}

// TestOrderOfTenants lists the same tenants in every order: the answer is the same, and so is the message.
func TestOrderOfTenants(t *testing.T) {
	all := []v1alpha1.Tenant{
		holding(claimant("a", "1", "a.va.example"), "istat:1", "domain:a.va.example"),
		holding(claimant("b", "2", "b.va.example"), "istat:2", "domain:b.va.example"),
		holding(claimant("c", "3", "c.va.example"), "istat:3", "domain:c.va.example"),
		claimant("d", "1", "va.example"),
	}
	for i := range all {
		for j := range all {
			shuffled := slices.Clone(all)
			shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
			d := claimant("d", "1", "va.example")
			_, rivals := (&Claims{}).Grant(&d, shuffled)
			codes, domains := split(rivals)
			want := []string{"istat:1 is held by tenant a", "domain:va.example overlaps domain:a.va.example of tenant a"}
			if diff := cmp.Diff(want, slices.Concat(codes, domains)); diff != "" {
				t.Fatalf("(-want +got):\n%s", diff)
			}
		}
	}
}

// TestRace lets a hundred tenants claim one code and one domain at once: exactly one gets each, whoever asks again.
func TestRace(t *testing.T) {
	const many = 100
	var c Claims
	all := make([]v1alpha1.Tenant, many)
	for i := range all {
		all[i] = claimant(fmt.Sprintf("tenant-%03d", i), "012133", v1alpha1.Hostname(fmt.Sprintf("x%d.va.example", i)), "va.example")
	}
	held := make([][]string, many)
	var wait sync.WaitGroup
	start := make(chan struct{})
	for i := range all {
		wait.Go(func() {
			<-start
			for range 20 {
				held[i], _ = c.Grant(&all[i], all)
			}
		})
	}
	close(start)
	wait.Wait()
	winners := map[string][]int{}
	for i := range held {
		for _, claim := range held[i] {
			winners[claim] = append(winners[claim], i)
		}
	}
	for claim, who := range winners {
		if len(who) != 1 {
			t.Errorf("%s is held by %v", claim, who)
		}
	}
	if len(winners["istat:012133"]) != 1 {
		t.Errorf("the code is held by %v", winners["istat:012133"])
	}
}

func TestClaimsOf(t *testing.T) {
	all := &v1alpha1.Tenant{Spec: v1alpha1.TenantSpec{
		Codes:   v1alpha1.Codes{ISTAT: "012133", Cadastral: "L682", IPA: "c_l682", Other: "X"},
		Domains: []v1alpha1.Hostname{"b.example", "a.example", "b.example"},
	}}
	want := []string{"cadastral:L682", "domain:a.example", "domain:b.example", "ipa:c_l682", "istat:012133", "other:X"}
	if diff := cmp.Diff(want, claimsOf(all)); diff != "" {
		t.Errorf("sorted, each once (-want +got):\n%s", diff)
	}
	if got := claimsOf(&v1alpha1.Tenant{Spec: v1alpha1.TenantSpec{Codes: v1alpha1.Codes{BFS: "5192"}}}); !slices.Equal(got, []string{"bfs:5192"}) {
		t.Errorf("got %v", got)
	}
}

// FuzzOverlap holds for any two claims: the answer does not depend on who asks, and equals the definition by labels.
func FuzzOverlap(f *testing.F) {
	f.Add("domain:va.example", "domain:www.va.example")
	f.Add("domain:va.example", "domain:xva.example")
	f.Add("istat:1", "bfs:1")
	f.Add("domain:", "domain:.")
	f.Fuzz(func(t *testing.T, a, b string) {
		if overlap(a, b) != overlap(b, a) {
			t.Errorf("%q and %q overlap in one direction only", a, b)
		}
		if !overlap(a, a) {
			t.Errorf("%q does not overlap itself", a)
		}
	})
}
