package mover

import (
	"os/exec"
	"strings"
	"testing"
)

// The operator moves no volume: nothing of kopia is in its program, nor in that of a runner, by whatever way.
func TestOthersHaveNoKopia(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"broletto", "broletto-runner"} {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "github.com/broletto/broletto/operator/cmd/"+program).Output()
		if err != nil {
			t.Fatal(err)
		}
		packages := strings.Fields(string(out))
		if len(packages) < 100 {
			t.Fatalf("%s: %d packages are listed, which cannot be all", program, len(packages))
		}
		for _, p := range packages {
			if strings.HasPrefix(p, "github.com/kopia/") || p == "github.com/broletto/broletto/operator/mover" {
				t.Errorf("%s has %s", program, p)
			}
		}
	}
}
