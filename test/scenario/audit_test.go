package scenario

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/broletto/broletto/hack/kube"
	"github.com/broletto/broletto/operator/embedded"
	"github.com/broletto/broletto/test/cluster"
)

// operatorUser is the service account of every operator process; its tokens tell the processes apart.
const operatorUser = "system:serviceaccount:" + embedded.Namespace + ":broletto-operator"

// request is one request to the API server.
type request struct{ kube.AuditEvent }

func (r request) String() string {
	return fmt.Sprintf("%s %s %s/%s %s/%s: %d", r.Time.Format("15:04:05.000"), r.Verb, r.Group, r.Resource+"/"+r.Subresource, r.Namespace, r.Name, r.Code)
}

// window is what happened since it was opened.
type window struct{ from int64 }

func open(t testing.TB) window {
	t.Helper()
	info, err := os.Stat(cluster.Plane().AuditLog())
	if err != nil {
		t.Fatal(err)
	}
	return window{info.Size()}
}

// requests are those of everybody that were answered until now.
func (w window) requests(t testing.TB) []request {
	t.Helper()
	events, _, err := kube.ReadAudit(cluster.Plane().AuditLog(), w.from)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]request, len(events))
	for i, e := range events {
		out[i] = request{e}
	}
	return out
}

// byOperator are the requests of operator processes.
func byOperator(requests []request) []request {
	return slices.DeleteFunc(requests, func(r request) bool { return r.User != operatorUser })
}

// writes are the changes that operators asked for, but for those of the lease.
func (w window) writes(t testing.TB) []request {
	t.Helper()
	return slices.DeleteFunc(byOperator(w.requests(t)), func(r request) bool { return !r.Mutating() || r.Resource == "leases" })
}

// wantNoWrites fails the test with the requests that should not have been.
func (w window) wantNoWrites(t testing.TB, when string) {
	t.Helper()
	if writes := w.writes(t); len(writes) > 0 {
		t.Errorf("%s the operator sent %d mutating requests, want none:\n%s", when, len(writes), lines(writes))
	}
}

func lines[T fmt.Stringer](all []T) string {
	var b strings.Builder
	for i, one := range all {
		if i == 20 {
			fmt.Fprintf(&b, "  and %d more\n", len(all)-i)
			break
		}
		fmt.Fprintln(&b, " ", one)
	}
	return b.String()
}

// awaitQuiet waits until operators have not written for a while.
func awaitQuiet(t testing.TB, d time.Duration) {
	t.Helper()
	w, since := open(t), time.Now()
	cluster.Eventually(t, long, "the operator is quiet", func() error {
		now := open(t)
		if writes := w.writes(t); len(writes) > 0 {
			w, since = now, time.Now()
			return fmt.Errorf("it wrote just now:\n%s", lines(writes))
		}
		if rest := d - time.Since(since); rest > 0 {
			return fmt.Errorf("%s to go", rest)
		}
		return nil
	})
}
