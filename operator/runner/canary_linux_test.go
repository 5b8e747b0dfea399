package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/engine"
	"github.com/broletto/broletto/operator/run"
)

// What a child of this test's binary is.
const (
	role       = "BROLETTO_TEST_ROLE"
	roleRunner = "runner"
)

func TestMain(m *testing.M) {
	if os.Getenv(role) == roleRunner {
		os.Exit(childRunner())
	}
	os.Exit(m.Run())
}

// canary is a secret that must not turn up anywhere.
const canary = "canary-5f0c1b~Zz9"

// leaky is an engine that starts what outlives it: a child that leaves session, environment and parent.
type leaky struct {
	world
	mode string
}

func (l *leaky) Apply(ctx context.Context, w engine.Work, p *engine.Plan) error {
	pids := filepath.Join(os.Getenv("PIDS"), "pid")
	script := `env -i setsid sh -c 'echo $$ >` + pids + `.tmp; mv ` + pids + `.tmp ` + pids + `; trap "" INT TERM HUP; while :; do sleep 1; done' >/dev/null 2>&1 & while [ ! -e ` + pids + ` ]; do sleep 0.05; done`
	cmd := exec.CommandContext(ctx, "sh", "-c", script)
	if err := cmd.Run(); err != nil {
		return err
	}
	for _, text := range written(string(bytes.Trim(w.Inputs["password"], `"`))) {
		_, _ = fmt.Fprintln(w.Log, "log", text)
	}
	// The test looks at the processes meanwhile.
	resp, err := http.Get(os.Getenv("LOOK"))
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if err := l.world.Apply(ctx, w, p); err != nil {
		return err
	}
	if l.mode == "fail" {
		return fmt.Errorf("the provider says %s, %q, %s", canary, canary, written(canary)["in a user's"])
	}
	return nil
}

// childRunner is a runner in a process of its own, as it is in a pod.
func childRunner() int {
	if err := Guard(); err != nil {
		fmt.Println(err)
		return 1
	}
	client, err := NewClient(os.Getenv("URL"), os.Getenv("CA"), os.Getenv("TOKEN"))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	r := Runner{
		Broker: client, Engines: map[v1alpha1.EngineName]engine.Engine{v1alpha1.OpenTofu: &leaky{mode: os.Getenv("MODE")}},
		Fetch: func(_ context.Context, _ run.Source, dir string) (string, error) {
			return "rev", os.WriteFile(filepath.Join(dir, "main.fake"), nil, 0o600)
		},
		Check: func(string, run.Order) error { return nil },
		Work:  os.Getenv("WORK"), Log: os.Stdout, Reap: Reap,
	}
	if err := r.Run(context.Background()); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// No byte of a secret leaves but as it should, and nothing that the engine has started is left.
func TestCanary(t *testing.T) {
	for _, mode := range []string{"succeed", "fail"} {
		t.Run(mode, func(t *testing.T) { testCanary(t, mode) })
	}
}

func testCanary(t *testing.T, mode string) {
	o := order(v1alpha1.OperationConverge)
	o.Inputs["password"] = json.RawMessage(strconv.Quote(canary))
	o.Source.Credentials = map[string][]byte{"password": []byte("git-" + canary)}
	s := newStage(t, o)
	pids, work := t.TempDir(), t.TempDir()
	var lines []string
	look := newLook(t, func() { lines = commandLines(t) })
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = []string{role + "=" + roleRunner, "URL=" + s.broker.URL, "CA=" + s.broker.ca(), "TOKEN=" + s.Broker.Token,
		"WORK=" + work, "PIDS=" + pids, "LOOK=" + look, "MODE=" + mode, "PATH=" + os.Getenv("PATH")}
	log, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, log)
	}
	r := s.broker.report
	if r == nil || (r.Failure != nil) != (mode == "fail") {
		t.Fatalf("%+v, log %s", r, log)
	}
	if mode == "fail" && r.Failure.Class != v1alpha1.FailureEngine {
		t.Errorf("%+v", r.Failure)
	}
	if mode != "fail" && !strings.Contains(string(mustJSON(r.Outputs)), canary) {
		t.Error("the outputs were redacted")
	}
	r.Outputs = nil
	if len(lines) == 0 {
		t.Error("nobody looked at the processes")
	}
	places := map[string]string{"the log": string(log), "the report": string(mustJSON(r)), "command lines": strings.Join(lines, "\n"), "files left": everything(t, work)}
	for place, text := range places {
		for form, hidden := range written(canary) {
			if strings.Contains(text, hidden) {
				t.Errorf("the secret is in %s (%s): %s", place, form, text)
			}
		}
	}
	if !strings.Contains(string(log), mask) {
		t.Errorf("no mask in the log: %s", log)
	}
	gone(t, filepath.Join(pids, "pid"))
}

// newLook is a place that a child calls while it works.
func newLook(t *testing.T, f func()) string {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { f() }))
	t.Cleanup(server.Close)
	return server.URL
}

// commandLines are those of all processes.
func commandLines(t *testing.T) (lines []string) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Error(err)
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		if line, err := os.ReadFile("/proc/" + e.Name() + "/cmdline"); err == nil {
			lines = append(lines, string(bytes.ReplaceAll(line, []byte{0}, []byte(" "))))
		}
	}
	return lines
}

func everything(t *testing.T, dir string) string {
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		fmt.Fprintln(&all, path, string(data))
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return all.String()
}

// gone checks that a process is not there any more.
func gone(t *testing.T, file string) {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid := strings.TrimSpace(string(data))
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if !errors.Is(err, fs.ErrNotExist) && !bytes.Contains(stat, []byte(") Z ")) {
		t.Errorf("what the engine has started lives on: %s %v", stat, err)
	}
}
