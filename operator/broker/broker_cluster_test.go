package broker_test

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/broker"
	"github.com/broletto/broletto/operator/run"
	"github.com/broletto/broletto/test/cluster"
)

// TestLife is a stack's life as its runners see it, the broker restarted in the middle.
func TestLife(t *testing.T) {
	t.Parallel()
	p := newPlay(t)
	planning := p.act(v1alpha1.OperationPlan)
	o := planning.order()
	if o.Operation != v1alpha1.OperationPlan || o.Run != planning.run.Name || len(o.Key) != 32 || o.Serial != 0 || time.Until(o.Deadline) > time.Hour {
		t.Errorf("the order of %s is of %s, key %d bytes, serial %d, deadline %s", o.Run, o.Operation, len(o.Key), o.Serial, o.Deadline)
	}
	if again := planning.order(); !again.Deadline.Equal(o.Deadline) {
		t.Errorf("asking again moves the deadline from %s to %s", o.Deadline, again.Deadline)
	}
	planning.wants(http.StatusNotFound, "GET", run.PathState, nil)
	planning.wants(http.StatusNotFound, "GET", run.PathPlan, nil)
	planning.wants(http.StatusNoContent, "PUT", run.PathSource, []byte("code"))
	planning.wants(http.StatusNoContent, "PUT", run.PathPlan, []byte("plan"))
	planning.wants(http.StatusForbidden, "PUT", run.PathState, []byte("state"), state(1, "")...)
	planning.wants(http.StatusForbidden, "POST", run.PathApplying, nil)
	planning.wants(http.StatusOK, "POST", run.PathBeat, nil)
	planning.ends()
	planning.ends()
	planning.wants(http.StatusConflict, "PUT", run.PathReport, []byte(`{"serial":2}`))
	planning.wants(http.StatusConflict, "POST", run.PathOrder, nil)

	applying := p.act(v1alpha1.OperationApply, func(o *run.Order) {
		o.PlanRun = planning.run.UID
		o.Inputs = map[string]json.RawMessage{"a": json.RawMessage(`1`)}
	})
	applying.order()
	p.Broker = p.serve() // another replica, or the same one after a restart
	is(t, "code", applying.wants(http.StatusOK, "GET", run.PathSource, nil))
	is(t, "plan", applying.wants(http.StatusOK, "GET", run.PathPlan, nil))
	applying.wants(http.StatusForbidden, "PUT", run.PathPlan, []byte("another"))
	applying.wants(http.StatusNoContent, "POST", run.PathApplying, nil)
	if got := applying.wants(http.StatusConflict, "POST", run.PathApplying, nil); got.problem.Class != v1alpha1.FailureOutOfDate {
		t.Errorf("applying twice is of class %s", got.problem.Class)
	}
	applying.wants(http.StatusNoContent, "PUT", run.PathState, []byte("state 1"), state(1, "line")...)
	applying.wants(http.StatusNoContent, "PUT", run.PathState, []byte("state 1"), state(1, "line")...)
	applying.wants(http.StatusConflict, "PUT", run.PathState, []byte("state 3"), state(3, "line")...)
	applying.wants(http.StatusConflict, "PUT", run.PathState, []byte("state 2"), state(2, "other")...)
	applying.wants(http.StatusBadRequest, "PUT", run.PathState, []byte("state 2"))
	applying.wants(http.StatusNoContent, "PUT", run.PathState, []byte("state 2"), state(2, "line")...)
	applying.ends()

	destroying := p.act(v1alpha1.OperationDestroy)
	if o := destroying.order(); o.Serial != 2 {
		t.Errorf("the order says serial %d", o.Serial)
	}
	is(t, "code", destroying.wants(http.StatusOK, "GET", run.PathSource, nil))
	got := destroying.wants(http.StatusOK, "GET", run.PathState, nil)
	is(t, "state 2", got)
	if got.header.Get(run.HeaderSerial) != "2" || got.header.Get(run.HeaderLineage) != "line" {
		t.Errorf("the state comes with %v", got.header)
	}
	destroying.wants(http.StatusNoContent, "POST", run.PathApplying, nil)
	destroying.ends()
}

func is(t *testing.T, want string, got answer) {
	t.Helper()
	if string(got.body) != want {
		t.Errorf("got %q, want %q", got.body, want)
	}
}

