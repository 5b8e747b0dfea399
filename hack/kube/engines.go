package kube

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// engineModules is what stacks are run with: the engines, and a provider of the one that has no other way to reach the
// API server. tofu comes first: most wait for it alone.
var engineModules = []module{
	named("opentofu", module{
		path: "github.com/opentofu/opentofu",
		set:  "github.com/opentofu/opentofu/version.dev=no", // else it takes itself for a development build
		// What a killed engine has made and not written down is unknown to the next run.
		edits: []edit{
			{ // How often it writes its state while it applies, in seconds. A variable would set that, but to no less.
				file: "internal/backend/local/backend_apply.go",
				from: "\tdefaultPersistInterval                 = 20 //",
				to:   "\tdefaultPersistInterval                 = 2 //",
			},
			{ // Where no state was there before, each resource that is done takes the place of those before it, in what is written before the end.
				file: "internal/states/statemgr/filesystem.go",
				from: "MutateState(fn func(*states.State) *states.State) error {\n\tdefer s.mutex()()\n\n\tif s.readFile == nil {",
				to:   "MutateState(fn func(*states.State) *states.State) error {\n\tdefer s.mutex()()\n\n\tif s.readFile == nil && s.file == nil {",
			},
		},
		programs: []program{
			{"tofu", "github.com/opentofu/opentofu/cmd/tofu", 4 * time.Minute, 2000 << 20},
		},
	}),
	named("pulumi", module{
		path: "github.com/pulumi/pulumi/pkg/v3",
		set:  "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=VERSION",
		programs: []program{
			{"pulumi", "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi", 4 * time.Minute, 2000 << 20},
		},
	}),
	named("pulumi-yaml", module{
		path: "github.com/pulumi/pulumi-yaml",
		set:  "github.com/pulumi/pulumi-yaml/pkg/version.Version=VERSION",
		programs: []program{
			{"pulumi-language-yaml", "github.com/pulumi/pulumi-yaml/cmd/pulumi-language-yaml", time.Minute, 400 << 20},
		},
	}),
	named("kubectl-provider", module{
		path: "github.com/gavinbunney/terraform-provider-kubectl",
		programs: []program{
			{kubectlProvider, "github.com/gavinbunney/terraform-provider-kubectl", 2 * time.Minute, 800 << 20},
		},
	}),
}

// storeModules is what stands for a platform's object store in tests: a real S3 gateway over a folder.
var storeModules = []module{
	named("versitygw", module{
		path: "github.com/versity/versitygw",
		programs: []program{
			{"versitygw", "github.com/versity/versitygw/cmd/versitygw", 2 * time.Minute, 1200 << 20},
		},
	}),
}

// backupModules is what backups are measured beside.
var backupModules = []module{
	named("restic", module{
		path:     "github.com/restic/restic",
		programs: []program{{"restic", "github.com/restic/restic/cmd/restic", 2 * time.Minute, 1200 << 20}},
	}),
	named("age", module{
		path:     "filippo.io/age",
		programs: []program{{"age", "filippo.io/age/cmd/age", time.Minute, 100 << 20}},
	}),
}

const (
	kubectlProvider = "terraform-provider-kubectl"
	// incluster is our own provider of Pulumi, and its folder beside that of this package.
	incluster       = "pulumi-resource-incluster"
	inclusterFolder = "hack/engine/" + incluster
)

// mirrorHosts are those under which OpenTofu and Terraform look for a provider that a source names without one.
var mirrorHosts = []string{"registry.opentofu.org", "registry.terraform.io"}

// BuildEngines is Build for what stacks are run with, in a folder of its own: tofu; pulumi, with its language host for YAML
// and our provider pulumi-resource-incluster beside it, to be found on PATH; and in providers/ a filesystem mirror
// for tofu and terraform. An installed terraform is linked to: its licence keeps us from building or shipping it. Each program is in the folder as soon as it is built. Our provider is built from a checkout: the one this
// package was compiled in, else the one around the working directory.
func BuildEngines(ctx context.Context, progress io.Writer) (dir string, err error) {
	source, err := inclusterSource()
	if err != nil {
		return "", err
	}
	if dir, err = buildEngines(ctx, progress, source, this); err != nil {
		return "", err
	}
	return dir, linkInstalled(dir, "terraform")
}

// BuildEnginesForImage is BuildEngines for Linux on machines of an architecture, such as arm64, with our provider as it is in a checkout.
// It also returns the paths of all programs in the folder. What else is there, such as a link to an installed terraform, is this machine's.
func BuildEnginesForImage(ctx context.Context, progress io.Writer, checkout, arch string) (dir string, programs []string, err error) {
	to := machine{"linux", arch}
	dir, err = buildEngines(ctx, progress, filepath.Join(checkout, filepath.FromSlash(inclusterFolder)), to)
	for _, m := range engineModules {
		for _, p := range m.programs {
			programs = append(programs, places(m, p, to)...)
		}
	}
	return dir, append(programs, incluster), err
}

// buildEngines puts the engines for a machine into one folder, with our provider out of the folder source.
func buildEngines(ctx context.Context, progress io.Writer, source string, to machine) (dir string, err error) {
	root, err := cacheRoot()
	if err != nil {
		return "", err
	}
	own, err := local(source, incluster)
	if err != nil {
		return "", err
	}
	return assemble(ctx, filepath.Join(root, "engines"), to, newProgress(progress), engineModules, []module{own})
}

