package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// File is a file, link or folder of an image. All belong to root: who must not be root must not write them either.
type File struct {
	Path string      // in the image, absolute
	From string      // file of this machine with the content
	Link string      // instead of From: what a symbolic link points to
	Mode fs.FileMode // permissions; with fs.ModeDir a folder, which needs no From. Folders on the way to a file are made, with 0755.
}

// layer checks files and returns what writes them as a tar stream, each time anew: an image is read several times on its way.
func layer(files []File, at time.Time) (func() (io.ReadCloser, error), error) {
	headers, sources, err := headers(files, at)
	if err != nil {
		return nil, err
	}
	return func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() {
			stream := tar.NewWriter(w)
			_ = w.CloseWithError(errors.Join(write(stream, headers, sources), stream.Close()))
		}()
		return r, nil
	}, nil
}

// headers are the entries of the stream, folders before what is in them, and where content comes from, by name of the entry.
func headers(files []File, at time.Time) ([]*tar.Header, map[string]string, error) {
	entries, sources := map[string]*tar.Header{}, map[string]string{}
	for _, f := range files {
		h, err := f.header(at)
		if err != nil {
			return nil, nil, err
		}
		if _, twice := entries[h.Name]; twice {
			return nil, nil, fmt.Errorf("file %s: is there twice; give each path once", f.Path)
		}
		entries[h.Name] = h
		if h.Typeflag == tar.TypeReg {
			sources[h.Name] = f.From
		}
	}
	for _, f := range files {
		for dir := path.Dir(f.Path); dir != "/"; dir = path.Dir(dir) {
			if name := dir[1:] + "/"; entries[name] == nil {
				entries[name] = &tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, ModTime: at}
			}
		}
	}
	var sorted []*tar.Header
	for _, h := range entries {
		sorted = append(sorted, h)
	}
	slices.SortFunc(sorted, func(a, b *tar.Header) int { return strings.Compare(a.Name, b.Name) })
	return sorted, sources, nil
}

func (f File) header(at time.Time) (*tar.Header, error) {
	if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/" {
		return nil, fmt.Errorf("file %q: is no absolute, clean path inside the image", f.Path)
	}
	h := &tar.Header{Name: f.Path[1:], ModTime: at, Mode: int64(f.Mode.Perm())}
	if f.Mode&fs.ModeSticky != 0 {
		h.Mode |= 0o1000
	}
	switch {
	case f.Mode.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
	case f.Link != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.Link, 0o777
	default:
		info, err := os.Stat(f.From)
		if err != nil {
			return nil, fmt.Errorf("file %s of the image: %w", f.Path, err)
		}
		h.Typeflag, h.Size = tar.TypeReg, info.Size()
	}
	return h, nil
}

func write(stream *tar.Writer, headers []*tar.Header, sources map[string]string) error {
	for _, h := range headers {
		if err := stream.WriteHeader(h); err != nil {
			return err
		}
		if source, ok := sources[h.Name]; ok {
			if err := copyFile(stream, source); err != nil {
				return err
			}
		}
	}
	return nil
}

func copyFile(w io.Writer, source string) error {
	f, err := os.Open(source)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return errors.Join(err, f.Close())
}
