package pulumi_test

import (
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
