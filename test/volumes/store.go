package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/broletto/broletto/hack/kube"
)

// The gateway's.
const (
	accessKey = "broletto"
	secretKey = "segreto-del-deposito"
	bucket    = "volumi"
)

// gateway is an S3 store over a folder, that writes down each request.
type gateway struct {
	addr, root, log string
	command         *exec.Cmd
}

func startGateway(ctx context.Context, dir string, progress io.Writer) (*gateway, error) {
	programs, err := kube.BuildStores(ctx, progress)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &gateway{addr: l.Addr().String(), root: filepath.Join(dir, "gateway"), log: filepath.Join(dir, "requests")}
	if err := errors.Join(l.Close(), os.MkdirAll(filepath.Join(g.root, bucket), 0o700)); err != nil {
		return nil, err
	}
	var said bytes.Buffer
	g.command = exec.Command(filepath.Join(programs, "versitygw"), "--port", g.addr, "--quiet", "--access-log", g.log, "posix", g.root)
	g.command.Env = []string{"ROOT_ACCESS_KEY_ID=" + accessKey, "ROOT_SECRET_ACCESS_KEY=" + secretKey, "HOME=" + dir}
	g.command.Stdout, g.command.Stderr = &said, &said
	if err := g.command.Start(); err != nil {
		return nil, err
	}
	for begun := time.Now(); ; {
		c, err := net.Dial("tcp", g.addr)
		if err == nil {
			return g, c.Close()
		}
		if time.Since(begun) > time.Minute {
			g.stop()
			return nil, fmt.Errorf("the gateway does not serve: %w: %s", err, &said)
		}
		if err := wait(ctx, 50*time.Millisecond); err != nil {
			g.stop()
			return nil, err
		}
	}
}

func (g *gateway) stop() {
	_ = g.command.Process.Signal(syscall.SIGTERM) // it may have ended already
	_ = g.command.Wait()
}

// requests is how many were made until now.
func (g *gateway) requests() int {
	text, _ := os.ReadFile(g.log) // no file: no request
	return bytes.Count(text, []byte("\n"))
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// delay is a way to an address that takes half a latency in each direction, whatever the rate. It returns where the way begins.
func delay(ctx context.Context, to string, latency time.Duration) (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	go func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", to)
			if err != nil {
				_ = a.Close()
				continue
			}
			go late(a, b, latency/2)
			go late(b, a, latency/2)
		}
	}()
	return l.Addr().String(), nil
}

// late copies from one connection to another, each byte a while after it came.
func late(from, to net.Conn, by time.Duration) {
	type piece struct {
		text []byte
		due  time.Time
	}
	pieces := make(chan piece, 4096)
	go func() {
		defer close(pieces)
		for {
			b := make([]byte, 64<<10)
			n, err := from.Read(b)
			if n > 0 {
				pieces <- piece{b[:n], time.Now().Add(by)}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range pieces {
		<-time.After(time.Until(p.due))
		if _, err := to.Write(p.text); err != nil {
			break
		}
	}
	_ = to.Close()
	for range pieces { // nobody wants the rest
	}
}

// size is how many bytes are in a folder.
func size(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error { // what goes meanwhile does not count
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}
