package engine_test

import (
	"os/exec"
	"strings"
	"testing"
)

// The operator runs no engine: nothing of one is in its program, by whatever way.
func TestOperatorHasNoEngine(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "github.com/broletto/broletto/operator/cmd/broletto")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := strings.Fields(string(out))
	if len(packages) < 100 {
		t.Fatalf("%d packages are listed, which cannot be all", len(packages))
	}
	for _, p := range packages {
		for _, banned := range []string{
			"github.com/pulumi/", "github.com/hashicorp/terraform-exec", "github.com/hashicorp/terraform-json",
			"github.com/broletto/broletto/operator/engine",
		} {
			if strings.HasPrefix(p, banned) {
				t.Errorf("the operator's program has %s", p)
			}
		}
	}
}
