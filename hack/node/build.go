//go:build linux

package node

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/broletto/broletto/hack/image"
	"github.com/broletto/broletto/hack/image/release"
	"github.com/broletto/broletto/hack/kube"
)

// built is what a box needs and what was made for it.
type built struct {
	bin, control string   // folders of programs: of nodes, of the control plane
	images       string   // archive
	kinds        []string // files of other projects' kinds
}

// Names of images in a box. Its nodes reach no registry: what runs there was loaded.
const (
	pauseImage   = "broletto.test/pause:1"
	busyboxImage = "broletto.test/busybox:1.35.0"
	corednsImage = "broletto.test/coredns:v1.15.0"
	// probeImage is the operator's under a name that the tenants of the scenarios may use.
	probeImage = "registry.ticino.example/probe:1"
	// postgresImage has the shell of busybox, too. It is there where PostgreSQL is installed.
	postgresImage = "registry.ticino.example/postgres:1"
)

// build makes everything that a box runs.
func build(ctx context.Context, o Options, p *progress) (b built, err error) {
	if b.control, err = kube.Build(ctx, o.Progress); err != nil {
		return b, err
	}
	if b.bin, err = kube.BuildNode(ctx, o.Progress); err != nil {
		return b, err
	}
	bin := filepath.Join(o.Dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return b, err
	}
	p.say("building our own programs")
	programs := map[string]image.Program{
		"broletto":        {Dir: o.Source, Package: "./operator/cmd/broletto"},
		"broletto-runner": {Dir: o.Source, Package: "./operator/cmd/broletto-runner"},
		"broletto-mover":  {Dir: o.Source, Package: "./operator/cmd/broletto-mover"},
		"coredns":         {Dir: filepath.Join(o.Source, "hack", "node", "coredns"), Package: "."},
		"pause":           {Dir: filepath.Join(o.Source, "hack", "image"), Package: "./cmd/pause"},
	}
	for _, name := range sortedKeys(programs) {
		if err := programs[name].Build(ctx, filepath.Join(bin, name)); err != nil {
			return b, err
		}
	}
	if err := copySelf(filepath.Join(bin, "node")); err != nil {
		return b, err
	}
	if b.kinds, err = foreignKinds(ctx, o.Source); err != nil {
		return b, err
	}
	b.images = filepath.Join(o.Dir, "images.tar")
	images, err := images(ctx, o, bin)
	if err != nil {
		return b, err
	}
	_, err = image.Write(b.images, images...)
	return b, err
}

// images are those that every box has.
func images(ctx context.Context, o Options, bin string) ([]image.Image, error) {
	version, err := release.Version(o.Source)
	if err != nil {
		return nil, err
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return nil, err
	}
	tools, err := image.Busybox(busybox)
	if err != nil {
		return nil, err
	}
	one := func(user, program string, names ...string) image.Image {
		return image.Image{
			Names: names, Entrypoint: []string{"/" + program}, User: user,
			Files: map[string][]image.File{runtime.GOARCH: {{Path: "/" + program, From: filepath.Join(bin, program), Mode: 0o755}}},
		}
	}
	runner := one(image.NonRoot, release.Runner, "ghcr.io/broletto/"+release.Runner+":"+version)
	beside, err := release.Beside(ctx, o.Progress, o.Source, runtime.GOARCH, bin, installed("terraform"))
	if err != nil {
		return nil, err
	}
	runner.Files[runtime.GOARCH] = append(runner.Files[runtime.GOARCH], beside...)
	runner.Stored = true // hundreds of megabytes that travel no farther than this disk
	mover := one(image.NonRoot, release.Mover, "ghcr.io/broletto/"+release.Mover+":"+version)
	clients, err := image.PostgresClient()
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a box does without
		return nil, err
	}
	mover.Files[runtime.GOARCH] = append(mover.Files[runtime.GOARCH], clients...)
	all := []image.Image{
		one(image.NonRoot, release.Operator, "ghcr.io/broletto/"+release.Operator+":"+version, probeImage),
		runner,
		mover,
		one("", "pause", pauseImage),
		one("", "coredns", corednsImage),
		{Names: []string{busyboxImage}, Files: map[string][]image.File{runtime.GOARCH: tools}, Env: []string{"PATH=/bin"}},
	}
	database, err := image.Postgres(bin)
	if errors.Is(err, fs.ErrNotExist) { // a box does without
		return all, nil
	}
	return append(all, image.Image{
		Names: []string{postgresImage}, Files: map[string][]image.File{runtime.GOARCH: append(database, tools...)}, Env: []string{"PATH=/bin"},
		User: image.PostgresUser, Stored: true,
	}), err
}

// installed are programs of this machine that a stack may use beside what we build, by name: those that are there.
func installed(names ...string) map[string]string {
	found := map[string]string{}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			found[name] = path
		}
	}
	return found
}

// copySelf leaves our own program where the box finds it, also when it was built for one run only.
func copySelf(target string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	from, err := os.Open(self)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	if err := os.Remove(target); err != nil && !os.IsNotExist(err) {
		return err
	}
	to, err := os.OpenFile(target, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(to, from); err != nil {
		_ = to.Close()
		return err
	}
	return to.Close()
}
