// Package scenario runs the operator as the process that it is in a cluster, under its own service account, on whole
// consortia: what they end up with in whatever order they come, what a restart, a crash or another leader changes in
// that (nothing), and what each right of the operator is for.
//
// The tests of this package share one control plane and run one after the other: they count requests. Each leaves the
// cluster as empty as it found it.
package scenario

import (
	"flag"
	"io"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/broletto/broletto/test/cluster"
)

var update = flag.Bool("update", false, "write testdata/ anew")

func TestMain(m *testing.M) {
	log.SetLogger(zap.New(zap.WriteTo(io.Discard))) // the operator logs in a process of its own
	cluster.Run(m)
}

const (
	// soon is what an API server and an operator need for one thing on a machine that does other things as well.
	soon = 20 * time.Second
	// long is what they need for a consortium, or for namespaces to go, of which each takes five seconds at least.
	long = time.Minute
	// settling is longer than anything that the operator puts off: new objects may wait three seconds before their status says so.
	settling = 4 * time.Second
)

func admin(t testing.TB) client.Client {
	t.Helper()
	return cluster.Client(t, cluster.Admin())
}

// pause lets time pass in which nothing is to happen.
func pause(t testing.TB, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}
