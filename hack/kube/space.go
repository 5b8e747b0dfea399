//go:build unix

package kube

import (
	"fmt"
	"path/filepath"
	"syscall"
)

// What must be free beforehand: running out in the middle is slower to find out and harder to understand.
const (
	cacheSpace = 512 << 20 // the binaries
	dataSpace  = 256 << 20 // etcd allocates its first log segments in full
)

// requireSpace fails when the file system of dir has fewer bytes left than needed.
func requireSpace(dir string, need uint64, wayOut string) error {
	for !exists(dir) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
	}
	var fs syscall.Statfs_t
	err := syscall.Statfs(dir, &fs)
	free := uint64(fs.Bavail) * uint64(fs.Bsize) //nolint:unconvert // the types of these fields differ between systems
	if err == nil && free < need {               // a file system that cannot tell is no reason not to try
		return &Error{
			Object: dir,
			Cause:  fmt.Errorf("%w: %d MiB needed, %d MiB free", ErrNoSpace, need>>20, free>>20),
			WayOut: wayOut,
		}
	}
	return nil
}
