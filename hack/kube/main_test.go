package kube

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// Some promises are about several processes, or about one that is killed. For those the test binary runs
// itself: helperVariable says what to do instead of testing.
const helperVariable = "KUBE_TEST_HELPER"

var helpers = map[string]func(args []string) error{
	"build": helpBuild,
	"spawn": helpSpawn,
	"hold":  helpHold,
}

func TestMain(m *testing.M) {
	if name := os.Getenv(helperVariable); name != "" {
		if err := helpers[name](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// helper is a run of the test binary as another process.
func helper(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), helperVariable+"="+name)
	return cmd
}

// write makes a file with its folders.
func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in 20 s: %s", what)
		}
	}
}

// tinyModule builds programs of a few lines from source. They print "whole" when they run.
func tinyModule(source string, names ...string) []module {
	mod := "module example.com/build\n\ngo 1.26\n\nrequire example.com/tiny v1.36.3\n\n" +
		"replace example.com/tiny => " + source + "\n"
	m := module{path: "example.com/tiny", mod: []byte(mod)}
	for _, name := range names {
		m.programs = append(m.programs, program{name: name, pkg: "example.com/tiny/cmd"})
	}
	return []module{m}
}

const tinyProgram = "package main\n\nfunc main() { println(\"whole\") }\n"

// tinySource writes the source of tinyModule.
func tinySource(t *testing.T, program string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "go.mod"), "module example.com/tiny\n\ngo 1.26\n", 0o644)
	write(t, filepath.Join(dir, "cmd", "main.go"), program, 0o644)
	return dir
}

// wrapGo puts a shell script in front of the go command for "go build"; $go is the real one in it.
func wrapGo(t *testing.T, script string) {
	t.Helper()
	real, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "go"),
		"#!/bin/sh\ngo="+real+"\n[ \"$1\" = build ] || exec $go \"$@\"\n"+script+"\n", 0o755)
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func tinyBuilder(t *testing.T, root string, modules []module) (builder, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	return builder{root: root, modules: modules, progress: newProgress(&out), heartbeat: time.Hour}, &out
}

// helpBuild is what each of many processes does: args are the cache and the source.
func helpBuild(args []string) error {
	b := builder{root: args[0], modules: tinyModule(args[1], "tiny"), progress: newProgress(os.Stdout), heartbeat: time.Hour}
	dir, err := b.all(context.Background(), []string{"tiny"})
	if err != nil {
		return err
	}
	out, err := exec.Command(filepath.Join(dir, "tiny")).CombinedOutput()
	if err != nil {
		return fmt.Errorf("half a binary: %w: %q", err, out)
	}
	if strings.TrimSpace(string(out)) != "whole" {
		return fmt.Errorf("half a binary: %q", out)
	}
	return nil
}

// helpSpawn starts two processes that live for an hour and prints their ids. The threads that ask for them end at
// once, which must not be taken for our death. Two, because the main thread never ends, and may be one of them.
func helpSpawn([]string) error {
	var ready, asked sync.WaitGroup
	ready.Add(2)
	for range 2 {
		asked.Go(func() {
			runtime.LockOSThread() // and never unlocked, so the thread ends with the goroutine
			ready.Done()
			ready.Wait()
			cmd := exec.Command("sleep", "3600")
			if _, err := Spawn(cmd); err != nil {
				fmt.Println(err)
				return
			}
			fmt.Println(cmd.Process.Pid)
		})
	}
	asked.Wait()
	select {}
}

// helpHold opens the data folder args[0], says so, and holds it.
func helpHold(args []string) error {
	if _, err := openDataDir(context.Background(), args[0]); err != nil {
		return err
	}
	fmt.Println("held")
	select {}
}
