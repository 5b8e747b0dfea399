package runner

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/broker/client"
	"github.com/broletto/broletto/operator/engine"
	"github.com/broletto/broletto/operator/run"
)

func TestPlanKeepsAndChangesNothing(t *testing.T) {
	s := newStage(t, order(v1alpha1.OperationPlan))
	r := s.run(t)
	if r.Failure != nil || r.Applied || r.Revision != "rev-1" || r.Outputs != nil {
		t.Errorf("report: %+v", r)
	}
	if r.Plan == nil || r.Plan.Adds != 2 || r.Plan.Digest == "" {
		t.Errorf("plan: %+v", r.Plan)
	}
	if s.world.applied != 0 || s.broker.applying != 0 || len(s.broker.states) != 0 {
		t.Error("something was applied")
	}
	if s.broker.blobs[run.PathPlan] == nil || s.broker.blobs[run.PathSource] == nil {
		t.Error("plan or source was not kept")
	}
}

func TestApplyOfWhatWasApproved(t *testing.T) {
	s := newStage(t, order(v1alpha1.OperationPlan))
	s.keep(t)
	r := s.run(t)
	if r.Failure != nil || !r.Applied || r.Serial != 1 || s.broker.serial != 1 || s.broker.lineage != "line-1" {
		t.Errorf("report: %+v, broker's serial %d and lineage %q", r, s.broker.serial, s.broker.lineage)
	}
	if diff := cmp.Diff(order("").Inputs, r.Outputs); diff != "" {
		t.Errorf("outputs: %s", diff)
	}
	want := []string{"POST /v1/order", "GET /v1/source", "GET /v1/plan", "POST /v1/applying", "PUT /v1/state", "PUT /v1/report"}
	got := slices.DeleteFunc(s.broker.calls, func(c string) bool { return strings.Contains(c, "beat") })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestApplyOfAnythingElse(t *testing.T) {
	for name, tamper := range map[string]func(b *broker){
		"another digest was approved": func(b *broker) { b.order.Approved = run.Digest(b.order.Key, nil, nil) },
		"another plan is kept": func(b *broker) {
			b.blobs[run.PathPlan] = []byte(strings.Replace(string(b.blobs[run.PathPlan]), `"color"`, `"colour"`, 1))
		},
		"more is done than was told": func(b *broker) {
			b.blobs[run.PathPlan] = []byte(strings.Replace(string(b.blobs[run.PathPlan]), "{", `{"mine":"too",`, 1))
		},
		"the key is another":    func(b *broker) { b.order.Key = []byte("x") },
		"no plan is kept":       func(b *broker) { delete(b.blobs, run.PathPlan) },
		"no source is kept":     func(b *broker) { delete(b.blobs, run.PathSource) },
		"the plan is unusable":  func(b *broker) { b.blobs[run.PathPlan] = []byte("{") },
		"the plan was used up":  func(b *broker) { b.applying = 1 },
		"nothing was approved":  func(b *broker) { b.order.Approved = "" },
		"the plan lost its end": func(b *broker) { b.blobs[run.PathPlan] = []byte("{}") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, order(v1alpha1.OperationPlan))
			s.keep(t)
			tamper(s.broker)
			r := s.run(t)
			if r.Failure == nil || r.Failure.Class != v1alpha1.FailureOutOfDate || r.Applied || s.world.applied != 0 {
				t.Errorf("report: %+v %v", r, r.Failure)
			}
		})
	}
}

