// Package image makes container images from files, without Docker and without a registry. The same files give the same digest.
//
//	digests, err := image.Write("web.tar", image.Image{
//		Names:      []string{"registry.ticino.example/web:1"},
//		Files:      map[string][]image.File{runtime.GOARCH: {{Path: "/web", From: "bin/web", Mode: 0o755}}},
//		Entrypoint: []string{"/web"},
//	})
//
// What it writes is an OCI image layout in a tar archive, which ctr, kind, podman, skopeo and a Docker that keeps its images in
// containerd read.
package image

import (
	"compress/gzip"
	"fmt"
	"maps"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// NonRoot is the user and group of images whose program needs no rights.
const NonRoot = "65532:65532"

// Image is what a node runs under any of its names, in one layer.
type Image struct {
	Names      []string          // with tag, such as registry.ticino.example/web:1
	Files      map[string][]File // by architecture, such as amd64; the system is Linux
	Entrypoint []string
	Env        []string          // such as PATH=/bin
	User       string            // such as NonRoot; empty: root
	Labels     map[string]string // of the image, and its annotations
	Created    time.Time         // of the image and of its files; zero: 1970
	Stored     bool              // the layer is packed and not made smaller: quick, for nodes on this machine
}

// index is the image as registries know it: one manifest for each architecture.
func (i Image) index() (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range slices.Sorted(maps.Keys(i.Files)) {
		img, err := i.manifest(arch)
		if err != nil {
			return nil, fmt.Errorf("image %v for %s: %w", i.Names, arch, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        img,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	if len(i.Labels) == 0 {
		return index, nil
	}
	return mutate.Annotations(index, i.Labels).(v1.ImageIndex), nil
}

func (i Image) manifest(arch string) (v1.Image, error) {
	open, err := layer(i.Files[arch], i.created())
	if err != nil {
		return nil, err
	}
	packing := []tarball.LayerOption{tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.NoCompression)}
	if !i.Stored {
		packing = append(packing, tarball.WithCompressionLevel(gzip.DefaultCompression), tarball.WithCompressedCaching)
	}
	l, err := tarball.LayerFromOpener(open, packing...)
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if img, err = mutate.ConfigFile(img, i.config(arch)); err != nil {
		return nil, err
	}
	if img, err = mutate.AppendLayers(img, l); err != nil || len(i.Labels) == 0 {
		return img, err
	}
	return mutate.Annotations(img, i.Labels).(v1.Image), nil
}

func (i Image) config(arch string) *v1.ConfigFile {
	return &v1.ConfigFile{
		OS: "linux", Architecture: arch, Created: v1.Time{Time: i.created()},
		RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{Entrypoint: i.Entrypoint, Env: i.Env, User: i.User, WorkingDir: "/", Labels: i.Labels},
	}
}

func (i Image) created() time.Time {
	if i.Created.IsZero() {
		return time.Unix(0, 0).UTC()
	}
	return i.Created.UTC()
}
