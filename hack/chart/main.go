// Command chart writes what the Helm chart shares with config/: see package generated. Run it after controller-gen.
//
//	go run -C hack/chart .
package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/broletto/broletto/hack/chart/generated"
)

func main() {
	root := flag.String("root", "../..", "root of the repository")
	flag.Parse()
	if err := write(*root); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

func write(root string) error {
	if _, err := os.Stat(filepath.Join(root, "config", "crd")); err != nil {
		return fmt.Errorf("%w: run it in hack/chart, or say where the repository is with -root", err)
	}
	files, err := generated.Files(os.DirFS(root))
	if err != nil {
		return err
	}
	for name, content := range files {
		path := filepath.Join(root, filepath.FromSlash(name))
		current, err := os.ReadFile(path)
		if err == nil && string(current) == content {
			continue // a file that is right keeps its time
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}
