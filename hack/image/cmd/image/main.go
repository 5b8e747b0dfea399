// Command image makes the images of Broletto, and their bills of materials.
//
//	go run -C hack/image ./cmd/image -arch amd64
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
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
	archs := flag.String("arch", "amd64,arm64", "architectures; another list gives another digest")
	tag := flag.String("tag", "", "tag of the image (default: the chart's appVersion, with -dirty where something is not committed)")
	flag.Parse()
	o := release.Options{Archs: strings.Split(*archs, ","), Tag: *tag, Out: *out}
	var err error
	if o.Root, err = filepath.Abs(*root); err != nil {
		return err
	}
	if !filepath.IsAbs(o.Out) {
		o.Out = filepath.Join(o.Root, o.Out)
	}
	all, err := release.Make(ctx, o)
	if err != nil {
		return err
	}
	for _, made := range all {
		if err := report(os.Stdout, o.Root, made); err != nil {
			return err
		}
	}
	return nil
}

// report tells what was made, and what to type next, with paths as the root sees them.
func report(w io.Writer, root string, made release.Made) error {
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
	for _, arch := range slices.Sorted(maps.Keys(made.Binaries)) {
		b := made.Binaries[arch]
		fmt.Fprintf(w, "binary   linux/%s, %s, %.1f MB, %d modules\n", arch, b.Go, float64(b.Size)/1e6, len(b.Info.Deps))
	}
	fmt.Fprintf(w, "archive  %s, %.1f MB\nbill     %s\n", short(made.Archive), float64(archive.Size())/1e6, short(made.Bill))
	if made.Dirty {
		fmt.Fprintln(w, "warning  this checkout has changes that no commit has: nobody else can make this image")
	}
	fmt.Fprintf(w, "next     kind load image-archive %s    # others: docs/install.md\n", short(made.Archive))
	return nil
}
