package security

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

const (
	restoreText = "{apiVersion: broletto.dev/v1alpha1, kind: Restore, metadata: {name: NAME, namespace: HOME}, spec: {backup: prima, into: {newWorkspace: copia}, mode: DryRun}}"
	backupText  = "{apiVersion: broletto.dev/v1alpha1, kind: Backup, metadata: {name: NAME, namespace: HOME}, spec: {workspace: sito, repository: primario}}"
	forged      = "annotations: {broletto.dev/requester: 'system:admin', broletto.dev/requester-groups: 'system:masters'}"

	whoAsked   = "say who asked for it"
	ofAPolicy  = "says which BackupPolicy made"
	underLabel = "labels: {broletto.dev/policy: notturno}"
)

// TestRequester asks for restores as different people, and for some of them in somebody else's name: with whose rights one is done is the API
// server's word alone.
func TestRequester(t *testing.T) {
	t.Parallel()
	w := newTown(t, "requester")
	second := cluster.As("berta", stage.Group(w.own.Name, "ict"), "odd\nsystem:masters")
	for who, cfg := range map[string]*rest.Config{
		"administrator": w.administrator(), "second": second, "tool": cluster.Account(w, w.own.Name, "flux"), "cluster-admin": cluster.ClusterAdmin(), "platform": cluster.Admin(),
	} {
		w.askedBy(w.make(cfg, called(who, restoreText)), cfg, who+" makes one")
		in := strings.Replace(called(who+"-forged", restoreText), "namespace: HOME", "namespace: HOME, "+forged, 1)
		w.askedBy(w.make(cfg, in), cfg, who+" makes one in another's name")
		w.carriedOutBy(cfg, who)
	}
	plan := w.make(w.administrator(), called("piano", restoreText))
	attacks := map[string]attack{}
	for _, change := range []string{
		"metadata: {" + forged + "}", "metadata: {annotations: {broletto.dev/requester: berta}}", "metadata: {annotations: {broletto.dev/requester-groups: 'system:masters'}}",
		"metadata: {annotations: {broletto.dev/requester: null}}", "metadata: {annotations: {broletto.dev/requester-groups: null}}", "metadata: {annotations: null}",
	} {
		add(attacks, change, "it would be done with another's rights", whoAsked, w.forms(plan, change))
	}
	for who, cfg := range map[string]*rest.Config{
		"administrator": w.administrator(), "second": second, "cluster administrator": cluster.ClusterAdmin(), "platform": cluster.Admin(),
	} {
		w.suffers(who, cfg, attacks, plan)
	}
	w.suffersAll(attacks, plan)
	for form, do := range w.forms(plan, "metadata: {labels: {a: b}}") {
		if err := do(w.Context(), cluster.Client(w, second)); err != nil && !unserved(err) {
			w.Errorf("another administrator writes a label, %s: %v", form, err)
		}
	}
	w.askedBy(plan, w.administrator(), "another writes a label")
}

// carriedOutBy has plans of the administrator's carried out by somebody, who says that it was another, in every form.
func (w *town) carriedOutBy(cfg *rest.Config, who string) {
	w.Helper()
	const change = "{metadata: {" + forged + "}, spec: {mode: Apply}}"
	for i, form := range slices.Sorted(maps.Keys(w.forms(w.make(w.administrator(), called(who+"-plan", restoreText)), change))) {
		plan := w.make(w.administrator(), called(fmt.Sprint(who, "-plan-", i), restoreText))
		if err := w.forms(plan, change)[form](w.Context(), cluster.Client(w, cfg)); unserved(err) {
			continue
		} else if err != nil {
			w.Errorf("%s has a plan carried out, %s: %v", who, form, err)
		}
		w.askedBy(plan, cfg, who+" has a plan carried out in another's name, "+form)
	}
}

// askedBy wants a restore to say that somebody asked for it.
func (w *town) askedBy(o client.Object, cfg *rest.Config, when string) {
	w.Helper()
	review := &authenticationv1.SelfSubjectReview{}
	if err := cluster.Client(w, cfg).Create(w.Context(), review); err != nil {
		w.Fatal(err)
	}
	var groups []string
	for _, g := range review.Status.UserInfo.Groups {
		if !strings.Contains(g, "\n") {
			groups = append(groups, g)
		}
	}
	want := map[string]string{v1alpha1.AnnotationRequester: review.Status.UserInfo.Username, v1alpha1.AnnotationRequesterGroups: strings.Join(groups, "\n")}
	if diff := cmp.Diff(want, w.live(o).GetAnnotations()); diff != "" {
		w.Errorf("%s: who asked (-want +got):\n%s", when, diff)
	}
}

