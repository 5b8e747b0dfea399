package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func TestWrite(t *testing.T) {
	archive := filepath.Join(t.TempDir(), "web.tar")
	names := []string{"registry.ticino.example/web:1", "registry.ticino.example/lugano/web:2"}
	digests, err := Write(archive, web(t, names...))
	if err != nil {
		t.Fatal(err)
	}
	index := open(t, archive)
	if err := validate.Index(index); err != nil {
		t.Errorf("the archive does not hold what it says: %v", err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range manifest.Manifests {
		got = append(got, m.Annotations["io.containerd.image.name"]+" "+m.Annotations["org.opencontainers.image.ref.name"]+" "+m.Digest.String())
	}
	want := []string{names[0] + " 1 " + digests[0], names[1] + " 2 " + digests[0]}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names of the image (-want +got):\n%s", diff)
	}
	image, err := index.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	platforms, err := image.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for i, arch := range []string{"amd64", "arm64"} {
		one, err := image.Image(platforms.Manifests[i].Digest)
		if err != nil {
			t.Fatal(err)
		}
		checkWeb(t, arch, one)
	}
}

// web is an image for two architectures.
func web(t *testing.T, names ...string) Image {
	t.Helper()
	files := map[string][]File{}
	for _, arch := range []string{"arm64", "amd64"} {
		from := filepath.Join(t.TempDir(), "web")
		if err := os.WriteFile(from, []byte("for "+arch), 0o600); err != nil {
			t.Fatal(err)
		}
		files[arch] = []File{
			{Path: "/srv/bin/web", From: from, Mode: 0o755},
			{Path: "/bin/sito", Link: "../srv/bin/web"},
			{Path: "/tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
		}
	}
	return Image{Names: names, Files: files, Entrypoint: []string{"/srv/bin/web"}, Env: []string{"PATH=/bin"}, User: NonRoot,
		Labels: map[string]string{"org.opencontainers.image.title": "Web"}}
}

func checkWeb(t *testing.T, arch string, image v1.Image) {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	want := v1.Config{Entrypoint: []string{"/srv/bin/web"}, Env: []string{"PATH=/bin"}, User: "65532:65532", WorkingDir: "/",
		Labels: map[string]string{"org.opencontainers.image.title": "Web"}}
	if diff := cmp.Diff(want, config.Config); diff != "" || config.OS != "linux" || config.Architecture != arch {
		t.Errorf("%s: configuration of %s/%s (-want +got):\n%s", arch, config.OS, config.Architecture, diff)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%s: %d layers, %v; want one", arch, len(layers), err)
	}
	entries := []string{
		"drwxr-xr-x 0:0 bin/", "Lrwxrwxrwx 0:0 bin/sito -> ../srv/bin/web", "drwxr-xr-x 0:0 srv/", "drwxr-xr-x 0:0 srv/bin/",
		"-rwxr-xr-x 0:0 srv/bin/web: for " + arch, "dtrwxrwxrwx 0:0 tmp/",
	}
	if diff := cmp.Diff(entries, list(t, layers[0])); diff != "" {
		t.Errorf("%s: files (-want +got):\n%s", arch, diff)
	}
}

func list(t *testing.T, layer v1.Layer) (entries []string) {
	t.Helper()
	content, err := layer.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	for stream := tar.NewReader(content); ; {
		h, err := stream.Next()
		if errors.Is(err, io.EOF) {
			return entries
		} else if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(time.Unix(0, 0)) {
			t.Errorf("%s has time %s, want none", h.Name, h.ModTime)
		}
		entry := fmt.Sprintf("%s %d:%d %s", h.FileInfo().Mode(), h.Uid, h.Gid, h.Name)
		switch h.Typeflag {
		case tar.TypeSymlink:
			entry += " -> " + h.Linkname
		case tar.TypeReg:
			text, err := io.ReadAll(stream)
			if err != nil {
				t.Fatal(err)
			}
			entry += ": " + string(text)
		}
		entries = append(entries, entry)
	}
}

// open unpacks an archive as a runtime would and reads the layout in it.
func open(t *testing.T, archive string) v1.ImageIndex {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("tar", "-xf", archive, "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func TestWriteTwice(t *testing.T) {
	dir := t.TempDir()
	var archives [][]byte
	for i := range 2 {
		path := filepath.Join(dir, fmt.Sprint(i))
		if _, err := Write(path, web(t, "registry.ticino.example/web:1")); err != nil { // from files of other names and times
			t.Fatal(err)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		archives = append(archives, content)
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("the same files made two archives")
	}
	if left, _ := os.ReadDir(dir); len(left) != 2 {
		t.Errorf("beside the archives lies %v", left)
	}
}

func TestWriteRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		names []string
		files []File
		want  string
	}{
		"Twice":    {files: []File{{Path: "/a", Link: "b"}, {Path: "/a", Link: "c"}}, want: "file /a: is there twice"},
		"Relative": {files: []File{{Path: "a", Link: "b"}}, want: `file "a": is no absolute`},
		"Escape":   {files: []File{{Path: "/../a", Link: "b"}}, want: `file "/../a": is no absolute`},
		"Root":     {files: []File{{Path: "/", Mode: fs.ModeDir}}, want: `file "/": is no absolute`},
		"Missing":  {files: []File{{Path: "/a", From: "/none/here"}}, want: "file /a of the image: stat /none/here"},
		"NoTag":    {names: []string{"registry.ticino.example/web"}, files: []File{{Path: "/a", Link: "b"}}, want: "a name is registry/repository:tag"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "archive")
			_, err := Write(path, Image{Names: tc.names, Files: map[string][]File{"amd64": tc.files}})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Write: %v, want %q", err, tc.want)
			}
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("there is an archive, though it failed: %v", err)
			}
		})
	}
}

func TestBusybox(t *testing.T) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("no busybox here; Debian's package busybox-static has it")
	}
	files, err := Busybox(path)
	if err != nil {
		t.Fatal(err)
	}
	links := map[string]string{}
	for _, f := range files {
		links[f.Path] = f.Link
	}
	for _, tool := range []string{"sh", "cat", "wget", "nc", "sleep", "sha256sum"} {
		if links["/bin/"+tool] != "busybox" {
			t.Errorf("/bin/%s is %q, want a link to busybox", tool, links["/bin/"+tool])
		}
	}
	if _, err := Write(filepath.Join(t.TempDir(), "busybox.tar"), Image{
		Names: []string{"broletto.test/busybox:1"}, Files: map[string][]File{runtime.GOARCH: files},
	}); err != nil {
		t.Error(err)
	}
}
