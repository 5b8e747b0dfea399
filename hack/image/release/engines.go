package release

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	"golang.org/x/crypto/x509roots/fallback/bundle"

	"github.com/broletto/broletto/hack/image"
	"github.com/broletto/broletto/hack/kube"
)

const (
	// enginesFolder is where broletto-runner looks for its engines.
	enginesFolder = "/engines"
	// rootsFile is where Go's programs, and most others, look for the certificates that they trust.
	rootsFile = "/etc/ssl/certs/ca-certificates.crt"
)

// Beside are the files that a runner's image for an architecture has beside the runner: engines, their providers, what is added to them, and
// certificates, which are written into the folder work.
func Beside(ctx context.Context, progress io.Writer, checkout, arch, work string, add map[string]string) ([]image.File, error) {
	return beside(ctx, Options{Root: checkout, Progress: progress, Add: add}, arch, work)
}

func beside(ctx context.Context, o Options, arch, work string) ([]image.File, error) {
	build := o.engines
	if build == nil {
		build = kube.BuildEnginesForImage
	}
	dir, names, err := build(ctx, o.Progress, o.Root, arch)
	if err != nil {
		return nil, err
	}
	files, err := engineFiles(dir, names)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(o.Add)) {
		if name != filepath.Base(name) || name == "." || slices.Contains(names, name) {
			return nil, fmt.Errorf("program %q cannot be added to the engines: give it a name of its own, without a folder", name)
		}
		files = append(files, image.File{Path: path.Join(enginesFolder, name), From: o.Add[name], Mode: 0o755})
	}
	roots := filepath.Join(work, "ca-certificates.crt")
	return append(files, image.File{Path: rootsFile, From: roots, Mode: 0o644}), writeRoots(roots)
}

// engineFiles are the programs in dir as files of the image. One that is there under several names is so in the image, too.
func engineFiles(dir string, names []string) (files []image.File, err error) {
	seen := map[string]os.FileInfo{} // by path in the image
	for _, name := range slices.Sorted(slices.Values(names)) {
		from, at := filepath.Join(dir, filepath.FromSlash(name)), path.Join(enginesFolder, name)
		info, err := os.Stat(from)
		if err != nil {
			return nil, err
		}
		file := image.File{Path: at, From: from, Mode: 0o755}
		for _, other := range slices.Sorted(maps.Keys(seen)) {
			if os.SameFile(seen[other], info) {
				link, err := filepath.Rel(path.Dir(at), other)
				if err != nil {
					return nil, err
				}
				file = image.File{Path: at, Link: filepath.ToSlash(link)}
				break
			}
		}
		seen[at] = info
		files = append(files, file)
	}
	return files, nil
}

// writeRoots writes the certificates of public authorities, as Mozilla trusts them, without those that it trusts within limits only.
func writeRoots(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue
		}
		if err := pem.Encode(f, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			_ = f.Close()
			return err
		}
	}
	return f.Close()
}
