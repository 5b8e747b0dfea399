package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/engine"
	"github.com/broletto/broletto/operator/run"
)

// broker is one in memory.
type broker struct {
	*httptest.Server
	mu       sync.Mutex
	order    run.Order
	blobs    map[string][]byte
	lineage  string
	serial   int64
	states   [][]byte
	applying int
	beats    int
	stop     bool
	report   *run.Report
	calls    []string
	// fault answers instead, if it is there and says so; before tells whether the request was not looked at yet, or was served.
	fault func(w http.ResponseWriter, r *http.Request, before bool) bool
}

func newBroker(t testing.TB, o run.Order) *broker {
	b := &broker{order: o, blobs: map[string][]byte{}, serial: o.Serial}
	b.Server = httptest.NewUnstartedServer(b)
	b.Config.ErrorLog = log.New(io.Discard, "", 0)
	b.StartTLS()
	t.Cleanup(b.Close)
	return b
}

func (b *broker) ca() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.Certificate().Raw}))
}

func problem(w http.ResponseWriter, status int, class v1alpha1.FailureClass, message string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(run.Problem{Class: class, Message: message})
}

func (b *broker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, r.Method+" "+r.URL.Path)
	if r.Header.Get("Authorization") != "Bearer broker-token-1" {
		problem(w, http.StatusForbidden, v1alpha1.FailureInfrastructure, "who are you?")
		return
	}
	if b.fault != nil && b.fault(w, r, true) {
		return
	}
	body, _ := io.ReadAll(r.Body)
	answer := httptest.NewRecorder()
	b.serve(answer, r, body)
	if b.fault != nil && b.fault(w, r, false) {
		return
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

func (b *broker) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	switch what := r.Method + " " + r.URL.Path; what {
	case "POST " + run.PathOrder:
		_ = json.NewEncoder(w).Encode(b.order)
	case "POST " + run.PathBeat:
		b.beats++
		_ = json.NewEncoder(w).Encode(run.Beat{Stop: b.stop})
	case "POST " + run.PathApplying:
		if b.applying++; b.applying > 1 {
			problem(w, http.StatusConflict, v1alpha1.FailureOutOfDate, "the plan was used")
			return
		}
		if len(body) > 0 { // a Converge's source
			b.blobs[run.PathSource] = body
		}
		w.WriteHeader(http.StatusNoContent)
	case "PUT " + run.PathReport:
		if b.report == nil {
			b.report = &run.Report{}
			_ = json.Unmarshal(body, b.report)
		}
	case "PUT " + run.PathState:
		serial, _ := strconv.ParseInt(r.Header.Get(run.HeaderSerial), 10, 64)
		if serial == b.serial && bytes.Equal(body, b.blobs[run.PathState]) {
			return
		}
		if serial != b.serial+1 {
			problem(w, http.StatusConflict, v1alpha1.FailureOutOfDate, "the state is stale")
			return
		}
		b.serial, b.lineage, b.blobs[run.PathState] = serial, r.Header.Get(run.HeaderLineage), body
		b.states = append(b.states, body)
	case "PUT " + run.PathSource, "PUT " + run.PathPlan:
		b.blobs[r.URL.Path] = body
	default:
		data, ok := b.blobs[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(data)
	}
}

// with looks at a broker that may be in use.
func (b *broker) with(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

// world is a fake engine and what it makes: one resource for each input, of the type "thing".
type world struct {
	mu sync.Mutex
	// planned, applying and outputs come in between, if they are there.
	prepare  func(w engine.Work) error
	planned  func(p *engine.Plan) error
	applying func(ctx context.Context, w engine.Work) error
	applied  int
}

type fakeState struct {
	Lineage string                     `json:"lineage"`
	Things  map[string]json.RawMessage `json:"things"`
}

func readState(path string) (s fakeState, err error) {
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return fakeState{Lineage: "line-1", Things: map[string]json.RawMessage{}}, nil
	}
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(data, &s)
}

func writeState(path string, s fakeState) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}

func (f *world) Prepare(_ context.Context, w engine.Work) error {
	if _, err := os.Stat(filepath.Join(w.Code, "main.fake")); err != nil {
		return &engine.Invalid{Err: errors.New("there is no main.fake")}
	}
	if f.prepare != nil {
		return f.prepare(w)
	}
	return nil
}

func (f *world) Plan(_ context.Context, w engine.Work, destroy bool) (*engine.Plan, error) {
	s, err := readState(w.State)
	if err != nil {
		return nil, err
	}
	want := w.Inputs
	if destroy {
		want = nil
	}
	p := difference(s, want)
	p.File, _ = json.Marshal(want)
	if f.planned != nil {
		return p, f.planned(p)
	}
	return p, nil
}

