package isolation_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/guard"
	"github.com/broletto/broletto/operator/isolation"
	"github.com/broletto/broletto/operator/manager"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// TestChecks breaks every check that is judged live and sees its series turn to 0, and back when what was broken is whole again. It does
// not run beside other tests: it breaks what all of them stand on.
func TestChecks(t *testing.T) {
	s := stage.New(t, "iso")
	c := s.Consortium(func(c *v1alpha1.Consortium) { c.Spec.Defaults.Workspace.ImagePullPolicy = corev1.PullAlways })
	a, b := s.Tenant("a"), s.Tenant("b")
	s.Ready(c, a, b)
	w := s.Workspace(a, "sito")
	s.Ready(w)
	site := w.TargetNamespace()
	mgr := connected(t)
	o := observe(s, mgr)
	if failing := o.failing(); len(failing) > 0 {
		t.Fatalf("at rest, not met: %v", failing)
	}

	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: site}}
	deny := &networkingv1.NetworkPolicy{ObjectMeta: stage.In(site, "default-deny")}
	granted := &networkingv1.NetworkPolicy{ObjectMeta: stage.In(site, "granted")}
	quota := &corev1.ResourceQuota{ObjectMeta: stage.In(site, "broletto")}
	pods := []string{"add-capabilities", "claims-for-storage", "privilege-escalation", "run-as-non-root"}
	node := []string{"host-ipc", "host-network", "host-path", "host-pid", "privileged-containers"}
	guarded := []string{"claims-for-storage", "existing-volumes", "image-pull-always", "multitenant-resources", "node-ports", "quota-modification", "reclaim-delete", "tenant-network"}
	ours := func(h stage.Harm) breach { return breach{do: h.Do, undo: (*stage.Stage).Rest} }
	for name, harm := range map[string]struct {
		breach
		checks []string
	}{
		"baseline":            {ours(stage.Changed("weaker", namespace, `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"baseline"}}}`)), pods},
		"privileged":          {ours(stage.Changed("weaker", namespace, `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":null}}}`)), slices.Concat(pods, node)},
		"label":               {ours(stage.Changed("out of the policies' sight", namespace, `{"metadata":{"labels":{"broletto.dev/tenant":null}}}`)), guarded},
		"node ports":          {ours(stage.Changed("granted", namespace, `{"metadata":{"annotations":{"broletto.dev/service-types":"NodePort"}}}`)), nil}, // the quota still says 0
		"pull always":         {ours(stage.Changed("left to pods", namespace, `{"metadata":{"labels":{"broletto.dev/pull-always":"false"}}}`)), []string{"image-pull-always"}},
		"policy of workloads": {without("broletto-workloads"), []string{"claims-for-storage"}},
		"default-deny":        {ours(stage.Deleted("open", deny)), []string{"tenant-network"}},
		"half a denial":       {ours(stage.Changed("open", deny, `{"spec":{"policyTypes":["Ingress"]}}`)), []string{"tenant-network"}},
		"granted": {ours(stage.Changed("open", granted, `{"spec":{"ingress":[{"from":[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"`+b.Name+`"}}}]}]}}`)),
			[]string{"tenant-network"}},
		"quota":                {ours(stage.Deleted("unbounded", quota)), []string{"object-limits", "quota-modification", "resource-quotas"}},
		"memory":               {ours(stage.Changed("unbounded", quota, `{"spec":{"hard":{"limits.memory":null}}}`)), []string{"resource-quotas"}},
		"secrets":              {ours(stage.Changed("unbounded", quota, `{"spec":{"hard":{"count/secrets":null}}}`)), []string{"object-limits"}},
		"storage class":        {keeping("encrypted"), []string{"reclaim-delete"}},
		"policy of claims":     {without("broletto-claims"), []string{"existing-volumes", "multitenant-resources", "reclaim-delete"}},
		"policy of guards":     {without("broletto-guardrails"), []string{"multitenant-resources", "quota-modification"}},
		"policy of services":   {without("broletto-services"), []string{"node-ports"}},
		"policy of networks":   {without("broletto-networkpolicies"), []string{"tenant-network"}},
		"policy of endpoints":  {without("broletto-endpoints"), []string{"tenant-network"}},
		"policy of pods":       {defaulting("broletto-default-pods"), []string{"image-pull-always"}},
		"policy of namespaces": {warning("broletto-namespaces"), []string{"multitenant-resources"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.On(t)
			want := slices.Clone(harm.checks)
			for i := range want {
				want[i] = a.Name + "/" + want[i]
			}
			if strings.HasPrefix(name, "policy") || name == "storage class" { // they are everybody's
				for _, check := range harm.checks {
					want = append(want, b.Name+"/"+check)
				}
			}
			slices.Sort(want)
			begun := time.Now().Truncate(time.Second)
			harm.do(s)
			cluster.Eventually(t, stage.Patience, "the checks turn", func() error { return stage.Same(want, o.failing()) })
			for _, failing := range want {
				if since := o.since[failing]; since.Before(begun) || since.After(time.Now()) {
					t.Errorf("%s is not met since %v, and was broken after %v", failing, since, begun)
				}
			}
			harm.undo(s)
			cluster.Eventually(t, stage.Patience, "the checks turn back", func() error { return stage.Same(nil, o.failing()) })
		})
	}
	t.Run("restart", func(t *testing.T) { restart(s.On(t), mgr, a) })
	t.Run("in the making", func(t *testing.T) { inTheMaking(s.On(t), o, a) })
	t.Run("no request", func(t *testing.T) {
		mark := cluster.Mark(t)
		for range 20 {
			o.failing()
		}
		for _, e := range cluster.Since(t, mark) {
			if e.UserAgent == "broletto" && !strings.Contains(e.Verb, "watch") {
				t.Errorf("a scrape sent %s %s", e.Verb, e.Resource)
			}
		}
	})
}

