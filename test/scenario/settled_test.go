package scenario

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/embedded"
	"github.com/broletto/broletto/test/cluster"
)

// TestSettled lives with all scenarios for a while: operators are killed while they host them, rest, stop, follow each other, and repair
// what an administrator breaks. After each of these the scenarios must be what they would be without.
func TestSettled(t *testing.T) {
	s := &settled{t: t, c: admin(t), all: steps(t, scenarios...), operator: start(t)}
	before := inventory(t)
	host(t, s.c, steps(t, "ticino"))
	for _, stage := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"killed at work", s.killedAtWork},
		{"at rest", s.atRest},
		{"process", s.process},
		{"drift", s.drift},
		{"namespaces", s.namespaces},
		{"restart", s.restart},
		{"drift while nobody looks", s.driftUnseen},
		{"leader killed", s.leaderKilled},
		{"leader stopped", s.leaderStopped},
	} {
		t.Run(stage.name, func(t *testing.T) {
			stage.run(t)
			awaitReady(t, s.c, slices.Concat(s.all...))
			awaitQuiet(t, time.Second)
			for _, scenario := range scenarios {
				wantGolden(t, scenario, false)
			}
		})
	}
	takeAllAway(t, s.c, s.all)
	wantInventory(t, before)
}

// settled is what the stages share. Operators belong to the whole test, not to the stage that starts them.
type settled struct {
	t        *testing.T
	c        client.Client
	all      [][]document
	operator *operator // the one that leads
}

// killedAtWork hosts varese with operators that are killed after so many writes, once before anybody could have noticed.
func (s *settled) killedAtWork(t *testing.T) {
	varese, w := steps(t, "varese"), open(t)
	hostAnyhow(t, s.c, slices.Concat(varese[:2]...))
	s.killAfter(t, w, 10)
	s.expireLease(t)
	w, s.operator = open(t), start(s.t)
	s.killAfter(t, w, 30)
	s.expireLease(t)
	s.operator = start(s.t)
	awaitReady(t, s.c, varese[1])
	w = open(t)
	hostAnyhow(t, s.c, varese[2])
	s.killAfter(t, w, 40)
	s.expireLease(t)
	s.operator = start(s.t)
	awaitReady(t, s.c, slices.Concat(varese...))
	wantNoDriftTold(t, s.c)
}

// killAfter kills the operator after so many writes, and wants that it was not done by then.
func (s *settled) killAfter(t *testing.T, w window, writes int) {
	t.Helper()
	cluster.Eventually(t, long, fmt.Sprintf("the operator wrote %d times", writes), func() error {
		if did := len(w.writes(t)); did < writes {
			return fmt.Errorf("it wrote %d times", did)
		}
		return nil
	})
	s.operator.kill(t)
	if s.hosted(t) {
		t.Errorf("all was Ready after %d writes: nothing was left to do when the operator was killed", writes)
	}
}

func (s *settled) hosted(t *testing.T) bool {
	t.Helper()
	for _, d := range slices.Concat(s.all...) {
		if ready(t, s.c, d) != nil {
			return false
		}
	}
	return true
}

// expireLease does what time would, as leaderKilled sees: the operator that held it is dead.
func (s *settled) expireLease(t *testing.T) {
	t.Helper()
	if s.operator.running() {
		t.Fatal("the operator lives")
	}
	if err := s.c.Delete(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: embedded.Namespace, Name: "broletto"}}); err != nil {
		t.Fatal(err)
	}
}

// atRest wants 8 seconds without a write but those that renew the lease, which is every two.
func (s *settled) atRest(t *testing.T) {
	awaitQuiet(t, settling)
	w := open(t)
	pause(t, 2*settling)
	w.wantNoWrites(t, "at rest")
	renewals := 0
	for _, r := range byOperator(w.requests(t)) {
		if r.Resource == "leases" && r.Verb == "update" && r.Code == http.StatusOK {
			renewals++
		}
	}
	if renewals < 2 {
		t.Errorf("the lease was renewed %d times in %s, want twice at least: nobody leads", renewals, 2*settling)
	}
}

