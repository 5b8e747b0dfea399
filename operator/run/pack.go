package run

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// Limits bound a tree of files that a tenant gave.
type Limits struct {
	// Files is how many files and folders it may have.
	Files int
	// Bytes is how many bytes they may have together.
	Bytes int64
}

// DefaultLimits are those of every source.
var DefaultLimits = Limits{Files: 2000, Bytes: MaxBlob}

const (
	maxPath  = 512
	maxDepth = 32
)

// Hostile says what in a tree of files no source may hold.
type Hostile struct{ Path, Reason string }

// Error names the file, why, and the way out.
func (h *Hostile) Error() string { return fmt.Sprintf("%q %s", Shorten(h.Path, maxPath), h.Reason) }

// Pack makes a tar.gz of a folder, the same for the same files: names in order, no times, no owners. Files and folders only: anything
// else is a [Hostile].
func Pack(dir string) ([]byte, error) {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	t := tar.NewWriter(z)
	left := budget{DefaultLimits}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the folder to pack: %w", err)
	}
	defer func() { _ = root.Close() }()
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		return packOne(root, t, name, d, &left)
	})
	if err = errors.Join(err, t.Close(), z.Close()); err != nil {
		return nil, fmt.Errorf("packing the source: %w", err)
	}
	if buf.Len() > MaxBlob {
		return nil, &Hostile{".", fmt.Sprintf("is larger than %d MiB when packed: take out what is no code", MaxBlob>>20)}
	}
	return buf.Bytes(), nil
}

func packOne(root *os.Root, t *tar.Writer, name string, d fs.DirEntry, left *budget) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	if err := left.take(name, info.Mode(), info.Size()); err != nil {
		return err
	}
	if d.IsDir() {
		return t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, Format: tar.FormatPAX})
	}
	data, err := root.ReadFile(name)
	if err != nil {
		return err
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(mode(info.Mode())), Size: int64(len(data)), Format: tar.FormatPAX}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err = t.Write(data)
	return err
}

// Unpack puts a [Pack] into a folder that exists; nothing leaves it. Links, devices, paths that are absolute or lead out, names twice,
// and more than the limits hold are a [Hostile]; what was unpacked until then stays.
func Unpack(r io.Reader, dir string, limits Limits) error {
	z, err := gzip.NewReader(r)
	if err != nil {
		return fmt.Errorf("opening the pack: %w", err)
	}
	if err := Untar(z, dir, limits); err != nil {
		return err
	}
	// The sum stands behind the padding: a pack that ends before it was torn off.
	if _, err := io.Copy(io.Discard, io.LimitReader(z, 1<<20)); err != nil {
		return fmt.Errorf("reading the pack: %w", err)
	}
	return nil
}

// Untar is [Unpack] without gzip.
func Untar(r io.Reader, dir string, limits Limits) error {
	tree, err := OpenTree(dir, limits)
	if err != nil {
		return err
	}
	return errors.Join(tree.Untar(r), tree.Close())
}

// Tree is a folder that files of a tenant are put into; nothing leaves it.
type Tree struct {
	root *os.Root
	left budget
}

// OpenTree opens a folder that exists.
func OpenTree(dir string, limits Limits) (*Tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the folder for the source: %w", err)
	}
	return &Tree{root, budget{limits}}, nil
}

// Close ends it.
func (t *Tree) Close() error { return t.root.Close() }

// Untar adds what is in an archive; what was added before counts, too.
func (t *Tree) Untar(r io.Reader) error {
	// Whatever the headers say: no more than this is read. Headers and padding come on top of the bytes.
	archive := tar.NewReader(io.LimitReader(r, t.left.Bytes+int64(t.left.Files)*4096+1<<20))
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the pack: %w", err)
		}
		if err := t.addEntry(h, archive); err != nil {
			return err
		}
	}
}

func (t *Tree) addEntry(h *tar.Header, r io.Reader) error {
	m := fs.ModeIrregular
	switch h.Typeflag {
	case tar.TypeXGlobalHeader: // git archive says there which commit it was
		return nil
	case tar.TypeReg:
		m = fs.FileMode(h.Mode & 0o777)
	case tar.TypeDir:
		m = fs.ModeDir
	}
	name := strings.TrimSuffix(strings.TrimPrefix(h.Name, "./"), "/")
	if m.IsDir() && (name == "" || name == ".") {
		return nil
	}
	return t.Add(name, m, h.Size, r)
}

// Add adds a file of so many bytes, or a folder. Of its mode counts what it is, and whether it can be run.
func (t *Tree) Add(name string, m fs.FileMode, size int64, r io.Reader) error {
	if err := t.left.take(name, m, size); err != nil {
		return err
	}
	folder := name
	if !m.IsDir() {
		folder = path.Dir(name)
	}
	if err := t.root.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("unpacking %q: %w", name, err)
	}
	if m.IsDir() {
		return nil
	}
	f, err := t.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode(m))
	if errors.Is(err, fs.ErrExist) {
		return &Hostile{name, "is there twice: a source has each file once"}
	}
	if err != nil {
		return fmt.Errorf("unpacking %q: %w", name, err)
	}
	n, err := io.Copy(f, io.LimitReader(r, size))
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("unpacking %q: %w", name, err)
	}
	return nil
}

// budget is what is left of the limits.
type budget struct{ Limits }

// take judges one entry, and takes it off what is left.
func (b *budget) take(name string, m fs.FileMode, size int64) error {
	if reason := badPath(name); reason != "" {
		return &Hostile{name, reason}
	}
	if !m.IsRegular() && !m.IsDir() {
		return &Hostile{name, "is neither a file nor a folder: a source has no links, devices or sockets; put a copy in their place"}
	}
	if b.Files--; b.Files < 0 {
		return &Hostile{name, "is one file too many: take out what is no code, or split the stack"}
	}
	if m.IsDir() {
		return nil
	}
	if size < 0 || size > b.Bytes {
		return &Hostile{name, "makes the source too large: take out what is no code"}
	}
	b.Bytes -= size
	return nil
}

// badPath says what is wrong with a path; empty: nothing.
func badPath(name string) string {
	switch {
	case name == "" || !filepath.IsLocal(name) || path.Clean(name) != name:
		return "is no path inside the source: use one without .. and without / at its front"
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }):
		return "has characters that no file of a source may have: rename it"
	case len(name) > maxPath || strings.Count(name, "/") >= maxDepth:
		return "is too long or too deep: shorten the path"
	}
	return ""
}

// mode keeps of a file's mode whether it can be run.
func mode(m fs.FileMode) fs.FileMode {
	if m&0o111 != 0 {
		return 0o755
	}
	return 0o644
}
