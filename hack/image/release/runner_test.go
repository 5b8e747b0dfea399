package release

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"

	"github.com/broletto/broletto/hack/image"
)

// TestRunner makes the runner's image with engines that are quick to build.
func TestRunner(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the runner")
	}
	engines := t.TempDir()
	mirror := "providers/registry.opentofu.org/acme/tiny/1.0.0/tiny"
	other := strings.Replace(mirror, "opentofu.org", "terraform.io", 1)
	tofu := filepath.Join(engines, "tofu")
	if err := (image.Program{Dir: filepath.Join(root, "hack", "image"), Package: "./cmd/pause"}).Build(t.Context(), tofu); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{mirror, other} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(engines, name)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(engines, mirror), "#!/bin/sh\n") // not made by Go
	if err := os.Link(filepath.Join(engines, mirror), filepath.Join(engines, other)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/bin/sh", filepath.Join(engines, "terraform")); err != nil { // as an installed one is linked to
		t.Fatal(err)
	}
	licensed := filepath.Join(t.TempDir(), "terraform_1.11.4")
	write(t, licensed, "licensed")
	o := Options{Program: Runner, Root: clone(t, "a"), Archs: []string{runtime.GOARCH}}
	o.engines = func(context.Context, io.Writer, string, string) (string, []string, error) {
		return engines, []string{"tofu", mirror, other}, nil
	}
	for _, tc := range []struct {
		name string
		add  map[string]string
		want []string
	}{
		{"Ours", nil, []string{"/broletto-runner", "/engines/" + mirror, "/engines/tofu"}},
		{"Added", map[string]string{"terraform": licensed}, []string{"/broletto-runner", "/engines/" + mirror, "/engines/terraform", "/engines/tofu"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o.Out, o.Add = t.TempDir(), tc.add
			made, err := Make(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			tree := filepath.Join(t.TempDir(), "root")
			img := unpack(t, made, tree)
			if diff := cmp.Diff(tc.want, programsIn(t, tree)); diff != "" {
				t.Errorf("programs of the image (-want +got):\n%s", diff)
			}
			if link, err := os.Readlink(filepath.Join(tree, enginesFolder, other)); err != nil || !strings.HasSuffix(link, mirror[len("providers/"):]) {
				t.Errorf("what is there twice is a link to %q, %v", link, err)
			}
			if _, err := os.Stat(filepath.Join(tree, enginesFolder, other)); err != nil {
				t.Errorf("the link leads nowhere: %v", err)
			}
			pem, err := os.ReadFile(filepath.Join(tree, rootsFile))
			if roots := x509.NewCertPool(); err != nil || !roots.AppendCertsFromPEM(pem) {
				t.Errorf("no certificates: %v", err)
			}
			config, err := img.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			if licence := config.Config.Labels["org.opencontainers.image.licenses"]; (licence == "") != (tc.add != nil) {
				t.Errorf("the licence is %q with %v added", licence, tc.add)
			}
			checkApplications(t, made, tc.want)
		})
	}
	o.Archs = []string{"amd64", "arm64"}
	if _, err := Make(t.Context(), o); err == nil || !strings.Contains(err.Error(), "-arch") {
		t.Errorf("one file added for two architectures: %v", err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// programsIn are the files below tree that can be run, and no links.
func programsIn(t *testing.T, tree string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(tree, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if info, err := d.Info(); err != nil || info.Mode()&0o111 == 0 {
			return err
		}
		paths = append(paths, strings.TrimPrefix(path, tree))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// checkApplications wants each program in the bill, with the modules of those that were made by Go.
func checkApplications(t *testing.T, made Made, want []string) {
	t.Helper()
	content, err := os.ReadFile(made.Bill)
	if err != nil {
		t.Fatal(err)
	}
	var bom cdx.BOM
	if err := json.Unmarshal(content, &bom); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range *bom.Components {
		if c.Type == cdx.ComponentTypeApplication {
			got = append(got, strings.TrimPrefix(c.BOMRef, "linux/"+runtime.GOARCH))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("programs in the bill (-want +got):\n%s", diff)
	}
	modules := map[string]int{}
	for _, d := range *bom.Dependencies {
		if d.Dependencies != nil {
			modules[strings.TrimPrefix(d.Ref, "linux/"+runtime.GOARCH)] = len(*d.Dependencies)
		}
	}
	if modules["/broletto-runner"] < 100 || modules["/engines/tofu"] < 1 || modules["/engines/terraform"] != 0 {
		t.Errorf("modules by program: %v", modules)
	}
}
