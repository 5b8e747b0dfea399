package image

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

// Program says what to build of which module.
type Program struct {
	Dir     string // folder of the module
	Package string // in it, such as ./operator/cmd/broletto
	Arch    string // empty: that of this machine
	Flags   string // of the linker, such as -X main.release=0.1.0
}

// Build builds a static program into the file target. The same sources and the same Go give the same bytes in every folder of every
// machine: no path, time, state of git or build identity gets in. The Go is that on PATH, which under go run and go test is theirs.
func (p Program) Build(ctx context.Context, target string) error {
	arch := p.Arch
	if arch == "" {
		arch = runtime.GOARCH
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid= "+p.Flags, "-o", target, p.Package)
	cmd.Dir = p.Dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly", "GOTOOLCHAIN=local",
		"CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOFIPS140=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build of %s for %s: %w; the go command said:\n%s", p.Package, arch, err, out)
	}
	return nil
}
