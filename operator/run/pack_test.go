package run_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/broletto/broletto/operator/run"
)

func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[filepath.ToSlash(name)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestPackRoundTrip(t *testing.T) {
	from, to, files := t.TempDir(), t.TempDir(), map[string]string{"main.tf": "a", "modules/x/main.tf": "b", "empty.txt": "", "städte.tf": "c"}
	write(t, from, files)
	if err := os.Chmod(filepath.Join(from, "main.tf"), 0o700); err != nil {
		t.Fatal(err)
	}
	one, err := run.Pack(from)
	if err != nil {
		t.Fatal(err)
	}
	if two, _ := run.Pack(from); !bytes.Equal(one, two) {
		t.Error("the same folder makes two packs")
	}
	if err := run.Unpack(bytes.NewReader(one), to, run.DefaultLimits); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(files, read(t, to)); diff != "" {
		t.Error(diff)
	}
	if info, err := os.Stat(filepath.Join(to, "main.tf")); err != nil || info.Mode().Perm()&0o100 == 0 {
		t.Errorf("what could be run cannot any more: %v %v", info, err)
	}
}

func TestPackRefusesLinks(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "a.tf")); err != nil {
		t.Fatal(err)
	}
	var hostile *run.Hostile
	if _, err := run.Pack(dir); !errors.As(err, &hostile) || hostile.Path != "a.tf" {
		t.Errorf("packing a link: %v", err)
	}
}

// archive makes a tar.gz of headers; each file's text is its name, or as many bytes as its size says.
func archive(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg && h.Size == 0 {
			h.Size = int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func hostileArchives(t testing.TB) map[string][]byte {
	file := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name} }
	many := make([]tar.Header, 0, 2001)
	for i := range 2001 {
		many = append(many, file(strings.Repeat("f", 1+i%40)+strings.Repeat("g", 1+i/40)))
	}
	return map[string][]byte{
		"a symbolic link":         archive(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "a", Linkname: "/etc"}, file("a/passwd")),
		"a symbolic link inside":  archive(t, file("b"), tar.Header{Typeflag: tar.TypeSymlink, Name: "a", Linkname: "b"}),
		"a hard link":             archive(t, tar.Header{Typeflag: tar.TypeLink, Name: "a", Linkname: "/etc/passwd"}),
		"a device":                archive(t, tar.Header{Typeflag: tar.TypeChar, Name: "a", Devmajor: 1, Devminor: 5}),
		"a pipe":                  archive(t, tar.Header{Typeflag: tar.TypeFifo, Name: "a"}),
		"a way out":               archive(t, file("../a")),
		"a way out further down":  archive(t, file("a/../../b")),
		"a path that winds":       archive(t, file("a/../b")),
		"an absolute path":        archive(t, file("/etc/a")),
		"an absolute folder":      archive(t, tar.Header{Typeflag: tar.TypeDir, Name: "//"}),
		"a name twice":            archive(t, file("a"), file("a")),
		"a backslash":             archive(t, file(`..\a`)),
		"a line break":            archive(t, file("a\nb")),
		"too deep":                archive(t, file(strings.Repeat("a/", 40)+"b")),
		"too long":                archive(t, file(strings.Repeat("a", 250)+"/"+strings.Repeat("b", 250)+"/"+strings.Repeat("c", 200))),
		"too many":                archive(t, many...),
		"a bomb":                  archive(t, tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: 40 << 20}),
		"a bomb of several parts": archive(t, tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: 20 << 20}, tar.Header{Typeflag: tar.TypeReg, Name: "b", Size: 20 << 20}),
	}
}

func TestUnpackRefuses(t *testing.T) {
	for name, data := range hostileArchives(t) {
		t.Run(name, func(t *testing.T) {
			outer := t.TempDir()
			dir := filepath.Join(outer, "in")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			var hostile *run.Hostile
			if err := run.Unpack(bytes.NewReader(data), dir, run.DefaultLimits); !errors.As(err, &hostile) {
				t.Errorf("got %v", err)
			}
			if entries, _ := os.ReadDir(outer); len(entries) != 1 {
				t.Errorf("something got out: %v", entries)
			}
		})
	}
}

func TestUnpackOfATornPack(t *testing.T) {
	whole := archive(t, tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: 4096})
	for _, n := range []int{0, 1, 10, len(whole) / 2, len(whole) - 9} {
		if err := run.Unpack(bytes.NewReader(whole[:n]), t.TempDir(), run.DefaultLimits); err == nil {
			t.Errorf("%d of %d bytes were enough", n, len(whole))
		}
	}
}

func FuzzUnpack(f *testing.F) {
	for name, data := range hostileArchives(f) {
		if !strings.Contains(name, "bomb") && !strings.Contains(name, "many") {
			f.Add(data)
		}
	}
	f.Add(archive(f, tar.Header{Typeflag: tar.TypeReg, Name: "./a/b"}, tar.Header{Typeflag: tar.TypeDir, Name: "./"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "in")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		_ = run.Unpack(bytes.NewReader(data), dir, run.Limits{Files: 20, Bytes: 1 << 16})
		if entries, _ := os.ReadDir(outer); len(entries) != 1 {
			t.Errorf("something got out: %v", entries)
		}
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() && !d.Type().IsRegular() {
				t.Errorf("%s is %s", path, d.Type())
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}