// breach is how something is broken and made whole again.
type breach struct{ do, undo func(*stage.Stage) }

// keeping makes a storage class that keeps what is deleted.
func keeping(name string) breach {
	class := &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: "example.com/disk", ReclaimPolicy: new(corev1.PersistentVolumeReclaimRetain),
	}
	return breach{func(s *stage.Stage) { s.Create(class.DeepCopy()) }, func(s *stage.Stage) { s.Remove(class.DeepCopy()) }}
}

// without deletes a validating policy.
func without(name string) breach {
	return gone(&admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}})
}

// defaulting deletes the binding of a mutating policy, without which it does nothing.
func defaulting(name string) breach {
	return gone(&admissionv1.MutatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}})
}

func gone(o client.Object) breach {
	return breach{func(s *stage.Stage) {
		s.Read(o)
		s.Remove(o.DeepCopyObject().(client.Object))
	}, func(s *stage.Stage) {
		o.SetResourceVersion("")
		o.SetUID("")
		s.Create(o)
	}}
}

// warning makes a validating policy one that only warns.
func warning(name string) breach {
	b := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}}
	act := func(action admissionv1.ValidationAction) func(*stage.Stage) {
		return func(s *stage.Stage) {
			stage.Edit(s, b, func(b *admissionv1.ValidatingAdmissionPolicyBinding) {
				b.Spec.ValidationActions = []admissionv1.ValidationAction{action}
			})
		}
	}
	return breach{act(admissionv1.Warn), act(admissionv1.Deny)}
}

