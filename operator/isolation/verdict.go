package isolation

import (
	"fmt"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// judge looks at the facts of a tenant and notes what it finds.
type judge func(facts, *findings)

// finding is one thing that a check rests on. It has been so at least since at; zero: nothing tells since when.
type finding struct {
	text string
	at   time.Time
}

// findings are what speaks for a check, and what against it.
type findings struct{ good, bad []finding }

// note records what an object shows. object is nil where its absence shows it, which leaves no time.
func (f *findings) note(good bool, object client.Object, format string, args ...any) {
	f.noteAt(good, lastWrite(object), format, args...)
}

func (f *findings) noteAt(good bool, at time.Time, format string, args ...any) {
	found := finding{fmt.Sprintf(format, args...), at}
	if good {
		f.good = append(f.good, found)
	} else {
		f.bad = append(f.bad, found)
	}
}

// verdict is how a tenant stands to a check. It has stood so at least since since; zero: nothing tells since when.
type verdict struct {
	met      bool
	evidence string
	since    time.Time
}

// verdict sums the findings up. A check is met since the last of what it rests on became so; it is not met since the first of what
// speaks against it did.
func (f *findings) verdict() verdict {
	decisive := f.bad
	v := verdict{met: len(f.bad) == 0}
	if v.met {
		decisive = f.good
	}
	var texts []string
	for _, found := range decisive {
		texts = append(texts, found.text)
		later := found.at.After(v.since)
		if !found.at.IsZero() && (v.since.IsZero() || later == v.met) {
			v.since = found.at
		}
	}
	v.evidence = strings.Join(texts, "; ")
	return v
}

func (c Check) verdict(f facts) verdict {
	var found findings
	c.judge(f, &found)
	return found.verdict()
}
