package doctor

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/broletto/broletto/operator/probe"
)

// saw is a result of one attempt; of an open one, from the server that was asked.
func saw(outcome probe.Outcome) *probe.Result {
	r := &probe.Result{Outcome: outcome, Open: outcome == probe.Open, InRow: inRow}
	if r.Open {
		r.AnsweredBy = "server"
	}
	return r
}

// sound are the attempts of a network of two nodes that does just what it should.
func sound() (out []attempt) {
	for _, from := range []string{"a", "b"} {
		for _, to := range []string{"a", "b"} {
			for _, protocol := range []string{"TCP over IPv4", "UDP over IPv4"} {
				path := attempt{from: from, to: to, protocol: protocol, server: "server", settled: true}
				pass, in, out2 := path, path, path
				pass.role, pass.after = allowed, saw(probe.Open)
				in.role, in.before, in.after = stranger, saw(probe.Open), saw(probe.Timeout)
				out2.role, out2.before, out2.after = mute, saw(probe.Open), saw(probe.Refused)
				out = append(out, pass, in, out2)
			}
		}
	}
	return out
}

func TestJudge(t *testing.T) {
	good := verdict{known: true, enforced: true}
	bad := func(why string) verdict { return verdict{known: true, why: why} }
	unknown := func(why string) verdict { return verdict{why: why} }
	all := func(*attempt) bool { return true }
	only := func(r role, from, to, protocol string) func(*attempt) bool {
		return func(a *attempt) bool {
			return a.role == r && a.from == from && a.to == to && a.protocol == protocol+" over IPv4"
		}
	}
	cases := map[string]struct {
		reason string
		which  func(*attempt) bool
		change func(*attempt)
		a, b   verdict
	}{
		"sound": {"all is proven", all, func(*attempt) {}, good, good},
		"all open": {
			"a plugin that knows no policies", func(a *attempt) bool { return a.role != allowed }, func(a *attempt) { a.after = saw(probe.Open) },
			bad("TCP over IPv4 from a pod on a to one on a, forbidden to come in: open"), bad("TCP over IPv4 from a pod on a to one on b, forbidden to come in: open"),
		},
		"UDP leaks in": {
			"the node of the server is to blame", only(stranger, "a", "b", "UDP"), func(a *attempt) { a.after = saw(probe.Open) },
			good, bad("UDP over IPv4 from a pod on a to one on b, forbidden to come in: open"),
		},
		"TCP leaks out": {
			"the node of the client is to blame", only(mute, "a", "b", "TCP"), func(a *attempt) { a.after = saw(probe.Open) },
			bad("TCP over IPv4 from a pod on a to one on b, forbidden to go out: open"), good,
		},
		"a connection without an answer": {
			"the handshake passed", only(stranger, "b", "b", "TCP"), func(a *attempt) { a.after = saw(probe.Connected) },
			good, bad("TCP over IPv4 from a pod on b to one on b, forbidden to come in: connected"),
		},
		"leaks, and was not looked at for long": {
			"policies take a moment", only(stranger, "b", "b", "TCP"), func(a *attempt) { a.after, a.settled = saw(probe.Open), false },
			good, unknown("TCP over IPv4 from a pod on b to one on b, forbidden by policy, not looked at for long enough: open"),
		},
		"cut once": {
			"a packet may get lost", only(stranger, "b", "b", "UDP"), func(a *attempt) { a.after.InRow = 1 },
			good, unknown("UDP over IPv4 from a pod on b to one on b, forbidden by policy: timeout"),
		},
		"never open": {
			"what never passed was not cut by a policy", only(stranger, "a", "b", "TCP"), func(a *attempt) { a.before = saw(probe.Timeout) },
			good, unknown("TCP over IPv4 from a pod on a to one on b, without any policy: timeout"),
		},
		"what is allowed is cut": {
			"a network that cuts all proves nothing", only(allowed, "a", "b", "TCP"), func(a *attempt) { a.after = saw(probe.Timeout) },
			unknown("TCP over IPv4 from a pod on a to one on b, allowed by policy: timeout"), unknown("TCP over IPv4 from a pod on a to one on b, allowed by policy: timeout"),
		},
		"another answers": {
			"an address may be somebody else's", only(allowed, "a", "a", "UDP"), func(a *attempt) { a.after.AnsweredBy = "impostor\x1b" },
			unknown(`UDP over IPv4 from a pod on a to one on a, allowed by policy: answered by another, "impostor\x1b"`), good,
		},
		"nothing reported": {
			"the reason of the pod is told", only(mute, "b", "a", "TCP"), func(a *attempt) { a.after, a.problem = nil, "Evicted" },
			good, unknown("TCP over IPv4 from a pod on b to one on a, forbidden by policy: Evicted"),
		},
		"nothing at all": {
			"nor is one", only(mute, "b", "a", "TCP"), func(a *attempt) { a.before = nil },
			good, unknown("TCP over IPv4 from a pod on b to one on a, without any policy: nothing was reported"),
		},
		"failed to try": {
			"a failure is no cut", only(mute, "b", "a", "TCP"), func(a *attempt) { a.after = saw(probe.Failed) },
			good, unknown("TCP over IPv4 from a pod on b to one on a, forbidden by policy: failed"),
		},
		"a role is missing": {
			"half a proof is none", func(a *attempt) bool { return a.role == mute }, func(a *attempt) { *a = attempt{role: allowed, from: "c", to: "c"} },
			unknown("no path was tried for the role mute"), unknown("no path was tried for the role mute"),
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			attempts := sound()
			for i := range attempts {
				if c.which(&attempts[i]) {
					c.change(&attempts[i])
				}
			}
			for node, want := range map[string]verdict{"a": c.a, "b": c.b} {
				if diff := cmp.Diff(want, judge(node, attempts), cmp.AllowUnexported(verdict{})); diff != "" {
					t.Errorf("%s: node %s (-want +got):\n%s", c.reason, node, diff)
				}
			}
		})
	}
	if got := judge("a", nil); got.known {
		t.Errorf("a node that nobody tried: %+v", got)
	}
}

// TestEveryChangeMatters turns each result into each other: none of them may leave a node proven that it concerns.
func TestEveryChangeMatters(t *testing.T) {
	for i := range sound() {
		for _, outcome := range []probe.Outcome{probe.Open, probe.Connected, probe.Failed} {
			attempts := sound()
			a := &attempts[i]
			if a.role == allowed && outcome == probe.Open {
				continue
			}
			a.after = saw(outcome)
			for _, node := range []string{"a", "b"} {
				if got := judge(node, attempts); got.enforced == a.concerns(node) {
					t.Errorf("%s: node %s: %+v", fmt.Sprint(a.role, a.from, a.to, a.protocol, outcome), node, got)
				}
			}
		}
	}
}

func TestOpposite(t *testing.T) {
	nodes := []string{"a", "b", "c"}
	for i, want := range []string{"b", "c", "a"} {
		if got := opposite(nodes, nodes[i]); got != want {
			t.Errorf("%s: got %s, want %s", nodes[i], got, want)
		}
	}
	if got := opposite([]string{"a"}, "a"); got != "a" {
		t.Errorf("alone: got %s", got)
	}
}
