package service_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/google/go-cmp/cmp"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/acting"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// TestLife follows an instance of manifests from its asking to its going.
func TestLife(t *testing.T) {
	t.Parallel()
	s := newScene(t, "life")
	o := s.offer("albo")
	i := s.ask(o, "albo")
	s.Ready(o, i)

	made := s.made("albo")
	s.Read(made)
	if diff := cmp.Diff(map[string]string{"ente": "Comune di Malnate", "repliche": "x1"}, made.Data); diff != "" {
		t.Errorf("its data (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"v1 ConfigMap/albo"}, i.Status.Objects); diff != "" || i.Status.Version != "1.0.0" {
		t.Errorf("version %s, objects (-want +got):\n%s", i.Status.Version, diff)
	}
	if got, want := stage.Condition(i, v1alpha1.ConditionConforms), "True Succeeded "; got != want {
		t.Errorf("conforms: %q, want %q", got, want)
	}
	for _, e := range cluster.Since(t, 0) { // everybody's, and only one made it
		if e.Namespace == made.Namespace && e.Resource == "configmaps" && e.Mutating() && e.Name == "albo" &&
			!strings.HasSuffix(e.User, "broletto-operator") && !strings.HasSuffix(e.User, acting.Service.Name()) {
			t.Errorf("%s wrote it", e.User)
		}
	}
	s.Read(o)
	if diff := cmp.Diff(&v1alpha1.Demand{Instances: 1, Quantity: 1, Tenants: 1, Provisioned: 1}, o.Status.Demand); diff != "" {
		t.Errorf("demand (-want +got):\n%s", diff)
	}

	s.Remove(i)
	s.Gone(i)
	if s.Exists(made) {
		t.Error("what it made outlives it")
	}
	if s.Exists(&corev1.ServiceAccount{ObjectMeta: stage.In(made.Namespace, acting.Service.Name())}) ||
		s.Exists(&rbacv1.RoleBinding{ObjectMeta: stage.In(made.Namespace, acting.Service.Name())}) {
		t.Error("the account outlives the last instance")
	}
	s.Rest()
}

// TestAward: nothing before the day, in the consortium's zone, and everything on it.
func TestAward(t *testing.T) {
	t.Parallel()
	s := newScene(t, "award")
	s.At(day(t, "2027-03-31T21:59:00Z")) // 23:59 in Zurich
	o := s.offer("albo", func(o *v1alpha1.ServiceOffering) { o.Spec.Procurement.AwardedOn = "2027-04-01" })
	i := s.ask(o, "albo", func(i *v1alpha1.ServiceInstance) { i.Spec.Quantity = 12 })
	message := s.Await(i, v1alpha1.ConditionReconciling, v1alpha1.ReasonAwaitingAward)
	if !strings.Contains(message, "2027-04-01") {
		t.Errorf("the message names no day: %s", message)
	}
	if s.Exists(s.made("albo")) {
		t.Error("it is there before the award")
	}
	s.Read(o)
	if diff := cmp.Diff(&v1alpha1.Demand{Instances: 1, Quantity: 12, Tenants: 1}, o.Status.Demand); diff != "" {
		t.Errorf("demand (-want +got):\n%s", diff)
	}
	if result, err := s.Reconcile(i); err != nil || result.RequeueAfter.Seconds() != 60 {
		t.Errorf("it is looked at again after %s: %v", result.RequeueAfter, err)
	}
	s.At(day(t, "2027-03-31T22:00:00Z"))
	s.Ready(i)

	stage.Edit(s.Stage, o, func(o *v1alpha1.ServiceOffering) { o.Spec.Procurement.State = v1alpha1.ProcurementExpired })
	late := s.ask(o, "late")
	s.Await(late, v1alpha1.ConditionStalled, v1alpha1.ReasonProcurementExpired)
	s.Ready(i) // what runs goes on
}

// TestRefusals: what an instance may not have, and what the message says.
func TestRefusals(t *testing.T) {
	t.Parallel()
	s := newScene(t, "refuse")
	o := s.offer("albo")
	s.Ready(o)
	critical := s.offer("critical", func(o *v1alpha1.ServiceOffering) {
		o.Spec.DataClasses = []v1alpha1.DataClass{v1alpha1.DataClassCritical}
	})
	roles := s.offer("roles", manifests(s, `{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: x}}`))
	oneOf := s.offer("one-of", func(o *v1alpha1.ServiceOffering) {
		o.Spec.Parameters = raw(s, `{type: object, properties: {ente: {type: string, oneOf: []}}}`)
	})
	elsewhere := s.offer("elsewhere", func(o *v1alpha1.ServiceOffering) { o.Spec.Consortium = "nowhere" })
	taken := s.made("albo")
	taken.Data = map[string]string{"mine": "yes"}
	s.Create(taken)
	for name, row := range map[string]struct {
		offering *v1alpha1.ServiceOffering
		edit     func(*v1alpha1.ServiceInstance)
		verdict  string
		reason   string
		message  string
	}{
		"taken":     {o, nil, v1alpha1.ConditionStalled, v1alpha1.ReasonObjectConflict, "ConfigMap/albo exists"},
		"unknown":   {o, func(i *v1alpha1.ServiceInstance) { i.Spec.Offering = "no-such" }, v1alpha1.ConditionStalled, v1alpha1.ReasonOfferingNotFound, "offers no no-such"},
		"elsewhere": {elsewhere, nil, v1alpha1.ConditionStalled, v1alpha1.ReasonOfferingNotFound, "offers no"},
		"critical":  {critical, nil, v1alpha1.ConditionStalled, v1alpha1.ReasonDataClassNotAllowed, "may hold data of class Critical"},
		"roles":     {roles, nil, v1alpha1.ConditionStalled, v1alpha1.ReasonInvalidManifest, "RoleBinding is not what a workspace's editor may write"},
		"oneof":     {oneOf, nil, v1alpha1.ConditionStalled, v1alpha1.ReasonInvalidParameters, "spec.parameters.properties.ente.oneOf cannot be checked"},
		"pinned":    {o, func(i *v1alpha1.ServiceInstance) { i.Spec.Version = "0.9.0" }, v1alpha1.ConditionStalled, v1alpha1.ReasonVersionNotOffered, "0.9.0 is not offered, 1.0.0 is"},
		"nowhere":   {o, func(i *v1alpha1.ServiceInstance) { i.Spec.Workspace = "none" }, v1alpha1.ConditionReconciling, v1alpha1.ReasonWorkspaceNotReady, "workspace none does not exist"},
	} {
		var edits []func(*v1alpha1.ServiceInstance)
		if row.edit != nil {
			edits = append(edits, row.edit)
		}
		i := s.ask(row.offering, name, edits...)
		if message := s.Await(i, row.verdict, row.reason); !strings.Contains(message, row.message) {
			t.Errorf("%s: %s, want it to say %q", name, message, row.message)
		}
		s.Remove(i)
		s.Gone(i)
	}
	s.Read(taken)
	if taken.Data["mine"] != "yes" || len(taken.Labels) > 0 {
		t.Errorf("somebody else's was written to: %v %v", taken.Data, taken.Labels)
	}
	s.Await(roles, v1alpha1.ConditionStalled, v1alpha1.ReasonInvalidManifest)
	s.Await(oneOf, v1alpha1.ConditionStalled, v1alpha1.ReasonInvalidParameters)
	s.Await(elsewhere, v1alpha1.ConditionStalled, v1alpha1.ReasonConsortiumNotFound)
}

// TestDeviation: what somebody changes by hand is put right and told of, unless the instance is pinned.
func TestDeviation(t *testing.T) {
	t.Parallel()
	s := newScene(t, "deviate")
	o := s.offer("albo")
	i := s.ask(o, "albo")
	s.Ready(i)
	s.Events()
	stage.Edit(s.Stage, s.made("albo"), func(m *corev1.ConfigMap) { m.Data["ente"] = "altro"; m.Labels = nil })
	s.Until("the deviation is told", func() error {
		s.Read(i)
		return stage.Same("False Deviates ConfigMap/albo changed or deleted by hand; put right", stage.Condition(i, v1alpha1.ConditionConforms))
	})
	s.Ready(i)
	if got := stage.Condition(i, v1alpha1.ConditionConforms); got != "True Succeeded " {
		t.Errorf("afterwards: %s", got)
	}
	made := s.made("albo")
	if s.Read(made); made.Data["ente"] != "Comune di Malnate" {
		t.Errorf("it says %s", made.Data["ente"])
	}
	if events := strings.Join(s.Events(), "\n"); !strings.Contains(events, "DriftRepaired ConfigMap albo") {
		t.Errorf("events: %s", events)
	}

	stage.Edit(s.Stage, i, func(i *v1alpha1.ServiceInstance) { i.Spec.Version = "1.0.0" })
	s.Ready(i)
	s.Remove(made)
	s.Until("the deviation is told", func() error {
		s.Read(i)
		c := meta.FindStatusCondition(i.Status.Conditions, v1alpha1.ConditionConforms)
		return stage.Same(v1alpha1.ReasonDeviates, c.Reason)
	})
	s.Rest()
	if s.Exists(made) {
		t.Error("a pinned instance was repaired")
	}
	stage.Edit(s.Stage, i, func(i *v1alpha1.ServiceInstance) { i.Spec.Version = "" })
	s.Ready(i)
	s.Read(made)
}

// TestUpgrade: a new version is rolled out, what it dropped goes, and who is pinned stays and sees what would change.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	s := newScene(t, "upgrade")
	named := func(version v1alpha1.Version, texts ...string) func(*v1alpha1.ServiceOffering) {
		return func(o *v1alpha1.ServiceOffering) {
			o.Spec.Version = version
			o.Spec.Parameters = raw(s, `{type: object, required: [ente], properties: {ente: {type: string}}}`)
			manifests(s, texts...)(o)
		}
	}
	kept := `{apiVersion: v1, kind: ConfigMap, metadata: {name: "${ente}-kept"}, data: {version: one}}`
	o := s.offer("albo", named("1.0.0", kept, `{apiVersion: v1, kind: ConfigMap, metadata: {name: "${ente}-dropped"}}`))
	called := func(name string, version v1alpha1.Version) *v1alpha1.ServiceInstance {
		return s.ask(o, name, func(i *v1alpha1.ServiceInstance) {
			i.Spec.Parameters = map[string]apiextensionsv1.JSON{"ente": {Raw: []byte(`"` + name + `"`)}}
			i.Spec.Version = version
		})
	}
	first, second, pinned := called("first", ""), called("second", ""), called("third", "1.0.0")
	s.Ready(first, second, pinned)

	stage.Edit(s.Stage, o, named("1.1.0", strings.ReplaceAll(kept, "one", "two"), `{apiVersion: v1, kind: ConfigMap, metadata: {name: "${ente}-new"}}`))
	s.Ready(first, second, pinned)
	for _, i := range []*v1alpha1.ServiceInstance{first, second} {
		if s.Read(i); i.Status.Version != "1.1.0" || i.Status.Upgrade != nil || s.Exists(s.made(i.Name+"-dropped")) || !s.Exists(s.made(i.Name+"-new")) {
			t.Errorf("%s: %+v", i.Name, i.Status)
		}
	}
	want := &v1alpha1.Upgrade{Version: "1.1.0", Changes: []string{"change ConfigMap/third-kept", "make ConfigMap/third-new", "take away ConfigMap/third-dropped"}}
	if diff := cmp.Diff(want, pinned.Status.Upgrade); diff != "" || pinned.Status.Version != "1.0.0" || !s.Exists(s.made("third-dropped")) {
		t.Errorf("the pinned one is at %s, its upgrade (-want +got):\n%s", pinned.Status.Version, diff)
	}
	if got := stage.Condition(pinned, v1alpha1.ConditionConforms); !strings.HasPrefix(got, "False UpgradeWaits kept as 1.0.0") {
		t.Errorf("the pinned one: %s", got)
	}
	s.Read(o)
	if o.Status.Demand.Outdated != 1 {
		t.Errorf("demand: %+v", o.Status.Demand)
	}
	stage.Edit(s.Stage, pinned, func(i *v1alpha1.ServiceInstance) { i.Spec.Version = "1.1.0" })
	s.Ready(pinned)
	if pinned.Status.Version != "1.1.0" || s.Exists(s.made("third-dropped")) {
		t.Errorf("after it takes the version: %+v", pinned.Status)
	}

	// A version that the API server refuses stops at the first instance: the rest stay as they are and say so.
	stage.Edit(s.Stage, o, named("1.2.0", `{apiVersion: v1, kind: ConfigMap, metadata: {name: "${ente}-kept"}, data: {version: [no, text]}}`))
	s.Await(first, v1alpha1.ConditionStalled, v1alpha1.ReasonInvalidManifest)
	s.Ready(second)
	if got := stage.Condition(second, v1alpha1.ConditionConforms); !strings.HasPrefix(got, "False UpgradeWaits the upgrade to 1.2.0 has stopped") || second.Status.Version != "1.1.0" {
		t.Errorf("the second is at %s: %s", second.Status.Version, got)
	}
	stage.Edit(s.Stage, o, named("1.2.1", strings.ReplaceAll(kept, "one", "three")))
	s.Ready(first, second)
	if first.Status.Version != "1.2.1" || second.Status.Version != "1.2.1" {
		t.Errorf("after the correction: %s, %s", first.Status.Version, second.Status.Version)
	}
}

