package security

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/operator/run"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// errand is a run that is under way in the site: what the operator makes for it, and the pod that the Job controller makes of that.
type errand struct {
	stack, run, account, job client.Object
	pod                      *corev1.Pod
}

const (
	inline    = "workspace: sito, engine: OpenTofu, source: {inline: {main.tf: '# nothing'}}"
	stackText = "{apiVersion: broletto.dev/v1alpha1, kind: Stack, metadata: {name: NAME, namespace: HOME}, spec: {" + inline + "}}"
	runText   = "{apiVersion: broletto.dev/v1alpha1, kind: StackRun, metadata: {name: NAME, namespace: HOME, labels: {broletto.dev/stack: rete}}, " +
		"spec: {stack: rete, stackUID: 00000000-0000-4000-8000-000000000001, workspace: sito, operation: Plan, engine: OpenTofu, attempt: 1, timeoutMinutes: 60}}"
	runLabels = "labels: {broletto.dev/run: 00000000-0000-4000-8000-000000000002, broletto.dev/stack: rete}"
	jobText   = "{apiVersion: batch/v1, kind: Job, metadata: {name: NAME, namespace: SITE, " + runLabels + "}, " +
		"spec: {backoffLimit: 0, template: {metadata: {" + runLabels + "}, spec: {restartPolicy: Never, serviceAccountName: stack-rete, automountServiceAccountToken: false, POD}}}}"
)

func called(name, text string) string { return strings.ReplaceAll(text, "NAME", name) }

// errand begins a run, as the operator does.
func (w *town) errand() errand {
	w.Helper()
	operator := cluster.Operator(w)
	e := errand{
		stack:   w.make(w.administrator(), called("rete", stackText)),
		run:     w.make(operator, called("rete-1", runText)),
		account: w.make(operator, "{apiVersion: v1, kind: ServiceAccount, metadata: {name: stack-rete, namespace: SITE, labels: {broletto.dev/owner: x}}, automountServiceAccountToken: false}"),
		job:     w.make(operator, called("stack-rete-1", jobText)),
	}
	cluster.Eventually(w, stage.Patience, "the run has its pod", func() error {
		for _, o := range w.List(&corev1.PodList{}, w.site.TargetNamespace()) {
			if strings.HasPrefix(o.GetName(), "stack-rete-1-") {
				e.pod = o.(*corev1.Pod)
			}
		}
		job := &batchv1.Job{ObjectMeta: stage.In(e.job.GetNamespace(), e.job.GetName())}
		if w.Read(job); e.pod == nil || job.Status.Active != 1 || job.Status.Ready == nil {
			return errNotYet
		}
		return nil
	})
	return e
}

const (
	labelled = "carries the label broletto.dev/run"
	actsAs   = "would act as stack-"
	runsPod  = "has the name of a pod of a run or a mover"
)

