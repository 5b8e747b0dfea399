package demo

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
)

// stacksPatience bounds the wait for each step of a stack; it takes seconds.
const stacksPatience = 3 * time.Minute

// program makes one object in its workspace, which the demo then changes by hand.
const program = `terraform {
  required_providers {
    kubectl = { source = "gavinbunney/kubectl", version = "1.19.0" }
  }
}
variable "orario" { type = string }
resource "kubectl_manifest" "orari" {
  yaml_body = yamlencode({
    apiVersion = "v1"
    kind       = "ConfigMap"
    metadata   = { name = "orari", namespace = "lugano--sportello" }
    data       = { sportello = var.orario }
  })
}
`

// stacks has the samples' stacks planned, approved and applied, and the catalogue's instances provisioned or waiting, as the comuni would; then it
// changes by hand what a stack has made, and has that found and repaired.
func (d *demo) stacks(ctx context.Context) error {
	if d.Runner == "" {
		fmt.Fprintln(d.Out, "\nNo broletto-runner lies beside this program: stacks and services are left out; `make build` builds it.")
		return nil
	}
	for _, step := range []string{"30-catalogue", "40-stacks"} {
		if _, err := d.put(ctx, step); err != nil {
			return err
		}
	}
	fmt.Fprintln(d.Out, "\nStacks: infrastructure as code of a comune, run with the rights of its workspace")
	if err := d.manual(ctx); err != nil {
		return err
	}
	if err := d.automatic(ctx); err != nil {
		return err
	}
	if err := d.drift(ctx); err != nil {
		return err
	}
	return d.services(ctx)
}

// manual plans, approves and applies.
func (d *demo) manual(ctx context.Context) error {
	s := &v1alpha1.Stack{ObjectMeta: metav1.ObjectMeta{Namespace: sampleTenant, Name: "sportello-config"}}
	if err := d.settled(ctx, s, v1alpha1.ReasonAwaitingApproval, v1alpha1.ReasonSucceeded); err != nil {
		return err
	}
	if awaits(s) {
		d.say(s, "planned: "+changes(&s.Status.Plan.PlanSummary)+"; waits for approval of "+brief(s.Status.Plan.Digest))
		if err := d.approve(ctx, s); err != nil {
			return err
		}
	}
	if err := d.settled(ctx, s, v1alpha1.ReasonSucceeded); err != nil {
		return err
	}
	d.say(s, "approved and applied; outputs in Secret "+s.TargetNamespace()+"/"+string(s.Spec.OutputsTo.Secret))
	return nil
}

// automatic applies without being asked.
func (d *demo) automatic(ctx context.Context) error {
	s := &v1alpha1.Stack{ObjectMeta: metav1.ObjectMeta{Namespace: sampleTenant, Name: "lab"}}
	if err := d.settled(ctx, s, v1alpha1.ReasonSucceeded); err != nil {
		return err
	}
	d.say(s, "planned and applied at once, as approval: Automatic wants")
	return nil
}

// drift makes an object by a stack, changes it by hand, has the change found, and approves the plan that puts it right.
func (d *demo) drift(ctx context.Context) error {
	const hours = "8.00-17.00"
	s := &v1alpha1.Stack{ObjectMeta: metav1.ObjectMeta{Namespace: sampleTenant, Name: "orari"}}
	s.Spec = v1alpha1.StackSpec{
		Workspace: sampleWorkspace, Engine: v1alpha1.OpenTofu,
		Source:    v1alpha1.StackSource{Inline: map[string]v1alpha1.SourceText{"main.tf": program}},
		Variables: map[string]apiextensionsv1.JSON{"orario": {Raw: []byte(`"` + hours + `"`)}},
		Drift:     &v1alpha1.Drift{EveryHours: 6, Action: v1alpha1.DriftReport},
	}
	if err := client.IgnoreAlreadyExists(d.client.Create(ctx, s)); err != nil {
		return fmt.Errorf("making stack orari: %w", err)
	}
	if err := d.settled(ctx, s, v1alpha1.ReasonAwaitingApproval, v1alpha1.ReasonSucceeded); err != nil {
		return err
	}
	if awaits(s) {
		if err := d.approve(ctx, s); err != nil {
			return err
		}
	}
	if err := d.settled(ctx, s, v1alpha1.ReasonSucceeded); err != nil {
		return err
	}
	made := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.TargetNamespace(), Name: "orari"}}
	if err := d.client.Patch(ctx, made, client.RawPatch("application/merge-patch+json", []byte(`{"data":{"sportello":"chiuso"}}`))); err != nil {
		return fmt.Errorf("changing what stack orari made: %w", err)
	}
	d.say(s, "applied; somebody changes ConfigMap orari by hand: sportello: chiuso")
	question := time.Now().UTC().Format(time.RFC3339Nano)
	asked := s.DeepCopy()
	metav1.SetMetaDataAnnotation(&asked.ObjectMeta, v1alpha1.AnnotationReplan, question)
	if err := d.client.Patch(ctx, asked, client.MergeFrom(s)); err != nil {
		return fmt.Errorf("asking for a plan of stack orari: %w", err)
	}
	if err := d.settled(ctx, s, v1alpha1.ReasonAwaitingApproval); err != nil {
		return err
	}
	d.say(s, "drifted: a plan finds "+changes(&s.Status.Plan.PlanSummary))
	if err := d.approve(ctx, s); err != nil {
		return err
	}
	if err := d.settled(ctx, s, v1alpha1.ReasonSucceeded); err != nil {
		return err
	}
	if err := d.client.Get(ctx, client.ObjectKeyFromObject(made), made); err != nil {
		return err
	}
	d.say(s, "repaired: sportello: "+made.Data["sportello"])
	return nil
}

