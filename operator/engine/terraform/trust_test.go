package terraform

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/broletto/broletto/operator/engine"
)

const locked = `# This file is maintained automatically by "tofu init".

provider "registry.opentofu.org/gavinbunney/kubectl" {
  version     = "1.19.0"
  constraints = "1.19.0"
  hashes = [
    "h1:LNYdIVAc5I+9g9fL/dnMaWDaS0/LSB4icuTUzz+R3T4=",
  ]
}

provider "registry.opentofu.org/hashicorp/time" {
  version = "0.14.2"
  hashes = [
    "h1:2HSrRFcwKOFxCpMDJf8wBqSQk7fjA/E2ncOJmhsqYyk=",
    "zh:0b3a7a1d9f1f6f3d",
  ]
}
`

const unlocked = `# This file is maintained automatically by "tofu init".

provider "registry.opentofu.org/gavinbunney/kubectl" {
  version     = "1.19.0"
  constraints = "1.19.0"
}

provider "registry.opentofu.org/hashicorp/time" {
  version = "0.14.2"
}
`

// TestTrust takes the hashes out of a lock file, and still tells a plan that was made with other providers.
func TestTrust(t *testing.T) {
	prepared := func(lock string) engine.Work {
		t.Helper()
		w := engine.Work{Code: t.TempDir(), Dir: t.TempDir()}
		if lock != "" {
			if err := os.WriteFile(filepath.Join(w.Code, lockFile), []byte(lock), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := trust(w); err != nil {
			t.Fatal(err)
		}
		return w
	}
	w := prepared(locked)
	left, err := os.ReadFile(filepath.Join(w.Code, lockFile))
	if diff := cmp.Diff(unlocked, string(left)); diff != "" || err != nil {
		t.Errorf("%v, (-want +got):\n%s", err, diff)
	}
	for name, other := range map[string]engine.Work{"without hashes": prepared(unlocked), "without providers": prepared("")} {
		sum, err := os.ReadFile(filepath.Join(other.Dir, sumFile))
		if err != nil {
			t.Fatal(err)
		}
		err = New("/nonexistent", "").Apply(t.Context(), w, &engine.Plan{File: append(sum, "plan"...)})
		if _, stale := errors.AsType[*engine.Stale](err); !stale {
			t.Errorf("a plan made %s is applied: %v", name, err)
		}
	}
}
