package pulumi_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/broletto/broletto/operator/engine"
	"github.com/broletto/broletto/operator/engine/enginetest"
	"github.com/broletto/broletto/operator/engine/pulumi"
)

const greeting = `
name: greeting
runtime: yaml
config:
  greeting: {type: string}
  password: {type: string, secret: true}
resources:
  first:
    type: incluster:index:ConfigMap
    properties:
      name: first
      data: {greeting: "${greeting}"}
  second:
    type: incluster:index:ConfigMap
    properties:
      name: second
      data: {of: "${first.name}"}
outputs:
  greeting: ${greeting}
  password: ${password}
`

const slow = `
name: slow
runtime: yaml
resources:
  first:
    type: incluster:index:ConfigMap
    properties: {name: first, data: {}}
  second:
    type: incluster:index:ConfigMap
    properties: {name: slow, data: {of: "${first.name}"}}
`

const spy = `
name: spy
runtime: yaml
outputs:
  environment:
    fn::readFile: /proc/self/environ
`

func TestPulumi(t *testing.T) {
	folder := filepath.Dir(enginetest.Binary(t, "pulumi"))
	program := func(text string) map[string]string { return map[string]string{"Pulumi.yaml": text} }
	enginetest.Run(t, func(t *testing.T) enginetest.Subject {
		w := newWorld(t)
		return enginetest.Subject{
			Engine: pulumi.New(folder), Env: w.env, Left: w.left, Lose: w.lose,
			Greeting:  program(greeting),
			Broken:    program("name: broken\nruntime: yaml\nresources:\n  a: {type: incluster:index:ConfigMap, properties: {name: \"${nobody}\"}}\n"),
			Demanding: program("name: demanding\nruntime: yaml\nconfig:\n  wanted: {type: string}\noutputs: {wanted: \"${wanted}\"}\n"),
			Slow:      program(slow),
			Begun: func(t *testing.T, _ engine.Work) {
				select {
				case <-w.slow:
				case <-time.After(2 * time.Minute):
					t.Fatal("the slow config map has not been asked for")
				}
			},
			Spy: program(spy),
		}
	})
}

// The engine runs the program again to apply a plan, and a program may do otherwise than it did.
func TestAnotherProgramThanPlanned(t *testing.T) {
	e := pulumi.New(filepath.Dir(enginetest.Binary(t, "pulumi")))
	for name, c := range map[string]struct{ planned, applied string }{
		"output":   {"outputs: {a: one}", "outputs: {a: two}"},
		"resource": {"outputs: {a: one}", "outputs: {a: one}\nresources:\n  m: {type: incluster:index:ConfigMap, properties: {name: m, data: {}}}"},
	} {
		t.Run(name, func(t *testing.T) {
			world := newWorld(t)
			dir := t.TempDir()
			w := engine.Work{
				Code: filepath.Join(dir, "code"), Dir: filepath.Join(dir, "dir"), State: filepath.Join(dir, "state"),
				Env: world.env, Passphrase: "p",
			}
			if err := os.Mkdir(w.Code, 0o700); err != nil {
				t.Fatal(err)
			}
			program := func(text string) {
				if err := os.WriteFile(filepath.Join(w.Code, "Pulumi.yaml"), []byte("name: p\nruntime: yaml\n"+text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			program(c.planned)
			if err := e.Prepare(t.Context(), w); err != nil {
				t.Fatal(err)
			}
			plan, err := e.Plan(t.Context(), w, false)
			if err != nil {
				t.Fatal(err)
			}
			program(c.applied)
			err = e.Apply(t.Context(), w, plan)
			if _, stale := errors.AsType[*engine.Stale](err); !stale {
				t.Errorf("error %v, want a Stale", err)
			}
			if world.left() > 0 {
				t.Error("something was made that was not planned")
			}
		})
	}
}
