package enginetest_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/broletto/broletto/operator/engine"
	"github.com/broletto/broletto/operator/engine/enginetest"
)

func TestFake(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) enginetest.Subject {
		return enginetest.Subject{
			Engine: enginetest.Fake{},
			Greeting: program(t, enginetest.FakeProgram{
				Needs:     []string{"greeting", "password"},
				Resources: []enginetest.FakeResource{{Name: "a", Value: "=greeting"}, {Name: "b", Value: "fixed"}},
				Outputs:   map[string]string{"greeting": "=greeting", "password": "=password"},
			}),
			Broken:    map[string]string{enginetest.FakeFile: "{"},
			Demanding: program(t, enginetest.FakeProgram{Needs: []string{"wanted"}}),
			Slow: program(t, enginetest.FakeProgram{
				Resources: []enginetest.FakeResource{{Name: "first", Value: "here"}, {Name: "second", Slow: true}},
			}),
			Begun: begun,
			Spy:   program(t, enginetest.FakeProgram{Outputs: map[string]string{"environment": "=env"}}),
		}
	})
}

func program(t *testing.T, p enginetest.FakeProgram) map[string]string {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{enginetest.FakeFile: string(text)}
}

func begun(t *testing.T, w engine.Work) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); <-tick.C {
		if _, err := os.Stat(filepath.Join(w.Dir, enginetest.FakeBegun)); !errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
	t.Fatal("the slow resource has not begun")
}
