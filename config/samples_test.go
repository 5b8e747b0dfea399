package config_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/broletto/broletto/config"
)

// TestSamplesAreTheScenarios compares the samples with the scenarios that they are copies of, where those lie beside the
// repository.
func TestSamplesAreTheScenarios(t *testing.T) {
	const scenarios = "../../shared/scenarios"
	if _, err := os.Stat(scenarios); err != nil {
		t.Skipf("no scenarios here: %v", err)
	}
	files, err := fs.Glob(config.Samples, "samples/*/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	for _, file := range files {
		sample, err := config.Samples.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		relative, err := filepath.Rel("samples", file)
		if err != nil {
			t.Fatal(err)
		}
		scenario, err := os.ReadFile(filepath.Join(scenarios, relative))
		if err != nil {
			t.Errorf("%s is no scenario any more: %v", file, err)
			continue
		}
		if !bytes.Equal(sample, scenario) {
			t.Errorf("%s differs from its scenario: copy it again", file)
		}
	}
}