// TestRuns has nobody pass for a run: its pod's label and its account open the broker.
func TestRuns(t *testing.T) {
	t.Parallel()
	w := newTown(t, "runs")
	w.errand()
	w.make(w.administrator(), "{apiVersion: v1, kind: ServiceAccount, metadata: {name: stack-own, namespace: SITE}}")
	w.make(w.administrator(), "{apiVersion: v1, kind: ServiceAccount, metadata: {name: broletto-mover, namespace: SITE}}")
	pod := func(reason, labels, want string) rule {
		return rule{reason, "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: SITE, labels: {" + labels + "}}, spec: {POD}}", want}
	}
	job := func(reason, labels, template, account, want string) rule {
		return rule{reason, "{apiVersion: batch/v1, kind: Job, metadata: {name: j, namespace: SITE, labels: {" + labels + "}}, " +
			"spec: {template: {metadata: {labels: {" + template + "}}, spec: {restartPolicy: Never, serviceAccountName: " + account + ", POD}}}}", want}
	}
	const of = "broletto.dev/run: x"
	rules := map[string]rule{
		"Job":                 job("the broker would know its pod", of, of, "default", labelled),
		"Job, not its pods":   job("its label would be passed on", of, "a: b", "default", labelled),
		"Job, its pods":       job("its pods would pass for a run's", "a: b", of, "default", labelled),
		"Job, empty label":    job("a label without a value is one", "a: b", "broletto.dev/run: ''", "default", labelled),
		"Job, own":            job("it is what a workspace is for", "a: b", "a: b", "default", ""),
		"Job, acts":           job("it passes, and its pods do not", "a: b", "a: b", "stack-rete", ""),
		"pod":                 pod("it would pass for a run's", of, labelled),
		"pod, empty label":    pod("a label without a value is one", "broletto.dev/run: ''", labelled),
		"pod, of a stack":     pod("a name that opens nothing", "broletto.dev/stack: rete", ""),
		"pod, acts":           podRule("as the account that a stack's code has", "serviceAccountName: stack-rete", actsAs+"rete"),
		"pod, acts, old form": podRule("by the field that was once", "serviceAccount: stack-rete", actsAs+"rete"),
		"pod, acts as mover":  podRule("as the account that movers have", "serviceAccountName: broletto-mover", "would act as broletto-mover"),
		"pod, acts, own":      podRule("a stack of that name may come", "serviceAccountName: stack-own", actsAs+"own"),
		"run, by its status":  {"none but the operator's", called("eve-1", runText), "cannot create resource"},
	}
	w.try(w.administrator(), rules)
	rules["run, by its status"] = rule{"past RBAC", called("eve-1", runText), "is a run that the operator makes"}
	w.try(cluster.ClusterAdmin(), rules)
	w.noPods(w.make(w.administrator(), "{apiVersion: batch/v1, kind: Job, metadata: {name: late, namespace: SITE}, "+
		"spec: {template: {metadata: {labels: {job: late}}, spec: {restartPolicy: Never, serviceAccountName: stack-rete, POD}}}}"))
	w.noPods(w.make(w.administrator(), "{apiVersion: apps/v1, kind: Deployment, metadata: {name: late, namespace: SITE}, "+
		"spec: {selector: {matchLabels: {app: late}}, template: {metadata: {labels: {app: late, broletto.dev/run: x}}, spec: {POD}}}}"))
}

// noPods waits until a controller has said that it may not make an object's pods.
func (w *town) noPods(o client.Object) {
	w.Helper()
	cluster.Eventually(w, stage.Patience, "its controller is refused the pods of "+o.GetName(), func() error {
		for _, e := range w.List(&corev1.EventList{}, o.GetNamespace()) {
			e := e.(*corev1.Event)
			if e.Reason == "FailedCreate" && strings.HasPrefix(e.InvolvedObject.Name, o.GetName()) && e.InvolvedObject.Kind != "StatefulSet" &&
				strings.Contains(e.Message, "broletto-runs") && (e.InvolvedObject.Kind == "Job") == (w.kindOf(o) == "Job") {
				return nil
			}
		}
		return errNotYet
	})
	for _, p := range w.List(&corev1.PodList{}, o.GetNamespace()) {
		if strings.HasPrefix(p.GetName(), o.GetName()+"-") {
			w.Errorf("%s %s has a pod", w.kindOf(o), o.GetName())
		}
	}
}

