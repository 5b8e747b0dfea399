//go:build linux

package csi

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"
)

// copyTree copies a folder to a new one. A pod may change the source meanwhile: what vanishes is left out, and as both sides are opened as roots, no
// symbolic link that it puts in our way leads out of its volume.
func copyTree(ctx context.Context, from, to string) error {
	source, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	target, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer func() { _ = target.Close() }()
	c := copier{source: source, target: target}
	err = fs.WalkDir(source.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = c.entry(name, d)
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return errors.Join(err, ctx.Err())
	})
	for _, f := range slices.Backward(c.folders) { // last, as what is put into a folder changes its time
		err = errors.Join(err, c.liken(f.name, f.info))
	}
	return err
}

type copier struct {
	source, target *os.Root
	folders        []folder
}

type folder struct {
	name string
	info fs.FileInfo
}

// entry copies one file, link or empty folder.
func (c *copier) entry(name string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	switch {
	case name == ".":
		c.folders = append(c.folders, folder{name, info})
	case info.IsDir():
		c.folders = append(c.folders, folder{name, info})
		return c.target.Mkdir(name, 0o700)
	case info.Mode()&fs.ModeSymlink != 0:
		return c.link(name, info)
	case info.Mode().IsRegular():
		return c.file(name)
	}
	return nil
}

func (c *copier) link(name string, info fs.FileInfo) error {
	to, err := c.source.Readlink(name)
	if err != nil {
		return err
	}
	if err := c.target.Symlink(to, name); err != nil {
		return err
	}
	uid, gid := owner(info)
	return c.target.Lchown(name, uid, gid)
}

func (c *copier) file(name string) error {
	in, err := c.source.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // no waiting, should it be a pipe by now
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	info, err := in.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	out, err := c.target.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	return c.liken(name, info)
}

// liken gives a copy the owner, mode and time of its model: in this order, as a new owner costs the set-user-id bit.
func (c *copier) liken(name string, info fs.FileInfo) error {
	uid, gid := owner(info)
	return errors.Join(
		c.target.Chown(name, uid, gid),
		c.target.Chmod(name, info.Mode()),
		c.target.Chtimes(name, info.ModTime(), info.ModTime()),
	)
}

func owner(info fs.FileInfo) (uid, gid int) {
	s := info.Sys().(*syscall.Stat_t)
	return int(s.Uid), int(s.Gid)
}