// services shows what the catalogue's instances came to.
func (d *demo) services(ctx context.Context) error {
	albo := &v1alpha1.ServiceInstance{ObjectMeta: metav1.ObjectMeta{Namespace: "malnate", Name: "albo"}}
	if err := d.await(ctx, albo, func() bool { return reasonOf(albo.Status.Conditions) == v1alpha1.ReasonSucceeded }); err != nil {
		return err
	}
	protocollo := &v1alpha1.ServiceInstance{ObjectMeta: metav1.ObjectMeta{Namespace: "lozza", Name: "protocollo"}}
	if err := d.await(ctx, protocollo, func() bool { return reasonOf(protocollo.Status.Conditions) == v1alpha1.ReasonAwaitingAward }); err != nil {
		return err
	}
	var offerings v1alpha1.ServiceOfferingList
	if err := d.client.List(ctx, &offerings); err != nil {
		return err
	}
	fmt.Fprintln(d.Out, "\nThe catalogue: services that the province tendered")
	table := tabwriter.NewWriter(d.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "  OFFERING\tVERSION\tPROCUREMENT\tDEMAND\tPROVISIONED")
	for _, o := range offerings.Items {
		demand := cmp.Or(o.Status.Demand, &v1alpha1.Demand{})
		fmt.Fprintf(table, "  %s\t%s\t%s\t%d\t%d\n", o.Name, o.Spec.Version, o.Spec.Procurement.State, demand.Quantity, demand.Provisioned)
	}
	for _, i := range []*v1alpha1.ServiceInstance{albo, protocollo} {
		ready := meta.FindStatusCondition(i.Status.Conditions, v1alpha1.ConditionReady)
		fmt.Fprintf(table, "  %s/%s\t%s\t%s\n", i.Namespace, i.Name, cmp.Or(string(i.Status.Version), "none"), printable(ready.Reason+": "+ready.Message))
	}
	return table.Flush()
}

func (d *demo) say(s *v1alpha1.Stack, what string) {
	fmt.Fprintf(d.Out, "  %-26s %-9s %s\n", s.Namespace+"/"+s.Name, s.Spec.Engine, what)
}

func (d *demo) approve(ctx context.Context, s *v1alpha1.Stack) error {
	digest := s.Status.Plan.Digest
	if s.Spec.ApprovedPlan == digest { // the same plan as last time wants to be approved again
		cleared := s.DeepCopy()
		cleared.Spec.ApprovedPlan = ""
		if err := d.client.Patch(ctx, cleared, client.MergeFrom(s)); err != nil {
			return fmt.Errorf("withdrawing the last approval of stack %s: %w", s.Name, err)
		}
		seen := func() bool { return s.Spec.ApprovedPlan == "" && s.Status.ObservedGeneration == s.Generation }
		if err := d.await(ctx, s, seen); err != nil {
			return err
		}
	}
	approved := s.DeepCopy() // as it is now: another version would be a conflict
	approved.Spec.ApprovedPlan = digest
	if err := d.client.Patch(ctx, approved, client.MergeFrom(s)); err != nil {
		return fmt.Errorf("approving the plan of stack %s: %w", s.Name, err)
	}
	return nil
}

// settled waits until a stack's verdict has one of these reasons, and speaks of the stack as it is.
func (d *demo) settled(ctx context.Context, s *v1alpha1.Stack, reasons ...string) error {
	return d.await(ctx, s, func() bool {
		if s.Status.ObservedGeneration != s.Generation || s.Annotations[v1alpha1.AnnotationReplan] != s.Status.Replanned {
			return false
		}
		for _, reason := range reasons {
			if reasonOf(s.Status.Conditions) == reason {
				return true
			}
		}
		return false
	})
}

func (d *demo) await(ctx context.Context, o client.Object, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, stacksPatience)
	defer cancel()
	for {
		if err := d.client.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil && ctx.Err() == nil {
			return fmt.Errorf("reading %s: %w", o.GetName(), err)
		}
		if done() {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s %s/%s is not where it should be; the operator's log is %s: %s", kindOf(o), o.GetNamespace(), o.GetName(), d.path("operator.log"), said(o))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// kindOf is the kind of an object, as people write it.
func kindOf(o client.Object) string {
	name := fmt.Sprintf("%T", o)
	return strings.ToLower(name[strings.LastIndexByte(name, '.')+1:])
}

// said is what an object's verdict is.
func said(o client.Object) string {
	c, has := o.(interface{ GetConditions() *[]metav1.Condition })
	if !has {
		return ""
	}
	ready := meta.FindStatusCondition(*c.GetConditions(), v1alpha1.ConditionReady)
	if ready == nil {
		return "nobody has looked at it"
	}
	return ready.Reason + ": " + ready.Message
}

func awaits(s *v1alpha1.Stack) bool {
	return reasonOf(s.Status.Conditions) == v1alpha1.ReasonAwaitingApproval
}

func reasonOf(conditions []metav1.Condition) string {
	ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	if ready == nil {
		return ""
	}
	return ready.Reason
}

func changes(p *v1alpha1.PlanSummary) string {
	return fmt.Sprintf("%d to add, %d to change, %d to destroy", p.Adds, p.Changes, p.Destroys)
}

// brief is enough of a digest to tell it from another.
func brief(digest v1alpha1.Digest) string { return string(digest[:min(len(digest), 24)]) + "…" }
