package security

import (
	"context"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/workspace"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// finalizers are changes of a Workspace's finalizers.
var finalizers = map[string]struct{ reason, change, want string }{
	"taken off":        {"the namespace would stay for ever, or be adopted", "metadata: {finalizers: null}", "the operator takes them off"},
	"replaced":         {"the namespace would stay for ever", "metadata: {finalizers: [eve.example/hold]}", "finalizer"},
	"one of their own": {"neither it nor its tenant would ever go", "metadata: {finalizers: [broletto.dev/workspace, eve.example/hold]}", "a finalizer of your own"},
	"of Kubernetes":    {"what it owns would be orphaned", "metadata: {finalizers: [broletto.dev/workspace, orphan]}", "a finalizer of your own"},
}

func (w *town) finalizerAttacks(o client.Object) map[string]attack {
	w.Helper()
	attacks := map[string]attack{}
	for change, f := range finalizers {
		for form, do := range w.forms(o, f.change) {
			want := f.want
			if form == "server-side apply " { // adds, never takes
				want = "a finalizer of your own"
			}
			attacks[change+", "+form] = attack{f.reason, do, want}
		}
	}
	attacks["by its index"] = attack{"the namespace would stay for ever", func(ctx context.Context, c client.Client) error {
		return c.Patch(ctx, w.live(o), client.RawPatch(types.JSONPatchType, []byte(`[{"op":"remove","path":"/metadata/finalizers/0"}]`)))
	}, "the operator takes them off"}
	attacks["moved"] = attack{"the namespace would stay for ever", func(ctx context.Context, c client.Client) error {
		return c.Patch(ctx, w.live(o), client.RawPatch(types.JSONPatchType, []byte(`[{"op":"move","from":"/metadata/finalizers/0","path":"/metadata/labels"}]`)))
	}, ""}
	return attacks
}

// TestFinalizers plays with what keeps a Workspace until its namespace is gone, before and while it goes.
func TestFinalizers(t *testing.T) {
	t.Parallel()
	w := newTown(t, "finalizers")
	for who, cfg := range w.identities() {
		attacks := w.finalizerAttacks(w.site)
		if who != "administrator" && who != "tool" {
			for name, a := range attacks {
				attacks[name] = attack{a.reason, a.do, ""}
			}
		}
		w.suffers(who, cfg, attacks, w.site)
	}
	w.suffers("cluster administrator", cluster.ClusterAdmin(), w.finalizerAttacks(w.site), w.site)

	born := w.read("{apiVersion: broletto.dev/v1alpha1, kind: Workspace, metadata: {name: nato, namespace: HOME, finalizers: [eve.example/hold]}, spec: {environment: Test, dataClass: Ordinary, personalData: false}}")
	if err := refused(cluster.Client(t, w.administrator()).Create(t.Context(), born.DeepCopy()), "a finalizer of your own"); err != nil {
		t.Error(err)
	}
	born.SetFinalizers([]string{})
	if err := cluster.Client(t, w.administrator()).Create(t.Context(), born); err != nil || len(born.GetFinalizers()) != 1 {
		t.Errorf("made without finalizers: %v, %v; want the operator's", born.GetFinalizers(), err)
	}
}

// TestDeletionForms deletes workspaces in every way: what was made for them goes, and in order.
func TestDeletionForms(t *testing.T) {
	t.Parallel()
	w := newTown(t, "deletions")
	administrator := cluster.Client(t, w.administrator())
	for form, do := range deletions(w.annex) {
		if err := do(t.Context(), administrator); err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		cluster.Eventually(t, stage.Soon, "the garbage collector is done with what was asked for", func() error {
			w.Read(w.annex)
			return stage.Same([]string{workspace.Finalizer}, w.annex.Finalizers)
		})
		if ns := namespaceNamed(w.annex.TargetNamespace()); !w.Exists(ns) || !ns.DeletionTimestamp.IsZero() {
			t.Errorf("%s: the namespace went before the operator looked", form)
		}
		// While it goes, the policies judge as ever.
		w.suffers("administrator, of what goes", w.administrator(), w.finalizersThatRemain(), w.annex)
		status := map[string]attack{}
		for name, do := range w.forms(w.annex, "status: {allocationRevision: 99}", "status") {
			if name[len(name)-1] != ' ' {
				status[name] = attack{"the ledger rests on it", do, "only the operator writes it"}
			}
		}
		w.suffers("cluster administrator, of what goes", cluster.ClusterAdmin(), status, w.annex)
		w.Gone(w.annex)
		if w.Exists(namespaceNamed(w.annex.TargetNamespace())) {
			t.Errorf("%s: the namespace stays", form)
		}
		w.annex = w.Workspace(w.own, "annesso", serving("annesso."+w.own.Name+".example"))
		w.Ready(w.annex)
	}
	if !w.Exists(namespaceNamed(w.target.TargetNamespace())) || w.Exists(&v1alpha1.Workspace{ObjectMeta: stage.In(w.other.Name, "annesso")}) {
		t.Error("another tenant's went too")
	}
}

// finalizersThatRemain are attacks on a Workspace that goes: Kubernetes itself refuses new finalizers then.
func (w *town) finalizersThatRemain() map[string]attack {
	w.Helper()
	attacks := map[string]attack{}
	for name, a := range w.finalizerAttacks(w.annex) {
		attacks[name] = attack{a.reason, a.do, ""}
	}
	return attacks
}

// TestEditsOfWhatGoes keeps objects of the tenant's own in deletion by a finalizer, and turns them into what is refused.
func TestEditsOfWhatGoes(t *testing.T) {
	t.Parallel()
	w := newTown(t, "goes", restricted)
	attacks, targets := map[string]attack{}, []client.Object{}
	for name, row := range w.turnings() {
		o := w.make(w.administrator(), row.sound)
		if err := cluster.Client(t, w.administrator()).Patch(t.Context(), o, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":["eve.example/hold"]}}`))); err != nil {
			t.Fatal(err)
		}
		if err := cluster.Client(t, w.administrator()).Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		cluster.Eventually(t, stage.Soon, name+" goes", func() error {
			if w.live(o).GetDeletionTimestamp() == nil {
				return errors.New("it does not")
			}
			return nil
		})
		targets = append(targets, o)
		add(attacks, name, row.reason, row.want, w.forms(o, row.change))
	}
	settled(w, targets)
	w.suffers("administrator", w.administrator(), attacks, targets...)
	for _, o := range targets { // what is the tenant's own, it may let go
		patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
		if err := cluster.Client(t, w.administrator()).Patch(t.Context(), o, patch); err != nil {
			t.Errorf("letting %s go: %v", o.GetName(), err)
		}
	}
}

// TestVolumeFinalizers puts finalizers on a volume of spec.storage and takes Kubernetes' own off.
func TestVolumeFinalizers(t *testing.T) {
	t.Parallel()
	w := newTown(t, "volumefinalizers")
	volume := &corev1.PersistentVolumeClaim{ObjectMeta: stage.In(w.site.TargetNamespace(), "documenti")}
	attacks := map[string]attack{}
	for _, change := range []string{"[eve.example/hold]", "[kubernetes.io/pvc-protection, eve.example/hold]", "null"} {
		add(attacks, change, "the workspace's namespace would never go, or its data go from under a pod", "its finalizers", w.forms(volume, "metadata: {finalizers: "+change+"}"))
	}
	w.suffers("administrator", w.administrator(), attacks, volume)
	w.suffers("account", w.account(), attacks, volume)
	stage.Edit(w.Stage, w.site, func(w *v1alpha1.Workspace) { w.Spec.DeletionPolicy = v1alpha1.DeletionDelete })
	w.Remove(w.site)
	w.Gone(w.site)
	if finalizer := fmt.Sprint(w.target.Finalizers); finalizer != "["+workspace.Finalizer+"]" {
		t.Errorf("the victims' workspace has finalizers %s", finalizer)
	}
}
