package kube

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"
)

// The module files cannot be called go.mod in here: the go command would take their folder for a nested module
// and leave it out of the embed.
var (
	//go:embed modules/kubernetes.mod
	kubernetesMod []byte
	//go:embed modules/kubernetes.sum
	kubernetesSum []byte
	//go:embed modules/etcd.mod
	etcdMod []byte
	//go:embed modules/etcd.sum
	etcdSum []byte
)

// module is a go.mod with its go.sum, and the programs that are built in it. Kubernetes and etcd want different
// versions of the same dependencies, so each has a module of its own and gets exactly what its authors tested.
type module struct {
	path     string // the Go module that holds the programs
	mod, sum []byte
	stamp    string // variable prefix of the version stamp, empty when the program knows its version
	programs []program
}

type program struct {
	name  string
	pkg   string
	takes time.Duration // a cold build on two cores, to tell people what to expect
	space uint64        // what that adds to Go's build cache, with room for linking
}

// modules is what we can build. The versions are said once, in the module files.
var modules = []module{
	{
		path: "k8s.io/kubernetes", mod: kubernetesMod, sum: kubernetesSum,
		// Without the stamp an API server takes itself for v0.0.0 and refuses to start.
		stamp: "k8s.io/component-base/version.",
		programs: []program{
			{"kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", 4 * time.Minute, 2500 << 20},
			{"kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager", time.Minute, 800 << 20},
			{"kubectl", "k8s.io/kubernetes/cmd/kubectl", time.Minute, 500 << 20},
		},
	},
	{
		path: "go.etcd.io/etcd/server/v3", mod: etcdMod, sum: etcdSum,
		programs: []program{
			{"etcd", "go.etcd.io/etcd/server/v3", 2 * time.Minute, 500 << 20},
		},
	},
}

// version is the one that the module file requires.
func (m module) version() string {
	for line := range strings.Lines(string(m.mod)) {
		f := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(f) >= 2 && f[0] == m.path && strings.HasPrefix(f[1], "v") {
			return f[1]
		}
	}
	return "v0.0.0"
}

// arguments are the ones of go build, but for the output and the package.
func (m module) arguments() []string {
	ldflags := "-s -w"
	if m.stamp != "" {
		v := m.version()
		major, minor, _ := strings.Cut(minorOf(v), ".")
		ldflags += fmt.Sprintf(" -X %[1]sgitVersion=%[2]s -X %[1]sgitMajor=%[3]s -X %[1]sgitMinor=%[4]s",
			m.stamp, v, major, minor)
	}
	return []string{"build", "-trimpath", "-ldflags", ldflags}
}

// minorOf returns "1.36" of "v1.36.3": releases that share it read each other's data.
func minorOf(version string) string {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}

// find returns the program of that name and its module.
func find(modules []module, name string) (module, program, error) {
	var known []string
	for _, m := range modules {
		for _, p := range m.programs {
			if p.name == name {
				return m, p, nil
			}
			known = append(known, p.name)
		}
	}
	slices.Sort(known)
	return module{}, program{}, &Error{
		Object: fmt.Sprintf("binary %q", name),
		Cause:  errors.New("unknown"),
		WayOut: "choose from " + strings.Join(known, ", "),
	}
}

// key names a folder after everything that shapes the binaries in it. It takes our own Go version for that of the
// go command, so that a warm cache needs no go command at all.
func key(modules []module) string {
	var b bytes.Buffer
	fmt.Fprintln(&b, runtime.Version(), runtime.GOOS, runtime.GOARCH, "cgo off")
	for _, m := range modules {
		fmt.Fprintln(&b, m.arguments())
		for _, p := range m.programs {
			fmt.Fprintln(&b, p.name, p.pkg)
		}
		b.Write(m.mod)
		b.Write(m.sum)
	}
	sum := sha256.Sum256(b.Bytes())
	return hex.EncodeToString(sum[:6])
}
