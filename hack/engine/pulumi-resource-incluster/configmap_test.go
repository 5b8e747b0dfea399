package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blang/semver"
	provider "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/integration"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
)

const urn = resource.URN("urn:pulumi:dev::test::incluster:index:ConfigMap::motd")

// start is the provider, as an engine sees it, beside a server.
func start(t *testing.T) (integration.Server, *server) {
	t.Helper()
	s := startServer(t)
	p, err := inclusterProvider()
	if err != nil {
		t.Fatal(err)
	}
	engine, err := integration.NewServer(t.Context(), packageName, semver.MustParse(packageVersion), integration.WithProvider(p))
	if err != nil {
		t.Fatal(err)
	}
	return engine, s
}

// properties are those of a config map; without a namespace, as a program may leave it out.
func properties(namespace, name string, data map[string]string) property.Map {
	values := map[string]property.Value{}
	for k, v := range data {
		values[k] = property.New(v)
	}
	all := map[string]property.Value{"name": property.New(name), "data": property.New(values)}
	if namespace != "" {
		all["namespace"] = property.New(namespace)
	}
	return property.NewMap(all)
}

func TestLifeOfAConfigMap(t *testing.T) {
	engine, s := start(t)
	id := ownNamespace + "/motd"
	one, two := map[string]string{"text": "ciao", "old": "x"}, map[string]string{"text": "salve"}
	inputs := properties("", "motd", one)

	if _, err := engine.Create(provider.CreateRequest{Urn: urn, Properties: inputs, DryRun: true}); err != nil || s.writes != 0 {
		t.Fatalf("a preview: %v, %d writes", err, s.writes)
	}
	made, err := engine.Create(provider.CreateRequest{Urn: urn, Properties: inputs})
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := s.has(id); !maps.Equal(got, one) || made.ID != id {
		t.Errorf("created %v as %s", got, made.ID)
	}
	want := properties(ownNamespace, "motd", one)
	if !same(made.Properties, want) {
		t.Errorf("state %v, want %v", made.Properties, want)
	}

	change := provider.UpdateRequest{ID: id, Urn: urn, State: made.Properties, OldInputs: inputs, Inputs: properties("", "motd", two)}
	change.DryRun = true
	if _, err := engine.Update(change); err != nil || s.writes != 1 {
		t.Errorf("a preview: %v, %d writes", err, s.writes)
	}
	change.DryRun = false
	updated, err := engine.Update(change)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := s.has(id); !maps.Equal(got, two) || !same(updated.Properties, properties(ownNamespace, "motd", two)) {
		t.Errorf("updated to %v, state %v", got, updated.Properties)
	}

	for range 2 { // the second time there is nothing
		if err := engine.Delete(provider.DeleteRequest{ID: id, Urn: urn, Properties: updated.Properties}); err != nil {
			t.Fatal(err)
		}
		if _, there := s.has(id); there {
			t.Error("it is still there")
		}
	}
	_, err = engine.Update(change)
	wantError(t, err, id+" is gone", "refresh")
}

// An engine that was killed right after an object was made does not know it. The same resource of the same stack takes it up; nobody else does.
func TestTakesUpItsOwn(t *testing.T) {
	engine, s := start(t)
	first, now := properties("", "motd", map[string]string{"text": "ciao"}), properties("", "motd", map[string]string{"text": "salve"})
	if _, err := engine.Create(provider.CreateRequest{Urn: urn, Properties: first}); err != nil {
		t.Fatal(err)
	}
	exists := ownNamespace + "/motd exists"
	_, err := engine.Create(provider.CreateRequest{Urn: urn + "-too", Properties: now})
	wantError(t, err, exists, "delete it")
	s.runAs("stack-other")
	_, err = engine.Create(provider.CreateRequest{Urn: urn, Properties: now})
	wantError(t, err, exists, "delete it")
	if got, _ := s.has(ownNamespace + "/motd"); got["text"] != "ciao" {
		t.Errorf("somebody else has written %v", got)
	}
	s.runAs("stack-web")
	made, err := engine.Create(provider.CreateRequest{Urn: urn, Properties: now})
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := s.has(made.ID); got["text"] != "salve" || !same(made.Properties, properties(ownNamespace, "motd", got)) {
		t.Errorf("took up %v, state %v", got, made.Properties)
	}
}

