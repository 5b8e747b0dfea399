package stacks

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
)

// canary is a secret that must not turn up anywhere but where its owner wants it.
const canary = "GALLINA-dal-becco-d'oro&42=~/"

// engines run the same story, each with its own program.
var engines = map[v1alpha1.EngineName]string{v1alpha1.OpenTofu: "opentofu", v1alpha1.Terraform: "opentofu", v1alpha1.Pulumi: "pulumi"}

// TestLife follows a stack of each engine from its first plan to its end, with a real program that makes a real object.
func TestLife(t *testing.T) {
	for engine, program := range engines {
		t.Run(string(engine), func(t *testing.T) {
			if _, err := exec.LookPath("terraform"); err != nil && engine == v1alpha1.Terraform {
				t.Skip("the Terraform CLI is not installed here, and cannot be built: its licence keeps it out")
			}
			t.Parallel()
			live(t, newTown(t, strings.ToLower(string(engine))), engine, program)
		})
	}
}

func live(t *testing.T, w *town, engine v1alpha1.EngineName, program string) {
	w.create(&corev1.Secret{ObjectMeta: w.home("codici", v1alpha1.LabelUse, v1alpha1.UseStackVariables), Data: map[string][]byte{"codice": []byte(canary)}})
	s := w.stack("insegna", engine, program)
	s.Spec.VariablesFrom = []v1alpha1.VariablesSource{{Secret: "codici", Presence: v1alpha1.Required}}
	s.Spec.OutputsTo = &v1alpha1.OutputsTarget{Secret: "uscite"}
	s.Spec.Drift = &v1alpha1.Drift{EveryHours: 1}
	done := w.besides()
	w.create(s)

	w.waits(s)
	plan := s.Status.Plan
	if plan.Adds == 0 || plan.Changes+plan.Destroys != 0 || plan.Digest == "" {
		t.Fatalf("the plan of what was never applied is %+v", plan)
	}
	w.absent(w.insegna())
	w.edit(s, func() { s.Spec.ApprovedPlan = v1alpha1.Digest("hmac-sha256:" + strings.Repeat("0", 64)) })
	w.waits(s) // for the approval of this plan
	w.approve(s)
	w.ready(s)
	done()
	w.wantMotto("digital first")
	w.wantOutputs("uscite", map[string]string{"motto": "digital first", "codice": canary})
	w.wantKept(s)

	t.Log("somebody changes the object by hand")
	w.spoil()
	if err := w.later(2 * time.Hour); err != nil { // a look is due
		t.Fatal(err)
	}
	w.touch(s)
	w.says(s, v1alpha1.ConditionDrifted, "True")
	if s.Status.Drift == nil || s.Status.Drift.Since == nil || s.Status.Drift.Changes+s.Status.Drift.Adds == 0 {
		t.Errorf("the drift is told as %+v", s.Status.Drift)
	}
	w.wantMotto("spoiled") // a report changes nothing
	w.edit(s, func() { s.Spec.Drift.Action = v1alpha1.DriftApply })
	w.says(s, v1alpha1.ConditionDrifted, "False")
	w.wantMotto("digital first")

	t.Log("another motto, another plan")
	w.edit(s, func() { s.Spec.Variables["motto"] = text("digital last") })
	w.waits(s)
	if s.Status.Plan.Digest == plan.Digest {
		t.Error("two plans have one digest")
	}
	w.approve(s)
	w.ready(s)
	w.wantMotto("digital last")
	w.wantCanaryOnlyAt("codici", "uscite")

	t.Log("the stack goes, when its Secret and its account have gone before")
	w.remove(&corev1.Secret{ObjectMeta: w.home("codici")})
	w.remove(s)
	w.absent(w.insegna())
	w.absent(&corev1.Secret{ObjectMeta: w.site("uscite")})
	w.absent(&corev1.ServiceAccount{ObjectMeta: w.site("stack-insegna")})
	w.absent(&rbacv1.RoleBinding{ObjectMeta: w.site("stack-insegna")})
	w.wantNothingKept(s)
}

// TestElsewhere reaches for the namespace of another tenant: the API server refuses, the run fails, and says why.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	w, victim := newTown(t, "ladro"), newTown(t, "vittima")
	s := w.stack("insegna", v1alpha1.OpenTofu, "opentofu")
	s.Spec.Variables["namespace"] = text(victim.site("").Namespace)
	s.Spec.Variables["codice"] = text("none")
	s.Spec.Approval = v1alpha1.ApprovalAutomatic
	w.create(s)
	w.until("the run fails", func() error {
		w.read(s)
		ready := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Reason != v1alpha1.ReasonRunFailed || !strings.Contains(ready.Message, "forbidden") {
			return fmt.Errorf("it says %+v", ready)
		}
		return nil
	})
	victim.absent(victim.insegna())
	w.remove(s)
}

// TestHostile writes what no stack may hold: each is refused before an engine sees it, and says what and where.
func TestHostile(t *testing.T) {
	t.Parallel()
	w := newTown(t, "ostile")
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"backend":     {map[string]string{"main.tf": `terraform { backend "local" { path = "/tmp/x" } }`}, "backend"},
		"cloud":       {map[string]string{"main.tf": `terraform { cloud {} }`}, "cloud"},
		"override":    {map[string]string{"main.tf": "", "zz_override.tf": "locals {}"}, "zz_override.tf"},
		"auto-tfvars": {map[string]string{"main.tf": "", "a.auto.tfvars": "x = 1"}, "a.auto.tfvars"},
		"state":       {map[string]string{"main.tf": "", "terraform.tfstate": "{}"}, "terraform.tfstate"},
		"provisioner": {map[string]string{"main.tf": "resource \"terraform_data\" \"x\" {\n  provisioner \"local-exec\" { command = \"id\" }\n}"}, "provisioner"},
		"external":    {map[string]string{"main.tf": `data "external" "x" { program = ["id"] }`}, "external"},
	} {
		s := w.stack(name, v1alpha1.OpenTofu, "opentofu")
		s.Spec.Source.Inline = map[string]v1alpha1.SourceText{}
		for file, text := range c.files {
			s.Spec.Source.Inline[file] = v1alpha1.SourceText(text)
		}
		w.create(s)
		w.until(name+" is refused", func() error {
			w.read(s)
			stalled := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionStalled)
			if stalled == nil || stalled.Status != "True" || !strings.Contains(stalled.Message, c.want) {
				return fmt.Errorf("it says %+v", s.Status.Conditions)
			}
			return nil
		})
		w.remove(s)
	}
}

// absent wants that an object is not there.
func (w *town) absent(o client.Object) {
	w.Helper()
	if err := w.admin.Get(w.Context(), client.ObjectKeyFromObject(o), o); !apierrors.IsNotFound(err) {
		w.Errorf("%T %s is there (%v)", o, o.GetName(), err)
	}
}

func (w *town) until(what string, f func() error) {
	w.Helper()
	cluster.Eventually(w, patience, what, f)
}
