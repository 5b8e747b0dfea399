package kube

import (
	"bytes"
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// tinySets are modules as engines have them: one that is pinned, with a provider, and one of ours, in folder own.
func tinySets(t *testing.T, source, own string) [][]module {
	t.Helper()
	pinned := tinyModule(source, "tofu", "terraform-provider-tiny")
	pinned[0].path = "example.com/acme/terraform-provider-tiny"
	pinned[0].mod = bytes.ReplaceAll(pinned[0].mod, []byte("example.com/tiny "), []byte(pinned[0].path+" "))
	for i := range pinned[0].programs {
		pinned[0].programs[i].pkg = pinned[0].path + "/cmd"
	}
	mine, err := local(own, "mine")
	if err != nil {
		t.Fatal(err)
	}
	return [][]module{pinned, {mine}}
}

func TestEnginesAreInOneFolder(t *testing.T) {
	root, source, own := t.TempDir(), tinySource(t, tinyProgram), t.TempDir()
	write(t, filepath.Join(source, "go.mod"), "module example.com/acme/terraform-provider-tiny\n\ngo 1.26\n", 0o644)
	write(t, filepath.Join(own, "go.mod"), "module example.com/own\n\ngo 1.26\n", 0o644)
	count := filepath.Join(t.TempDir(), "count")
	wrapGo(t, "echo built >> "+count+"\nexec $go \"$@\"")
	mine := func(text string) (dir, says string) {
		write(t, filepath.Join(own, "main.go"), strings.ReplaceAll(tinyProgram, "whole", text), 0o644)
		dir, err := assemble(t.Context(), root, this, newProgress(nil), tinySets(t, source, own)...)
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(filepath.Join(dir, "mine")).CombinedOutput()
		if err != nil {
			t.Fatal(err)
		}
		return dir, strings.TrimSpace(string(out))
	}
	builds := func() int {
		text, _ := os.ReadFile(count)
		return strings.Count(string(text), "built")
	}

	first, says := mine("one")
	if says != "one" || builds() != 3 {
		t.Errorf("ours says %q after %d builds, want one after 3", says, builds())
	}
	platform := runtime.GOOS + "_" + runtime.GOARCH
	for _, place := range []string{
		"tofu",
		"providers/registry.opentofu.org/acme/tiny/1.36.3/" + platform + "/terraform-provider-tiny_v1.36.3",
		"providers/registry.terraform.io/acme/tiny/1.36.3/" + platform + "/terraform-provider-tiny_v1.36.3",
	} {
		if out, err := exec.Command(filepath.Join(first, place)).CombinedOutput(); err != nil || string(out) != "whole\n" {
			t.Errorf("%s: %q, %v", place, out, err)
		}
	}
	if again, _ := mine("one"); again != first || builds() != 3 {
		t.Errorf("%s after %d builds, want %s after 3", again, builds(), first)
	}

	second, says := mine("two")
	if says != "two" || second == first || builds() != 4 {
		t.Errorf("ours says %q in %s after %d builds, want two, elsewhere, after 4", says, second, builds())
	}
	if out, _ := exec.Command(filepath.Join(first, "mine")).CombinedOutput(); string(out) != "one\n" {
		t.Errorf("another checkout's says %q now", out)
	}
	if !sameFile(filepath.Join(first, "tofu"), filepath.Join(second, "tofu")) {
		t.Error("tofu is there twice")
	}
}

func TestFirstEngineNeedsNotWaitForAll(t *testing.T) {
	root, own := t.TempDir(), t.TempDir()
	source := tinySource(t, tinyProgram)
	write(t, filepath.Join(source, "go.mod"), "module example.com/acme/terraform-provider-tiny\n\ngo 1.26\n", 0o644)
	write(t, filepath.Join(own, "go.mod"), "module example.com/own\n\ngo 1.26\n", 0o644)
	write(t, filepath.Join(own, "main.go"), "package main\n\nfunc main() { nonsense() }\n", 0o644)
	_, err := assemble(t.Context(), root, this, newProgress(nil), tinySets(t, source, own)...)
	wantError(t, err, nil, "go build of mine", "undefined: nonsense")
	if found, _ := filepath.Glob(filepath.Join(root, "*", "tofu")); len(found) != 1 {
		t.Errorf("tofu is in %v, want one folder beside parts", found)
	}
}

func TestProviderOfOursIsFoundAndDigested(t *testing.T) {
	source, err := inclusterSource()
	if err != nil {
		t.Fatal(err)
	}
	m, err := local(source, incluster)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "go.mod"), "module example.com/own\n", 0o644)
	base, err := digestOf(dir)
	if err != nil || m.digest == "" || base == m.digest {
		t.Fatalf("digests %q and %q: %v", m.digest, base, err)
	}
	write(t, filepath.Join(dir, "main_test.go"), "package main\n", 0o644)
	if tested, _ := digestOf(dir); tested != base {
		t.Error("a test changes the program")
	}
	write(t, filepath.Join(dir, "main.go"), "package main\n", 0o644)
	if changed, _ := digestOf(dir); changed == base {
		t.Error("another source has the same digest")
	}
}

