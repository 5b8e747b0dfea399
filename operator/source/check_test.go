package source_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/source"
)

func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

var policy = source.Policy{Forbidden: []string{"null_resource", "aws_*", "command:*"}, Providers: []string{"hashicorp/time", "gavinbunney/*"}}

type code struct {
	files map[string]string
	want  string // part of the refusal; empty: it may be
}

func one(name, text, want string) code { return code{map[string]string{name: text}, want} }

func hclCases() map[string]code {
	return map[string]code{
		"plain code": {map[string]string{
			"main.tf": `terraform {
  required_providers { time = { source = "hashicorp/time", configuration_aliases = [time.a] } }
}
variable "x" {}
resource "time_sleep" "a" { create_duration = "1s" }
module "m" { source = "./modules/m" }
output "o" { value = templatefile("${path.module}/x.tpl", { a = file("./b.txt") }) }`,
			"modules/m/main.tf":      `module "n" { source = "../n" }`,
			"modules/n/main.tofu":    `locals { a = fileset(path.module, "*.txt") }`,
			"modules/n/more.tf.json": `{"//": "a comment", "resource": {"time_static": {"x": {}}}, "module": [{"k": {"source": "./k"}}]}`,
			"README.md":              "backend \"s3\" {}",
		}, ""},
		"a backend":                one("main.tf", "\nterraform {\n  backend \"s3\" {}\n}", `main.tf:3 has a backend: take the block out`),
		"a backend in JSON":        one("a.tf.json", `{"terraform": {"backend": {"s3": {}}}}`, "a.tf.json:1 has a backend"),
		"a backend in a list":      one("a.tf.json", `{"terraform": [{"required_version": "1"}, {"backend": [{"s3": [{}]}]}]}`, "has a backend"),
		"a backend under two keys": one("a.tf.json", `{"terraform": {"backend": {"s3": {}}}, "terraform": {}}`, "has a backend"),
		"a backend of tofu's": one("a.tofu", `terraform {
backend "local" {}
}`, "has a backend"),
		"a backend of tofu's JSON": one("a.tofu.json", `{"terraform": {"backend": {"s3": {}}}}`, "has a backend"),
		"a backend in a module": one("m/a.tf", `terraform {
backend "s3" {}
}`, "m/a.tf:2 has a backend"),
		"a backend in a hidden one": one(".a.tf", `terraform {
backend "s3" {}
}`, "has a backend"),
		"a cloud": one("main.tf", `terraform {
cloud {}
}`, "has a cloud block"),
		"an encryption": one("main.tf", `terraform {
encryption {
}
}`, "has an encryption block"),
		"an override":             one("override.tf", "", "overrides other files"),
		"another override":        one("zz_override.tf.json", "{}", "overrides other files"),
		"an override of tofu's":   one("x_override.tofu", "", "overrides other files"),
		"an override in a module": one("m/override.tofu.json", "", "overrides other files"),
		"no override":             one("myoverride.tf", "", ""),
		"values":                  one("zzz.auto.tfvars", "", "behind the stack's back"),
		"values in JSON":          one("a.auto.tfvars.json", "", "behind the stack's back"),
		"values by name":          one("terraform.tfvars", "", "behind the stack's back"),
		"values that wait":        one("prod.tfvars", "", ""),
		"a state":                 one("terraform.tfstate", "", "is a state"),
		"an old state":            one("x.tfstate.1234.backup", "", "is a state"),
		"settings":                one(".terraformrc", "", "configuration of the engine"),
		"settings of tofu's":      one("tofu.rc", "", "configuration of the engine"),
		"an engine's folder":      one(".terraform/modules/modules.json", "{}", ".terraform is what an engine"),
		"a provisioner":           one("main.tf", "resource \"time_static\" \"x\" {\n  provisioner \"local-exec\" {\n    command = \"id\"\n  }\n}", "main.tf:2 has a provisioner block"),
		"a provisioner in JSON":   one("a.tf.json", `{"resource": {"a": {"b": {"provisioner": {"local-exec": {"command": "id"}}}}}}`, "has a provisioner block"),
		"a provisioner in lists":  one("a.tf.json", `{"resource": [{"a": [{"b": [{"provisioner": [{"local-exec": {"command": "id"}}]}]}]}]}`, "has a provisioner block"),
		"a connection": one("main.tf", `resource "a" "b" {
connection { host = "x" }
}`, "has a connection block"),
		"external data": one("main.tf", `data "external" "x" { program = ["id"] }`, "data source external, which runs programs"),
		"external data in a check": one("main.tf", `check "c" {
data "external" "x" { program = ["id"] }
}`, "data source external"),
		"external data in JSON":     one("a.tf.json", `{"data": {"external": {"x": {"program": ["id"]}}}}`, "data source external"),
		"a forbidden type":          one("main.tf", `resource "null_resource" "x" {}`, "resource of type null_resource, which the platform rules out"),
		"a forbidden pattern":       one("main.tf", `data "aws_ami" "x" {}`, "data source of type aws_ami"),
		"a forbidden ephemeral":     one("main.tf", `ephemeral "aws_secret" "x" {}`, "ephemeral resource of type aws_secret"),
		"an action":                 one("main.tf", `action "aws_lambda_invoke" "x" {}`, "action of type aws_lambda_invoke"),
		"another state":             one("main.tf", `data "terraform_remote_state" "x" { backend = "local" }`, "reads another state"),
		"a module from git":         one("main.tf", `module "x" { source = "git::https://example.com/x" }`, "main.tf:1 has a module from elsewhere"),
		"a module from a registry":  one("main.tf", `module "x" { source = "hashicorp/consul/aws" }`, "module from elsewhere"),
		"a module by absolute path": one("main.tf", `module "x" { source = "/etc" }`, "module from elsewhere"),
		"a module above":            one("m/main.tf", `module "x" { source = "../../x" }`, "module outside of the source"),
		"a module that climbs":      one("main.tf", `module "x" { source = "./a/../../x" }`, "module outside of the source"),
		"a module by a variable":    one("main.tf", `module "x" { source = "./${var.x}" }`, "module from elsewhere"),
		"the same in JSON":          one("a.tf.json", `{"module": {"x": {"source": "./${var.x}"}}}`, "module from elsewhere"),
		"a module in two parts":     one("main.tf", `module "x" { source = "./a//../../x" }`, "module from elsewhere"),
		"another provider":          one("main.tf", "terraform {\n  required_providers {\n    x = { source = \"evil/x\" }\n  }\n}", `main.tf:3 asks for provider "evil/x", which the platform does not offer`),
		"another provider in JSON":  one("a.tf.json", `{"terraform": {"required_providers": {"x": {"source": "evil/x"}}}}`, `provider "evil/x"`),
		"a provider of old": one("main.tf", `terraform {
required_providers { aws = "~> 1" }
}`, `provider "hashicorp/aws"`),
		"a provider by pattern": one("main.tf", `terraform {
required_providers { kubectl = { source = "gavinbunney/kubectl" } }
}`, ""),
		"an absolute file": one("main.tf", "locals {\n  a = file(\"/etc/passwd\")\n}", `main.tf:2 reads "/etc/passwd"`),
		"a file at home":   one("main.tf", `locals { a = file("~/.ssh/id") }`, "outside of the source"),
		"a file above":     one("main.tf", `locals { a = "${filebase64("${path.module}/../x")}" }`, "outside of the source"),
		"a template above": one("main.tf", `resource "a" "b" {
c { d = core::templatefile("../x", {}) }
}`, "outside of the source"),
		"what cannot be read": one("main.tf", "resource {", "main.tf:1 cannot be read"),
		"what is no JSON":     one("a.tf.json", "{", "cannot be read"),
		"brackets":            one("main.tf", "locals { a = "+strings.Repeat("[", 5000), "nests deeper"),
		"brackets in JSON":    one("a.tf.json", `{"locals": {"a": `+strings.Repeat("[", 100000), "nests deeper"),
		"signs":               one("main.tf", "locals { a = "+strings.Repeat("! ", 100000)+"true }", "nests deeper"),
		"minus signs":         one("main.tf", "locals { a = "+strings.Repeat("-", 100000)+"1 }", "nests deeper"),
		"conditions":          one("main.tf", "locals { a = "+strings.Repeat("true ? 1 : ", 50000)+"1 }", "nests deeper"),
		"templates":           one("main.tf", `locals { a = `+strings.Repeat(`"${`, 5000), "nests deeper"),
		"a large file":        one("main.tf", strings.Repeat("# words\n", 200000), "is larger than 1024 KiB"),
		"a Pulumi project":    one("Pulumi.yaml", "runtime: go", ""),
	}
}

