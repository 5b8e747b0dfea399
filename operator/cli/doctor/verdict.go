package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/broletto/broletto/operator/evidence"
	"github.com/broletto/broletto/operator/probe"
)

// role is what the policies of a trial let a pod do.
type role string

const (
	server   role = "server"   // takes in allowed and mute
	allowed  role = "allowed"  // may send, and the server takes it in: passes
	stranger role = "stranger" // may send, and the server does not take it in: cut on the way in, on the server's node
	mute     role = "mute"     // may not send, and the server would take it in: cut on the way out, on its own node
)

// attempt is one path, and what its client saw.
type attempt struct {
	role     role
	from, to string // nodes
	protocol string // and family of addresses, as "TCP over IPv4"
	server   string // the pod that must answer

	before, after *probe.Result // without policies, and with them; nil: nothing was reported
	settled       bool          // the client looked on for long enough after the policies were made
	problem       string        // why nothing was reported
}

// sight is what an attempt shows.
type sight int

const (
	proves sight = iota // just what should pass passed
	leaks               // what should not pass passed
	fails               // nothing can be said
)

// judge tells what an attempt shows, and why. A cut is proven only beside what passes: the same pod reached the same server before the
// policies were made, and another did so afterwards.
func (a attempt) judge() (sight, string) {
	reached := func(r *probe.Result) bool { return r != nil && r.Open && r.AnsweredBy == a.server }
	if a.role != allowed && !reached(a.before) {
		return fails, a.say("without any policy", a.before)
	}
	switch {
	case a.role == allowed && reached(a.after):
		return proves, ""
	case a.role == allowed:
		return fails, a.say("allowed by policy", a.after)
	case a.after == nil:
		return fails, a.say("forbidden by policy", nil)
	case a.after.Closed() && a.after.InRow >= inRow:
		return proves, ""
	case !a.after.Open && a.after.Outcome != probe.Connected:
		return fails, a.say("forbidden by policy", a.after)
	case !a.settled:
		return fails, a.say("forbidden by policy, not looked at for long enough", a.after)
	default:
		return leaks, a.say(map[role]string{stranger: "forbidden to come in", mute: "forbidden to go out"}[a.role], a.after)
	}
}

// say names the path and what was seen on it.
func (a attempt) say(expected string, r *probe.Result) string {
	seen := a.problem
	if r != nil {
		seen = string(r.Outcome)
		if r.Open && r.AnsweredBy != a.server {
			seen = fmt.Sprintf("answered by another, %q", r.AnsweredBy)
		}
	}
	if seen == "" {
		seen = "nothing was reported"
	}
	return fmt.Sprintf("%s from a pod on %s to one on %s, %s: %s", a.protocol, a.from, a.to, expected, seen)
}

// concerns tells whether a node would be to blame: what comes in is cut on the node of the server, what goes out on that of the client.
func (a attempt) concerns(node string) bool {
	switch a.role {
	case stranger:
		return a.to == node
	case mute:
		return a.from == node
	case server, allowed:
	}
	return a.to == node || a.from == node
}

// verdict is what can be said of one node. Known is whether anything can.
type verdict struct {
	known, enforced bool
	why             string // what passed that should not, or why nothing can be said
}

// judge tells of a node whether it enforces policies: when something leaks it does not, and it does only when everything else proves it, by
// every role.
func judge(node string, attempts []attempt) verdict {
	var doubt string
	proven := map[role]bool{}
	for _, a := range attempts {
		if !a.concerns(node) {
			continue
		}
		switch sight, why := a.judge(); sight {
		case leaks:
			return verdict{known: true, why: strings.ToValidUTF8(why[:min(len(why), evidence.MaxSeen)], "")}
		case fails:
			if doubt == "" {
				doubt = why
			}
		case proves:
			proven[a.role] = true
		}
	}
	for _, role := range []role{allowed, stranger, mute} {
		if doubt == "" && !proven[role] {
			doubt = fmt.Sprintf("no path was tried for the role %s", role)
		}
	}
	if doubt != "" {
		return verdict{why: doubt}
	}
	return verdict{known: true, enforced: true}
}

// opposite is the node whose server a node tries beside its own: the next in a ring, so that each is tried from one other.
func opposite(nodes []string, node string) string {
	return nodes[(slices.Index(nodes, node)+1)%len(nodes)]
}
