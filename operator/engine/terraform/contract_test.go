package terraform_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
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
    # The one in the background heeds no signal, and nobody waits for it.
    command = "(trap '' INT TERM; exec sleep 601) >/dev/null 2>&1 & touch begun; sleep 600"
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

func TestOpenTofu(t *testing.T) {
	binary := enginetest.Binary(t, "tofu")
	enginetest.Run(t, func(*testing.T) enginetest.Subject { return subject(binary) })
}

// A provider that the mirror does not have is the author's trouble, and asked of nobody else.
func TestMirrorIsAllThereIs(t *testing.T) {
	dir := t.TempDir()
	mirror, code := filepath.Join(dir, "mirror"), filepath.Join(dir, "code")
	for _, d := range []string{mirror, code} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(code, "main.tf"), []byte(`resource "null_resource" "a" {}`), 0o600); err != nil {
		t.Fatal(err)
	}
	e := terraform.New(enginetest.Binary(t, "tofu"), mirror)
	// Whoever asked a registry would come by here.
	asked := make(chan struct{}, 100)
	registry := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- struct{}{} }))
	defer registry.Close()
	err := e.Prepare(t.Context(), engine.Work{
		Code: code, Dir: filepath.Join(dir, "dir"), State: filepath.Join(dir, "state"), Log: io.Discard,
		Env: map[string]string{"HTTPS_PROXY": registry.URL, "HTTP_PROXY": registry.URL},
	})
	var invalid *engine.Invalid
	if !errors.As(err, &invalid) || !strings.Contains(err.Error(), "hashicorp/null") {
		t.Errorf("error %v, want an Invalid that names the provider", err)
	}
	if len(asked) > 0 {
		t.Error("a registry was asked")
	}
}

// TestProvidersMakeNoCertificates starts a provider that only notes how it was started. That the engine asks it for no certificate saves a fifth of
// a run's processor time; what they say to each other stays in a folder of the run's.
func TestProvidersMakeNoCertificates(t *testing.T) {
	dir := t.TempDir()
	mirror, code, tmp := filepath.Join(dir, "mirror"), filepath.Join(dir, "code"), filepath.Join(dir, "tmp")
	home := filepath.Join(mirror, "registry.opentofu.org", "example", "noting", "1.0.0", runtime.GOOS+"_"+runtime.GOARCH)
	for _, d := range []string{home, code, tmp} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	provider := "#!/bin/sh\nenv > " + filepath.Join(dir, "env") + "\n"
	if err := os.WriteFile(filepath.Join(home, "terraform-provider-noting_v1.0.0"), []byte(provider), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	program := "terraform {\n  required_providers { noting = { source = \"example/noting\" } }\n}\nresource \"noting_a\" \"a\" {}\n"
	if err := os.WriteFile(filepath.Join(code, "main.tf"), []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	e := terraform.New(enginetest.Binary(t, "tofu"), mirror)
	w := engine.Work{
		Code: code, Dir: filepath.Join(dir, "dir"), State: filepath.Join(dir, "state"), Log: io.Discard,
		Env: map[string]string{"PATH": "/bin:/usr/bin", "TMPDIR": tmp},
	}
	if err := e.Prepare(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Plan(t.Context(), w, false); err == nil {
		t.Fatal("a provider that ends at once has planned")
	}
	seen, err := os.ReadFile(filepath.Join(dir, "env"))
	if err != nil {
		t.Fatal("the provider was not started: ", err)
	}
	if strings.Contains(string(seen), "PLUGIN_CLIENT_CERT") {
		t.Error("the engine has made a certificate for a provider")
	}
	if !strings.Contains(string(seen), "TMPDIR="+tmp) {
		t.Errorf("the provider makes its socket elsewhere than in %s:\n%s", tmp, seen)
	}
}