// process asks the running operator what a kubelet and Prometheus ask.
func (s *settled) process(t *testing.T) {
	for _, probe := range []string{"/healthz", "/readyz"} {
		if status, body, err := get(t.Context(), "http://"+s.operator.probes+probe, ""); err != nil || status != http.StatusOK {
			t.Errorf("%s answers %d %q (%v), want 200", probe, status, body, err)
		}
	}
	nobody := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}}
	stranger, err := tokenOf(t.Context(), s.c, nobody)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		token string
		want  int
	}{
		"without a token":   {"", http.StatusUnauthorized},
		"with a bad token":  {"x", http.StatusInternalServerError}, // controller-runtime knows no better
		"without the right": {stranger, http.StatusForbidden},
	} {
		if status, body, err := get(t.Context(), "https://"+s.operator.metrics+"/metrics", c.token); err != nil || status != c.want || strings.Contains(body, "broletto_") {
			t.Errorf("/metrics %s answers %d (%v), want %d and nothing told", name, status, err, c.want)
		}
	}
	if status, _, err := get(t.Context(), "http://"+s.operator.metrics+"/metrics", ""); err == nil && status < 400 {
		t.Errorf("/metrics answers %d without TLS", status)
	}
	s.wantMetrics(t)
}

func (s *settled) wantMetrics(t *testing.T) {
	t.Helper()
	seen, err := s.operator.scrape(t.Context(), t)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]float64{
		`broletto_consortium_tenants{consortium="ticino",country="CH"}`:                                                                                                           6,
		`broletto_consortium_tenants{consortium="varese",country="IT"}`:                                                                                                           15,
		`broletto_tenant_info{consortium="ticino",kind="Municipality",tenant="lugano"}`:                                                                                           1,
		`broletto_tenant_quota{resource="requests.cpu",tenant="lugano"}`:                                                                                                          48,
		`broletto_tenant_quota_granted{resource="requests.cpu",tenant="lugano"}`:                                                                                                  14,
		`broletto_workspace_info{data_class="Critical",environment="Production",personal_data="true",target_namespace="lugano--sportello",tenant="lugano",workspace="sportello"}`: 1,
		`broletto_workspace_quota{resource="requests.memory",tenant="lugano",workspace="sportello"}`:                                                                              32 << 30,
		`broletto_workspace_quota_used{resource="requests.storage",tenant="lugano",workspace="sportello"}`:                                                                        100 << 30,
		`broletto_condition_status{kind="Workspace",name="sportello",namespace="lugano",reason="StorageClassMissing",type="VolumesBound"}`:                                        0,
		`broletto_isolation_check{check="tenant-network",tenant="lugano"}`:                                                                                                        1,
		`broletto_guard_policy_in_force{policy="broletto-claims"}`:                                                                                                                1,
		`broletto_condition_status{kind="Tenant",name="lozza",namespace="",reason="Succeeded",type="Ready"}`:                                                                      1,
	} {
		if got, found := seen[key]; !found || got != want {
			t.Errorf("%s is %v (told: %t), want %v", key, got, found, want)
		}
	}
	if since, found := seen.of("broletto_condition_last_transition_timestamp_seconds", `name="lozza"`); !found || since == 0 {
		t.Error("nothing tells when conditions changed")
	}
	for key, met := range seen {
		nodes := strings.Contains(key, `check="image-pull-always"`) // these consortia leave it to their nodes
		if strings.HasPrefix(key, "broletto_isolation_check{") && met != 1 && !nodes {
			t.Errorf("%s is %v", key, met)
		}
	}
}

