// Package backups backs workspaces up and brings them back, end to end: the operator's reconcilers with its own account, on a real API server
// and a real store.
package backups

import (
	"testing"

	"github.com/broletto/broletto/test/cluster"
)

func TestMain(m *testing.M) { cluster.Run(m) }
