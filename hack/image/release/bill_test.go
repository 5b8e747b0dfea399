package release

import (
	"debug/buildinfo"
	"runtime/debug"
	"testing"
)

// A module whose source was put in place of another is told by what it is: ours by our version, an engine's that was edited by its own.
func TestReplacedModules(t *testing.T) {
	here := &debug.Module{Path: "./edited"}
	info := &buildinfo.BuildInfo{GoVersion: "go1.26.8", Deps: []*debug.Module{
		{Path: "github.com/broletto/broletto/api", Version: "v0.0.0", Replace: here},
		{Path: "github.com/opentofu/opentofu", Version: "v1.12.6", Replace: here},
		{Path: "example.com/old", Version: "v1.0.0", Replace: &debug.Module{Path: "example.com/new", Version: "v2.0.0"}},
	}}
	all := components(info, "v9")
	for _, want := range []string{
		"pkg:golang/github.com/broletto/broletto/api@v9", "pkg:golang/github.com/opentofu/opentofu@v1.12.6", "pkg:golang/example.com/new@v2.0.0",
	} {
		if _, found := all[want]; !found {
			t.Errorf("no %s among %v", want, all)
		}
	}
}
