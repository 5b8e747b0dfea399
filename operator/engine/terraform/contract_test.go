package terraform_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/broletto/broletto/operator/engine"
	"github.com/broletto/broletto/operator/engine/enginetest"
	"github.com/broletto/broletto/operator/engine/terraform"
)

const greeting = `
variable "greeting" { type = string }
variable "password" {
  type      = string
  sensitive = true
}
resource "terraform_data" "greeting" { input = var.greeting }
// No resource has the password: the engine shows in its plans what a resource has computed, as it does not know that it is secret.
output "greeting" { value = var.greeting }
output "password" {
  value     = var.password
  sensitive = true
}
`

const slow = `
resource "terraform_data" "first" { input = "here" }
resource "terraform_data" "second" {
  input = terraform_data.first.output
  provisioner "local-exec" {
    command = "touch begun; sleep 600"
  }
}
`

func subject(binary string) enginetest.Subject {
	return enginetest.Subject{
		Engine: terraform.New(binary, "/nonexistent"),
		Env:    map[string]string{"PATH": "/bin:/usr/bin"},
		Greeting: map[string]string{
			"main.tf": greeting,
			// As an author commits it: with hashes of packages that the mirror does not have.
			".terraform.lock.hcl": `provider "registry.terraform.io/hashicorp/null" { version = "3.2.1" }`,
		},
		Broken:    map[string]string{"main.tf": `resource "terraform_data" {`},
		Demanding: map[string]string{"main.tf": `variable "wanted" { type = string }`},
		Slow:      map[string]string{"main.tf": slow},
		Begun: func(t *testing.T, w engine.Work) {
			await(t, func() bool { _, err := os.Stat(filepath.Join(w.Code, "begun")); return err == nil })
		},
		Spy: map[string]string{"main.tf": `output "environment" { value = file("/proc/self/environ") }`},
	}
}

func await(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(2 * time.Minute); !done(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("waited in vain")
		}
	}
}

func TestTerraform(t *testing.T) {
	binary, err := exec.LookPath("terraform")
	if err != nil {
		t.Skip("no terraform is installed, and none may be built")
	}
	enginetest.Run(t, func(*testing.T) enginetest.Subject { return subject(binary) })
}
