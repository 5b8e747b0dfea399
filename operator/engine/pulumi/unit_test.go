package pulumi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/sig"

	"github.com/broletto/broletto/operator/engine"
	"github.com/broletto/broletto/operator/engine/leash"
	"github.com/broletto/broletto/operator/run"
)

const (
	stackURN = "urn:pulumi:stack::p::pulumi:pulumi:Stack::p-stack"
	mapURN   = "urn:pulumi:stack::p::incluster:index:ConfigMap::first"
)

func seal(t *testing.T, passphrase, text string) map[string]string {
	t.Helper()
	sealed, err := config.NewSymmetricCrypterFromPassphrase(passphrase, saltOf(passphrase)).EncryptValue(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{sig.Key: sig.Secret, "ciphertext": sealed}
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A plan's secrets are sealed anew each time, and its seed is drawn by lot: neither is in what is digested. Another secret is.
func TestPlansOfTheSameHaveOneDigest(t *testing.T) {
	keys := &keyring{passphrase: "p"}
	s := &state{Resources: []resource{{
		URN: stackURN, Type: stackType, Outputs: encode(t, map[string]any{"token": seal(t, "p", `"old"`)}),
	}}}
	digest := func(secret, seed string) string {
		saved := encode(t, map[string]any{"resourcePlans": map[string]any{
			mapURN: map[string]any{
				"goal":  map[string]any{"inputDiff": map[string]any{"adds": map[string]any{"data": seal(t, "p", secret)}}},
				"steps": []string{"create"}, "seed": seed,
			},
			stackURN: map[string]any{"steps": []string{"same"}, "state": map[string]any{"token": seal(t, "p", secret)}},
			"urn:pulumi:stack::p::pulumi:providers:incluster::default": map[string]any{"steps": []string{"create"}},
		}})
		plan, err := read(t.Context(), saved, s, keys)
		if err != nil {
			t.Fatal(err)
		}
		if len(plan.Changes) != 1 || plan.Changes[0].Address != mapURN || len(plan.Outputs) != 1 {
			t.Errorf("changes %+v, outputs %+v, want the config map and the token", plan.Changes, plan.Outputs)
		}
		if diff := cmp.Diff([]string{"incluster"}, plan.Providers); diff != "" {
			t.Error(diff)
		}
		if strings.Contains(string(plan.Changes[0].After), "ciphertext") {
			t.Error("a change has sealed values")
		}
		return string(run.Digest([]byte("k"), plan.Changes, plan.Outputs))
	}
	one, two, other := digest(`"a"`, "AAAA"), digest(`"a"`, "BBBB"), digest(`"b"`, "AAAA")
	if one != two {
		t.Error("the same plan has two digests")
	}
	if one == other {
		t.Error("two secrets have one digest")
	}
}

func TestActions(t *testing.T) {
	for steps, want := range map[string]string{
		"same": "", "refresh same": "", "read": "", "create": "create", "update": "update", "delete": "delete", "import": "update",
		"create-replacement replace delete-replaced": "create delete", "delete-replaced replace create-replacement": "delete create",
		"unheard-of": "update",
	} {
		if got := strings.Join(actionsOf(strings.Fields(steps)), " "); got != want {
			t.Errorf("%s: %q, want %q", steps, got, want)
		}
	}
}

// What the backend has is what Work.State gets, and the other way round.
func TestStateGoesAroundUnchanged(t *testing.T) {
	dir := t.TempDir()
	w := engine.Work{Dir: filepath.Join(dir, "dir"), State: filepath.Join(dir, "state")}
	if err := os.Mkdir(w.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	const deployment = `{"manifest":{"time":"2026-01-02T03:04:05Z"},"pending_operations":[{"resource":{"urn":"` + mapURN +
		`"},"type":"creating"}],"resources":[{"urn":"` + stackURN + `","type":"` + stackType + `","outputs":{"n":12345678901234567890}}]}`
	if err := os.WriteFile(w.State, []byte(`{"version":3,"deployment":`+deployment+`}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := readState(w.State)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	s.tellPending(&log)
	if !strings.Contains(log.String(), "creating "+mapURN) {
		t.Errorf("what was cut short is not told: %q", log.String())
	}
	path, err := s.spread(filepath.Join(w.Dir, "backend"), "p")
	if err != nil {
		t.Fatal(err)
	}
	f := &follower{from: path, w: w}
	if err := f.copy(); err != nil {
		t.Fatal(err)
	}
	again, err := readState(w.State)
	if err != nil {
		t.Fatal(err)
	}
	if len(again.Pending) > 0 {
		t.Error("what was cut short is in the state still")
	}
	outputs, err := again.outputs(t.Context(), &keyring{})
	if err != nil || string(outputs["n"]) != "12345678901234567890" {
		t.Errorf("outputs %s, %v", outputs, err)
	}
}

func TestProjectNamesThatArePaths(t *testing.T) {
	for _, name := range []string{"../x", "a/b", "..", ""} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "Pulumi.yaml"), encode(t, map[string]string{"name": name}), 0o600); err != nil {
			t.Fatal(err)
		}
		var invalid *engine.Invalid
		if _, err := project(dir); !errors.As(err, &invalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// Secrets are in the file for the engine, sealed; no other input is touched.
func TestInputs(t *testing.T) {
	dir := t.TempDir()
	w := engine.Work{
		Code: dir, Dir: filepath.Join(dir, "dir"), Passphrase: "p", Secret: []string{"key", "pair"},
		Inputs: map[string]json.RawMessage{
			"size": json.RawMessage(`3`), "key": json.RawMessage(`"s3cret"`),
			"pair": json.RawMessage(`{"a": "s3cret"}`), "aws:region": json.RawMessage(`"x"`),
		},
	}
	if err := os.WriteFile(filepath.Join(dir, "Pulumi.yaml"), []byte("name: p"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := furnish(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(w.Dir, configFile))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "s3cret") {
		t.Error("a secret is in the clear")
	}
	var got struct {
		Config map[string]json.RawMessage `json:"config"`
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if string(got.Config["p:size"]) != "3" || string(got.Config["aws:region"]) != `"x"` {
		t.Errorf("%s", text)
	}
	var sealed struct {
		Secure string `json:"secure"`
	}
	if err := json.Unmarshal(got.Config["p:pair"], &sealed); err != nil {
		t.Fatal(err)
	}
	clear, err := config.NewSymmetricCrypterFromPassphrase("p", saltOf("p")).DecryptValue(t.Context(), sealed.Secure)
	if err != nil || clear != `{"a":"s3cret"}` {
		t.Errorf("%q, %v", clear, err)
	}
}

// The command hands on nothing of this process, ends at once when it is told to, and leaves nothing that holds its pipes.
func TestCommand(t *testing.T) {
	t.Setenv("BROLETTO_CANARY", "parent's")
	path := filepath.Join(t.TempDir(), "pulumi")
	script := "#!/bin/sh\ncase \"$2\" in\n" +
		"env) env; echo oops >&2; sleep 600 & exit 3;;\n" +
		"wait) trap 'echo interrupted; exit 0' INT; echo began; while :; do sleep 0.1; done;;\nesac\n"
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	held := leash.Hold(t.Context(), time.Hour)
	defer held.Release()
	c := &command{path: path, grace: time.Minute, leash: held}
	c.env = map[string]string{"PATH": "/bin:/usr/bin", "MINE": "1", leash.Variable: held.Mark()}
	out, errs, code, err := c.Run(t.Context(), "/", nil, nil, nil, []string{"MINE=2", "THEIRS=3"}, "env")
	if err == nil || code != 3 || errs != "oops\n" {
		t.Errorf("code %d, error %v, printed %q", code, err, errs)
	}
	if strings.Contains(out, "BROLETTO_CANARY") || !strings.Contains(out, "MINE=1\n") || !strings.Contains(out, "THEIRS=3\n") {
		t.Errorf("environment:\n%s", out)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, _, _, _ = c.Run(ctx, "/", nil, []io.Writer{writer(func(p []byte) {
		if strings.Contains(string(p), "began") {
			cancel()
		}
	})}, nil, nil, "wait")
	if !strings.Contains(out, "interrupted") {
		t.Errorf("it was not told, but printed %q", out)
	}
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

func TestWhoseTurnItIs(t *testing.T) {
	for name, c := range map[string]struct {
		diagnostics []apitype.DiagnosticEvent
		want        bool
	}{
		"program":  {[]apitype.DiagnosticEvent{{Message: "resource \"nobody\" not found"}}, true},
		"stack":    {[]apitype.DiagnosticEvent{{URN: stackURN, Message: "unknown variable"}}, true},
		"check":    {[]apitype.DiagnosticEvent{{URN: mapURN, Message: "resource 'first' has a problem: name is missing"}}, true},
		"provider": {[]apitype.DiagnosticEvent{{URN: stackURN, Message: "preview failed"}, {URN: mapURN, Message: "connection refused"}}, false},
	} {
		if text, got := told(c.diagnostics); got != c.want || text == "" {
			t.Errorf("%s: %t %q, want %t", name, got, text, c.want)
		}
	}
}
