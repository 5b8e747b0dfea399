package objects

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Report tells what became of the objects that were put back or, of a dry run, what would.
type Report struct {
	Created  Tally
	Replaced Tally // it stood there and differed
	Same     Tally // it stood there as it was to be
	Skipped  Tally // it stands there and differs, and stays
	Withheld Tally // roles and role bindings, which are put back on request only
	Refused  Tally // each with why, and the way out
}

// Tally counts objects and names the first of them, in the order in which they came.
type Tally struct {
	Count int
	First []Named
}

// Named is an object, and why it was refused.
type Named struct {
	Object string // "secrets/tls"
	Why    string

	serial int
}

// ledger fills a report in from many writers.
type ledger struct {
	sync.Mutex
	report Report
	names  int
}

func (l *ledger) enter(serial int, r Resource, name string, out outcome, why string) {
	l.Lock()
	defer l.Unlock()
	t := map[outcome]*Tally{
		created: &l.report.Created, replaced: &l.report.Replaced, same: &l.report.Same,
		skipped: &l.report.Skipped, withheld: &l.report.Withheld, refused: &l.report.Refused,
	}[out]
	t.Count++
	at, _ := slices.BinarySearchFunc(t.First, serial, func(n Named, serial int) int { return n.serial - serial })
	if at < l.names {
		t.First = slices.Insert(t.First, at, Named{printable(r.String()) + "/" + printable(name), why, serial})
		t.First = t.First[:min(len(t.First), l.names)]
	}
}

// printable is a name that somebody else chose, as people may read it.
func printable(name string) string {
	if len(name) <= 253 && strings.IndexFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) < 0 {
		return name
	}
	return fmt.Sprintf("%.63q", name)
}

type outcome int

const (
	created outcome = iota
	replaced
	same
	skipped
	withheld
	refused
)
