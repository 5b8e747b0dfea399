package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/move"
	"github.com/broletto/broletto/operator/run"
	"github.com/broletto/broletto/operator/vault"
)

// maxReport bounds a report, in bytes.
const maxReport = 8 << 20

type handle func(http.ResponseWriter, *http.Request, *caller) error

func newRequests() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "broletto_broker_requests_total", Help: "Requests of runners, by path and code of the answer.",
	}, []string{"path", "code"})
}

func (b *Broker) handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range map[string]handle{
		"POST " + run.PathOrder:    b.order,
		"POST " + run.PathBeat:     b.beat,
		"POST " + run.PathApplying: b.applying,
		"PUT " + run.PathReport:    b.report,
		"GET " + run.PathSource:    b.holding(b.getSource),
		"PUT " + run.PathSource:    b.putSource,
		"GET " + run.PathPlan:      b.holding(b.getPlan),
		"PUT " + run.PathPlan:      b.putPlan,
		"GET " + run.PathState:     b.holding(b.getState),
		"PUT " + run.PathState:     b.putState,
	} {
		mux.Handle(pattern, b.run(h))
	}
	mux.Handle("POST "+move.PathOrder, b.move(b.moveOrder))
	mux.Handle("POST "+move.PathProgress, b.move(b.moveProgress))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen := &seen{ResponseWriter: w, code: http.StatusOK}
		_, pattern := mux.Handler(r)
		mux.ServeHTTP(seen, r)
		path := "other"
		if pattern != "" {
			path = r.URL.Path // one of ours
		}
		b.requests.WithLabelValues(path, strconv.Itoa(seen.code)).Inc()
	})
}

// seen remembers the code of an answer.
type seen struct {
	http.ResponseWriter
	code int
}

func (s *seen) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

// Unwrap lets deadlines through.
func (s *seen) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// run answers runners.
func (b *Broker) run(h handle) http.Handler {
	return b.serve(func(w http.ResponseWriter, r *http.Request) (string, error) {
		c, err := b.callers.find(r)
		if err != nil {
			return "", err
		}
		return c.run.Namespace + "/" + c.run.Name, h(w, r, c)
	})
}

// serve bounds the time and tells what went wrong. What answers says who asked, if it came to know.
func (b *Broker) serve(answer func(http.ResponseWriter, *http.Request) (who string, err error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), b.BodyTime)
		defer cancel()
		r = r.WithContext(ctx)
		until, _ := ctx.Deadline() // by the machine's clock, as connections want it
		control := http.NewResponseController(w)
		err := errors.Join(control.SetReadDeadline(until), control.SetWriteDeadline(until.Add(headerTime)))
		who := ""
		if err == nil {
			if who, err = answer(w, r); who != "" && err != nil { // or a runner that still sends hears of a broken connection instead of our answer
				_, _ = io.CopyN(io.Discard, r.Body, 2*run.MaxBlob)
			}
		}
		if err == nil {
			return
		}
		f := judge(err)
		if f.code == http.StatusForbidden {
			b.telling.Do(func() {
				log.Log.Info("refused a caller", "path", r.URL.Path, "from", r.RemoteAddr, "who", who, "why", f.Message)
			})
		}
		if f.code >= http.StatusInternalServerError && r.Context().Err() == nil { // or the runner itself has hung up
			log.Log.Error(err, "answering a runner", "path", r.URL.Path, "who", who)
		}
		_ = answerJSON(w, f.code, f.Problem)
	})
}

// holding lets only the pod through that holds the lock of its stack's state.
func (b *Broker) holding(h handle) handle {
	return func(w http.ResponseWriter, r *http.Request, c *caller) error {
		if err := b.holds(r.Context(), c); err != nil {
			return err
		}
		return h(w, r, c)
	}
}

func (b *Broker) holds(ctx context.Context, c *caller) error {
	l, err := b.Vault.Lock(ctx, c.stack())
	switch {
	case err != nil:
		return err
	case l == nil:
		return refused(http.StatusConflict, v1alpha1.FailureLocked, "run %s does not hold the state: ask for the order first", c.run.Name)
	case l.RunUID != c.run.UID || l.PodUID != c.uid:
		return &vault.Held{Lock: *l}
	}
	return nil
}

// order hands out what to do, and the lock with it.
func (b *Broker) order(w http.ResponseWriter, r *http.Request, c *caller) error {
	ctx, s := r.Context(), c.stack()
	key, err := b.Vault.Key(ctx, s) // first: it is read anew
	if err != nil {
		return err
	}
	o, err := b.Vault.Order(ctx, s, c.run.UID)
	if err != nil {
		return err
	}
	reported, err := b.Vault.Report(ctx, s, c.run.UID)
	if err != nil {
		return err
	}
	if reported != nil {
		return refused(http.StatusConflict, v1alpha1.FailureOutOfDate, "run %s has reported already", c.run.Name)
	}
	now := b.Now()
	l, err := b.Vault.TakeLock(ctx, s, vault.Lock{Run: c.run.Name, RunUID: c.run.UID, Pod: c.name, PodUID: c.uid, Since: now, Beat: now})
	if err != nil {
		return err
	}
	if o.Serial, err = b.Vault.Serial(ctx, s); err != nil {
		return err
	}
	o.Key, o.Deadline, o.PlanRun = key, deadline(c, l), ""
	return answerJSON(w, http.StatusOK, o)
}

