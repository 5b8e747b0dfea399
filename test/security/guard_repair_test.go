package security

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/hack/kube"
	"github.com/broletto/broletto/operator/embedded"
	"github.com/broletto/broletto/operator/guard"
	"github.com/broletto/broletto/operator/manager"
	"github.com/broletto/broletto/test/cluster"
)

// fortress is a control plane of a test's own: what it does to the policies, other tests must not feel.
type fortress struct {
	*testing.T
	plane *embedded.Cluster
	dir   string
	admin client.Client // a cluster administrator, who may write policies and break no glass
	told  *events.FakeRecorder
	audit int64
}

func newFortress(t *testing.T) *fortress {
	t.Helper()
	f := &fortress{T: t, dir: t.TempDir(), told: events.NewFakeRecorder(1000)}
	f.begin()
	t.Cleanup(func() {
		if err := f.plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *fortress) begin() {
	f.Helper()
	var err error
	if f.plane, err = embedded.Start(f.Context(), kube.Options{Dir: f.dir}); err != nil {
		f.Fatal(err)
	}
	f.admin = cluster.Client(f, f.as(kube.AdminUser, kube.AdminGroup))
}

func (f *fortress) as(user string, groups ...string) *rest.Config {
	f.Helper()
	cfg, err := f.plane.Config(user, groups...)
	if err != nil {
		f.Fatal(err)
	}
	return cfg
}

// keep runs the part of the operator that keeps the policies, and no other, until the test ends or stop is called.
func (f *fortress) keep() (wanted []client.Object, stop func()) {
	f.Helper()
	cfg, err := f.plane.Operator(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	mgr, err := manager.Connect(cfg, manager.Options{MetricsAddress: "0", ProbeAddress: "0"})
	if err != nil {
		f.Fatal(err)
	}
	r := &guard.Reconciler{Client: mgr.GetClient(), Events: f.told}
	if r.Policies, err = guard.Policies(guard.Operator, guard.PlatformGroup); err == nil {
		r.Revision, err = guard.Revision()
	}
	if err := errors.Join(err, r.SetupWithManager(mgr)); err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(f.Context())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	return r.Policies, sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			f.Error(err)
		}
	})
}

// writes are what the operator asked to change since the last call.
func (f *fortress) writes() (out []string) {
	f.Helper()
	all, offset, err := kube.ReadAudit(f.plane.AuditLog(), f.audit)
	if err != nil {
		f.Fatal(err)
	}
	f.audit = offset
	for _, e := range all {
		if e.User == guard.Operator && e.Mutating() {
			out = append(out, fmt.Sprintf("%s %s %s %d", e.Verb, e.Resource, e.Name, e.Code))
		}
	}
	return out
}

// stand wants every policy and binding as it should be, soon.
func (f *fortress) stand(after string, wanted []client.Object) {
	f.Helper()
	revision, err := guard.Revision()
	if err != nil {
		f.Fatal(err)
	}
	cluster.Eventually(f, 5*time.Second, "the policies stand again after: "+after, func() error {
		standing, err := guard.Standing(f.Context(), f.admin, wanted, revision)
		for name, stands := range standing {
			if !stands {
				err = errors.Join(err, errors.New(name+" does not"))
			}
		}
		return err
	})
}

