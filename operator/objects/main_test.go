package objects_test

import (
	"testing"

	"github.com/broletto/broletto/test/cluster"
)

func TestMain(m *testing.M) { cluster.Run(m) }