// TestRunsHold changes a run that is under way, as everybody.
func TestRunsHold(t *testing.T) {
	t.Parallel()
	w := newTown(t, "errand")
	e := w.errand()
	attacks := map[string]attack{}
	for _, o := range []client.Object{e.job, e.pod} {
		name := w.kindOf(o)
		add(attacks, name+": run taken off", "it would be the tenant's", labelled, w.forms(o, "metadata: {labels: {broletto.dev/run: null}}"))
		add(attacks, name+": another run", "the broker would take it for that", labelled, w.forms(o, "metadata: {labels: {broletto.dev/run: x}}"))
		add(attacks, name+": a label", "it is the operator's", labelled, w.forms(o, "metadata: {labels: {eve: was-here}}"))
	}
	add(attacks, "Job: suspended", "its pod would go", labelled, w.forms(e.job, "spec: {suspend: true}"))
	add(attacks, "Job", "there is an annotation for that", labelled, deletions(e.job))
	add(attacks, "pod: another image", "it would have the run's tokens", labelled, map[string]stage.Request{"JSON patch": func(ctx context.Context, c client.Client) error {
		return c.Patch(ctx, w.live(e.pod), client.RawPatch("application/json-patch+json", []byte(`[{"op":"replace","path":"/spec/containers/0/image","value":"registry.example/eve:1"}]`)))
	}})
	add(attacks, "pod: a container more", "it would see the run's processes", labelled, formsOf(w.forms(e.pod, "spec: {ephemeralContainers: [{name: eve, image: 'registry.example/eve:1', "+
		"securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]}", "ephemeralcontainers"), "ephemeralcontainers"))
	whole := maps.Clone(attacks)
	const record = "is a run that the operator makes"
	for _, change := range []string{"metadata: {labels: {broletto.dev/stack: other}}", "metadata: {annotations: {eve: was-here}}"} {
		add(whole, "StackRun: "+change, "it is a record", record, w.forms(e.run, change))
	}
	add(whole, "StackRun", "it is a record", record, deletions(e.run))
	add(whole, "StackRun: status", "the Stack rests on it", onlyTheOperator, formsOf(w.forms(e.run, "status: {phase: Succeeded}", "status"), "status"))
	targets := []client.Object{e.run, e.job, e.pod}
	w.suffers("cluster administrator", cluster.ClusterAdmin(), whole, targets...)
	w.suffers("administrator", w.administrator(), attacks, targets...)
	w.suffersAll(whole, targets...)
}

const onlyTheOperator = "only the operator writes it"

// formsOf are those of the forms that write a subresource.
func formsOf(forms map[string]stage.Request, sub string) map[string]stage.Request {
	maps.DeleteFunc(forms, func(form string, _ stage.Request) bool { return !strings.HasSuffix(form, " "+sub) })
	return forms
}

// TestRunsClosed gets into the pods of a run and of a mover by every door that there is.
func TestRunsClosed(t *testing.T) {
	t.Parallel()
	w := newTown(t, "closed")
	e := w.errand()
	mover := w.make(cluster.ClusterAdmin(), "{apiVersion: v1, kind: Pod, metadata: {name: move-0123456789abcdef-x7k2p, namespace: SITE}, spec: {POD}}")
	own := w.make(w.administrator(), "{apiVersion: v1, kind: Pod, metadata: {name: shell, namespace: SITE}, spec: {POD}}")
	for who, cfg := range map[string]*rest.Config{
		"administrator": w.administrator(), "member": w.member(), "account": w.account(), "tool": cluster.Account(w, w.own.Name, "flux"), "cluster administrator": cluster.ClusterAdmin(),
	} {
		for _, door := range []string{"exec", "attach", "portforward"} {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				for _, pod := range []client.Object{e.pod, mover} {
					if err := refused(w.connect(cfg, method, pod, door), runsPod); err != nil {
						t.Errorf("%s: %s %s of %s: %v", who, method, door, pod.GetName(), err)
					}
				}
				if err := w.connect(cfg, method, own, door); err == nil || refusedBy(err, "broletto-runs") {
					t.Errorf("%s: %s %s of a pod of the tenant's own: %v; want it to pass the guard, and no node to answer", who, method, door, err)
				}
			}
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		if err := refused(w.connect(cluster.ClusterAdmin(), method, e.pod, "proxy"), runsPod); err != nil {
			t.Errorf("%s proxy: %v", method, err)
		}
	}
	for who, cfg := range map[string]*rest.Config{"viewer": w.viewer(), "removed": w.removed(), "neighbour": w.neighbour()} {
		if err := refused(w.connect(cfg, http.MethodPost, e.pod, "exec"), "cannot create resource"); err != nil {
			t.Errorf("%s: %v", who, err)
		}
	}
}

