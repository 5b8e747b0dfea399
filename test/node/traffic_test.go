package node

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/broletto/broletto/operator/probe"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/node/pods"
)

// path is one way that packets may take, and may be kept from.
type path struct {
	relation string
	from     spot
	to       string // for people
	via      string // pod, Service or address
	node     string // same, other, or outside the nodes
	tcp, udp string // targets; empty where there is nothing to reach
	witness  spot   // who may take it, on the same node as from
	answers  string // who is to answer; empty where no probe's server does
}

// TestTraffic tries every path between what may be apart, and compares what packets do with the table of docs/isolation.md. Whatever
// is closed to somebody is at the same time open to a witness on the same node.
func TestTraffic(t *testing.T) {
	cities(t)
	at := settle(t, everywhere()...)
	all := slices.Concat(betweenWorkspaces(at), toPlatform(t, at), toMachines(), toWorld())
	cluster.Eventually(t, time.Minute, "all witnesses reach all targets", func() error {
		return unreached(all, reached(t, all, func(p path) spot { return p.witness }))
	})
	found := reached(t, all, func(p path) spot { return p.from }, "--until=open", "--within=3s", "--timeout=1500ms")

	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WHO TO WHOM\tFROM\tTO\tBY\tNODE\tTCP\tUDP\tAT THE SAME TIME OPEN TO")
	for _, p := range all {
		tcp, udp := p.verdict(t, p.tcp, found), p.verdict(t, p.udp, found)
		witness := p.witness.namespace
		if p.witness == p.from {
			witness = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.relation, p.from.namespace, p.to, p.via, p.node, tcp, udp, witness)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Logf("what packets do:\n%s", table.String())
	inManual(t, "isolation.md", "traffic", table.String())
}

func everywhere() (out []spot) {
	for _, namespace := range []string{sportello, identita, bellinzona} {
		out = append(out, spot{namespace, asking}, spot{namespace, near}, spot{namespace, far})
	}
	return append(out, clientOf(sito), clientOf(open), spot{kube, near}, spot{kube, far})
}

// betweenWorkspaces are the paths between pods of tenants, and from the platform's pods to them.
func betweenWorkspaces(at map[spot]addresses) (out []path) {
	for _, p := range []struct{ relation, from, to string }{
		{"one workspace", sportello, sportello},
		{"two workspaces of a tenant", identita, sportello},
		{"two that both consent", sportello, identita},
		{"two tenants", sito, identita},
		{"two tenants", sito, sportello},
		{"two tenants", bellinzona, sportello},
		{"two tenants that both consent", bellinzona, identita},
		{"the same, the other way", identita, bellinzona},
		{"platform to tenant", open, sportello},
	} {
		out = append(out, toSpots(at, p.relation, p.from, p.to, clientOf(p.to))...)
	}
	return out
}

// toSpots are the paths to both servers of a namespace, by pod and by Service.
func toSpots(at map[spot]addresses, relation, from, to string, witness spot) (out []path) {
	for _, s := range []spot{{to, near}, {to, far}} {
		node := map[string]string{near: "same", far: "other"}[s.name]
		for via, ip := range map[string]string{"pod": at[s].pod, "Service": at[s].service} {
			tcp, udp := fmt.Sprintf("tcp://%s:%d", ip, probePort), fmt.Sprintf("udp://%s:%d", ip, probePort)
			out = append(out, path{relation, clientOf(from), to, via, node, tcp, udp, witness, s.key().String()})
		}
	}
	slices.SortFunc(out, func(a, b path) int { return -strings.Compare(a.via+a.node, b.via+b.node) })
	return out
}

// toPlatform are the paths from a tenant's pod to what the platform runs in pods. UDP to the cluster's DNS is tried by looking a name up.
func toPlatform(t *testing.T, at map[spot]addresses) []path {
	t.Helper()
	out := toSpots(at, "tenant to kube-system", sportello, kube, clientOf(open))
	name := fmt.Sprintf("tcp://%s.%s.svc.cluster.local:%d", near, sportello, probePort)
	return append(out,
		path{"tenant to DNS", clientOf(sportello), "DNS", "Service", "any", "tcp://10.96.0.10:53", name, clientOf(sportello), ""},
		path{"tenant to API server", clientOf(sportello), "API server", "Service", "outside", "tcp://10.96.0.1:443", "", clientOf(open), ""},
		path{"tenant to API server", clientOf(sportello), "API server", "address", "outside", "tcp://172.30.0.1:6443", "", clientOf(open), ""},
	)
}

// toMachines are the paths to the kubelets.
func toMachines() (out []path) {
	for i, node := range []string{"same", "other"} {
		target := fmt.Sprintf("tcp://%s:10250", nodes[i].address)
		out = append(out, path{"tenant to kubelet", clientOf(sportello), "kubelet", "address", node, target, "", clientOf(open), ""})
	}
	return out
}

// toWorld are the paths out of the cluster. Lugano's sportello may reach 203.0.113.0/24 at port 443.
func toWorld() (out []path) {
	for _, p := range []struct{ relation, from, host string }{
		{"tenant to cloud metadata", sportello, "169.254.169.254:443"},
		{"tenant to allowed range", sportello, "203.0.113.10:443"},
		{"the same, another port", sportello, "203.0.113.10:8080"},
		{"the same, another workspace", identita, "203.0.113.10:443"},
		{"tenant to other range", sportello, "198.51.100.10:443"},
	} {
		out = append(out, path{p.relation, clientOf(p.from), p.host, "address", "outside", "tcp://" + p.host, "udp://" + p.host, clientOf(open), "world"})
	}
	return out
}

// asked is a target that a spot tried.
type asked struct {
	by     spot
	target string
}

// reached has one spot of each path try its targets; every spot tries all that it is to try at once, at the same time as the others.
func reached(t *testing.T, all []path, by func(path) spot, options ...string) map[asked]pods.Result {
	t.Helper()
	wanted := map[spot]map[string]bool{}
	for _, p := range all {
		if wanted[by(p)] == nil {
			wanted[by(p)] = map[string]bool{}
		}
		for _, target := range []string{p.tcp, p.udp} {
			if target != "" {
				wanted[by(p)][target] = true
			}
		}
	}
	out := map[asked]pods.Result{}
	var mutex sync.Mutex
	var trying sync.WaitGroup
	for s, targets := range wanted {
		trying.Go(func() {
			results, err := s.try(t.Context(), append(slices.Clone(options), slices.Sorted(maps.Keys(targets))...)...)
			if err != nil {
				t.Error(err)
			}
			mutex.Lock()
			defer mutex.Unlock()
			for _, r := range results {
				out[asked{s, r.Target}] = r
			}
		})
	}
	trying.Wait()
	return out
}

// unreached names what a witness does not reach.
func unreached(all []path, witnessed map[asked]pods.Result) error {
	var failed []error
	for _, p := range all {
		for _, target := range []string{p.tcp, p.udp} {
			if w := witnessed[asked{p.witness, target}]; target != "" && !w.Reached() {
				failed = append(failed, fmt.Errorf("%s does not reach %s: %s %s", p.witness.key(), target, w.Outcome, w.Error))
			}
		}
	}
	return errors.Join(failed...)
}

// verdict is what a cell of the table says.
func (p path) verdict(t *testing.T, target string, found map[asked]pods.Result) string {
	t.Helper()
	if target == "" {
		return "-"
	}
	r := found[asked{p.from, target}]
	if !r.Reached() {
		if r.Outcome == probe.Timeout {
			return "closed" // dropped on the way
		}
		return string(r.Outcome)
	}
	if p.answers != "" && r.AnsweredBy != p.answers {
		t.Errorf("%s: %q answered at %s, not %q", p.relation, r.AnsweredBy, target, p.answers)
	}
	return "open"
}

// inManual compares a table with the one that stands in docs/ between two comments with its name.
func inManual(t *testing.T, file, name, table string) {
	t.Helper()
	file = repository + "/docs/" + file
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- "+name+" -->\n```text\n", "```\n<!-- /"+name+" -->"
	before, rest, found := strings.Cut(string(text), begin)
	old, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no table between %q and %q", file, begin, end)
	}
	if *update {
		if err := os.WriteFile(file, []byte(before+begin+table+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		old = table
	}
	if diff := cmp.Diff(old, table); diff != "" {
		t.Errorf("%s (-want +got); if this is meant, run the test with -update:\n%s", file, diff)
	}
}