func TestALifeOfAStack(t *testing.T) {
	s := newStage(t, order(v1alpha1.OperationConverge))
	check := func(what string, r *run.Report, adds, changes, destroys int32, applied bool) {
		t.Helper()
		if r.Failure != nil || r.Applied != applied || r.Plan == nil ||
			r.Plan.Adds != adds || r.Plan.Changes != changes || r.Plan.Destroys != destroys {
			t.Fatalf("%s: %+v, plan %+v, failure %v", what, r, r.Plan, r.Failure)
		}
	}
	check("first", s.run(t), 2, 0, 0, true)
	s.next(v1alpha1.OperationLook)
	check("look at what is right", s.run(t), 0, 0, 0, false)
	if slices.ContainsFunc(s.broker.calls, func(c string) bool { return strings.HasPrefix(c, "PUT") && c != "PUT "+run.PathReport }) {
		t.Errorf("a look kept something: %v", s.broker.calls)
	}
	s.broker.order.Inputs["color"] = json.RawMessage(`"red"`)
	s.next(v1alpha1.OperationLook)
	check("look at what has drifted", s.run(t), 0, 1, 0, false)
	s.broker.order.Protected = []string{"thing.color"}
	s.next(v1alpha1.OperationDestroy)
	if r := s.run(t); r.Failure == nil || r.Failure.Class != v1alpha1.FailureRefused || s.world.applied != 1 {
		t.Fatalf("what is protected was destroyed: %+v", r)
	}
	s.broker.order.Protected = nil
	s.next(v1alpha1.OperationDestroy)
	check("destroy", s.run(t), 0, 0, 2, true)
	delete(s.broker.blobs, run.PathSource)
	delete(s.broker.blobs, run.PathState)
	s.next(v1alpha1.OperationDestroy)
	check("destroy what never was", s.run(t), 0, 0, 0, false)
}

func TestFailureClasses(t *testing.T) {
	boom := errors.New("boom hunter2! at once")
	for name, row := range map[string]struct {
		op    v1alpha1.Operation
		spoil func(s *stage)
		want  v1alpha1.FailureClass
	}{
		"the code is wrong":      {v1alpha1.OperationPlan, func(s *stage) { s.world.prepare = func(engine.Work) error { return &engine.Invalid{Err: boom} } }, v1alpha1.FailureInput},
		"preparing fails":        {v1alpha1.OperationPlan, func(s *stage) { s.world.prepare = func(engine.Work) error { return boom } }, v1alpha1.FailureEngine},
		"planning fails":         {v1alpha1.OperationPlan, func(s *stage) { s.world.planned = func(*engine.Plan) error { return boom } }, v1alpha1.FailureEngine},
		"the plan is stale":      {v1alpha1.OperationConverge, func(s *stage) { s.applying(&engine.Stale{Err: boom}) }, v1alpha1.FailureOutOfDate},
		"applying fails":         {v1alpha1.OperationConverge, func(s *stage) { s.applying(boom) }, v1alpha1.FailureEngine},
		"the source is hostile":  {v1alpha1.OperationPlan, func(s *stage) { s.Check = func(string, run.Order) error { return boom } }, v1alpha1.FailureSource},
		"no such engine":         {v1alpha1.OperationPlan, func(s *stage) { s.broker.order.Engine = v1alpha1.Terraform }, v1alpha1.FailureSource},
		"too much is destroyed":  {v1alpha1.OperationConverge, func(s *stage) { s.broker.order.Protected = []string{"thing.x"}; s.has("x") }, v1alpha1.FailureRefused},
		"fetching fails":         {v1alpha1.OperationPlan, func(s *stage) { s.fetch(boom) }, v1alpha1.FailureInfrastructure},
		"fetching is refused":    {v1alpha1.OperationPlan, func(s *stage) { s.fetch(&run.Hostile{Path: "a", Reason: "hunter2!"}) }, v1alpha1.FailureSource},
		"the deadline is over":   {v1alpha1.OperationPlan, func(s *stage) { s.broker.order.Deadline = time.Now().Add(-time.Second) }, v1alpha1.FailureDeadline},
		"the plan is not kept":   {v1alpha1.OperationPlan, func(s *stage) { s.refuse("PUT", run.PathPlan, v1alpha1.FailureLocked) }, v1alpha1.FailureLocked},
		"leave is not given":     {v1alpha1.OperationConverge, func(s *stage) { s.refuse("POST", run.PathApplying, v1alpha1.FailureOutOfDate) }, v1alpha1.FailureOutOfDate},
		"the broker is confused": {v1alpha1.OperationConverge, func(s *stage) { s.has("x"); s.refuse("GET", run.PathState, "") }, v1alpha1.FailureInfrastructure},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, order(row.op))
			row.spoil(s)
			r := s.run(t)
			if r.Failure == nil || r.Failure.Class != row.want {
				t.Errorf("got %+v, want class %s", r.Failure, row.want)
			} else if strings.Contains(r.Failure.Message+s.log.String(), "hunter2!") || r.Failure.Message == "" {
				t.Errorf("message %q, log %q", r.Failure.Message, s.log.String())
			}
		})
	}
}

