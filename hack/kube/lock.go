//go:build unix

package kube

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"
)

// A lock is held through an open file, so it goes with the process that holds it, however that ends. The file stays:
// its existence means nothing, and removing it would let two processes lock two files of one name.

// tryLock locks the file at once, or returns nil when another process holds it.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, nil
	}
	return nil, &os.PathError{Op: "flock", Path: path, Err: err}
}

// lock waits for the lock until ctx ends, and calls waiting once if it has to.
func lock(ctx context.Context, path string, waiting func()) (*os.File, error) {
	for first := true; ; first = false {
		f, err := tryLock(path)
		if f != nil || err != nil {
			return f, err
		}
		if first {
			waiting()
		}
		// A blocking flock could not be cancelled.
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
