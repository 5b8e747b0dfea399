package kube

import (
	"bytes"
	"crypto/sha256"
	"embed"
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
//
//go:embed modules
var moduleFiles embed.FS

// module is a go.mod with its go.sum, and the programs that are built in it. Programs want different versions of the same
// dependencies, so each project has a module of its own and gets exactly what its authors tested.
type module struct {
	path     string // the Go module that holds the programs
	mod, sum []byte
	stamp    string // variable prefix of the version stamp, empty when the program knows its version
	set      string // another variable to set, as package.name=value; VERSION in it is the version
	tags     string // build tags, with commas between them
	cgo      bool   // whether the programs need a C compiler
	edits    []edit // what of the source is changed before it is built
	source   string // folder of a module of ours, which is built where it is; empty for one that is downloaded
	digest   string // of all the files in source
	programs []program
}

// edit is a piece of text in a file of a module, and what stands there instead. A build fails where it is not there just once, so that another
// version of the module is looked at.
type edit struct{ file, from, to string }

type program struct {
	name  string
	pkg   string
	takes time.Duration // a cold build on two cores, to tell people what to expect
	space uint64        // what that adds to Go's build cache, with room for linking
}

// named is the module of the files modules/<name>.mod and .sum.
func named(name string, m module) module {
	m.mod, m.sum = moduleFile(name+".mod"), moduleFile(name+".sum")
	return m
}

func moduleFile(name string) []byte {
	text, err := moduleFiles.ReadFile("modules/" + name)
	if err != nil {
		panic(err) // a name in the lists below has no file
	}
	return text
}

// kubernetesStamp tells Kubernetes which version it is. Without it an API server takes itself for v0.0.0 and refuses to start.
const kubernetesStamp = "k8s.io/component-base/version."

// modules is what a control plane is built from. The versions are said once, in the module files.
var modules = []module{
	named("kubernetes", module{
		path: "k8s.io/kubernetes", stamp: kubernetesStamp,
		programs: []program{
			{"kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", 4 * time.Minute, 2500 << 20},
			{"kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager", time.Minute, 800 << 20},
			{"kubectl", "k8s.io/kubernetes/cmd/kubectl", time.Minute, 500 << 20},
		},
	}),
	named("etcd", module{
		path: "go.etcd.io/etcd/server/v3",
		programs: []program{
			{"etcd", "go.etcd.io/etcd/server/v3", 2 * time.Minute, 500 << 20},
		},
	}),
}

// nodeModules is what nodes are built from. They have a folder of their own in the cache, so that a change of theirs builds
// no control plane anew.
var nodeModules = []module{
	named("kubernetes", module{
		path: "k8s.io/kubernetes", stamp: kubernetesStamp,
		programs: []program{
			{"kubelet", "k8s.io/kubernetes/cmd/kubelet", 90 * time.Second, 800 << 20},
			{"kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy", time.Minute, 400 << 20},
			{"kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler", time.Minute, 400 << 20},
		},
	}),
	named("containerd", module{
		path: "github.com/containerd/containerd/v2",
		tags: "no_btrfs,no_zfs,no_devmapper,no_aufs",
		programs: []program{
			{"containerd", "github.com/containerd/containerd/v2/cmd/containerd", 3 * time.Minute, 900 << 20},
			{"containerd-shim-runc-v2", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2", time.Minute, 100 << 20},
			{"ctr", "github.com/containerd/containerd/v2/cmd/ctr", time.Minute, 200 << 20},
		},
	}),
	named("runc", module{
		path: "github.com/opencontainers/runc", tags: "seccomp", cgo: true,
		programs: []program{{"runc", "github.com/opencontainers/runc", time.Minute, 200 << 20}},
	}),
	named("cni", module{
		path: "github.com/containernetworking/plugins",
		programs: []program{
			{"ptp", "github.com/containernetworking/plugins/plugins/main/ptp", time.Minute, 100 << 20},
			{"loopback", "github.com/containernetworking/plugins/plugins/main/loopback", time.Minute, 50 << 20},
			{"host-local", "github.com/containernetworking/plugins/plugins/ipam/host-local", time.Minute, 50 << 20},
			{"portmap", "github.com/containernetworking/plugins/plugins/meta/portmap", time.Minute, 50 << 20},
		},
	}),
	named("local-path-provisioner", module{
		path:     "github.com/rancher/local-path-provisioner",
		programs: []program{{"local-path-provisioner", "github.com/rancher/local-path-provisioner", time.Minute, 400 << 20}},
	}),
	named("csi-snapshotter", module{
		path: "github.com/kubernetes-csi/external-snapshotter/v8",
		programs: []program{
			{"csi-snapshotter", "github.com/kubernetes-csi/external-snapshotter/v8/cmd/csi-snapshotter", time.Minute, 400 << 20},
			{"snapshot-controller", "github.com/kubernetes-csi/external-snapshotter/v8/cmd/snapshot-controller", time.Minute, 200 << 20},
		},
	}),
	named("csi-resizer", module{
		path:     "github.com/kubernetes-csi/external-resizer/v2",
		programs: []program{{"csi-resizer", "github.com/kubernetes-csi/external-resizer/v2/cmd/csi-resizer", time.Minute, 400 << 20}},
	}),
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

// label names a program to people, with its version unless it is ours.
func (m module) label(p program) string {
	if m.source != "" {
		return p.name
	}
	return p.name + " " + m.version()
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
	if m.set != "" {
		ldflags += " -X " + strings.ReplaceAll(m.set, "VERSION", m.version())
	}
	arguments := []string{"build", "-trimpath", "-ldflags", ldflags}
	if m.tags != "" {
		arguments = append(arguments, "-tags", m.tags)
	}
	return arguments
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
func key(modules []module, to machine) string {
	var b bytes.Buffer
	fmt.Fprintln(&b, runtime.Version(), to.system, to.arch)
	for _, m := range modules {
		fmt.Fprintln(&b, m.arguments(), "cgo", m.cgo)
		for _, p := range m.programs {
			fmt.Fprintln(&b, p.name, p.pkg)
		}
		b.Write(m.mod)
		b.Write(m.sum)
		b.WriteString(m.digest)
		for _, e := range m.edits {
			fmt.Fprintln(&b, e)
		}
	}
	sum := sha256.Sum256(b.Bytes())
	return hex.EncodeToString(sum[:6])
}
