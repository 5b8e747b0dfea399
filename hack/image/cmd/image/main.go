// Command image makes an image of Broletto, and its bill of materials.
//
//	go run -C hack/image ./cmd/image -arch amd64
//	go run -C hack/image ./cmd/image -program broletto-runner -add terraform=/usr/local/bin/terraform
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/broletto/broletto/hack/image/release"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	root := flag.String("root", "../..", "root of the repository")
	out := flag.String("out", "dist", "folder that gets the files, in the root unless absolute")
	program := flag.String("program", release.Operator, "what the image is of: "+release.Operator+", "+release.Runner+" or "+release.Mover)
	archs := flag.String("arch", "", "architectures; another list gives another digest (default: amd64,arm64, but of "+release.Runner+" this machine's, as each is built for minutes)")
	add := additions{}
	flag.Var(add, "add", "program that "+release.Runner+" has beside its engines, such as terraform=/usr/local/bin/terraform; may be given several times")
	databases := flag.Bool("databases", false, "have "+release.Mover+" have PostgreSQL's client programs, as Debian's packages installed them on this machine, and make it for its architecture alone")
	tag := flag.String("tag", "", "tag of the image (default: the chart's appVersion, with -dirty where something is not committed)")
	flag.Parse()
	if *archs == "" {
		*archs = map[string]string{release.Operator: "amd64,arm64", release.Runner: runtime.GOARCH, release.Mover: "amd64,arm64"}[*program]
	}
	if *databases {
		*archs = runtime.GOARCH
	}
	o := release.Options{Databases: *databases, Program: *program, Archs: strings.Split(*archs, ","), Tag: *tag, Out: *out, Add: add, Progress: os.Stderr}
	var err error
	if o.Root, err = filepath.Abs(*root); err != nil {
		return err
	}
	if !filepath.IsAbs(o.Out) {
		o.Out = filepath.Join(o.Root, o.Out)
	}
	made, err := release.Make(ctx, o)
	if err != nil {
		return err
	}
	return report(os.Stdout, o.Root, o.Program, made)
}

// additions are files by name.
type additions map[string]string

func (a additions) String() string { return "" }

func (a additions) Set(s string) (err error) {
	name, file, found := strings.Cut(s, "=")
	if !found || name == "" {
		return fmt.Errorf("%q is not <name>=<file>", s)
	}
	a[name], err = filepath.Abs(file)
	return err
}

// report tells what was made, and what to type next, with paths as the root sees them.
func report(w io.Writer, root, program string, made release.Made) error {
	archive, err := os.Stat(made.Archive)
	if err != nil {
		return err
	}
	short := func(path string) string {
		if inside, err := filepath.Rel(root, path); err == nil && filepath.IsLocal(inside) {
			return inside
		}
		return path
	}
	fmt.Fprintf(w, "image    %s\ndigest   %s\n", made.Name, made.Digest)
	for _, b := range made.Binaries {
		if b.Info == nil && strings.Contains(b.Path, ".so") { // the bill has libraries
			continue
		}
		beside := strings.TrimPrefix(b.Path, "/"+program)
		if b.Info == nil {
			fmt.Fprintf(w, "binary   linux/%s%s, not made by Go, %.1f MB\n", b.Arch, beside, float64(b.Size)/1e6)
			continue
		}
		fmt.Fprintf(w, "binary   linux/%s%s, %s, %.1f MB, %d modules\n", b.Arch, beside, b.Info.GoVersion, float64(b.Size)/1e6, len(b.Info.Deps))
	}
	fmt.Fprintf(w, "archive  %s, %.1f MB\nbill     %s\n", short(made.Archive), float64(archive.Size())/1e6, short(made.Bill))
	if made.Dirty {
		fmt.Fprintln(w, "warning  this checkout has changes that no commit has: nobody else can make this image")
	}
	if len(made.Added) > 0 {
		fmt.Fprintf(w, "warning  added %s: whether you may pass this image on, the licence says\n", strings.Join(made.Added, ", "))
	}
	fmt.Fprintf(w, "next     kind load image-archive %s    # others: docs/install.md\n", short(made.Archive))
	return nil
}
