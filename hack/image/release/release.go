// Package release makes the images of Broletto out of a checkout, each with its bill of materials beside it. The same commit and the same
// Go give the same bytes, in whatever folder, clone or year.
//
// An image holds one file, the program: what it needs of a distribution is inside it (time zones) or comes from the cluster (the
// certificate of the API server, the one server it calls). There is no shell, no user database, and nothing to update but the program.
package release

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/broletto/broletto/hack/image"
)

// programs have an image each: the program operator/cmd/<name>, as /<name>, in the repository of that name.
var programs = []program{
	{"broletto", "Broletto", "The operator of a shared municipal cloud"},
}

type program struct{ name, title, description string }

const (
	source   = "https://github.com/broletto/broletto"
	registry = "ghcr.io/broletto/"
)

// Options say what to make.
type Options struct {
	Root  string   // of the checkout
	Out   string   // folder that gets the files
	Archs []string // such as amd64 and arm64
	Tag   string   // empty: the version
}

// Made is an image that was made.
type Made struct {
	Name          string // with tag
	Digest        string
	Archive, Bill string            // files
	Binaries      map[string]Binary // by architecture
	Dirty         bool              // the checkout differed from its commit, so nobody can make this again
}

// Make makes all images of a release.
func Make(ctx context.Context, o Options) ([]Made, error) {
	c, err := head(ctx, o.Root)
	if err != nil {
		return nil, err
	}
	version, err := Version(o.Root)
	if err != nil {
		return nil, err
	}
	if c.dirty {
		version += "-dirty"
	}
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return nil, err
	}
	var all []Made
	for _, p := range programs {
		made, err := p.make(ctx, o, c, version)
		if err != nil {
			return nil, fmt.Errorf("image of %s: %w", p.name, err)
		}
		all = append(all, made)
	}
	return all, nil
}

func (p program) make(ctx context.Context, o Options, c commit, version string) (Made, error) {
	work, err := os.MkdirTemp("", "broletto-image-*")
	if err != nil {
		return Made{}, err
	}
	defer func() { _ = os.RemoveAll(work) }()
	repository, file := registry+p.name, filepath.Join(o.Out, p.name+"-"+version)
	made := Made{
		Name: repository + ":" + cmp.Or(o.Tag, version), Archive: file + ".tar", Bill: file + ".cdx.json",
		Binaries: map[string]Binary{}, Dirty: c.dirty,
	}
	files := map[string][]image.File{}
	for _, arch := range o.Archs {
		binary := filepath.Join(work, arch)
		// The commit is in the version, so that a log or a --version says what runs.
		build := image.Program{Dir: o.Root, Package: "./operator/cmd/" + p.name, Arch: arch, Flags: "-X main.release=" + c.stamp(version)}
		if err := build.Build(ctx, binary); err != nil {
			return Made{}, err
		}
		if made.Binaries[arch], err = readBinary(binary); err != nil {
			return Made{}, err
		}
		files[arch] = []image.File{{Path: "/" + p.name, From: binary, Mode: 0o755}}
	}
	digests, err := image.Write(made.Archive, image.Image{
		Names: []string{made.Name}, Files: files, Entrypoint: []string{"/" + p.name}, User: image.NonRoot,
		Labels: p.labels(c, version), Created: c.time,
	})
	if err != nil {
		return Made{}, err
	}
	made.Digest = digests[0]
	return made, writeBill(p, repository, c.stamp(version), made)
}

func (p program) labels(c commit, version string) map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       p.title,
		"org.opencontainers.image.description": p.description,
		"org.opencontainers.image.source":      source,
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     version,
		"org.opencontainers.image.revision":    c.hash,
		"org.opencontainers.image.created":     c.time.Format(time.RFC3339),
	}
}

var appVersion = regexp.MustCompile(`(?m)^appVersion: "(.+)"$`)

// Version is what the chart of this checkout asks for unless told otherwise. A tag of git would not do: a clone need not have it.
func Version(root string) (string, error) {
	path := filepath.Join(root, "charts", "broletto", "Chart.yaml")
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%w: say where the repository is with -root", err)
	}
	found := appVersion.FindSubmatch(content)
	if found == nil {
		return "", fmt.Errorf("%s: has no line appVersion: \"…\"; the image is named by it", path)
	}
	return string(found[1]), nil
}
