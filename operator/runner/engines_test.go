package runner

import (
	"context"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/engine"
	"github.com/broletto/broletto/operator/engine/terraform"
	"github.com/broletto/broletto/operator/run"
	"github.com/broletto/broletto/operator/source"
)

const program = `
variable "color" { type = string }
variable "password" {
  type      = string
  sensitive = true
}
resource "terraform_data" "wall" { input = var.color }
resource "terraform_data" "door" { input = var.password }
output "wall" { value = terraform_data.wall.output }
output "door" {
  value     = terraform_data.door.output
  sensitive = true
}
output "leak" { value = nonsensitive(upper(var.color)) }
`

// A stack lives on a real engine, from an approved plan to its end.
func TestAnEngine(t *testing.T) {
	for name, binary := range map[v1alpha1.EngineName]string{v1alpha1.Terraform: "terraform", v1alpha1.OpenTofu: "tofu"} {
		t.Run(binary, func(t *testing.T) {
			path, err := exec.LookPath(binary)
			if err != nil {
				t.Skip(binary + " is not installed")
			}
			o := order(v1alpha1.OperationPlan)
			o.Engine = name
			o.Source.Inline = map[string]v1alpha1.SourceText{"main.tf": program}
			s := newStage(t, o)
			s.Engines = map[v1alpha1.EngineName]engine.Engine{name: terraform.New(path, t.TempDir())}
			s.Fetch = func(ctx context.Context, src run.Source, dir string) (string, error) {
				return source.Fetch(ctx, src, dir, source.Options{})
			}
			s.Check = func(dir string, o run.Order) error { return source.Check(dir, o.Engine, source.Policy{}) }
			liveOn(t, s)
			if strings.Contains(s.log.String(), "hunter2!") {
				t.Errorf("the secret is in the log: %s", s.log.String())
			}
		})
	}
}

func liveOn(t *testing.T, s *stage) {
	expect := func(what string, r *run.Report, adds, changes, destroys int32) {
		t.Helper()
		if r.Failure != nil {
			t.Fatalf("%s: %s: %s\n%s", what, r.Failure.Class, r.Failure.Message, s.log.String())
		}
		if p := r.Plan; p.Adds != adds || p.Changes != changes || p.Destroys != destroys {
			t.Fatalf("%s: %+v", what, p)
		}
	}
	s.keep(t)
	approved := s.broker.order.Approved
	r := s.run(t)
	expect("apply", r, 2, 0, 0)
	if r.Plan.Digest != approved || string(r.Outputs["door"]) != `"hunter2!"` || string(r.Outputs["wall"]) != `"blue"` {
		t.Errorf("%+v", r)
	}
	if s.broker.serial == 0 || s.broker.lineage == "" || r.Serial != s.broker.serial {
		t.Errorf("serial %d and %d, lineage %q", r.Serial, s.broker.serial, s.broker.lineage)
	}
	s.next(v1alpha1.OperationLook)
	expect("look", s.run(t), 0, 0, 0)

	s.broker.order.Source = order("").Source
	s.broker.order.Source.Inline = map[string]v1alpha1.SourceText{"main.tf": program}
	s.broker.order.Inputs["color"] = json.RawMessage(`"red"`)
	s.next(v1alpha1.OperationConverge)
	expect("converge", s.run(t), 0, 1, 0)

	s.next(v1alpha1.OperationDestroy)
	expect("destroy", s.run(t), 0, 0, 2)
	s.next(v1alpha1.OperationDestroy)
	expect("destroy again", s.run(t), 0, 0, 0)
}