func pulumiCases() map[string]code {
	with := func(text string) string { return "name: x\nruntime: yaml\n" + text }
	return map[string]code{
		"a program": one("Pulumi.yaml", with(`
config: {color: {type: string}}
variables: {text: {fn::readFile: ./a.txt}}
resources:
  m: &m {type: incluster:index:ConfigMap, properties: {data: {a: "${color}"}}}
outputs: {o: "${m.name}"}`), ""),
		"runtime as a map":        one("Pulumi.yaml", "name: x\nruntime: {name: yaml}\n", ""),
		"no project":              one("main.yaml", with(""), "Pulumi.yaml is not there"),
		"no runtime":              one("Pulumi.yaml", "name: x", "names no runtime"),
		"another runtime":         one("Pulumi.yaml", "name: x\nruntime: nodejs", "another runtime than yaml"),
		"a compiler":              one("Pulumi.yaml", "name: x\nruntime: {name: yaml, options: {compiler: sh -c id}}", "options of it"),
		"a runtime by alias":      one("Pulumi.yaml", "name: &x yaml\nruntime: *x", "another runtime"),
		"plugins":                 one("Pulumi.yaml", with("plugins: {providers: [{name: x, path: ./bin}]}"), `"plugins", which no stack may have`),
		"packages":                one("Pulumi.yaml", with("packages: {x: https://evil.example}"), `"packages"`),
		"a backend":               one("Pulumi.yaml", with("backend: {url: 's3://x'}"), `"backend"`),
		"another folder":          one("Pulumi.yaml", with("main: /etc"), `"main"`),
		"a key by alias":          one("Pulumi.yaml", with("description: &name plugins\n*name : {}"), "key that is an alias"),
		"a merge":                 one("Pulumi.yaml", with("resources:\n  a: &a {type: x}\n  b: {<<: *a}"), "alias or a merge"),
		"a stack's configuration": {map[string]string{"Pulumi.yaml": with(""), "Pulumi.prod.yaml": ""}, "Pulumi.prod.yaml is the configuration"},
		"another name":            {map[string]string{"Pulumi.yaml": with(""), "Pulumi.yml": ""}, "under another name"},
		"a main program":          {map[string]string{"Pulumi.yaml": with(""), "Main.yaml": "plugins: {}"}, `Main.yaml:1 has "plugins"`},
		"a nested project":        {map[string]string{"Pulumi.yaml": with(""), "x/Pulumi.yaml": "name: x\nruntime: go"}, "x/Pulumi.yaml:2 has another runtime"},
		"a plugin from elsewhere": one("Pulumi.yaml", with("resources: {a: {type: b, options: {pluginDownloadURL: https://evil.example}}}"), "Pulumi.yaml:3 gets a plugin from elsewhere"),
		"a forbidden type":        one("Pulumi.yaml", with("resources: {a: {type: 'command:local:Command'}}"), "command:local:Command, which the platform rules out"),
		"a forbidden function":    one("Pulumi.yaml", with("variables: {a: {fn::invoke: {function: 'command:local:run'}}}"), "command:local:run, which"),
		"a short function":        one("Pulumi.yaml", with("variables: {a: {'fn::command:local:run': {command: id}}}"), "command:local:run, which"),
		"a type by alias":         one("Pulumi.yaml", with("description: &t command:local:Command\nresources: {a: {type: *t}}"), "command:local:Command, which"),
		"another stack":           one("Pulumi.yaml", with("resources: {a: {type: 'pulumi:pulumi:StackReference'}}"), "reads another stack"),
		"an absolute file":        one("Pulumi.yaml", with("variables: {a: {fn::readFile: /etc/passwd}}"), `reads "/etc/passwd"`),
		"a file above":            one("Pulumi.yaml", with("variables: {a: {'fn::fileAsset': ../x}}"), "outside of the source"),
		"another server":          one("Pulumi.yaml", with("variables: {a: {'fn::remoteArchive': 'https://x'}}"), "another server"),
		"two documents":           one("Pulumi.yaml", with("---\nplugins: {}"), "more than one document"),
		"no mapping":              one("Pulumi.yaml", "[]", "is no project"),
		"nothing":                 one("Pulumi.yaml", "", "cannot be read"),
		"brackets":                one("Pulumi.yaml", strings.Repeat("[", 5000), "nests deeper"),
		"an indented wall":        one("Pulumi.yaml", with("config:\n"+wall(300)), "nests deeper"),
		"a bomb of aliases":       one("Pulumi.yaml", with("config:\n  a: &a [x,x]\n  b: &b [*a,*a]\n  c: &c [*b,*b]\n  d: [*c,*c]"), ""),
		"a backend of Terraform": {map[string]string{"Pulumi.yaml": with(""), "a.tf": `terraform {
backend "s3" {}
}`}, ""},
	}
}

