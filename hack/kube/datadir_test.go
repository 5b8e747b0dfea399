package kube

import (
	"bufio"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestDataFolderInUse(t *testing.T) {
	dir := t.TempDir()
	cmd := helper(t, "hold", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "held\n" {
		t.Fatal(line, err)
	}
	_, err = Start(t.Context(), Options{Dir: dir})
	wantError(t, err, ErrDirInUse, dir, "started by process "+strconv.Itoa(cmd.Process.Pid), "choose another folder")

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	d, err := openDataDir(t.Context(), dir)
	if err != nil {
		t.Fatal("the lock of a dead process is in the way:", err)
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}
}

func TestDataFolderIsInUseAsLongAsAProcessLives(t *testing.T) {
	d, err := openDataDir(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(t.TempDir(), "server")
	write(t, binary, "#!/bin/sh\nexec sleep 3600\n", 0o755)
	p, err := startProcess(d.path, d.held, binary, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop(0)
	if err := d.held.Close(); err != nil { // as if we had been killed
		t.Fatal(err)
	}
	if held, err := tryLock(d.file(lockName)); held != nil || err != nil {
		t.Errorf("the folder is free while etcd may be writing there: %v", err)
	}
	p.stop(0)
	if held, err := tryLock(d.file(lockName)); held == nil {
		t.Errorf("the folder is still in use: %v", err)
	} else {
		_ = held.Close()
	}
}

func TestDataFolderOfSomebodyElse(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "thesis.tex"), "", 0o644)
	_, err := Start(t.Context(), Options{Dir: dir})
	wantError(t, err, ErrForeignDir, dir, "thesis.tex", "choose an empty or a new folder")
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("it wrote there: %v", entries)
	}
}

func TestDataFolderOfAnotherVersion(t *testing.T) {
	dir := t.TempDir()
	claim := func(kubernetes, etcd string) error {
		d, err := openDataDir(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		return errors.Join(d.claim(kubernetes, etcd), d.close())
	}
	if err := claim("v1.35.2", "v3.6.1"); err != nil {
		t.Fatal(err)
	}
	if err := claim("v1.35.9", "v3.6.16"); err != nil {
		t.Error("a patch release is in the way:", err)
	}
	wantError(t, claim("v1.36.3", "v3.6.16"), ErrOtherDir, dir, "Kubernetes 1.35", "this is 1.36", "remove it")
	wantError(t, claim("v1.35.2", "v3.7.0"), ErrOtherDir, dir, "etcd 3.6", "with 3.7")

	write(t, filepath.Join(dir, stateName), "not JSON", 0o600)
	_, err := openDataDir(t.Context(), dir)
	wantError(t, err, nil, stateName, "remove the folder")
}

func TestTemporaryDataFolderIsRemoved(t *testing.T) {
	d, err := openDataDir(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(d.path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v; want only the owner in", info.Mode(), err)
	}
	if err := d.close(); err != nil || exists(d.path) {
		t.Errorf("still there: %v", err)
	}
}

func TestPorts(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	taken := l.Addr().(*net.TCPAddr).Port

	_, err = Start(t.Context(), Options{Port: taken})
	wantError(t, err, ErrPortTaken, "port "+strconv.Itoa(taken)+" on 127.0.0.1: already in use", "choose another port")

	if port, err := choosePort(0, taken); err != nil || port == taken || port == 0 {
		t.Errorf("got %d, %v when the remembered port is taken; want another", port, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if port, err := choosePort(0, taken); err != nil || port != taken {
		t.Errorf("got %d, %v when the remembered port is free; want it: %d", port, err, taken)
	}
	if _, err := choosePort(70000, 0); err == nil || !strings.Contains(err.Error(), "70000") {
		t.Errorf("got %v for a port that cannot be", err)
	}
}
