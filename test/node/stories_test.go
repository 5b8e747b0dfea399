package node

import (
	"path/filepath"
	"testing"

	"github.com/broletto/broletto/test/node/story"
)

// TestStories plays what users do, in the order of the folders: later ones build on earlier ones.
func TestStories(t *testing.T) {
	folders, err := filepath.Glob("testdata/stories/*")
	if err != nil || len(folders) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, folder := range folders {
		name := filepath.Base(folder)
		t.Run(name, func(t *testing.T) {
			defer times.measure("story " + name)()
			story.Play(t, the, repository, folder)
		})
	}
}
