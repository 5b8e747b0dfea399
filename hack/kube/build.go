package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	cacheVariable  = "BROLETTO_CACHE"
	assetsVariable = "KUBEBUILDER_ASSETS"
)

// Build makes sure that the named binaries exist and returns the folder that holds them. Without names it builds
// what [Start] needs; kubectl is the one more to ask for.
//
// What is in the cache already costs nothing. The rest is compiled by the go command on PATH, which may take minutes:
// progress, unless nil, gets a line at the start, every 15 seconds, and at the end. Any number of processes may call
// Build at once; each binary is compiled by one of them while the others wait.
func Build(ctx context.Context, progress io.Writer, names ...string) (dir string, err error) {
	return build(ctx, newProgress(progress), names)
}

// BuildNode is Build for what a node runs, and for the scheduler: all of it, in a folder of its own. runc alone needs a C compiler, pkg-config
// and the headers of libseccomp.
func BuildNode(ctx context.Context, progress io.Writer) (dir string, err error) {
	root, err := cacheRoot()
	if err != nil {
		return "", err
	}
	var names []string
	for _, m := range nodeModules {
		for _, p := range m.programs {
			names = append(names, p.name)
		}
	}
	return newBuilder(filepath.Join(root, "kube"), nodeModules, newProgress(progress)).all(ctx, names)
}

func build(ctx context.Context, p *progress, names []string) (string, error) {
	if len(names) == 0 {
		names = serverNames
	}
	root, err := cacheRoot()
	if err != nil {
		return "", err
	}
	b := newBuilder(filepath.Join(root, "kube"), modules, p)
	if assets := os.Getenv(assetsVariable); assets != "" {
		return b.fromAssets(ctx, assets, names)
	}
	return b.all(ctx, names)
}

// cacheRoot is the folder of all our caches.
func cacheRoot() (string, error) {
	if root := os.Getenv(cacheVariable); root != "" {
		return filepath.Abs(root)
	}
	root, err := os.UserCacheDir()
	if err != nil {
		return "", &Error{Object: "the cache", Cause: err, WayOut: "set " + cacheVariable + " to a folder"}
	}
	return filepath.Join(root, "broletto"), nil
}

// builder fills one cache. Tests give it a tiny module.
type builder struct {
	root      string // each set of modules has a folder of its own in it
	modules   []module
	progress  *progress
	machine   machine
	heartbeat time.Duration
	ready     func(m module, p program) error // unless nil, called for each program as soon as it is there
}

func newBuilder(root string, modules []module, p *progress) builder {
	return builder{root: root, modules: modules, progress: p, machine: this, heartbeat: 15 * time.Second}
}

// dir is the folder of the binaries.
func (b builder) dir() string {
	return filepath.Join(b.root, key(b.modules, b.machine))
}

// all builds what is missing of names.
func (b builder) all(ctx context.Context, names []string) (string, error) {
	dir := b.dir()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", &Error{Object: dir, Cause: err, WayOut: "set " + cacheVariable + " to a folder that you may write"}
	}
	var missing []string
	var steps []func() error
	var space uint64
	for _, name := range names {
		m, p, err := find(b.modules, name)
		if err != nil {
			return "", err
		}
		if !exists(filepath.Join(dir, name)) {
			space += p.space
			missing = append(missing, name)
		}
		steps = append(steps, func() error { return b.one(ctx, m, p) })
		if b.ready != nil {
			steps = append(steps, func() error { return b.ready(m, p) })
		}
	}
	if len(missing) > 0 {
		if err := b.check(ctx, missing, space); err != nil {
			return "", err
		}
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// check finds out at once what would spoil a build after minutes: no go command, or too little space in one of the
// two file systems that a build fills.
func (b builder) check(ctx context.Context, missing []string, space uint64) error {
	if _, err := exec.LookPath("go"); err != nil {
		return &Error{Object: "building " + strings.Join(missing, ", "), Cause: ErrNoGo,
			WayOut: "install Go from https://go.dev/dl, or set " + assetsVariable + " to a folder with the binaries"}
	}
	cmd := exec.CommandContext(ctx, "go", "env", "GOCACHE")
	cmd.Dir, cmd.Env = b.dir(), b.environment(b.dir(), module{})
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("go env GOCACHE: %w", err)
	}
	return errors.Join(
		requireSpace(b.dir(), cacheSpace, "free some, or set "+cacheVariable+" to a folder on another disk"),
		requireSpace(strings.TrimSpace(string(out)), space, "free some, or set GOCACHE to a folder on another disk"),
	)
}