func TestReadFindsDrift(t *testing.T) {
	id := ownNamespace + "/motd"
	data := map[string]string{"text": "ciao"}
	cases := map[string]struct {
		reason   string
		drift    func(objects)
		imported bool
		want     map[string]string // nil: gone
	}{
		"none":       {reason: "a refresh changes nothing", drift: func(objects) {}, want: data},
		"value":      {reason: "kubectl edit", drift: func(o objects) { o[id]["text"] = "boh" }, want: map[string]string{"text": "boh"}},
		"more":       {reason: "the data is ours as a whole", drift: func(o objects) { o[id]["+"] = "" }, want: map[string]string{"text": "ciao", "+": ""}},
		"emptied":    {reason: "an object without data", drift: func(o objects) { o[id] = nil }, want: map[string]string{}},
		"deleted":    {reason: "the engine is told by an empty id", drift: func(o objects) { delete(o, id) }},
		"not stored": {reason: "an import knows the id only", drift: func(objects) {}, imported: true, want: data},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			engine, s := start(t)
			s.meddle(func(o objects) { o[id] = maps.Clone(data); c.drift(o) })
			ask := provider.ReadRequest{ID: id, Urn: urn, Inputs: properties("", "motd", data), Properties: properties(ownNamespace, "motd", data)}
			inputs := properties("", "motd", c.want)
			if c.imported {
				ask.Inputs, ask.Properties = property.Map{}, property.Map{}
				inputs = properties(ownNamespace, "motd", c.want)
			}
			got, err := engine.Read(ask)
			if err != nil {
				t.Fatal(err)
			}
			if c.want == nil {
				if got.ID != "" {
					t.Errorf("id %q of nothing", got.ID)
				}
				return
			}
			if got.ID != id || !same(got.Inputs, inputs) || !same(got.Properties, properties(ownNamespace, "motd", c.want)) {
				t.Errorf("%s: id %q, inputs %v, state %v", c.reason, got.ID, got.Inputs, got.Properties)
			}
			if s.writes != 0 {
				t.Errorf("%d writes", s.writes)
			}
		})
	}
}

