package consortium_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/hack/kube"
	"github.com/broletto/broletto/operator/apply"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/consortium"
	"github.com/broletto/broletto/operator/guardrail"
	"github.com/broletto/broletto/operator/manager"
	"github.com/broletto/broletto/operator/tenant"
	"github.com/broletto/broletto/operator/workspace"
	"github.com/broletto/broletto/test/cluster"
)

// patience is how long a test waits for what the cluster does by itself. The machine may be busy.
const patience = 45 * time.Second

// stage is one test's part of the cluster: names of its own, a clock that it sets, and the operator's reconcilers, driven
// by hand over the operator's own account, cache and client.
type stage struct {
	*testing.T
	name   string        // what every name of this test begins with
	admin  client.Client // the platform engineer
	cached client.Client // the operator
	events *events.FakeRecorder
	now    *time.Time // the operator's clock

	consortia, tenants, workspaces reconcile.Reconciler
}

var serial atomic.Int64

func number() string { return strconv.FormatInt(serial.Add(1), 10) }

func newStage(t *testing.T, name string) *stage {
	t.Helper()
	s := &stage{T: t, name: name + number(), admin: cluster.Client(t, cluster.Admin()), events: events.NewFakeRecorder(100), now: new(time.Now())}
	mgr := s.connect()
	s.cached = client.WithFieldOwner(mgr.GetClient(), apply.FieldManager)
	applier := &apply.Applier{Client: s.cached, Live: mgr.GetAPIReader()}
	now := func() time.Time { return *s.now }
	s.consortia = reconcile.AsReconciler(s.cached, &consortium.Reconciler{Client: s.cached})
	s.tenants = reconcile.AsReconciler(s.cached, &tenant.Reconciler{Client: s.cached, Apply: applier, Events: s.events, Now: now})
	s.workspaces = reconcile.AsReconciler(s.cached, &workspace.Reconciler{Client: s.cached, Apply: applier, Events: s.events, Now: now})
	return s
}

// connect starts the operator's cache, and nothing else of the operator, until the test ends.
func (s *stage) connect() ctrl.Manager {
	s.Helper()
	cfg := cluster.Operator(s)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return agent{s.name, next} })
	mgr, err := manager.Connect(cfg, manager.Options{MetricsAddress: "0", ProbeAddress: "0"})
	if err != nil {
		s.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	s.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			s.Error(err)
		}
	})
	return mgr
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

// reconcile looks at one object, once.
func (s *stage) reconcile(o client.Object) (ctrl.Result, error) {
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	request := ctrl.Request{NamespacedName: client.ObjectKeyFromObject(o)}
	switch o.(type) {
	case *v1alpha1.Consortium:
		return s.consortia.Reconcile(ctx, request)
	case *v1alpha1.Tenant:
		return s.tenants.Reconcile(ctx, request)
	default:
		return s.workspaces.Reconcile(ctx, request)
	}
}

// round looks at everything of this test once and returns what failed.
func (s *stage) round() error {
	s.Helper()
	var all []client.Object
	for _, list := range []client.ObjectList{&v1alpha1.ConsortiumList{}, &v1alpha1.TenantList{}, &v1alpha1.WorkspaceList{}} {
		if err := s.cached.List(s.Context(), list); err != nil { // it waits for all that we wrote
			s.Fatal(err)
		}
		all = append(all, s.mine(list)...)
	}
	var failures []error
	for _, o := range all {
		if _, err := s.reconcile(o); err != nil {
			failures = append(failures, fmt.Errorf("%T %s: %w", o, client.ObjectKeyFromObject(o), err))
		}
	}
	return errors.Join(failures...)
}

// mine are the objects of a list that belong to this test.
func (s *stage) mine(list client.ObjectList) (out []client.Object) {
	items, err := meta.ExtractList(list)
	if err != nil {
		s.Fatal(err)
	}
	for _, item := range items {
		o := item.(client.Object)
		if strings.HasPrefix(o.GetNamespace()+"/"+o.GetName(), s.name+"-") || strings.HasPrefix(o.GetName(), s.name+"-") {
			out = append(out, o)
		}
	}
	return out
}

// until looks at everything, again and again as the watches would have it, until f is content. What takes long is looked at less
// often: other tests want the processor too.
func (s *stage) until(what string, f func() error) {
	s.Helper()
	var last error
	tries := 0
	cluster.Eventually(s, patience, what, func() error {
		if tries++; tries < 10 || tries%10 == 0 {
			last = errors.Join(s.round(), f())
		}
		return last
	})
}