// TestStrangers are those who have a token, and not the right one.
func TestStrangers(t *testing.T) {
	t.Parallel()
	p, q := newPlay(t), newPlay(t)
	a, other := p.act(v1alpha1.OperationPlan), q.act(v1alpha1.OperationPlan)
	a.order()
	copied := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: a.pod.Namespace, Name: "copied", Labels: map[string]string{v1alpha1.LabelRun: string(a.run.UID)},
	}, Spec: podSpec()}
	p.create(copied)
	own := a.job.DeepCopy()
	own.ObjectMeta = metav1.ObjectMeta{Namespace: a.job.Namespace, Name: "own"}
	own.Spec.Selector = nil
	own.Spec.Template.Labels = map[string]string{v1alpha1.LabelRun: string(a.run.UID)}
	p.create(own)
	foreign := own.DeepCopy()
	foreign.ObjectMeta = metav1.ObjectMeta{Namespace: other.job.Namespace, Name: "foreign"}
	foreign.Spec.Selector = nil
	foreign.Spec.Template.Labels = map[string]string{v1alpha1.LabelRun: string(a.run.UID)}
	p.create(foreign)
	tokens := map[string]string{
		"no token":                               "",
		"no token at all":                        "x.y.z",
		"one for the API server":                 p.token(a.pod, ""),
		"one for another audience":               p.token(a.pod, "another"),
		"one of a pod that copies the label":     p.token(copied, run.Audience),
		"one of another Job with the label":      p.token(p.podOf(own), run.Audience),
		"one of another tenant, with our label":  p.token(p.podOf(foreign), run.Audience),
		"one of the operator's account, unbound": cluster.Operator(t).BearerToken,
	}
	for what, token := range tokens {
		for _, path := range []string{run.PathOrder, run.PathBeat} {
			if got := ask(t, p.Broker, token, "POST", path, nil); got.code != http.StatusForbidden || got.problem.Class != v1alpha1.FailureInfrastructure {
				t.Errorf("%s is answered %d %s", what, got.code, got.problem.Message)
			}
		}
	}
	other.order()
	for _, path := range []string{run.PathSource, run.PathPlan, run.PathState} { // whoever asks is told of its own stack only
		other.wants(http.StatusNotFound, "GET", path, nil)
	}
}

// TestReplay is a token that was good.
func TestReplay(t *testing.T) {
	t.Parallel()
	p := newPlay(t)
	finished := p.act(v1alpha1.OperationPlan)
	finished.order()
	finished.ends()
	finished.edit(func(r *v1alpha1.StackRun) { r.Status.Phase = v1alpha1.RunSucceeded })
	finished.wants(http.StatusForbidden, "POST", run.PathOrder, nil)
	gone := p.act(v1alpha1.OperationPlan)
	gone.order()
	if err := p.admin.Delete(t.Context(), gone.job, client.PropagationPolicy(metav1.DeletePropagationForeground)); err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, patience, "the pod is gone", func() error {
		_ = p.admin.Delete(t.Context(), gone.pod.DeepCopy(), client.GracePeriodSeconds(0))
		err := p.admin.Get(t.Context(), client.ObjectKeyFromObject(gone.pod), &corev1.Pod{})
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there: %w", err)
		}
		return nil
	})
	p.late.Store(int64(11 * time.Second))
	cluster.Eventually(t, patience, "the token is worth nothing", func() error { // the API server remembers tokens for some seconds, too
		if got := gone.ask("POST", run.PathBeat, nil); got.code != http.StatusForbidden {
			p.late.Add(int64(11 * time.Second))
			return io.ErrNoProgress
		}
		return nil
	})
}

// TestLock is two pods who want one state.
func TestLock(t *testing.T) {
	t.Parallel()
	p := newPlay(t)
	acts := []*act{p.act(v1alpha1.OperationPlan), p.act(v1alpha1.OperationConverge)}
	var won atomic.Int32
	var winner atomic.Pointer[act]
	var all sync.WaitGroup
	for _, a := range acts {
		all.Go(func() {
			switch got := a.ask("POST", run.PathOrder, nil); {
			case got.code == http.StatusOK:
				won.Add(1)
				winner.Store(a)
			case got.code != http.StatusConflict || got.problem.Class != v1alpha1.FailureLocked:
				t.Errorf("the other one is told %d %s", got.code, got.problem.Message)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d of two got the lock", won.Load())
	}
	loser := acts[0]
	if winner.Load() == loser {
		loser = acts[1]
	}
	for path, method := range map[string]string{run.PathState: "GET", run.PathSource: "GET", run.PathBeat: "POST", run.PathApplying: "POST"} {
		loser.wants(http.StatusConflict, method, path, []byte("x"))
	}
	if loser.run.Spec.Operation == v1alpha1.OperationPlan {
		loser.wants(http.StatusConflict, "PUT", run.PathSource, []byte("x"))
	} else {
		loser.wants(http.StatusConflict, "PUT", run.PathState, []byte("x"), state(1, "")...)
	}
	loser.wants(http.StatusNoContent, "PUT", run.PathReport, []byte(`{"failure":{"class":"Locked"}}`))
	winner.Load().wants(http.StatusOK, "POST", run.PathBeat, nil)
	winner.Load().ends()
}

// TestApplyingOnce asks many times at once.
func TestApplyingOnce(t *testing.T) {
	t.Parallel()
	p := newPlay(t)
	a := p.act(v1alpha1.OperationConverge)
	a.order()
	a.wants(http.StatusForbidden, "PUT", run.PathSource, []byte("code")) // it comes with the question
	var leave, refused atomic.Int32
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			switch a.ask("POST", run.PathApplying, []byte("code")).code {
			case http.StatusNoContent:
				leave.Add(1)
			case http.StatusConflict:
				refused.Add(1)
			}
		})
	}
	all.Wait()
	if leave.Load() != 1 || refused.Load() != 15 {
		t.Errorf("of 16 at once %d may apply and %d are refused", leave.Load(), refused.Load())
	}
	a.ends()

	look := p.act(v1alpha1.OperationLook)
	look.order()
	if got := look.wants(http.StatusOK, "GET", run.PathSource, nil); string(got.body) != "code" {
		t.Errorf("the source that was applied is %q", got.body)
	}
	look.ends()
	lost := p.act(v1alpha1.OperationApply, func(o *run.Order) { o.PlanRun = "gone" })
	lost.order()
	lost.wants(http.StatusConflict, "POST", run.PathApplying, nil) // nothing to apply
}

