package mover

import (
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// held is where a pack is.
type held interface {
	io.ReaderAt
	io.Closer
}

// mapped is a pack in memory that the garbage collector neither sees nor doubles.
type mapped struct {
	bytes []byte
	n     int
	over  bool // it is too long
}

func newMapped() (*mapped, error) {
	b, err := unix.Mmap(-1, 0, longest, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	return &mapped{bytes: b}, err
}

func (m *mapped) Write(p []byte) (int, error) {
	if m.n+len(p) > len(m.bytes) {
		m.over = true
		return 0, syscall.EFBIG
	}
	m.n += copy(m.bytes[m.n:], p)
	return len(p), nil
}

func (m *mapped) Length() int { return m.n }

func (m *mapped) Reset() { m.n = 0 }

// ReadAt implements io.ReaderAt.
func (m *mapped) ReadAt(p []byte, at int64) (int, error) {
	n := copy(p, m.bytes[min(at, int64(m.n)):m.n])
	if n < len(p) {
		return n, io.ErrUnexpectedEOF
	}
	return n, nil
}

// Close gives the memory back.
func (m *mapped) Close() error { return unix.Munmap(m.bytes) }

// fileBuffer is a file as kopia's stores write to.
type fileBuffer struct {
	file *os.File
	size int64
	err  error
}

func (b *fileBuffer) Write(p []byte) (int, error) {
	n, err := b.file.Write(p)
	b.size += int64(n)
	if err != nil {
		b.err = err
	}
	return n, err
}

func (b *fileBuffer) Length() int { return int(b.size) }

func (b *fileBuffer) Reset() {
	_, seek := b.file.Seek(0, 0)
	b.size, b.err = 0, errors.Join(b.file.Truncate(0), seek)
}