func (s *stage) applying(err error) {
	s.world.applying = func(context.Context, engine.Work) error { return err }
}

func (s *stage) fetch(err error) {
	s.Fetch = func(context.Context, run.Source, string) (string, error) { return "", err }
}

func (s *stage) has(thing string) {
	s.broker.blobs[run.PathState] = fmt.Appendf(nil, `{"lineage":"line-1","things":{%q:1}}`, thing)
	s.broker.serial, s.broker.order.Serial = 1, 1
}

func (s *stage) refuse(method, path string, class v1alpha1.FailureClass) {
	s.broker.fault = func(w http.ResponseWriter, r *http.Request, _ bool) bool {
		if r.Method == method && r.URL.Path == path {
			problem(w, http.StatusConflict, class, "no")
			return true
		}
		return false
	}
}

// states makes the engine write states one after the other, each of them seen by the broker before the next.
func (s *stage) writesStates(t *testing.T, n int, between func(i int)) {
	s.world.applying = func(ctx context.Context, w engine.Work) error {
		for i := range n {
			if between != nil {
				between(i)
			}
			if err := writeState(w.State, fakeState{Lineage: "line-1", Things: map[string]json.RawMessage{"n": fmt.Appendf(nil, "%d", i)}}); err != nil {
				return err
			}
			for seen := false; !seen; {
				if err := client.Pause(ctx, time.Millisecond); err != nil {
					return fmt.Errorf("interrupted: %w", err)
				}
				s.broker.with(func() { seen = len(s.broker.states) > i })
			}
		}
		return nil
	}
}

func TestStatesAreSavedAsTheyCome(t *testing.T) {
	s := newStage(t, order(v1alpha1.OperationConverge))
	s.writesStates(t, 3, nil)
	if r := s.run(t); r.Failure != nil || r.Serial != 4 || len(s.broker.states) != 4 {
		t.Errorf("%+v, %d states", r, len(s.broker.states))
	}
}

func TestStatesOutliveAnInterruption(t *testing.T) {
	for name, row := range map[string]struct {
		end  func(s *stage, cancel func())
		want v1alpha1.FailureClass
		say  string
	}{
		"the pod is told to end": {func(_ *stage, cancel func()) { cancel() }, v1alpha1.FailureInfrastructure, errEnded.Error()},
		"the operator says stop": {func(s *stage, _ func()) { s.broker.with(func() { s.broker.stop = true }) }, v1alpha1.FailureInfrastructure, errStopped.Error()},
		"the state is another's": {func(s *stage, _ func()) {
			s.broker.with(func() { s.refuse("POST", run.PathBeat, v1alpha1.FailureLocked) })
		},
			v1alpha1.FailureLocked, "does not take this run for alive"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, order(v1alpha1.OperationConverge))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s.world.applying = func(engineCtx context.Context, w engine.Work) error {
				row.end(s, cancel)
				<-engineCtx.Done()
				// What it was at is finished in its grace.
				if err := writeState(w.State, fakeState{Things: map[string]json.RawMessage{"made": json.RawMessage("1")}}); err != nil {
					return err
				}
				return errors.New("interrupted")
			}
			if err := s.Run(ctx); err != nil {
				t.Fatal(err)
			}
			r := s.broker.report
			if r.Failure == nil || r.Failure.Class != row.want || !strings.Contains(r.Failure.Message, row.say) || !r.Applied || r.Serial != 1 {
				t.Errorf("%+v %+v", r, r.Failure)
			}
			if len(s.broker.states) != 1 || !strings.Contains(string(s.broker.states[0]), "made") {
				t.Errorf("states: %s", s.broker.states)
			}
		})
	}
}