// one builds a program unless it is there. Only whole binaries ever get the final name, so seeing it is enough.
func (b builder) one(ctx context.Context, m module, p program) error {
	target := filepath.Join(b.dir(), p.name)
	if exists(target) {
		return nil
	}
	held, err := lock(ctx, target+".lock", func() {
		b.progress.say("waiting for another process that builds %s", p.name)
	})
	if err != nil {
		return err
	}
	defer func() { _ = held.Close() }()
	if exists(target) { // the one we waited for built it
		return nil
	}
	leftovers, _ := filepath.Glob(target + ".build-*")
	for _, l := range leftovers { // of builds that were killed: we hold their lock
		_ = os.RemoveAll(l)
	}
	work, err := os.MkdirTemp(b.dir(), p.name+".build-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	binary, err := b.compile(ctx, m, p, work)
	if err != nil {
		return err
	}
	return publish(binary, target)
}

// compile runs go build in work, a module of its own, or where the source of a module of ours is. The binary is in work.
func (b builder) compile(ctx context.Context, m module, p program, work string) (string, error) {
	binary := filepath.Join(work, p.name)
	if m.source != "" {
		work = m.source
	} else if err := b.furnish(ctx, m, work); err != nil {
		return "", err
	}
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", append(m.arguments(), "-o", binary, p.pkg)...)
	cmd.Dir, cmd.Env = work, b.environment(work, m)
	cmd.Stdout, cmd.Stderr = &output, &output
	// An interrupted go build removes its temporary files, a killed one leaves gigabytes.
	cmd.Cancel = func() error { return signalGroup(cmd.Process, syscall.SIGINT) }
	cmd.WaitDelay = 5 * time.Second
	if err := b.watch(cmd, m, p); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", buildError(m, p, err, output.String())
	}
	return binary, nil
}

// furnish makes work a module of its own that requires m, in its own source where that is changed.
func (b builder) furnish(ctx context.Context, m module, work string) error {
	err := errors.Join(
		os.WriteFile(filepath.Join(work, "go.mod"), m.mod, 0o644),
		os.WriteFile(filepath.Join(work, "go.sum"), m.sum, 0o644),
	)
	if err != nil || len(m.edits) == 0 {
		return err
	}
	if _, err := b.asks(ctx, m, work, "mod", "download", m.path); err != nil {
		return err
	}
	dir, err := b.asks(ctx, m, work, "list", "-m", "-f", "{{.Dir}}", m.path)
	if err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(work, edited), os.DirFS(dir)); err != nil { // the go command overlays nothing in its cache
		return err
	}
	for _, e := range m.edits {
		if err := e.in(filepath.Join(work, edited)); err != nil {
			return &Error{Object: m.path + " " + m.version(), Cause: err, WayOut: "look at what the new version does there, and correct or drop the edit in hack/kube/engines.go"}
		}
	}
	_, err = b.asks(ctx, m, work, "mod", "edit", "-replace="+m.path+"=./"+edited)
	return err
}

// asks has the go command answer in a line.
func (b builder) asks(ctx context.Context, m module, work string, arguments ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", arguments...)
	cmd.Dir, cmd.Env = work, b.environment(work, m)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(arguments, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// edited is the folder of a module's changed source.
const edited = "edited"

// in makes the edit in a folder.
func (e edit) in(dir string) error {
	path := filepath.Join(dir, filepath.FromSlash(e.file))
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if n := bytes.Count(text, []byte(e.from)); n != 1 {
		return fmt.Errorf("%q is in %s %d times, and should be once", e.from, e.file, n)
	}
	return os.WriteFile(path, bytes.Replace(text, []byte(e.from), []byte(e.to), 1), 0o644)
}

// watch runs cmd and shows that something is happening.
func (b builder) watch(cmd *exec.Cmd, m module, p program) error {
	name, begun := m.label(p), time.Now()
	b.progress.say("building %s (about %s, once)", name, minutes(p.takes))
	exited, err := Spawn(cmd)
	if err != nil {
		return err
	}
	tick := time.NewTicker(b.heartbeat)
	defer tick.Stop()
	for {
		select {
		case err := <-exited:
			if err == nil {
				b.progress.say("built %s in %s", name, time.Since(begun).Round(time.Second))
			}
			return err
		case <-tick.C:
			b.progress.say("still building %s (%s so far)", name, time.Since(begun).Round(time.Second))
		}
	}
}

// minutes says a duration as people do.
func minutes(d time.Duration) string {
	switch n := int(d.Round(time.Minute).Minutes()); {
	case n <= 1:
		return "a minute"
	default:
		return fmt.Sprintf("%d minutes", n)
	}
}

// machine is what programs are built for, in the go command's words.
type machine struct{ system, arch string }

var this = machine{runtime.GOOS, runtime.GOARCH}

// environment is ours, but for what would build something else than the key says. Without cgo no C compiler is needed,
// and the binaries are static.
func (b builder) environment(work string, m module) []string {
	cgo := "0"
	if m.cgo {
		cgo = "1"
	}
	return append(os.Environ(), "PWD="+work, "GO111MODULE=on", "GOWORK=off", "GOFLAGS=-mod=readonly -buildvcs=false",
		"GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOFIPS140=off", "CGO_ENABLED="+cgo, "GOOS="+b.machine.system, "GOARCH="+b.machine.arch)
}

// buildError makes what the go command printed into an error that says what to do.
func buildError(m module, p program, err error, output string) error {
	if hint := diagnose(output); hint != nil {
		return hint
	}
	wayOut := "the go command said:\n" + indent(tail(output))
	if strings.Contains(output, "dial tcp") || strings.Contains(output, "proxyconnect") {
		wayOut = "the modules are downloaded once, through GOPROXY: check the network; " + wayOut
	}
	return &Error{Object: "go build of " + m.label(p), Cause: err, WayOut: wayOut}
}

// publish gives a finished binary its final name, once its bytes are on the disk: after a power cut there is
// a whole binary or none.
func publish(binary, target string) error {
	if err := syncPath(binary); err != nil {
		return err
	}
	if err := os.Rename(binary, target); err != nil {
		return err
	}
	return syncPath(filepath.Dir(target))
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
