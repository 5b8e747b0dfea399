// Package stage is one test's part of the package's cluster: names of its own, people who change things by hand, a clock that the test sets,
// and the operator's reconcilers, driven over the operator's own account, cache and client.
//
//	s := stage.New(t, "swap")
//	c, a := s.Consortium(), s.Tenant("a")
//	left, right := s.Workspace(a, "left"), s.Workspace(a, "right")
//	s.Ready(c, a, left, right)
//	stage.Edit(s, left, func(w *v1alpha1.Workspace) { w.Spec.DeletionPolicy = v1alpha1.DeletionDelete })
//	s.Ready(left)
//
// Ready, Await and Rest end in a proof that a settled state is written to no more. Tests may run in parallel, but for one that calls Operate.
package stage

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/broletto/broletto/operator/apply"
	"github.com/broletto/broletto/operator/consortium"
	"github.com/broletto/broletto/operator/manager"
	"github.com/broletto/broletto/operator/tenant"
	"github.com/broletto/broletto/operator/vault"
	"github.com/broletto/broletto/operator/workspace"
	"github.com/broletto/broletto/test/cluster"
)

const (
	// Patience is how long a test waits for what the cluster does by itself. The machine may be busy.
	Patience = 45 * time.Second
	// Soon is how long an effect may take that a watch brings about. What nobody watches takes hours.
	Soon = 20 * time.Second
)

// Stage is one test's part of the cluster.
type Stage struct {
	*testing.T
	Prefix string        // what every name of this test begins with
	Admin  client.Client // the platform engineer

	operator client.Client
	live     client.Reader
	recorder *events.FakeRecorder
	now      *time.Time // the operator's clock

	consortia, tenants, workspaces reconcile.Reconciler

	mgr    ctrl.Manager
	joined []joined
}

// joined is a kind beside those that every stage has.
type joined struct {
	kind client.Object
	list client.ObjectList
	by   reconcile.Reconciler
}

// Parts are what a reconciler is made of.
type Parts struct {
	Client  client.Client // the operator's, with its cache
	Manager ctrl.Manager
	Events  events.EventRecorder
	Now     func() time.Time
}

// Parts are those of this stage's operator.
func (s *Stage) Parts() Parts {
	return Parts{Client: s.operator, Manager: s.mgr, Events: s.recorder, Now: func() time.Time { return *s.now }}
}

// Join adds a kind and its reconciler to those that are looked at in every round.
func (s *Stage) Join(kind client.Object, list client.ObjectList, by reconcile.Reconciler) {
	s.joined = append(s.joined, joined{kind, list, by})
}

var serial atomic.Int64

// New is the stage of a test, which lasts as long as the test does.
func New(t *testing.T, name string) *Stage {
	t.Helper()
	s := &Stage{
		T: t, Prefix: name + strconv.FormatInt(serial.Add(1), 10), Admin: cluster.Client(t, cluster.Admin()),
		recorder: events.NewFakeRecorder(100), now: new(time.Now()),
	}
	mgr := s.connect()
	s.mgr = mgr
	s.operator = client.WithFieldOwner(mgr.GetClient(), apply.FieldManager)
	s.live = mgr.GetAPIReader()
	applier := &apply.Applier{Client: s.operator, Live: mgr.GetAPIReader()}
	now := func() time.Time { return *s.now }
	s.consortia = reconcile.AsReconciler(s.operator, &consortium.Reconciler{Client: s.operator})
	secrets := vault.NewSecrets(cluster.Client(t, cluster.Operator(t)), manager.Namespace)
	s.tenants = reconcile.AsReconciler(s.operator, &tenant.Reconciler{
		Client: s.operator, Apply: applier, Events: s.recorder, Now: now, Namespace: manager.Namespace, Keys: vault.New(secrets, secrets),
	})
	s.workspaces = reconcile.AsReconciler(s.operator, &workspace.Reconciler{Client: s.operator, Apply: applier, Events: s.recorder, Now: now})
	return s
}

// On is the same stage for a subtest.
func (s Stage) On(t *testing.T) *Stage {
	s.T = t
	return &s
}

// ID is a name of this test.
func (s *Stage) ID(name string) string { return s.Prefix + "-" + name }

// At sets the operator's clock.
func (s *Stage) At(now time.Time) { *s.now = now }

// Operator is the operator's client, with its account and cache, for a reconciler that the stage does not drive.
func (s *Stage) Operator() client.Client { return s.operator }

// Live reads from the API server with the operator's account.
func (s *Stage) Live() client.Reader { return s.live }

// Recorder takes the operator's events.
func (s *Stage) Recorder() events.EventRecorder { return s.recorder }

// Now is the operator's clock.
func (s *Stage) Now() time.Time { return *s.now }

// Events are those that the operator sent since the last call.
func (s *Stage) Events() (out []string) {
	for {
		select {
		case event := <-s.recorder.Events:
			out = append(out, strings.TrimSpace(event))
		default:
			return out
		}
	}
}

// connect starts the operator's cache, and nothing else of the operator, until the test ends.
func (s *Stage) connect() ctrl.Manager {
	s.Helper()
	cfg := cluster.Operator(s)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return agent{s.Prefix, next} })
	mgr, err := manager.Connect(cfg, manager.Options{MetricsAddress: "0", ProbeAddress: "0"})
	if err != nil {
		s.Fatal(err)
	}
	s.start(mgr, nil)
	return mgr
}

// start runs a manager until the test ends. What is asked then must be in order, too.
func (s *Stage) start(mgr ctrl.Manager, atLast func() error) {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	s.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			s.Error(err)
		}
		if atLast != nil {
			if err := atLast(); err != nil {
				s.Error(err)
			}
		}
	})
}

// agent names the test in the audit log.
type agent struct {
	name string
	next http.RoundTripper
}

func (a agent) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("User-Agent", a.name)
	return a.next.RoundTrip(request)
}