// BuildStores is Build for what stands for object stores: versitygw, in a folder of its own.
func BuildStores(ctx context.Context, progress io.Writer) (dir string, err error) {
	root, err := cacheRoot()
	if err != nil {
		return "", err
	}
	return newBuilder(filepath.Join(root, "stores"), storeModules, newProgress(progress)).all(ctx, []string{"versitygw"})
}

// BuildBackups is Build for what backups are measured beside: restic and age, in a folder of its own.
func BuildBackups(ctx context.Context, progress io.Writer) (dir string, err error) {
	root, err := cacheRoot()
	if err != nil {
		return "", err
	}
	return newBuilder(filepath.Join(root, "backups"), backupModules, newProgress(progress)).all(ctx, []string{"restic", "age"})
}

// linkInstalled makes dir/name a link to the program of that name on PATH. Where there is none, a link that leads somewhere stays: others
// with another PATH share the folder. One that leads nowhere goes.
func linkInstalled(dir, name string) error {
	link := filepath.Join(dir, name)
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		if exists(link) {
			return nil
		}
		return os.RemoveAll(link)
	}
	if now, err := os.Readlink(link); err == nil && now == path {
		return nil
	}
	if err := os.RemoveAll(link); err != nil {
		return err
	}
	if err := os.Symlink(path, link); !errors.Is(err, os.ErrExist) { // somebody else has just done so
		return err
	}
	return nil
}

// assemble builds sets of modules, each in a folder of its own below parts, and puts all programs together in one folder of hard
// links. So a change of our provider, which is frequent, builds no engine anew, and each state of it keeps its own folder.
// Symbolic links would not do: pulumi looks for plugins where its file really is.
func assemble(ctx context.Context, root string, to machine, p *progress, sets ...[]module) (string, error) {
	var keys []string
	for _, modules := range sets {
		keys = append(keys, key(modules, to))
	}
	sum := sha256.Sum256([]byte(strings.Join(keys, " ")))
	dir := filepath.Join(root, hex.EncodeToString(sum[:6]))
	for _, modules := range sets {
		b := newBuilder(filepath.Join(root, "parts"), modules, p)
		b.machine = to
		b.ready = func(m module, p program) error {
			for _, place := range places(m, p, to) {
				if err := hardLink(filepath.Join(b.dir(), p.name), dir, place); err != nil {
					return err
				}
			}
			return nil
		}
		var names []string
		for _, m := range modules {
			for _, p := range m.programs {
				names = append(names, p.name)
			}
		}
		if _, err := b.all(ctx, names); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// places are the paths of a program in the folder of all. A provider's are those of an unpacked filesystem mirror.
func places(m module, p program, to machine) []string {
	kind, provider := strings.CutPrefix(p.name, "terraform-provider-")
	if !provider {
		return []string{p.name}
	}
	namespace := strings.Split(m.path, "/")[1] // of the repository's host, which is the registry's
	var paths []string
	for _, host := range mirrorHosts {
		paths = append(paths, filepath.Join("providers", host, namespace, kind, strings.TrimPrefix(m.version(), "v"),
			to.system+"_"+to.arch, p.name+"_"+m.version()))
	}
	return paths
}

// hardLink makes dir/place the file source, replacing in one step what was there: others may be running it.
func hardLink(source, dir, place string) error {
	target := filepath.Join(dir, place)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return &Error{Object: dir, Cause: err, WayOut: "set " + cacheVariable + " to a folder that you may write"}
	}
	if sameFile(source, target) {
		return nil
	}
	temporary, err := os.MkdirTemp(dir, "link-*") // not in providers/: a mirror is read as a whole
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(temporary) }()
	name := filepath.Join(temporary, "link")
	if err := os.Link(source, name); err != nil {
		return err
	}
	return os.Rename(name, target)
}

func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// local is the module of ours in folder source, with one program, in its root.
func local(source, name string) (module, error) {
	digest, err := digestOf(source)
	if err != nil {
		return module{}, fmt.Errorf("reading the source of %s: %w", name, err)
	}
	return module{
		source: source, digest: digest,
		programs: []program{{name, ".", time.Minute, 400 << 20}},
	}, nil
}

// digestOf names the state of all the files below dir that a build reads: another one is another program.
func digestOf(dir string) (string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && !strings.HasSuffix(path, "_test.go") {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	slices.Sort(files)
	all := sha256.New()
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		name, _ := filepath.Rel(dir, path)
		fmt.Fprintf(all, "%s %d\n%s", filepath.ToSlash(name), len(text), text)
	}
	return hex.EncodeToString(all.Sum(nil)), nil
}

// inclusterSource finds our provider's source.
func inclusterSource() (string, error) {
	var starts []string
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) { // not absolute under -trimpath
		starts = append(starts, filepath.Dir(file))
	}
	if here, err := os.Getwd(); err == nil {
		starts = append(starts, here)
	}
	for _, dir := range starts {
		for ; ; dir = filepath.Dir(dir) {
			if source := filepath.Join(dir, filepath.FromSlash(inclusterFolder)); exists(filepath.Join(source, "go.mod")) {
				return source, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return "", &Error{
		Object: inclusterFolder,
		Cause:  errors.New("not found"),
		WayOut: "run this in a checkout of Broletto",
	}
}