// deadline counts from the lock: asking for the order again gains no time.
func deadline(c *caller, l vault.Lock) time.Time {
	return l.Since.Add(time.Duration(c.run.Spec.TimeoutMinutes) * time.Minute)
}

// beat notes a sign of life.
func (b *Broker) beat(w http.ResponseWriter, r *http.Request, c *caller) error {
	err := b.Vault.Beat(r.Context(), c.stack(), c.run.UID, c.uid, b.Now())
	if errors.Is(err, vault.ErrNotFound) {
		return refused(http.StatusConflict, v1alpha1.FailureLocked, "run %s does not hold the state any more: stop", c.run.Name)
	}
	if err != nil {
		return err
	}
	return answerJSON(w, http.StatusOK, run.Beat{Stop: !c.run.DeletionTimestamp.IsZero()})
}

// applying lets a run apply, once.
func (b *Broker) applying(w http.ResponseWriter, r *http.Request, c *caller) error {
	if c.run.Spec.Operation == v1alpha1.OperationConverge {
		return b.keep(w, r, c, b.Vault.BeginOwn, v1alpha1.OperationConverge)
	}
	return b.holding(b.begin)(w, r, c)
}

// begin lets a run apply what another one planned, or destroy.
func (b *Broker) begin(w http.ResponseWriter, r *http.Request, c *caller) error {
	from, err := b.planned(r.Context(), c)
	if err != nil {
		return err
	}
	switch c.run.Spec.Operation {
	case v1alpha1.OperationApply, v1alpha1.OperationConverge:
	case v1alpha1.OperationDestroy:
		from = ""
	case v1alpha1.OperationPlan, v1alpha1.OperationLook:
		return forbidden("run %s only looks: it may not apply", c.run.Name)
	}
	err = b.Vault.Begin(r.Context(), c.stack(), c.run.UID, from)
	if errors.Is(err, vault.ErrNotFound) {
		return refused(http.StatusConflict, v1alpha1.FailureOutOfDate, "the source of the plan that run %s applies is not kept: make a new plan", c.run.Name)
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// report takes how a run ended, from any pod of its Job but one while another holds the lock: who did not get the lock has to say so, too.
func (b *Broker) report(w http.ResponseWriter, r *http.Request, c *caller) error {
	ctx, s := r.Context(), c.stack()
	l, err := b.Vault.Lock(ctx, s)
	if err != nil {
		return err
	}
	if l != nil && l.RunUID == c.run.UID && l.PodUID != c.uid {
		return &vault.Held{Lock: *l}
	}
	data, leave, err := b.body(r, c, maxReport)
	if err != nil {
		return err
	}
	defer leave()
	var report run.Report
	if json.Unmarshal(data, &report) != nil { // its error would quote what is secret
		return refused(http.StatusBadRequest, v1alpha1.FailureEngine, "the report of run %s is not JSON as it should be", c.run.Name)
	}
	if err := b.Vault.PutReport(ctx, s, c.run.UID, report); err != nil {
		return err
	}
	if err := b.Vault.ReleaseSeen(ctx, s, c.run.UID, l); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// body reads a body to its end, in its turn; the caller gives its seats back when it needs it no more.
func (b *Broker) body(r *http.Request, c *caller, most int64) (data []byte, leave func(), err error) {
	tooLarge := refused(http.StatusRequestEntityTooLarge, v1alpha1.FailureEngine, "it is larger than %d bytes: make the stack smaller", most)
	if r.ContentLength > most {
		return nil, nil, tooLarge
	}
	leave, err = b.room.take(r.Context(), c.run.Namespace, r.ContentLength)
	if err != nil {
		return nil, nil, err
	}
	var held bytes.Buffer
	if r.ContentLength > 0 {
		held.Grow(int(r.ContentLength) + bytes.MinRead) // or it grows to twice the size at the end
	}
	n, err := held.ReadFrom(io.LimitReader(r.Body, most+1))
	if err == nil && n <= most {
		return held.Bytes(), leave, nil
	}
	leave()
	switch {
	case err == nil:
		return nil, nil, tooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, nil, refused(http.StatusRequestTimeout, v1alpha1.FailureInfrastructure, "the body did not come in %s: send it again", b.BodyTime)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, nil, refused(http.StatusBadRequest, v1alpha1.FailureInfrastructure, "the body broke off: send it again")
	}
	return nil, nil, refused(http.StatusBadRequest, v1alpha1.FailureInfrastructure, "the body cannot be read: send it again")
}