func (f *world) Read(_ context.Context, w engine.Work, file []byte) (*engine.Plan, error) {
	var want map[string]json.RawMessage
	if json.Unmarshal(file, &want) != nil {
		return nil, &engine.Stale{Err: errors.New("no plan")}
	}
	s, err := readState(w.State)
	p := difference(s, want)
	p.File = file
	return p, err
}

// difference is what brings a state to where it is wanted.
func difference(s fakeState, want map[string]json.RawMessage) *engine.Plan {
	p := &engine.Plan{Outputs: map[string]engine.Values{}}
	for name, value := range want {
		if old, ok := s.Things[name]; !ok {
			p.Changes = append(p.Changes, engine.Change{Address: "thing." + name, Type: "thing", Actions: []string{"create"}, Values: engine.Values{After: value}})
		} else if !bytes.Equal(old, value) {
			p.Changes = append(p.Changes, engine.Change{Address: "thing." + name, Type: "thing", Actions: []string{"update"}, Values: engine.Values{Before: old, After: value}})
		}
	}
	for name, value := range s.Things {
		if _, ok := want[name]; !ok {
			p.Changes = append(p.Changes, engine.Change{Address: "thing." + name, Type: "thing", Actions: []string{"delete"}, Values: engine.Values{Before: value}})
		}
	}
	return p
}

func (f *world) Apply(ctx context.Context, w engine.Work, p *engine.Plan) error {
	f.mu.Lock()
	f.applied++
	f.mu.Unlock()
	if f.applying != nil {
		if err := f.applying(ctx, w); err != nil {
			return err
		}
	}
	s, err := readState(w.State)
	if err != nil {
		return err
	}
	s.Things = nil
	if err := json.Unmarshal(p.File, &s.Things); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(w.Log, "applied %s\n", slices.Sorted(maps.Keys(s.Things)))
	return writeState(w.State, s)
}

func (f *world) Outputs(_ context.Context, w engine.Work) (map[string]json.RawMessage, error) {
	s, err := readState(w.State)
	return s.Things, err
}

func order(op v1alpha1.Operation) run.Order {
	return run.Order{
		Run: "sito-1", Stack: "comune/sito", Namespace: "comune--prod", Operation: op, Engine: v1alpha1.OpenTofu,
		Source:   &run.Source{StackSource: v1alpha1.StackSource{Inline: map[string]v1alpha1.SourceText{"main.fake": "x"}}},
		Inputs:   map[string]json.RawMessage{"color": json.RawMessage(`"blue"`), "password": json.RawMessage(`"hunter2!"`)},
		Secret:   []string{"password"},
		Key:      []byte("0123456789abcdef0123456789abcdef"),
		Deadline: time.Now().Add(10 * time.Minute),
	}
}

// stage is a runner on a broker and a fake engine.
type stage struct {
	*Runner
	broker *broker
	world  *world
	log    bytes.Buffer
}

func newStage(t testing.TB, o run.Order) *stage {
	t.Helper()
	s := &stage{broker: newBroker(t, o), world: &world{}}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("broker-token-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	client, err := NewClient(s.broker.URL, s.broker.ca(), token)
	if err != nil {
		t.Fatal(err)
	}
	s.Runner = &Runner{
		Broker:  client,
		Engines: map[v1alpha1.EngineName]engine.Engine{v1alpha1.OpenTofu: s.world},
		Fetch: func(_ context.Context, src run.Source, dir string) (string, error) {
			for name, text := range src.Inline {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					return "", err
				}
			}
			return "rev-1", nil
		},
		Check: func(string, run.Order) error { return nil },
		Work:  t.TempDir(), Log: &s.log, beatEvery: 20 * time.Millisecond, saveEvery: 5 * time.Millisecond,
	}
	return s
}

// keep runs a Plan, and leaves its order as that of an Apply of it.
func (s *stage) keep(t testing.TB) {
	t.Helper()
	s.run(t)
	r := s.broker.report
	if r == nil || r.Failure != nil {
		t.Fatalf("planning: %+v", r)
	}
	s.next(v1alpha1.OperationApply)
	s.broker.order.Approved = r.Plan.Digest
}

// next readies the broker for another run.
func (s *stage) next(op v1alpha1.Operation) {
	s.broker.report, s.broker.applying, s.broker.calls, s.broker.states = nil, 0, nil, nil
	s.broker.order.Operation, s.broker.order.Serial = op, s.broker.serial
	if op != v1alpha1.OperationPlan && op != v1alpha1.OperationConverge {
		s.broker.order.Source = nil
	}
}

func (s *stage) run(t testing.TB) *run.Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := s.Run(ctx); err != nil {
		t.Fatalf("no report: %v", err)
	}
	if left, _ := os.ReadDir(s.Work); len(left) > 0 {
		t.Errorf("left in the work folder: %v", left)
	}
	return s.broker.report
}
