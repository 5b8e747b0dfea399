// Package release makes the images of Broletto out of a checkout, each with its bill of materials beside it. The same commit and the same
// Go give the same bytes, in whatever folder, clone or year.
//
// The operator's image holds one file, the program: what it needs of a distribution is inside it (time zones) or comes from the cluster (the
// certificate of the API server) or from the program (those of public authorities). The mover's is like it. The runner's holds the engines
// beside the program, and the certificates of public authorities in a file; the mover's may hold what dumps databases, which makes it depend on
// the Debian packages of the machine, too. There is no shell, no user database, and nothing to update but
// the programs.
package release

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"time"

	"github.com/broletto/broletto/hack/image"
)

// Names of the programs that have an image each: the program operator/cmd/<name>, as /<name>, in the repository of that name.
const (
	Operator = "broletto"
	Runner   = "broletto-runner"
	Mover    = "broletto-mover"
)

var programs = map[string]program{
	Operator: {Operator, "Broletto", "The operator of a shared municipal cloud", "Apache-2.0"},
	Runner:   {Runner, "Broletto runner", "One run of an infrastructure-as-code stack, with its engines", "Apache-2.0 AND MPL-2.0"},
	Mover:    {Mover, "Broletto mover", "Volumes and dumps into a store of backups and back", "Apache-2.0"},
}

type program struct{ name, title, description, licenses string }

const (
	source   = "https://github.com/broletto/broletto"
	registry = "ghcr.io/broletto/"
)

// Options say what to make.
type Options struct {
	Program string   // Operator, Runner or Mover
	Root    string   // of the checkout
	Out     string   // folder that gets the files
	Archs   []string // such as amd64 and arm64
	Tag     string   // empty: the version
	// Add are programs that the runner's image has beside its engines: files by name, such as terraform. Who makes the image has the right to.
	Add map[string]string
	// Databases has the mover's image have what dumps databases and brings them back, as Debian's packages installed it on this machine.
	Databases bool
	Progress  io.Writer // told about engines that are built, which takes minutes

	engines func(ctx context.Context, progress io.Writer, checkout, arch string) (dir string, programs []string, err error) // of tests
}

// Made is an image that was made.
type Made struct {
	Name          string // with tag
	Digest        string
	Archive, Bill string   // files
	Binaries      []Binary // by architecture and path
	Dirty         bool     // the checkout differed from its commit, so nobody can make this again
	Added         []string // by Options.Add or Databases
}

// Make makes an image of a release.
func Make(ctx context.Context, o Options) (Made, error) {
	p, known := programs[o.Program]
	switch {
	case !known:
		return Made{}, fmt.Errorf("program %q has no image: choose from %s, %s and %s", o.Program, Operator, Runner, Mover)
	case o.Databases && (o.Program != Mover || !slices.Equal(o.Archs, []string{runtime.GOARCH})):
		return Made{}, fmt.Errorf("programs of databases are those of this machine: they go into the image of %s for %s alone", Mover, runtime.GOARCH)
	case len(o.Add) > 0 && (o.Program != Runner || len(o.Archs) != 1):
		return Made{}, errors.New("programs are added to the image of " + Runner + " for one architecture: say which with -arch")
	}
	c, err := head(ctx, o.Root)
	if err != nil {
		return Made{}, err
	}
	version, err := Version(o.Root)
	if err != nil {
		return Made{}, err
	}
	if c.dirty {
		version += "-dirty"
	}
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return Made{}, err
	}
	made, err := p.make(ctx, o, c, version)
	if err != nil {
		return Made{}, fmt.Errorf("image of %s: %w", p.name, err)
	}
	return made, nil
}

func (p program) make(ctx context.Context, o Options, c commit, version string) (Made, error) {
	work, err := os.MkdirTemp("", "broletto-image-*")
	if err != nil {
		return Made{}, err
	}
	defer func() { _ = os.RemoveAll(work) }()
	repository, file := registry+p.name, filepath.Join(o.Out, p.name+"-"+version)
	made := Made{
		Name: repository + ":" + cmp.Or(o.Tag, version), Archive: file + ".tar", Bill: file + ".cdx.json", Dirty: c.dirty,
		Added: slices.Sorted(maps.Keys(o.Add)),
	}
	files := map[string][]image.File{}
	for _, arch := range o.Archs {
		binary := filepath.Join(work, arch)
		// The commit is in the version, so that a log or a --version says what runs.
		build := image.Program{Dir: o.Root, Package: "./operator/cmd/" + p.name, Arch: arch, Flags: "-X main.release=" + c.stamp(version)}
		if err := build.Build(ctx, binary); err != nil {
			return Made{}, err
		}
		files[arch] = []image.File{{Path: "/" + p.name, From: binary, Mode: 0o755}}
		if p.name == Runner {
			beside, err := beside(ctx, o, arch, work)
			if err != nil {
				return Made{}, err
			}
			files[arch] = append(files[arch], beside...)
		}
		if o.Databases {
			clients, err := image.PostgresClient()
			if err != nil {
				return Made{}, err
			}
			files[arch], made.Added = append(files[arch], clients...), image.PostgresClients
		}
		binaries, err := readBinaries(arch, files[arch])
		if err != nil {
			return Made{}, err
		}
		made.Binaries = append(made.Binaries, binaries...)
	}
	digests, err := image.Write(made.Archive, image.Image{
		Names: []string{made.Name}, Files: files, Entrypoint: []string{"/" + p.name}, User: image.NonRoot,
		Labels: p.labels(c, version, made.Added), Created: c.time,
	})
	if err != nil {
		return Made{}, err
	}
	made.Digest = digests[0]
	return made, writeBill(p, repository, c.stamp(version), made)
}

// readBinaries reads the programs among the files of an image.
func readBinaries(arch string, files []image.File) (all []Binary, err error) {
	for _, f := range files {
		if f.From == "" || f.Mode&0o111 == 0 {
			continue
		}
		b, err := readBinary(f.From)
		if err != nil {
			return nil, err
		}
		b.Arch, b.Path = arch, f.Path
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b Binary) int { return cmp.Compare(a.Path, b.Path) })
	return all, nil
}

// labels say what the image is. What somebody else added has a licence that we do not know.
func (p program) labels(c commit, version string, added []string) map[string]string {
	labels := map[string]string{
		"org.opencontainers.image.title":       p.title,
		"org.opencontainers.image.description": p.description,
		"org.opencontainers.image.source":      source,
		"org.opencontainers.image.licenses":    p.licenses,
		"org.opencontainers.image.version":     version,
		"org.opencontainers.image.revision":    c.hash,
		"org.opencontainers.image.created":     c.time.Format(time.RFC3339),
	}
	if len(added) > 0 {
		delete(labels, "org.opencontainers.image.licenses")
	}
	return labels
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
