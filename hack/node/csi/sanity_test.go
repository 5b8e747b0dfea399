//go:build linux

package csi

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
)

// TestSanity holds the driver to the CSI specification with the suite of its authors.
func TestSanity(t *testing.T) {
	requireMounts(t)
	dir := t.TempDir()
	n := Node{Name: "node-a", Root: filepath.Join(dir, "root"), Kubelet: filepath.Join(dir, "kubelet")}
	c := Controller{Root: n.Root, Socket: filepath.Join(dir, "csi.sock")}
	start(t, n.socket(), n.Serve)
	start(t, c.Socket, c.Serve)
	config := sanity.NewTestConfig()
	config.Address, config.ControllerAddress = "unix:"+n.socket(), "unix:"+c.Socket
	config.TargetPath, config.StagingPath = filepath.Join(dir, "target"), filepath.Join(dir, "staging")
	sanity.Test(t, config)
}

// start runs a process of the driver until the test ends.
func start(t *testing.T, socket string, serve func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for range 500 {
		if _, err := os.Stat(socket); err == nil {
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatal(err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Fatalf("%s: not there after five seconds", socket)
}
