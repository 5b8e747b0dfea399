package backups

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/test/stage"
)

// mortal is an operator that dies between two requests, or between one and its answer: its pass ends there, and so does whatever it has under way.
type mortal struct {
	mu    sync.Mutex
	left  int // requests and answers until it dies; 0: it lives
	died  int // how often it has
	asked int // requests and answers so far
	end   context.CancelFunc
}

// in has it die after so many requests and answers.
func (m *mortal) in(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left = n
}

// sofar is how many requests and answers there were, and how often it died.
func (m *mortal) sofar() (asked, died int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked, m.died
}

func (m *mortal) count() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	if m.left == 0 || m.end == nil {
		return
	}
	if m.left--; m.left == 0 {
		m.died++
		m.end()
	}
}

// reconciler is one of the operator's.
func (m *mortal) reconciler(next reconcile.Reconciler) reconcile.Reconciler {
	return reconcile.Func(func(ctx context.Context, r ctrl.Request) (ctrl.Result, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		m.mu.Lock()
		m.end = cancel
		m.mu.Unlock()
		result, err := next.Reconcile(ctx, r)
		m.mu.Lock()
		m.end = nil
		m.mu.Unlock()
		return result, errors.Join(err, ctx.Err())
	})
}

// config counts what a client asks the API server for.
func (m *mortal) config(cfg *rest.Config) *rest.Config {
	cfg = rest.CopyConfig(cfg)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return counting{next, m} })
	return cfg
}

type counting struct {
	next http.RoundTripper
	*mortal
}

func (c counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.count()
	if r.Context().Err() != nil {
		return nil, r.Context().Err()
	}
	answer, err := c.next.RoundTrip(r)
	c.count()
	return answer, err
}

// writing counts what the operator writes through its own client.
type writing struct {
	client.Client
	*mortal
}

func (w writing) Create(ctx context.Context, o client.Object, options ...client.CreateOption) error {
	w.count()
	defer w.count()
	return w.Client.Create(ctx, o, options...)
}

func (w writing) Update(ctx context.Context, o client.Object, options ...client.UpdateOption) error {
	w.count()
	defer w.count()
	return w.Client.Update(ctx, o, options...)
}

func (w writing) Delete(ctx context.Context, o client.Object, options ...client.DeleteOption) error {
	w.count()
	defer w.count()
	return w.Client.Delete(ctx, o, options...)
}

func (w writing) Status() client.SubResourceWriter { return status{w.Client.Status(), w.mortal} }

type status struct {
	client.SubResourceWriter
	*mortal
}

func (s status) Update(ctx context.Context, o client.Object, options ...client.SubResourceUpdateOption) error {
	s.count()
	defer s.count()
	return s.SubResourceWriter.Update(ctx, o, options...)
}