// restart stops the operator in order, which releases the lease, and starts another, which must find nothing to write.
func (s *settled) restart(t *testing.T) {
	w := open(t)
	begun := time.Now()
	s.operator.stop(t)
	t.Logf("the operator ended %s after it was asked to", time.Since(begun).Round(time.Millisecond))
	var lease coordinationv1.Lease
	if err := s.c.Get(t.Context(), client.ObjectKey{Namespace: embedded.Namespace, Name: "broletto"}, &lease); err != nil {
		t.Fatal(err)
	}
	if holder := lease.Spec.HolderIdentity; holder != nil && *holder != "" {
		t.Errorf("the lease is held by %q after a stop, want by nobody", *holder)
	}
	s.operator = start(s.t)
	s.operator.awaitReady(t)
	s.operator.awaitWorked(t, map[string]int{"consortium": 2, "tenant": 21, "workspace": 21})
	pause(t, settling)
	w.wantNoWrites(t, "from a stop until a restart has looked at everything")
}

// leaderKilled kills the one of two that leads. The other must wait until the lease has expired, and then do what came meanwhile.
func (s *settled) leaderKilled(t *testing.T) {
	first, second := s.operator, start(s.t)
	second.awaitReady(t)
	w := open(t)
	before, meanwhile := s.extra("chiasso", "prima"), s.extra("chiasso", "durante")
	s.hostExtra(t, before)
	first.kill(t)
	killed := time.Now()
	if err := s.c.Create(t.Context(), meanwhile); err != nil {
		t.Fatal(err)
	}
	s.awaitExtra(t, meanwhile)
	t.Logf("the second leader had work done %s after the first was killed", time.Since(killed).Round(time.Millisecond))
	if took := time.Since(killed); took < 5*time.Second {
		t.Errorf("the second leader worked %s after the first was killed: it cannot know so early that the first is dead", took)
	}
	s.operator = second
	s.endExtra(t, before, meanwhile)
	wantInTurn(t, w.writes(t), first, second)
}

// leaderStopped stops the one of two that leads in order: the other takes over at once.
func (s *settled) leaderStopped(t *testing.T) {
	first, second := s.operator, start(s.t)
	second.awaitReady(t)
	w := open(t)
	before, after := s.extra("chiasso", "prima"), s.extra("chiasso", "dopo")
	s.hostExtra(t, before)
	first.stop(t)
	stopped := time.Now()
	s.hostExtra(t, after)
	if took := time.Since(stopped); took > 10*time.Second { // the lease would expire after 15
		t.Errorf("the second leader had work done %s after the first had stopped, want at once", took)
	}
	s.operator = second
	s.endExtra(t, before, after)
	wantInTurn(t, w.writes(t), first, second)
}

// extra is a workspace that the scenarios do not have.
func (s *settled) extra(tenant, name string) *v1alpha1.Workspace {
	return (&world{}).workspace(tenant, name)
}

func (s *settled) hostExtra(t *testing.T, w *v1alpha1.Workspace) {
	t.Helper()
	if err := s.c.Create(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	s.awaitExtra(t, w)
}

func (s *settled) awaitExtra(t *testing.T, w *v1alpha1.Workspace) {
	t.Helper()
	(&world{t: t, admin: s.c}).awaitReady(w)
}

func (s *settled) endExtra(t *testing.T, all ...*v1alpha1.Workspace) {
	t.Helper()
	for _, w := range all {
		if err := s.c.Delete(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range all {
		(&world{t: t, admin: s.c}).awaitGone(w)
	}
}

// wantInTurn wants that both operators wrote, and none of the writes of the first came after one of the second.
func wantInTurn(t *testing.T, writes []request, first, second *operator) {
	t.Helper()
	slices.SortStableFunc(writes, func(a, b request) int { return a.Time.Compare(b.Time) })
	of := func(o *operator) func(request) bool {
		return func(r request) bool { return r.Credential == o.credential }
	}
	begins := slices.IndexFunc(writes, of(second))
	if begins < 0 || !slices.ContainsFunc(writes, of(first)) {
		t.Fatalf("of %d writes the first and the second operator want some each", len(writes))
	}
	if late := slices.IndexFunc(writes[begins:], of(first)); late >= 0 {
		t.Errorf("two operators worked at a time: the second wrote\n  %s\nand then the first\n  %s", writes[begins], writes[begins+late])
	}
	for _, r := range writes {
		if !of(first)(r) && !of(second)(r) {
			t.Errorf("somebody else wrote as the operator: %s", r)
		}
	}
}