// TestPolicyLabel passes a backup of one's own off as a policy's, and takes a policy's away from it.
func TestPolicyLabel(t *testing.T) {
	t.Parallel()
	w := newTown(t, "policies")
	attacks, targets := map[string]attack{}, []client.Object{}
	const workspaceText = "{apiVersion: broletto.dev/v1alpha1, kind: Workspace, metadata: {name: NAME, namespace: HOME}, spec: {environment: Test, dataClass: Ordinary, personalData: false}}"
	for _, text := range []string{backupText, restoreText, workspaceText} {
		labelled := func(name string) string {
			return strings.Replace(called(name, text), "namespace: HOME", "namespace: HOME, "+underLabel, 1)
		}
		made, own := w.make(cluster.Admin(), labelled("notturno-1")), w.make(w.administrator(), called("own", text))
		targets = append(targets, made, own)
		for _, change := range []string{"metadata: {labels: {broletto.dev/policy: altro}}", "metadata: {labels: {broletto.dev/policy: null}}", "metadata: {labels: null}"} {
			add(attacks, made.GetKind()+": "+change, "it is the policy's", ofAPolicy, w.forms(made, change))
		}
		add(attacks, own.GetKind()+": passed off", "it would be let go, or counted, as the policy's", ofAPolicy, w.forms(own, "metadata: {"+underLabel+"}"))
		add(attacks, own.GetKind()+": passed off", "it would be let go, or counted, as the policy's", ofAPolicy, map[string]stage.Request{"create": stage.Making(w.read(labelled("eve")))})
		if err := w.relabel(made); err != nil {
			w.Errorf("%s: what is not the label is its administrator's: %v", made.GetKind(), err)
		}
	}
	for who, cfg := range map[string]*rest.Config{"administrator": w.administrator(), "tool": cluster.Account(w, w.own.Name, "flux"), "cluster administrator": cluster.ClusterAdmin()} {
		w.suffers(who, cfg, attacks, targets...)
	}
	w.suffersAll(attacks, targets...)
}

// TestSequence has a Backup stand for another one's data: a number in the repository is the operator's word alone.
func TestSequence(t *testing.T) {
	t.Parallel()
	w := newTown(t, "sequence")
	const (
		numbered = "annotations: {broletto.dev/sequence: '7'}"
		stands   = "says which backup in the repository"
	)
	adopted := strings.Replace(called("adopted", backupText), "namespace: HOME", "namespace: HOME, "+numbered, 1)
	made, own := w.make(cluster.Admin(), adopted), w.make(w.administrator(), called("own", backupText))
	attacks := map[string]attack{}
	for _, change := range []string{"metadata: {annotations: {broletto.dev/sequence: '8'}}", "metadata: {annotations: {broletto.dev/sequence: null}}", "metadata: {annotations: null}"} {
		add(attacks, change, "it would stand for other data", stands, w.forms(made, change))
	}
	add(attacks, "one's own", "it would stand for other data", stands, w.forms(own, "metadata: {"+numbered+"}"))
	add(attacks, "a new one", "it would stand for other data", stands, map[string]stage.Request{"create": stage.Making(w.read(strings.Replace(adopted, "adopted", "eve", 1)))})
	for who, cfg := range map[string]*rest.Config{"administrator": w.administrator(), "tool": cluster.Account(w, w.own.Name, "flux"), "cluster administrator": cluster.ClusterAdmin()} {
		w.suffers(who, cfg, attacks, made, own)
	}
}

// relabel writes another label than the policy's as the administrator, in every form.
func (w *town) relabel(o client.Object) error {
	w.Helper()
	for form, do := range w.forms(o, "metadata: {labels: {a: b}}") {
		if err := do(context.WithoutCancel(w.Context()), cluster.Client(w, w.administrator())); err != nil && !unserved(err) {
			return fmt.Errorf("%s: %w", form, err)
		}
	}
	return nil
}