// TestKilled kills the operator at random points of backups, restores and a drill.
func TestKilled(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // any number will do
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	way := &way{}
	s := newScene(t, "killed", way.through(t))
	way.is(func(w http.ResponseWriter, r *http.Request, store http.Handler) {
		s.mortal.count()
		if r.Context().Err() == nil {
			store.ServeHTTP(w, r)
		}
		s.mortal.count()
	})
	config, secret := s.config("app", "digital first"), s.secret(s.workspace.TargetNamespace(), "db")
	s.Create(config)
	s.Create(secret)
	// usual is how much is asked for when nobody dies.
	usual := func(do func()) int {
		before, _ := s.mortal.sofar()
		do()
		after, _ := s.mortal.sofar()
		return after - before
	}
	deaths := func() int {
		_, died := s.mortal.sofar()
		return died
	}
	const times = 8

	s.reaches(s.ask("prima")) // it makes key and account
	points := usual(func() { s.reaches(s.ask("intera")) })
	for i := range times {
		stage.Edit(s.Stage, config, func(c *corev1.ConfigMap) { c.Data["motto"] = fmt.Sprint(i) })
		s.mortal.in(1 + (i*points+random.IntN(points))/times) // somewhere in the ith part
		s.reaches(s.ask(fmt.Sprintf("ferma-%d", i)))
	}
	s.mortal.in(0)
	if deaths() < times/2 {
		t.Errorf("in %d backups it died %d times", times, deaths())
	}
	var all v1alpha1.BackupList
	numbers := map[int64]string{}
	for _, o := range s.List(&all, s.tenant.Name) {
		b := o.(*v1alpha1.Backup)
		if other := numbers[b.Status.Sequence]; other != "" || b.Status.Sequence < 1 || b.Status.Sequence > times+2 || len(b.Status.Lost) > 0 {
			t.Errorf("%s is number %d, as %q: %+v", b.Name, b.Status.Sequence, other, b.Status)
		}
		numbers[b.Status.Sequence] = b.Name
	}
	if files := s.files("/manifests/"); len(files) != times+2 {
		t.Errorf("the bucket has %v", files)
	}

	last := fmt.Sprintf("ferma-%d", times-1)
	before := s.Content(secret)
	died := deaths()
	restore := func(name string) {
		s.Remove(config)
		s.Remove(secret)
		s.reaches(s.bring(s.comune, name, last))
		if s.Read(config); config.Data["motto"] != fmt.Sprint(times-1) {
			t.Errorf("%s: the config map has %v", name, config.Data)
		}
		if err := stage.Same(before, s.Content(secret)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	points = usual(func() { restore("intero") })
	for i := range times {
		s.mortal.in(1 + (i*points+random.IntN(points))/times) // somewhere in the ith part
		restore(fmt.Sprintf("fermo-%d", i))
	}
	s.mortal.in(0)
	if deaths()-died < times/2 {
		t.Errorf("in %d restores it died %d times", times, deaths()-died)
	}
	s.Rest()

	died = deaths()
	p := s.policy("notturno", func(p *v1alpha1.BackupPolicy) { p.Spec.Drill = &v1alpha1.Drill{EveryDays: 30} })
	s.Until("the drill is over", func() error {
		if deaths()-died < times {
			s.mortal.in(1 + random.IntN(2*points))
		} else {
			s.mortal.in(0)
		}
		s.Read(p)
		if len(p.Status.Workspaces) != 1 || p.Status.Workspaces[0].Drill == nil {
			return fmt.Errorf("the policy says %+v", p.Status.Workspaces)
		}
		return nil
	})
	s.mortal.in(0)
	if d := p.Status.Workspaces[0].Drill; !*d.Passed || deaths() == died {
		t.Errorf("it came to %+v, and the operator died %d times", d, deaths()-died)
	}
	s.nothingLeft()
	s.Rest()
}

// reaches waits until an object is Ready.
func (s *scene) reaches(o condition.Object) {
	s.Helper()
	s.Until(o.GetName()+" is Ready", func() error {
		s.At(s.Now().Add(time.Minute))
		if s.Read(o); !condition.True(o, v1alpha1.ConditionReady) {
			return fmt.Errorf("it says %s", stage.Conditions(o))
		}
		return nil
	})
}

// nothingLeft waits until nothing of a drill is there.
func (s *scene) nothingLeft() {
	s.Helper()
	s.Until("nothing of the drill is left", func() error {
		var namespaces corev1.NamespaceList
		var workspaces v1alpha1.WorkspaceList
		var restores v1alpha1.RestoreList
		for _, o := range append(append(s.List(&namespaces, ""), s.List(&workspaces, s.tenant.Name)...), s.List(&restores, s.tenant.Name)...) {
			if strings.HasPrefix(o.GetName(), s.tenant.Name+"--drill-") || strings.HasPrefix(o.GetName(), "drill-") {
				return fmt.Errorf("%T %s is", o, o.GetName())
			}
		}
		return nil
	})
}
