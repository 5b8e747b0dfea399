package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// Write writes images into one archive at path, a whole one or none, and returns their digests, such as sha256:…, in order.
func Write(path string, images ...Image) (digests []string, err error) {
	dir, err := os.MkdirTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	l, err := layout.Write(filepath.Join(dir, "layout"), empty.Index)
	if err != nil {
		return nil, err
	}
	for _, i := range images {
		digest, err := add(l, i)
		if err != nil {
			return nil, err
		}
		digests = append(digests, digest)
	}
	whole := filepath.Join(dir, "archive")
	if err := pack(whole, string(l)); err != nil {
		return nil, err
	}
	return digests, os.Rename(whole, path)
}

// add puts an image into the layout, once for each name.
func add(l layout.Path, i Image) (digest string, err error) {
	index, err := i.index()
	if err != nil {
		return "", err
	}
	for _, full := range i.Names {
		names, err := annotations(full)
		if err != nil {
			return "", err
		}
		if err := l.AppendIndex(index, layout.WithAnnotations(names)); err != nil {
			return "", fmt.Errorf("image %s: %w", full, err)
		}
	}
	hash, err := index.Digest()
	return hash.String(), err
}

// annotations say the name twice: containerd, and so kind and Docker, want all of it, the specification of OCI the tag alone.
func annotations(full string) (map[string]string, error) {
	tag, err := name.NewTag(full, name.StrictValidation)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w; a name is registry/repository:tag", full, err)
	}
	return map[string]string{"io.containerd.image.name": tag.Name(), "org.opencontainers.image.ref.name": tag.TagStr()}, nil
}

// pack makes dir a tar archive in which nothing tells when and by whom it was made.
func pack(path, dir string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	stream := tar.NewWriter(f)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error { // in the order of names
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: filepath.ToSlash(inside), Size: info.Size(), Mode: 0o644}
		if err := stream.WriteHeader(h); err != nil {
			return err
		}
		return copyFile(stream, path)
	})
	return errors.Join(err, stream.Close(), f.Close())
}
