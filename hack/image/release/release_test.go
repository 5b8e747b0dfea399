package release

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

const root = "../../.."

// TestMake makes the release of the last commit, for this machine alone, in two clones that differ in all that must not matter.
func TestMake(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the operator twice")
	}
	first, second := clone(t, "a"), clone(t, "somewhere/else")
	if _, err := git(t.Context(), second, "-c", "user.name=t", "-c", "user.email=t@broletto.test", "tag", "-a", "-m", "v", "v9.9.9"); err != nil {
		t.Fatal(err)
	}
	made := makeOne(t, first)
	t.Run("Reproducible", func(t *testing.T) {
		t.Setenv("GOFLAGS", "-buildvcs=true")
		again := makeOne(t, second)
		same(t, made.Archive, again.Archive)
		same(t, made.Bill, again.Bill)
		if made.Digest != again.Digest {
			t.Errorf("digests %s and %s", made.Digest, again.Digest)
		}
	})
	tree := filepath.Join(t.TempDir(), "root")
	img := unpack(t, made, tree)
	t.Run("Files", func(t *testing.T) { checkFiles(t, tree) })
	t.Run("Config", func(t *testing.T) { checkConfig(t, first, img) })
	t.Run("Bill", func(t *testing.T) { checkBill(t, made, filepath.Join(tree, "broletto")) })
	t.Run("Runs", func(t *testing.T) { checkRuns(t, tree, img) })
	t.Run("Dirty", func(t *testing.T) {
		if err := os.WriteFile(filepath.Join(second, "operator/cmd/broletto/new.go"), []byte("package main\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if dirty := makeOne(t, second); !dirty.Dirty || !strings.HasSuffix(dirty.Name, "-dirty") || dirty.Digest == made.Digest {
			t.Errorf("made with a file that no commit has: %s, %s, dirty %t", dirty.Name, dirty.Digest, dirty.Dirty)
		}
	})
}

func clone(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if _, err := git(t.Context(), ".", "clone", "-q", "--no-tags", root, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func makeOne(t *testing.T, root string) Made {
	t.Helper()
	made, err := Make(t.Context(), Options{Program: Operator, Root: root, Out: t.TempDir(), Archs: []string{runtime.GOARCH}})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func same(t *testing.T, a, b string) {
	t.Helper()
	one, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one, other) {
		t.Errorf("%s differs between two clones of one commit", filepath.Base(a))
	}
}

// unpack checks the archive and unpacks the files of the one image in it into tree, as a runtime would.
func unpack(t *testing.T, made Made, tree string) v1.Image {
	t.Helper()
	dir := t.TempDir()
	run(t, "tar", "-xf", made.Archive, "-C", dir)
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	digest, err := v1.NewHash(made.Digest)
	if err != nil {
		t.Fatal(err)
	}
	platforms, err := index.ImageIndex(digest)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := platforms.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	img, err := platforms.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	files := mutate.Extract(img)
	defer func() { _ = files.Close() }()
	cmd := exec.Command("tar", "-xpf", "-", "-C", tree)
	cmd.Stdin = files
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	return img
}

// checkFiles finds the program and nothing else: no shell, no package manager, no user database.
func checkFiles(t *testing.T, tree string) {
	entries, err := os.ReadDir(tree)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, info.Mode().String()+" "+e.Name())
	}
	if diff := cmp.Diff([]string{"-rwxr-xr-x broletto"}, got); diff != "" {
		t.Errorf("files of the image (-want +got):\n%s", diff)
	}
}

func checkConfig(t *testing.T, clone string, img v1.Image) {
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c, err := head(t.Context(), clone)
	if err != nil {
		t.Fatal(err)
	}
	if !config.Created.Equal(c.time) {
		t.Errorf("created %s, want %s, the time of the commit", config.Created, c.time)
	}
	version, err := Version(clone)
	if err != nil {
		t.Fatal(err)
	}
	want := v1.Config{User: "65532:65532", Entrypoint: []string{"/broletto"}, WorkingDir: "/", Labels: programs[Operator].labels(c, version, nil)}
	if diff := cmp.Diff(want, config.Config); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

// checkBill holds the bill against what the go command says of the binary.
func checkBill(t *testing.T, made Made, binary string) {
	content, err := os.ReadFile(made.Bill)
	if err != nil {
		t.Fatal(err)
	}
	var bom cdx.BOM
	if err := json.Unmarshal(content, &bom); err != nil {
		t.Fatal(err)
	}
	if bom.Metadata.Component.BOMRef != made.Digest || bom.Metadata.Timestamp != "" {
		t.Errorf("the bill is of %s, at %q; want %s and no time", bom.Metadata.Component.BOMRef, bom.Metadata.Timestamp, made.Digest)
	}
	got := map[string]string{}
	for _, c := range *bom.Components {
		if c.Type == cdx.ComponentTypeLibrary {
			got[c.Name] = c.Version
		}
	}
	want := map[string]string{"std": strings.TrimPrefix(runtime.Version(), "go")}
	for _, m := range regexp.MustCompile(`(?m)^\tdep\t(\S+)\t(\S+)`).FindAllStringSubmatch(run(t, "go", "version", "-m", binary), -1) {
		want[m[1]] = m[2]
	}
	const ours = "github.com/broletto/broletto/hack/kube" // replaced by a folder, so of this version
	want[ours] = bom.Metadata.Component.Version
	if diff := cmp.Diff(want, got); diff != "" || len(want) < 20 {
		t.Errorf("modules (-want of go version -m, +got in the bill):\n%s", diff)
	}
	if refs := *(*bom.Dependencies)[1].Dependencies; len(refs) != len(got) {
		t.Errorf("the binary depends on %d components, want all %d", len(refs), len(got))
	}
}

// TestChart: the chart asks for the images that are made, and for the program in the operator's.
func TestChart(t *testing.T) {
	for file, want := range map[string]string{
		"values.yaml":               "  repository: " + registry + Operator,
		"../broletto/values.yaml":   "  image:\n    repository: " + registry + Runner,
		"./values.yaml":             "  image:\n    repository: " + registry + Mover,
		"templates/deployment.yaml": "          command: [/" + Operator + ", operator]",
	} {
		content, err := os.ReadFile(filepath.Join(root, "charts/broletto", file))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(content), "\n"+want+"\n") {
			t.Errorf("the chart's %s does not say %q", file, want)
		}
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
	return string(out)
}