// TestBodies are large, too large, and too slow.
func TestBodies(t *testing.T) {
	t.Parallel()
	p := newPlay(t)
	a := p.act(v1alpha1.OperationConverge)
	a.order()
	large := make([]byte, 8<<20)
	_, _ = rand.Read(large)
	a.wants(http.StatusNoContent, "PUT", run.PathState, large, state(1, "")...)
	if got := a.wants(http.StatusOK, "GET", run.PathState, nil); !bytes.Equal(got.body, large) {
		t.Errorf("a state of %d bytes comes back as %d", len(large), len(got.body))
	}
	if got := a.wants(http.StatusRequestEntityTooLarge, "PUT", run.PathState, make([]byte, run.MaxBlob+1), state(2, "")...); got.problem.Class != v1alpha1.FailureEngine {
		t.Errorf("too large is of class %s", got.problem.Class)
	}
	unknown := struct{ io.Reader }{io.LimitReader(zeros{}, run.MaxBlob+1)} // sent in chunks, without its length
	if got := ask(t, a.Broker, a.token, "PUT", run.PathState, unknown, state(2, "")...); got.code != http.StatusRequestEntityTooLarge {
		t.Errorf("too large without saying so is answered %d", got.code)
	}
	a.wants(http.StatusBadRequest, "PUT", run.PathReport, []byte("{"))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestSlow is a client that begins a body and does not end it: it is told so, and the others are served meanwhile.
func TestSlow(t *testing.T) {
	t.Parallel()
	p := newPlay(t, func(o *broker.Options) { o.BodyTime = 3 * time.Second })
	a := p.act(v1alpha1.OperationPlan)
	cluster.Eventually(t, patience, "the order", func() error { // three seconds may be short on a busy machine
		if a.ask("POST", run.PathOrder, nil).code != http.StatusOK {
			return io.ErrNoProgress
		}
		return nil
	})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.CA())
	conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: roots}}).DialContext(t.Context(), "tcp", strings.TrimPrefix(p.URL(), "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	request := "PUT " + run.PathPlan + " HTTP/1.1\r\nHost: broker\r\nAuthorization: Bearer " + a.token + "\r\nContent-Length: 1000\r\n\r\nbegun"
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	text, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 408") && !strings.HasPrefix(string(text), "HTTP/1.1 503") {
		t.Errorf("a slow client hears %q: %v", text, err)
	}
	cluster.Eventually(t, patience, "the others are served", func() error {
		if a.ask("PUT", run.PathPlan, []byte("whole")).code != http.StatusNoContent {
			return io.ErrNoProgress
		}
		return nil
	})
}

// TestAuthority is the same after a restart, on all replicas, and its certificate is renewed.
func TestAuthority(t *testing.T) {
	t.Parallel()
	p := newPlay(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if other := p.serve(); !bytes.Equal(other.CA(), p.CA()) {
				t.Error("another replica has another authority")
			}
		})
	}
	all.Wait()
	before := served(t, p.Broker)
	p.late.Store(int64(20 * 24 * time.Hour))
	if after := served(t, p.Broker); !after.NotAfter.After(before.NotAfter) {
		t.Errorf("a certificate until %s is not renewed ten days before", before.NotAfter)
	}
}

func served(t *testing.T, b *broker.Broker) *x509.Certificate {
	t.Helper()
	// The clock that is late would be the runner's, too.
	conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", strings.TrimPrefix(b.URL(), "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
}
