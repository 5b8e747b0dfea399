package node

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// within does something in the network of a process, as if it were that process.
func within(pid int, do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this function
		network, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err == nil {
			err = errors.Join(unix.Setns(int(network.Fd()), unix.CLONE_NEWNET), network.Close())
		}
		if err == nil {
			err = do()
		}
		done <- err
	}()
	return <-done
}

// dial tries whether a process could connect to an address.
func dial(pid int, address string) error {
	return within(pid, func() error {
		c, err := net.DialTimeout("tcp", address, 1500*time.Millisecond)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// process is the number of one whose file below /proc contains all the words.
func process(file string, words ...string) (pid int, err error) {
	all, err := filepath.Glob("/proc/[0-9]*/" + file)
	if err != nil {
		return 0, err
	}
next:
	for _, path := range all {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has just ended
		}
		for _, word := range words {
			if !bytes.Contains(text, []byte(word)) {
				continue next
			}
		}
		return strconv.Atoi(strings.Split(path, "/")[2])
	}
	return 0, fmt.Errorf("no process has %q in its %s", words, file)
}

// gitServer serves a repository with the files of a folder, over https, at an address of the world's. It says by which certificate it is known.
func gitServer(t *testing.T, folder, address string) (url string, ca []byte) {
	t.Helper()
	world, err := process("cmdline", the.dir, "probe\x00serve", "--name=world")
	if err != nil {
		t.Fatal(err)
	}
	repository := filepath.Join(t.TempDir(), "cantiere")
	if err := os.CopyFS(repository, os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	environment := []string{"GIT_CONFIG_NOSYSTEM=1", "HOME=" + repository, "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}
	git := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", repository, "-c", "user.name=n", "-c", "user.email=e@broletto.test"}, args...)...)
		cmd.Env = append(slices.Clone(environment), "PATH="+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q", "-b", "main")
	git("add", "-A")
	git("commit", "-q", "-m", "cantiere")
	server := httptest.NewUnstartedServer(http.Handler(&cgi.Handler{
		Path: filepath.Join(git("--exec-path"), "git-http-backend"), Stderr: io.Discard,
		Env: append(environment, "GIT_PROJECT_ROOT="+filepath.Dir(repository), "GIT_HTTP_EXPORT_ALL=1"),
	}))
	_ = server.Listener.Close()
	if err := within(world, func() (err error) { server.Listener, err = net.Listen("tcp", address); return err }); err != nil {
		t.Fatal(err)
	}
	certificate, ca := certified(t, address)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return "https://" + address + "/cantiere/.git", ca
}
