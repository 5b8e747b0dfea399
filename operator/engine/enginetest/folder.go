package enginetest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/broletto/broletto/hack/kube"
	"github.com/broletto/broletto/operator/run"
)

// Folder is where the engines are, as in a runner's image: those that the environment names, else those that hack/kube builds, once.
func Folder(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv(run.EnvEngines); dir != "" {
		return dir
	}
	dir, err := kube.BuildEngines(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Binary is the path of a program in [Folder].
func Binary(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(Folder(t), name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: go run -C hack/kube ./cmd/kube build-engines", err)
	}
	return path
}
