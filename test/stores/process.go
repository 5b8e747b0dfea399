package stores

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/broletto/broletto/test/cluster"
)

// process is a server to be started.
type process struct {
	path, dir string
	args, env []string
	serves    func() error // nil: it does
	uid, gid  int          // 0: those of the test
}

// run starts a server that ends with the test, or when it is stopped.
func run(t *testing.T, p process) (stop func()) {
	t.Helper()
	cmd := exec.Command(p.path, p.args...)
	var said bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = p.dir, p.env, &said, &said, attributes(p.uid, p.gid)
	started, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // the kernel kills the child when the thread ends that started it
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	stop = func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
	}
	t.Cleanup(stop)
	cluster.Eventually(t, time.Minute, filepath.Base(p.path)+" serves", func() error {
		select {
		case <-ended:
			t.Fatalf("%s has ended: %s", p.path, &said)
		default:
		}
		return p.serves()
	})
	return stop
}

// Folder is a folder of credentials, as a mounted Secret is.
func Folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