// harms are what an administrator does to a policy, and none of it lasts.
func harms() map[string]struct {
	object client.Object
	patch  string // empty: deleted
} {
	policy := func() client.Object { return &admissionv1.ValidatingAdmissionPolicy{} }
	binding := func() client.Object { return &admissionv1.ValidatingAdmissionPolicyBinding{} }
	named := func(o client.Object, name string) client.Object {
		o.SetName(name)
		return o
	}
	return map[string]struct {
		object client.Object
		patch  string
	}{
		"policy deleted":         {named(policy(), "broletto-namespaces"), ""},
		"binding deleted":        {named(binding(), "broletto-namespaces"), ""},
		"audited only":           {named(binding(), "broletto-hosts"), `[{"op":"replace","path":"/spec/validationActions","value":["Audit"]}]`},
		"warned only":            {named(binding(), "broletto-claims"), `[{"op":"replace","path":"/spec/validationActions","value":["Warn","Audit"]}]`},
		"excludes all":           {named(policy(), "broletto-rights"), `[{"op":"add","path":"/spec/matchConditions/-","value":{"name":"never","expression":"false"}}]`},
		"a rule dropped":         {named(policy(), "broletto-hosts"), `[{"op":"remove","path":"/spec/validations/0"}]`},
		"a rule true":            {named(policy(), "broletto-secrets"), `[{"op":"replace","path":"/spec/validations/0/expression","value":"true"}]`},
		"a kind dropped":         {named(policy(), "broletto-guardrails"), `[{"op":"remove","path":"/spec/matchConstraints/resourceRules/0"}]`},
		"failures ignored":       {named(policy(), "broletto-workloads"), `[{"op":"replace","path":"/spec/failurePolicy","value":"Ignore"}]`},
		"namespaces narrowed":    {named(policy(), "broletto-services"), `[{"op":"add","path":"/spec/matchConstraints/namespaceSelector/matchExpressions/-","value":{"key":"eve","operator":"DoesNotExist"}},{"op":"add","path":"/spec/matchConstraints/namespaceSelector/matchLabels","value":{"eve":"x"}}]`},
		"binding narrowed":       {named(binding(), "broletto-rights"), `[{"op":"add","path":"/spec/matchResources","value":{"namespaceSelector":{"matchLabels":{"eve":"x"}}}}]`},
		"objects narrowed":       {named(policy(), "broletto-kinds"), `[{"op":"add","path":"/spec/matchConstraints/objectSelector","value":{"matchLabels":{"eve":"x"}}}]`},
		"exclusion":              {named(policy(), "broletto-owners"), `[{"op":"add","path":"/spec/matchConstraints/excludeResourceRules","value":[{"apiGroups":["*"],"apiVersions":["*"],"operations":["*"],"resources":["*"]}]}]`},
		"binding to another":     {named(binding(), "broletto-networkpolicies"), `[{"op":"replace","path":"/spec/policyName","value":"broletto-secrets"}]`},
		"binding with a param":   {named(binding(), "broletto-endpoints"), `[{"op":"add","path":"/spec/paramRef","value":{"name":"x","namespace":"default","parameterNotFoundAction":"Allow"}}]`},
		"eve breaks the glass":   {named(policy(), "broletto-tokens"), `[{"op":"replace","path":"/spec/variables/0/expression","value":"true"}]`},
		"defaults deleted":       {named(&admissionv1.MutatingAdmissionPolicy{}, "broletto-default-kinds"), ""},
		"defaults unbound":       {named(&admissionv1.MutatingAdmissionPolicyBinding{}, "broletto-default-pods"), ""},
		"defaults without words": {named(&admissionv1.MutatingAdmissionPolicy{}, "broletto-default-claims"), `[{"op":"replace","path":"/spec/failurePolicy","value":"Ignore"}]`},
	}
}

// TestPoliciesRepaired harms every part of the policies while the operator keeps them.
func TestPoliciesRepaired(t *testing.T) {
	t.Parallel()
	f := newFortress(t)
	wanted, stop := f.keep()
	defer stop()
	f.stand("the beginning", wanted)
	f.quiet("the beginning")
	for name, h := range harms() {
		before := len(f.told.Events)
		if h.patch == "" {
			if err := f.admin.Delete(t.Context(), h.object); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		} else if err := f.admin.Patch(t.Context(), h.object, client.RawPatch(types.JSONPatchType, []byte(h.patch))); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		f.stand(name, wanted)
		cluster.Eventually(t, 5*time.Second, name+" is told", func() error {
			if len(f.told.Events) == before {
				return errNotYet
			}
			return nil
		})
		told := ""
		for len(f.told.Events) > 0 {
			told += <-f.told.Events
		}
		if !strings.Contains(told, "Warning DriftRepaired ") || !strings.Contains(told, " "+h.object.GetName()+" was changed or deleted; it is as it should be again") {
			t.Errorf("%s: told: %s", name, told)
		}
	}
	f.quiet("all harms")
	f.judges()

	// A policy of another revision is another Broletto's, newer or older: it is left alone, whatever it says.
	other := &admissionv1.ValidatingAdmissionPolicy{}
	other.Name = "broletto-hosts"
	change := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{%q:"another"}},"spec":{"failurePolicy":"Ignore"}}`, guard.AnnotationRevision))
	if err := f.admin.Patch(t.Context(), other, change); err != nil {
		t.Fatal(err)
	}
	f.quiet("another revision")
	if err := f.admin.Get(t.Context(), client.ObjectKeyFromObject(other), other); err != nil || *other.Spec.FailurePolicy != admissionv1.Ignore {
		t.Errorf("the policy of another revision was changed: %v, %v", *other.Spec.FailurePolicy, err)
	}
}

// quiet wants no write in some time.
func (f *fortress) quiet(after string) {
	f.Helper()
	time.Sleep(500 * time.Millisecond) // what was under way ends
	f.writes()
	time.Sleep(1500 * time.Millisecond)
	if got := f.writes(); len(got) > 0 {
		f.Errorf("after %s the operator wrote %s", after, strings.Join(got, "; "))
	}
}

// judges wants that a hijack is refused, soon: the API server takes a policy that is back into account within a second or so.
func (f *fortress) judges() {
	f.Helper()
	cluster.Eventually(f, 10*time.Second, "the policies judge", func() error {
		ns := namespaceNamed("hijack")
		ns.Labels = map[string]string{v1alpha1.LabelTenant: "x"}
		return refused(f.admin.Create(f.Context(), ns, client.DryRunAll), onlyBroletto)
	})
}