// TestStack: an instance of a stack makes one in the home namespace, passes on what it says, and takes it away.
func TestStack(t *testing.T) {
	t.Parallel()
	s := newScene(t, "stack")
	o := s.offer("albo", func(o *v1alpha1.ServiceOffering) {
		o.Spec.Provisions = v1alpha1.Provisions{Stack: &v1alpha1.OfferedStack{
			Engine: v1alpha1.OpenTofu, Source: v1alpha1.StackSource{Inline: map[string]v1alpha1.SourceText{"main.tf": `variable "ente" {}`}},
		}}
	})
	i := s.ask(o, "albo")
	s.Await(i, v1alpha1.ConditionReconciling, v1alpha1.ReasonProvisioning)
	made := &v1alpha1.Stack{ObjectMeta: stage.In(s.tenant.Name, "svc-albo")}
	s.Read(made)
	if made.Spec.Approval != v1alpha1.ApprovalAutomatic || string(made.Spec.Variables["repliche"].Raw) != "1" || i.Status.Stack != made.Name || i.Status.Version != "" {
		t.Errorf("stack %+v, status %+v", made.Spec, i.Status)
	}
	says := func(ready metav1.ConditionStatus, reason, message string, more ...metav1.Condition) {
		s.Helper()
		s.Read(made)
		made.Status.ObservedGeneration = made.Generation
		made.Status.Conditions = nil
		for _, c := range append(more, metav1.Condition{Type: v1alpha1.ConditionReady, Status: ready, Reason: reason, Message: message}) {
			c.ObservedGeneration = made.Generation
			meta.SetStatusCondition(&made.Status.Conditions, c)
		}
		if err := s.Admin.Status().Update(t.Context(), made); err != nil {
			t.Fatal(err)
		}
		s.CaughtUp(made)
	}
	says("False", v1alpha1.ReasonRunFailed, "main.tf is wrong", metav1.Condition{Type: v1alpha1.ConditionStalled, Status: "True", Reason: v1alpha1.ReasonRunFailed})
	if message := s.Await(i, v1alpha1.ConditionStalled, v1alpha1.ReasonRunFailed); message != "Stack/svc-albo: main.tf is wrong" {
		t.Error(message)
	}
	says("True", v1alpha1.ReasonSucceeded, "")
	s.Ready(i)
	if i.Status.Version != "1.0.0" {
		t.Errorf("status %+v", i.Status)
	}
	stage.Edit(s.Stage, o, func(o *v1alpha1.ServiceOffering) {
		o.Spec.Version, o.Spec.Provisions.Stack.Source.Inline = "1.1.0", map[string]v1alpha1.SourceText{"main.tf": `variable "ente" { type = string }`}
	})
	s.Await(i, v1alpha1.ConditionReconciling, v1alpha1.ReasonProvisioning)
	says("True", v1alpha1.ReasonSucceeded, "")
	s.Ready(i)
	if i.Status.Version != "1.1.0" || i.Status.Upgrade != nil {
		t.Errorf("status %+v", i.Status)
	}
	s.Try("an administrator", cluster.As("anna", stage.Group(s.tenant.Name, "ict")), stage.Attempts{
		"changing the stack of an instance": stage.Forbidden("it is the operator's", stage.Patching(made)),
	})
	s.Remove(i)
	if message := s.Await(i, v1alpha1.ConditionReconciling, v1alpha1.ReasonDeleting); !strings.HasPrefix(message, "Stack/svc-albo is being destroyed") {
		t.Error(message)
	}
	if s.Read(made); made.DeletionTimestamp == nil {
		t.Error("the stack outlives its instance")
	}
	stage.Edit(s.Stage, made, func(made *v1alpha1.Stack) { made.Finalizers = nil }) // as who destroys it does
	s.Gone(i)
}