func wall(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%*sa:\n", 2+i, "")
	}
	return b.String()
}

func TestCheck(t *testing.T) {
	for engine, cases := range map[v1alpha1.EngineName]map[string]code{v1alpha1.OpenTofu: hclCases(), v1alpha1.Terraform: hclCases(), v1alpha1.Pulumi: pulumiCases()} {
		for name, c := range cases {
			t.Run(string(engine)+"/"+name, func(t *testing.T) {
				dir := t.TempDir()
				write(t, dir, c.files)
				err := source.Check(dir, engine, policy)
				if c.want == "" {
					if err != nil {
						t.Error(err)
					}
					return
				}
				var refused *source.Refused
				if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.want) || refused.Class() != v1alpha1.FailureSource {
					t.Errorf("got %v, want %q", err, c.want)
				}
				if err != nil && len(err.Error()) > 2048 {
					t.Errorf("%d bytes", len(err.Error()))
				}
			})
		}
	}
}

func TestCheckRefusesLinks(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"a.txt": ""})
	if err := errors.Join(os.Link(filepath.Join(dir, "a.txt"), filepath.Join(dir, "b.txt")), os.Symlink("/etc", filepath.Join(dir, "c"))); err != nil {
		t.Fatal(err)
	}
	err := source.Check(dir, v1alpha1.OpenTofu, source.Policy{})
	for _, want := range []string{"a.txt is a second name", "b.txt is a second name", "c is neither"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func FuzzCheck(f *testing.F) {
	for _, cases := range []map[string]code{hclCases(), pulumiCases()} {
		for _, c := range cases {
			for name, text := range c.files {
				if len(text) < 4096 {
					f.Add(filepath.Base(name), text)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, name, text string) {
		name = filepath.Base(name)
		dir := t.TempDir()
		if strings.ContainsRune(name, 0) || os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600) != nil {
			return
		}
		for _, engine := range []v1alpha1.EngineName{v1alpha1.OpenTofu, v1alpha1.Pulumi} {
			var refused *source.Refused
			if err := source.Check(dir, engine, policy); err != nil && !errors.As(err, &refused) {
				t.Errorf("%q: %v", name, err)
			} else if err != nil && len(err.Error()) > 2048 {
				t.Errorf("%d bytes", len(err.Error()))
			}
		}
	})
}