func TestAnotherNameIsAnotherObject(t *testing.T) {
	engine, _ := start(t)
	old := properties("roma", "motd", map[string]string{"text": "ciao"})
	type kinds map[string]provider.DiffKind
	ciao := map[string]string{"text": "ciao"}
	cases := map[string]struct {
		reason string
		inputs property.Map
		want   kinds
	}{
		"same": {reason: "a settled stack has no plan", inputs: old},
		"data": {
			reason: "in place",
			inputs: properties("roma", "motd", map[string]string{"text": "salve"}), want: kinds{"data.text": provider.Update},
		},
		"name": {
			reason: "an object cannot be renamed",
			inputs: properties("roma", "news", ciao), want: kinds{"name": provider.UpdateReplace},
		},
		"namespace": {
			reason: "nor moved",
			inputs: properties("roma--x", "motd", ciao), want: kinds{"namespace": provider.UpdateReplace},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := engine.Diff(provider.DiffRequest{ID: "roma/motd", Urn: urn, State: old, OldInputs: old, Inputs: c.inputs})
			if err != nil {
				t.Fatal(err)
			}
			found := kinds{}
			for path, d := range got.DetailedDiff {
				found[path] = d.Kind
			}
			if !maps.Equal(found, c.want) || got.HasChanges != (len(c.want) > 0) {
				t.Errorf("%s: changes %v: %v, want %v", c.reason, got.HasChanges, found, c.want)
			}
		})
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	account := func(t *testing.T, file, text string) {
		if err := os.WriteFile(filepath.Join(os.Getenv(accountVariable), file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cases := map[string]struct {
		reason    string
		namespace string
		prepare   func(t *testing.T, s *server)
		want      []string
	}{
		"exists": {
			reason:  "what is not ours is never adopted",
			prepare: func(_ *testing.T, s *server) { s.objects[ownNamespace+"/motd"] = nil },
			want:    []string{"config map " + ownNamespace + "/motd exists", "import"},
		},
		"no namespace": {reason: "in the server's words", namespace: "nowhere", want: []string{`namespaces "nowhere" not found`}},
		"no right": {
			reason:  "RBAC's words",
			prepare: func(_ *testing.T, s *server) { s.deny = true },
			want:    []string{"403", "is forbidden"},
		},
		"token run out": {
			reason:  "of a suspended machine",
			prepare: func(t *testing.T, _ *server) { account(t, "token", "old") },
			want:    []string{"401"},
		},
		"not in a pod": {
			reason:  "run by hand",
			prepare: func(t *testing.T, _ *server) { t.Setenv("KUBERNETES_SERVICE_HOST", "") },
			want:    []string{"KUBERNETES_SERVICE_HOST", "run in a pod"},
		},
		"no account": {
			reason:  "a pod without token",
			prepare: func(t *testing.T, _ *server) { t.Setenv(accountVariable, t.TempDir()) },
			want:    []string{"namespace", accountVariable},
		},
		"a CA of others": {
			reason:  "never talk to a stranger",
			prepare: func(t *testing.T, _ *server) { account(t, "ca.crt", "none") },
			want:    []string{"no certificate in"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			engine, s := start(t)
			if c.prepare != nil {
				c.prepare(t, s)
			}
			_, err := engine.Create(provider.CreateRequest{Urn: urn, Properties: properties(c.namespace, "motd", nil)})
			wantError(t, err, c.want...)
			if s.writes != 0 {
				t.Errorf("%s: %d writes", c.reason, s.writes)
			}
		})
	}
}

func TestRefusedReadIsNotMissing(t *testing.T) {
	engine, s := start(t)
	s.deny = true
	_, err := engine.Read(provider.ReadRequest{ID: "roma/motd", Urn: urn})
	wantError(t, err, "is forbidden") // or a stack would take its object for gone and create it again
	err = engine.Delete(provider.DeleteRequest{ID: "roma/motd", Urn: urn, Properties: properties("roma", "motd", nil)})
	wantError(t, err, "is forbidden")
	_, err = engine.Read(provider.ReadRequest{ID: "motd", Urn: urn})
	wantError(t, err, `"motd"`, "namespace/name")
}

func TestSchemaIsWhatProgramsAreCheckedAgainst(t *testing.T) {
	engine, _ := start(t)
	answer, err := engine.GetSchema(provider.GetSchemaRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Name, Version string
		Resources     map[string]struct {
			RequiredInputs  []string
			InputProperties map[string]struct{ ReplaceOnChanges bool }
		}
	}
	if err := json.Unmarshal([]byte(answer.Schema), &schema); err != nil {
		t.Fatal(err)
	}
	r, ok := schema.Resources["incluster:index:ConfigMap"]
	if schema.Name != packageName || schema.Version != packageVersion || !ok || len(r.InputProperties) != 3 ||
		len(r.RequiredInputs) != 2 || !r.InputProperties["namespace"].ReplaceOnChanges || r.InputProperties["data"].ReplaceOnChanges {
		t.Errorf("schema %s", answer.Schema)
	}
}

func wantError(t *testing.T, err error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("no %q in the error: %v", text, err)
		}
	}
}

func same(a, b property.Map) bool { return property.New(a).Equals(property.New(b)) }
