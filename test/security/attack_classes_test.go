package security

import (
	"testing"

	"k8s.io/client-go/rest"

	"github.com/broletto/broletto/test/cluster"
)

// TestClasses lowers the class of a workspace's data, by which the consortium's rules hold: whoever runs the workspace may raise it, and the
// platform alone lowers it.
func TestClasses(t *testing.T) {
	t.Parallel()
	w := newTown(t, "classes")
	const critical = "{apiVersion: broletto.dev/v1alpha1, kind: Workspace, metadata: {name: NAME, namespace: HOME}, spec: {environment: Test, dataClass: Critical, personalData: false}}"
	target := w.make(w.administrator(), called("anagrafe", critical))
	attacks := map[string]attack{}
	add(attacks, "lower", "floors of the class would hold no longer", "cannot be lowered from Critical to Ordinary", w.forms(target, "spec: {dataClass: Ordinary}"))
	add(attacks, "lower with more", "floors of the class would hold no longer", "cannot be lowered from Critical to Ordinary", w.forms(target, "{metadata: {labels: {a: b}}, spec: {dataClass: Ordinary, displayName: Anagrafe}}"))
	for who, cfg := range map[string]*rest.Config{"administrator": w.administrator(), "tool": cluster.Account(w, w.own.Name, "flux"), "cluster administrator": cluster.ClusterAdmin()} {
		w.suffers(who, cfg, attacks, target)
	}
	w.suffersAll(attacks, target)
	lower := w.forms(target, "spec: {dataClass: Critical}")
	for form, raise := range w.forms(target, "spec: {dataClass: Strategic}") {
		if err := raise(w.Context(), cluster.Client(w, w.administrator())); unserved(err) {
			continue
		} else if err != nil {
			w.Errorf("the administrator raises it, %s: %v", form, err)
		}
		if err := lower[form](w.Context(), cluster.Client(w, cluster.Admin())); err != nil {
			w.Errorf("the platform lowers it, %s: %v", form, err)
		}
	}
	if got := w.live(target).Object["spec"].(map[string]any)["dataClass"]; got != "Critical" {
		w.Errorf("in the end its class is %v", got)
	}
}
