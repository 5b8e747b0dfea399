package scenario

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/cluster"
)

// TestScenarios hosts each scenario as its files stand, applies it again, and takes it away in order.
func TestScenarios(t *testing.T) {
	o := start(t)
	before := inventory(t)
	o.awaitReady(t)
	for _, scenario := range scenarios {
		t.Run(scenario, func(t *testing.T) {
			c, all := admin(t), steps(t, scenario)
			host(t, c, all)
			awaitQuiet(t, settling)
			wantGolden(t, scenario, *update)
			wantNoDriftTold(t, c)
			applyAgain(t, c, all)
			for _, step := range slices.Backward(all) {
				discard(t, c, step)
				letVolumesGo(t, c, step)
				awaitGone(t, c, step)
			}
			wantInventory(t, before)
		})
	}
}

// TestScenariosInAnyOrder hosts all scenarios at once in orders that nobody would choose, and takes them away all at once.
func TestScenariosInAnyOrder(t *testing.T) {
	o := start(t)
	before := inventory(t)
	o.awaitReady(t)
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			c, all := admin(t), steps(t, scenarios...)
			random := rand.New(rand.NewPCG(seed, seed))
			for _, step := range all {
				random.Shuffle(len(step), func(i, j int) { step[i], step[j] = step[j], step[i] })
			}
			if seed == 0 { // within steps, which wait for each other
				host(t, c, all)
			} else { // nothing waits for anything
				everyone := slices.Concat(all...)
				random.Shuffle(len(everyone), func(i, j int) { everyone[i], everyone[j] = everyone[j], everyone[i] })
				hostAnyhow(t, c, everyone)
				awaitReady(t, c, slices.Concat(all...))
			}
			awaitQuiet(t, settling)
			for _, scenario := range scenarios {
				wantGolden(t, scenario, false)
			}
			wantNoDriftTold(t, c)
			takeAllAway(t, c, all)
			wantInventory(t, before)
		})
	}
}

// applyAgain wants that a second application of the same files changes nothing.
func applyAgain(t *testing.T, c client.Client, all [][]document) {
	t.Helper()
	before, w := versions(t), open(t)
	host(t, c, all)
	pause(t, settling)
	w.wantNoWrites(t, "after a second application of the same files")
	if diff := cmp.Diff(before, versions(t)); diff != "" {
		t.Errorf("resource versions moved when the same files were applied again, -before +after:\n%s", diff)
	}
}

// letVolumesGo wants that a deleted workspace with volumes is kept without rights and says how to go on, and goes on so.
func letVolumesGo(t *testing.T, c client.Client, step []document) {
	t.Helper()
	for _, d := range step {
		if _, has := d.Object["spec"].(map[string]any)["storage"]; !has {
			continue
		}
		w := &v1alpha1.Workspace{}
		cluster.Eventually(t, soon, "the deleted workspace says how to go on", func() error {
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(d), w); err != nil {
				return err
			}
			return stalled(w, v1alpha1.ReasonVolumesRetained, w.TargetNamespace(), "set spec.deletionPolicy to Delete")
		})
		wantKeptWithoutRights(t, c, w)
		before := w.DeepCopy()
		w.Spec.DeletionPolicy = v1alpha1.DeletionDelete
		if err := c.Patch(t.Context(), w, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
	}
}

func wantKeptWithoutRights(t *testing.T, c client.Client, w *v1alpha1.Workspace) {
	t.Helper()
	var ns corev1.Namespace
	var claims corev1.PersistentVolumeClaimList
	var bindings rbacv1.RoleBindingList
	in := client.InNamespace(w.TargetNamespace())
	for _, err := range []error{
		c.Get(t.Context(), client.ObjectKey{Name: w.TargetNamespace()}, &ns), c.List(t.Context(), &claims, in), c.List(t.Context(), &bindings, in),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if !ns.DeletionTimestamp.IsZero() || len(claims.Items) != len(w.Spec.Storage.Volumes) || len(bindings.Items) != 0 {
		t.Errorf("%s is kept with %d claims and %d role bindings (being deleted: %t), want %d claims, no binding, and not to be deleted",
			ns.Name, len(claims.Items), len(bindings.Items), !ns.DeletionTimestamp.IsZero(), len(w.Spec.Storage.Volumes))
	}
}

// takeAllAway deletes all tenants and consortia while workspaces exist, which holds them back and says by what, then the workspaces:
// the others must follow by themselves.
func takeAllAway(t *testing.T, c client.Client, all [][]document) {
	t.Helper()
	if err := c.DeleteAllOf(t.Context(), &v1alpha1.Tenant{}); err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteAllOf(t.Context(), &v1alpha1.Consortium{}); err != nil {
		t.Fatal(err)
	}
	workspaces, tenants := map[string][]string{}, map[string][]string{}
	for _, d := range slices.Concat(all...) {
		if d.GetKind() == "Workspace" {
			workspaces[d.GetNamespace()] = append(workspaces[d.GetNamespace()], d.GetName())
		}
	}
	for _, d := range slices.Concat(all...) {
		if d.GetKind() == "Tenant" && workspaces[d.GetName()] != nil {
			consortium := d.Object["spec"].(map[string]any)["consortium"].(string)
			tenants[consortium] = append(tenants[consortium], d.GetName())
		}
	}
	wantBlocked(t, c, workspaces, tenants)
	for tenant := range workspaces {
		if err := c.DeleteAllOf(t.Context(), &v1alpha1.Workspace{}, client.InNamespace(tenant)); err != nil {
			t.Fatal(err)
		}
	}
	letVolumesGo(t, c, slices.Concat(all...))
	awaitGone(t, c, slices.Concat(all...))
}

// wantBlocked wants every tenant to name its workspaces and every consortium its tenants, sorted, and those that nothing holds to go.
func wantBlocked(t *testing.T, c client.Client, workspaces, tenants map[string][]string) {
	t.Helper()
	list := func(names []string) string { return strings.Join(slices.Sorted(slices.Values(names)), ", ") + " " }
	cluster.Eventually(t, soon, "what is held back says by what", func() error {
		var left v1alpha1.TenantList
		if err := c.List(t.Context(), &left); err != nil {
			return err
		}
		for _, tenant := range left.Items {
			names := workspaces[tenant.Name]
			if names == nil {
				return fmt.Errorf("tenant %s is there and has no workspace: %w", tenant.Name, isReady(&tenant))
			}
			if err := stalled(&tenant, v1alpha1.ReasonWorkspacesRemain, "delete workspaces "+list(names)); err != nil {
				return err
			}
		}
		for name, names := range tenants {
			var consortium v1alpha1.Consortium
			if err := c.Get(t.Context(), client.ObjectKey{Name: name}, &consortium); err != nil {
				return err
			}
			if err := stalled(&consortium, v1alpha1.ReasonTenantsRemain, strings.TrimSpace("delete tenants "+list(names))); err != nil {
				return err
			}
		}
		return nil
	})
	for tenant := range workspaces {
		if err := c.Get(t.Context(), client.ObjectKey{Name: tenant}, &corev1.Namespace{}); apierrors.IsNotFound(err) {
			t.Errorf("the home of %s is gone before its workspaces", tenant)
		}
	}
}