func refusedBy(err error, policy string) bool {
	return err != nil && strings.Contains(err.Error(), policy)
}

// connect asks for a subresource of a pod by which one gets into it.
func (w *town) connect(cfg *rest.Config, method string, pod client.Object, door string) error {
	w.Helper()
	api, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		w.Fatal(err)
	}
	return api.CoreV1().RESTClient().Verb(method).Namespace(pod.GetNamespace()).Resource("pods").Name(pod.GetName()).SubResource(door).
		Param("command", "sh").Param("stdout", "true").Param("ports", "8080").Do(w.Context()).Error()
}

// TestStackTokens asks for tokens of the accounts that stacks act as, and for such as would pass for a run's at the broker.
func TestStackTokens(t *testing.T) {
	t.Parallel()
	w := newTown(t, "stacktokens")
	e := w.errand()
	w.make(w.administrator(), "{apiVersion: v1, kind: ServiceAccount, metadata: {name: stack-own, namespace: SITE}}")
	w.make(w.administrator(), "{apiVersion: v1, kind: ServiceAccount, metadata: {name: broletto-mover, namespace: SITE}}")
	asking := func(account string, spec authenticationv1.TokenRequestSpec) stage.Request {
		return asksFor(w.site.TargetNamespace(), account, spec)
	}
	of := &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: e.pod.Name, UID: e.pod.UID}
	short := new(int64(600))
	const noToken = "only the pods of their runs act as stack-"
	attacks := map[string]attack{
		"a stack's":                 {"it acts as the stack's code", asking("stack-rete", authenticationv1.TokenRequestSpec{}), noToken + "rete"},
		"a stack's, short":          {"ten minutes are enough", asking("stack-rete", authenticationv1.TokenRequestSpec{ExpirationSeconds: short}), noToken + "rete"},
		"a stack's, for the broker": {"the broker hands out the state", asking("stack-rete", authenticationv1.TokenRequestSpec{Audiences: []string{run.Audience}}), noToken + "rete"},
		"a stack's, of the pod":     {"as the node asks for it", asking("stack-rete", authenticationv1.TokenRequestSpec{Audiences: []string{run.Audience}, BoundObjectRef: of}), noToken + "rete"},
		"an account that looks it":  {"a stack of that name may come", asking("stack-own", authenticationv1.TokenRequestSpec{}), noToken + "own"},
		"another's, of a run's pod": {"the broker goes by the pod", asking("default", authenticationv1.TokenRequestSpec{Audiences: []string{run.Audience}, BoundObjectRef: of}), "different serviceaccount"},
	}
	for _, who := range []*rest.Config{w.administrator(), cluster.ClusterAdmin(), cluster.Account(w, w.own.Name, "flux")} {
		w.suffers("who may ask for tokens", who, attacks, e.account, e.pod)
	}
	w.suffersAll(attacks, e.account, e.pod)
}

// asksFor asks for a token of an account.
func asksFor(namespace, account string, spec ...authenticationv1.TokenRequestSpec) stage.Request {
	request := &authenticationv1.TokenRequest{}
	for _, s := range spec {
		request.Spec = s
	}
	return func(ctx context.Context, c client.Client) error {
		return c.SubResource("token").Create(ctx, &corev1.ServiceAccount{ObjectMeta: stage.In(namespace, account)}, request.DeepCopy())
	}
}