func TestTheDeadlineInterrupts(t *testing.T) {
	o := order(v1alpha1.OperationConverge)
	o.Deadline = time.Now().Add(time.Second)
	s := newStage(t, o)
	s.world.applying = func(ctx context.Context, _ engine.Work) error { <-ctx.Done(); return errors.New("interrupted") }
	// A loaded machine may be late before it comes to apply: the class is the same.
	if r := s.run(t); r.Failure == nil || r.Failure.Class != v1alpha1.FailureDeadline {
		t.Errorf("%+v", r.Failure)
	}
}

func TestTheLastStateWaitsForTheBroker(t *testing.T) {
	s := newStage(t, order(v1alpha1.OperationConverge))
	refusals := 0
	s.broker.fault = func(w http.ResponseWriter, r *http.Request, _ bool) bool {
		if r.URL.Path != run.PathState || r.Method != http.MethodPut || refusals >= 3 {
			return false
		}
		refusals++
		problem(w, http.StatusServiceUnavailable, v1alpha1.FailureInfrastructure, "busy")
		return true
	}
	if r := s.run(t); r.Failure != nil || r.Serial != 1 || len(s.broker.states) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestAnAnswerThatIsLostCostsNoState(t *testing.T) {
	s := newStage(t, order(v1alpha1.OperationConverge))
	lost := false
	s.broker.fault = func(_ http.ResponseWriter, r *http.Request, before bool) bool {
		if r.URL.Path == run.PathState && r.Method == http.MethodPut && !before && !lost {
			lost = true
			panic(http.ErrAbortHandler) // it was saved, and nobody is told
		}
		return false
	}
	s.world.applying = func(ctx context.Context, w engine.Work) error {
		if err := writeState(w.State, fakeState{Things: map[string]json.RawMessage{"first": json.RawMessage("1")}}); err != nil {
			return err
		}
		for gone := false; !gone; {
			if err := client.Pause(ctx, time.Millisecond); err != nil {
				return err
			}
			s.broker.with(func() { gone = lost })
		}
		return nil
	}
	if r := s.run(t); r.Failure != nil || r.Serial != 2 || len(s.broker.states) != 2 {
		t.Errorf("%+v, failure %v, %d states", r, r.Failure, len(s.broker.states))
	}
}

func TestAStateThatIsRefusedInterrupts(t *testing.T) {
	s := newStage(t, order(v1alpha1.OperationConverge))
	s.writesStates(t, 2, func(i int) {
		if i == 1 {
			s.broker.with(func() { s.broker.serial = 7 }) // another runner was here
		}
	})
	if err := s.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := s.broker.report
	if r.Failure == nil || r.Failure.Class != v1alpha1.FailureOutOfDate || !strings.Contains(r.Failure.Message, "not saved") {
		t.Errorf("%+v %+v", r, r.Failure)
	}
	if _, err := os.Stat(filepath.Join(s.Work, stateFolder, stateFile)); err != nil {
		t.Errorf("the state that could not be saved is not left: %v", err)
	}
	if left, _ := os.ReadDir(s.Work); len(left) != 1 {
		t.Errorf("more than the state is left: %v", left)
	}
}

func TestATornStateIsNotSaved(t *testing.T) {
	s := newStage(t, order(v1alpha1.OperationConverge))
	s.world.applying = func(_ context.Context, w engine.Work) error {
		return errors.Join(errors.New("killed"), os.WriteFile(w.State, []byte(`{"lineage":`), 0o600))
	}
	if err := s.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := s.broker.report; r.Failure == nil || !strings.Contains(r.Failure.Message, "half written") || len(s.broker.states) != 0 {
		t.Errorf("%+v", r.Failure)
	}
}

func TestWithoutABroker(t *testing.T) {
	s := newStage(t, order(v1alpha1.OperationPlan))
	s.broker.Close()
	s.Patience = 300 * time.Millisecond
	if err := s.Run(t.Context()); err == nil {
		t.Error("a run without a report is none that went well")
	}
}

func TestTheLockIsWaitedFor(t *testing.T) {
	s := newStage(t, order(v1alpha1.OperationPlan))
	asked := 0
	s.broker.fault = func(w http.ResponseWriter, r *http.Request, before bool) bool {
		if r.URL.Path != run.PathOrder || !before {
			return false
		}
		if asked++; asked > 1 {
			return false
		}
		problem(w, http.StatusConflict, v1alpha1.FailureLocked, "another run holds the state")
		return true
	}
	if r := s.run(t); r.Failure != nil || asked != 2 {
		t.Errorf("%+v after %d times", r.Failure, asked)
	}
}

func TestTheBrokerIsKnownByItsCertificate(t *testing.T) {
	s := newStage(t, order(v1alpha1.OperationPlan))
	if _, err := NewClient(s.broker.URL, "nothing", "token"); err == nil {
		t.Error("a client without certificates")
	}
	if _, err := NewClient("http://broker", s.broker.ca(), "token"); err == nil {
		t.Error("a client without TLS")
	}
	client, err := NewClient(s.broker.URL, anotherCA(t), s.Broker.Token)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := client.Order(ctx); err == nil || len(s.broker.calls) > 0 {
		t.Errorf("a broker that nobody vouches for was told the token: %v", err)
	}
}

func anotherCA(t *testing.T) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestTheEnvironmentOfTheCode(t *testing.T) {
	t.Setenv("BROLETTO_CANARY", "of the runner")
	s := newStage(t, order(v1alpha1.OperationPlan))
	s.Account, s.Host, s.Port, s.Path = t.TempDir(), "10.0.0.1", "6443", "/engines"
	if err := os.WriteFile(filepath.Join(s.Account, "namespace"), []byte("comune--prod\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var env map[string]string
	var config []byte
	s.world.prepare = func(w engine.Work) (err error) {
		env = w.Env
		config, err = os.ReadFile(w.Env["KUBECONFIG"])
		return err
	}
	if r := s.run(t); r.Failure != nil {
		t.Fatal(r.Failure)
	}
	home := filepath.Join(s.Work, "home")
	file := filepath.Join(home, "kubeconfig")
	want := map[string]string{
		"GOGC": "400", "GOMEMLIMIT": "160MiB", "PATH": "/engines", "HOME": home, "USER": "runner", "TMPDIR": filepath.Join(s.Work, "tmp"), "BROLETTO_SERVICEACCOUNT": s.Account, "KUBECONFIG": file, "KUBE_CONFIG": file,
		"KUBE_CONFIG_PATH": file, "KUBE_NAMESPACE": "comune--prod", "KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "6443",
	}
	if diff := cmp.Diff(want, env); diff != "" {
		t.Error(diff)
	}
	for _, part := range []string{"https://10.0.0.1:6443", s.Account + "/token", s.Account + "/ca.crt", `"namespace": "comune--prod"`} {
		if !strings.Contains(string(config), part) {
			t.Errorf("no %s in %s", part, config)
		}
	}
}

// A broker that is gone for long costs no state: it is tried until the pod has no more time. Who is ended has less.
func TestPatience(t *testing.T) {
	live, end := context.WithCancelCause(t.Context())
	s := &scope{Runner: &Runner{}, order: run.Order{Deadline: time.Now().Add(time.Hour)}}
	left := func() time.Duration {
		ctx, cancel := s.lastly(live)
		defer cancel()
		until, _ := ctx.Deadline()
		return time.Until(until)
	}
	if got := left(); got < time.Hour || got > time.Hour+run.Overtime {
		t.Errorf("after a run with an hour left: %s", got)
	}
	s.order.Deadline = time.Now().Add(-time.Hour)
	if got := left(); got < savePatience-time.Minute || got > savePatience {
		t.Errorf("after a run with no time left: %s", got)
	}
	end(errEnded)
	if got := left(); got > savePatience/3 {
		t.Errorf("after a run that was ended: %s", got)
	}
}