func TestLinkOfInstalledOnlyComes(t *testing.T) {
	dir, installed := t.TempDir(), t.TempDir()
	program := filepath.Join(installed, "terraform")
	write(t, program, "#!/bin/sh\n", 0o755)
	link := filepath.Join(dir, "terraform")
	for _, step := range []struct{ name, path, want string }{
		{"not installed", t.TempDir(), ""},
		{"installed", installed, program},
		{"installed, for whom has another PATH", t.TempDir(), program},
	} {
		t.Setenv("PATH", step.path)
		if err := linkInstalled(dir, "terraform"); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.Readlink(link); got != step.want {
			t.Errorf("%s: the link leads to %q, want %q", step.name, got, step.want)
		}
	}
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	if err := linkInstalled(dir, "terraform"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(link); err == nil {
		t.Error("a link that leads nowhere stays")
	}
}

// TestEnginesForAnotherMachine cross-compiles: an image for arm64 is made where nothing runs it.
func TestEnginesForAnotherMachine(t *testing.T) {
	root, source, own := t.TempDir(), tinySource(t, tinyProgram), t.TempDir()
	write(t, filepath.Join(source, "go.mod"), "module example.com/acme/terraform-provider-tiny\n\ngo 1.26\n", 0o644)
	write(t, filepath.Join(own, "go.mod"), "module example.com/own\n\ngo 1.26\n", 0o644)
	write(t, filepath.Join(own, "main.go"), tinyProgram, 0o644)
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=t", "-c", "user.email=t@broletto.test", "commit", "-qm", "own"}} {
		if out, err := exec.Command("git", append([]string{"-C", own}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git: %v: %s", err, out)
		}
	}
	folders := map[string]bool{}
	for _, arch := range []string{"amd64", "arm64"} {
		dir, err := assemble(t.Context(), root, machine{"linux", arch}, newProgress(nil), tinySets(t, source, own)...)
		if err != nil {
			t.Fatal(err)
		}
		folders[dir] = true
		for _, place := range []string{"tofu", "mine", "providers/registry.opentofu.org/acme/tiny/1.36.3/linux_" + arch + "/terraform-provider-tiny_v1.36.3"} {
			info, err := buildinfo.ReadFile(filepath.Join(dir, place))
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range info.Settings {
				if s.Key == "GOARCH" && s.Value != arch || s.Key == "GOOS" && s.Value != "linux" {
					t.Errorf("%s for %s is built with %s=%s", place, arch, s.Key, s.Value)
				}
				if strings.HasPrefix(s.Key, "vcs") {
					t.Errorf("%s holds %s=%s: another commit with the same source is another program", place, s.Key, s.Value)
				}
			}
		}
	}
	if len(folders) != 2 {
		t.Errorf("two machines share %v", folders)
	}
}