// restart compares what two processes say of a check that is not met: both read it from the cluster. Of one that is met, the later says
// no more than that nothing it rests on changed since.
func restart(s *stage.Stage, mgr ctrl.Manager, a *v1alpha1.Tenant) {
	before := observe(s, mgr)
	before.failing()
	keep := keeping("standard")
	keep.do(s)
	failing := a.Name + "/reclaim-delete"
	cluster.Eventually(s, stage.Patience, "the check turns", func() error {
		if !slices.Contains(before.failing(), failing) {
			return fmt.Errorf("%v", before.failing())
		}
		return nil
	})
	cluster.Eventually(s, 10*time.Second, "some time passes", func() error {
		if time.Since(before.since[failing]) < 2*time.Second {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	after := observe(s, mgr)
	after.failing()
	if !after.since[failing].Equal(before.since[failing]) {
		s.Errorf("not met since %v, after a restart since %v", before.since[failing], after.since[failing])
	}
	for check, since := range after.since {
		if !strings.HasPrefix(check, a.Name+"/") || check == failing {
			continue
		}
		if since.Before(a.CreationTimestamp.Time) || time.Since(since) < time.Second {
			s.Errorf("%s is met since %v", check, since)
		}
	}
	keep.undo(s)
	cluster.Eventually(s, stage.Patience, "the check turns back", func() error { return stage.Same(nil, after.failing()) })
}

// inTheMaking looks at every moment of a workspace's coming and going: its tenant meets every check all the while.
func inTheMaking(s *stage.Stage, o *observer, a *v1alpha1.Tenant) {
	w := s.Workspace(a, "nuovo")
	look := func() {
		if failing := o.failing(); len(failing) > 0 {
			s.Errorf("a workspace that comes or goes: %v", failing)
		}
	}
	watch := func(done func() bool) {
		cluster.Eventually(s, stage.Patience, "the workspace is there or gone", func() error {
			look()
			_, err := s.Reconcile(a)
			look()
			if _, err2 := s.Reconcile(w); err != nil || err2 != nil {
				return fmt.Errorf("%w, %w", err, err2)
			}
			look()
			if !done() {
				return fmt.Errorf("not yet")
			}
			return nil
		})
	}
	watch(func() bool { s.Read(w); return w.Status.Namespace != "" })
	s.Rest()
	s.Remove(w)
	watch(func() bool { return !s.Exists(w) })
}

// connected is the operator's cache.
func connected(t *testing.T) ctrl.Manager {
	t.Helper()
	mgr, err := manager.Connect(cluster.Operator(t), manager.Options{MetricsAddress: "0", ProbeAddress: "0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return mgr
}

// observer scrapes what one process of the operator tells of the tenants of a test.
type observer struct {
	s        *stage.Stage
	registry *prometheus.Registry
	since    map[string]time.Time // as tenant/check
}

func observe(s *stage.Stage, mgr ctrl.Manager) *observer {
	s.Helper()
	policies, err := guard.Policies(guard.Operator, guard.PlatformGroup)
	if err != nil {
		s.Fatal(err)
	}
	revision, err := guard.Revision()
	if err != nil {
		s.Fatal(err)
	}
	o := &observer{s: s, registry: prometheus.NewRegistry()}
	o.registry.MustRegister(isolation.Collector(mgr.GetCache(), func(ctx context.Context) (map[string]bool, error) {
		return guard.Standing(ctx, mgr.GetCache(), policies, revision)
	}, time.Now))
	return o
}

// failing are the checks that are not met, as tenant/check. All that can be judged must be told.
func (o *observer) failing() (out []string) {
	o.s.Helper()
	families, err := o.registry.Gather()
	if err != nil {
		o.s.Fatal(err)
	}
	o.since = map[string]time.Time{}
	told := map[string]bool{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			check := labels["tenant"] + "/" + labels["check"]
			switch value := m.GetGauge().GetValue(); {
			case strings.HasSuffix(family.GetName(), "_seconds"):
				o.since[check] = time.Unix(int64(value), 0)
			case value == 0:
				out = append(out, check)
				fallthrough
			default:
				told[labels["check"]] = true
			}
		}
	}
	for _, c := range isolation.Benchmark() {
		if c.Live() != told[c.Name] {
			o.s.Errorf("%s: live %t, told %t: %v", c.Name, c.Live(), told[c.Name], slices.Sorted(maps.Keys(told)))
		}
	}
	slices.Sort(out)
	return out
}
