// Package security attacks Broletto as a hostile tenant does, with the identities that tenants have, against a real API server: what
// everybody may do of all there is to do, by the API server's own answer; what the admission policies refuse and what they let pass; the
// attacks that were published on peers; what becomes of the guard when the operator, a policy or the API server fails.
package security

import (
	"flag"
	"testing"

	"github.com/broletto/broletto/test/cluster"
)

var update = flag.Bool("update", false, "write what the API server answers into the golden files and docs/guard.md")

func TestMain(m *testing.M) { cluster.Run(m) }