// writer writes stacks of the tenant and may not approve their plans.
func (w *town) writer() *rest.Config {
	w.Helper()
	w.make(cluster.Admin(), "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: writer, namespace: HOME}, "+
		"rules: [{apiGroups: [broletto.dev], resources: [stacks], verbs: [get, list, create, update, patch, delete]}]}")
	w.make(cluster.Admin(), "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: writer, namespace: HOME}, "+
		"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: writer}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: PREFIX-paolo}]}")
	cfg := cluster.As(w.ID("paolo"))
	cluster.Eventually(w, stage.Soon, "the writer may write", func() error {
		return cluster.Client(w, cfg).Create(w.Context(), w.read(called("prova", stackText)), client.DryRunAll)
	})
	return cfg
}

// digest is of a plan that nobody made.
const digest = "hmac-sha256:0000000000000000000000000000000000000000000000000000000000000000"

// TestApprovals has somebody approve plans who may write stacks and nothing more.
func TestApprovals(t *testing.T) {
	t.Parallel()
	w := newTown(t, "approvals")
	writer := w.writer()
	stack := func(reason, spec, want string) rule {
		return rule{reason, strings.Replace(called("s", stackText), inline, inline+", "+spec, 1), want}
	}
	const denied = "may not approve plans of Stack"
	rules := map[string]rule{
		"manual":       stack("somebody else approves", "approval: Manual", ""),
		"a plan":       stack("approved before it is there", "approvedPlan: '"+digest+"'", denied),
		"automatic":    stack("every plan is approved", "approval: Automatic", denied),
		"drift":        stack("every repair is approved", "drift: {everyHours: 6, action: Apply}", denied),
		"drift, shown": stack("nothing is applied", "drift: {everyHours: 6, action: Report}", ""),
		"drift, anew":  stack("somebody approves the plan", "drift: {everyHours: 6, action: Replan}", ""),
		"both":         stack("one of two would do", "approval: Manual, drift: {everyHours: 6, action: Apply}", denied),
	}
	w.try(writer, rules)
	for name, r := range rules {
		r.want = ""
		rules[name] = r
	}
	w.try(w.administrator(), rules)

	target := w.make(w.administrator(), called("rete", stackText))
	attacks := map[string]attack{}
	add(attacks, "a plan", "it takes the verb approve", denied, w.forms(target, "spec: {approvedPlan: '"+digest+"'}"))
	add(attacks, "automatic", "it takes the verb approve", denied, w.forms(target, "spec: {approval: Automatic}"))
	add(attacks, "drift", "it takes the verb approve", denied, w.forms(target, "spec: {drift: {everyHours: 6, action: Apply}}"))
	w.suffers("writer", writer, attacks, target)
	for name, a := range attacks {
		a.want = ""
		attacks[name] = a
	}
	for who, cfg := range w.identities() {
		if who != "administrator" && who != "tool" {
			w.suffers(who, cfg, attacks, target)
		}
	}
	c := cluster.Client(t, writer)
	if err := w.patched(c, target, `{"spec":{"maxDestroy":3}}`)(); err != nil {
		t.Errorf("what approves nothing: %v", err)
	}
	if err := w.patched(cluster.Client(t, w.administrator()), target, `{"spec":{"approval":"Automatic","approvedPlan":%q}}`, digest)(); err != nil {
		t.Errorf("the administrator approves: %v", err)
	}
	if err := w.patched(c, target, `{"spec":{"maxDestroy":4}}`)(); err != nil {
		t.Errorf("what was approved before stays writable: %v", err)
	}
	if err := errors.Join(w.patched(c, target, `{"spec":{"approval":"Manual","approvedPlan":%q}}`, digest)()); err != nil {
		t.Errorf("to approve less takes no right: %v", err)
	}
	if err := refused(w.patched(c, target, `{"spec":{"approval":"Automatic"}}`)(), denied); err != nil {
		t.Error(err)
	}
	if err := refused(w.patched(c, target, `{"spec":{"approvedPlan":null}}`)(), denied); err != nil {
		t.Error(err)
	}
}