// await brings everything to rest with an object's verdict True, for the reason given, and returns the verdict's message.
func (s *stage) await(o condition.Object, verdict, reason string) (message string) {
	s.Helper()
	s.until(fmt.Sprintf("%s is %s for %s", o.GetName(), verdict, reason), func() error {
		s.read(o)
		c := meta.FindStatusCondition(*o.GetConditions(), verdict)
		if c == nil || c.Status != metav1.ConditionTrue || c.Reason != reason || o.GetObservedGeneration() != o.GetGeneration() {
			return fmt.Errorf("generation %d, conditions of %d: %s", o.GetGeneration(), o.GetObservedGeneration(), told(o))
		}
		message = c.Message
		return nil
	})
	s.rest()
	s.read(o)
	return message
}

// ready brings everything to rest with all these objects Ready.
func (s *stage) ready(objects ...condition.Object) {
	s.Helper()
	for _, o := range objects {
		s.await(o, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	}
}

// rest waits until a round writes nothing, and proves that nothing is written from then on.
func (s *stage) rest() {
	s.Helper()
	s.until("everything is at rest", func() error {
		from := s.mark()
		if err := s.round(); err != nil {
			return err
		}
		if writes := s.writes(from); len(writes) > 0 {
			return fmt.Errorf("still writing: %s", strings.Join(writes, "; "))
		}
		return s.counted()
	})
	from := s.mark()
	for range 3 {
		if err := s.round(); err != nil {
			s.Error(err)
		}
	}
	if writes := s.writes(from); len(writes) > 0 {
		s.Errorf("a settled state was written to: %s", strings.Join(writes, "; "))
	}
}

// counted tells whether the controller manager has nothing left to count for this test.
func (s *stage) counted() error {
	var quotas corev1.ResourceQuotaList
	if err := s.cached.List(s.Context(), &quotas); err != nil {
		return err
	}
	for _, o := range s.mine(&quotas) {
		if q := o.(*corev1.ResourceQuota); q.DeletionTimestamp.IsZero() && !guardrail.Counted(q) {
			return fmt.Errorf("the quota of %s is not counted", q.Namespace)
		}
	}
	return nil
}

// told are the conditions of an object, in one line.
func told(o condition.Object) string {
	var out []string
	for _, c := range *o.GetConditions() {
		out = append(out, fmt.Sprintf("%s=%s %s %q", c.Type, c.Status, c.Reason, c.Message))
	}
	return strings.Join(out, ", ")
}

// audit is the audit log of the control plane, read once for all tests of the package.
var audit struct {
	lock   sync.Mutex
	offset int64
	events []kube.AuditEvent
}

// mark leaves a request of its own in the audit log and returns where it stands: before it stands all that was answered by now.
func (s *stage) mark() (at int) {
	s.Helper()
	key := client.ObjectKey{Namespace: metav1.NamespaceDefault, Name: "mark-" + number()}
	if err := s.admin.Get(s.Context(), key, &corev1.ConfigMap{}); !apierrors.IsNotFound(err) {
		s.Fatal(err)
	}
	cluster.Eventually(s, patience, "the audit log has "+key.Name, func() error {
		audit.lock.Lock()
		defer audit.lock.Unlock()
		events, offset, err := kube.ReadAudit(cluster.Plane().AuditLog(), audit.offset)
		if err != nil {
			return err
		}
		audit.events, audit.offset = append(audit.events, events...), offset
		for at = len(audit.events) - 1; at >= 0; at-- {
			if audit.events[at].Name == key.Name {
				return nil
			}
		}
		return errors.New("it has not")
	})
	return at
}

// writes are the operator's mutating requests for this test since a mark, as "patch resourcequotas lugano/broletto".
func (s *stage) writes(from int) (out []string) {
	s.Helper()
	to := s.mark()
	audit.lock.Lock()
	defer audit.lock.Unlock()
	for _, e := range audit.events[from:to] {
		if e.UserAgent == s.name && e.Mutating() {
			out = append(out, fmt.Sprintf("%s %s %s", e.Verb, strings.TrimSuffix(e.Resource+"/"+e.Subresource, "/"), strings.TrimPrefix(e.Namespace+"/"+e.Name, "/")))
		}
	}
	return out
}
