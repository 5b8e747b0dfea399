package scenario

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/config"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/test/cluster"
)

// scenarios are the consortia among the samples.
var scenarios = []string{"ticino", "varese"}

// onNodes are the kinds whose samples become Ready by running stacks, or follow from one that does. The control plane of these tests
// has no node to run any: test/stacks and the demo, which start one, host them.
var onNodes = []string{"Stack", "ServiceOffering", "ServiceInstance"}

// onStores are the kinds whose samples become Ready by a store, of which these tests have none: where the samples' should be, nobody answers.
var onStores = []string{"BackupRepository", "BackupPolicy", "Backup", "Restore"}

// document is one object of a sample, as its file has it.
type document struct {
	*unstructured.Unstructured
	text []byte
}

// steps are the documents of scenarios, step by step: what a later step holds may need that an earlier one is Ready.
// Documents of kinds that do not exist yet are left out, and so are those that need a node or a store.
func steps(t testing.TB, scenarios ...string) (out [][]document) {
	t.Helper()
	byStep := map[string][]document{}
	var order []string
	for _, scenario := range scenarios {
		names, err := fs.Glob(config.Samples, "samples/"+scenario+"/*.yaml")
		if err != nil || len(names) == 0 {
			t.Fatalf("no samples of %s: %v", scenario, err)
		}
		for _, name := range names {
			step := name[strings.LastIndexByte(name, '/')+1:]
			order = append(order, step)
			byStep[step] = append(byStep[step], documents(t, name)...)
		}
	}
	slices.Sort(order)
	for _, step := range slices.Compact(order) {
		if len(byStep[step]) > 0 {
			out = append(out, byStep[step])
		}
	}
	return out
}

func documents(t testing.TB, name string) (out []document) {
	t.Helper()
	text, err := config.Samples.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	texts, err := cluster.Documents(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range texts {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, &o.Object); err != nil {
			t.Fatal(err)
		}
		if cluster.Scheme().Recognizes(o.GroupVersionKind()) && !slices.Contains(onNodes, o.GetKind()) && !slices.Contains(onStores, o.GetKind()) {
			out = append(out, document{o, text})
		}
	}
	return out
}

// put does what "kubectl apply --server-side" does with one document.
func put(ctx context.Context, c client.Client, d document) error {
	patch := client.RawPatch(types.ApplyYAMLPatchType, d.text)
	return client.WithFieldValidation(c, "Strict").Patch(ctx, d.DeepCopy(), patch, client.FieldOwner(cluster.FieldManager))
}

// host applies scenarios step by step, as their files stand, and waits for each step.
func host(t testing.TB, c client.Client, steps [][]document) {
	t.Helper()
	for _, step := range steps {
		for _, d := range step {
			if err := put(t.Context(), c, d); err != nil {
				t.Fatalf("applying %s %s: %v", d.GetKind(), client.ObjectKeyFromObject(d), err)
			}
		}
		awaitReady(t, c, step)
	}
}

// hostAnyhow applies documents in just that order and waits for nothing: what the API server refuses, since its home does not
// exist or cannot be counted yet, is tried again after the others.
func hostAnyhow(t testing.TB, c client.Client, all []document) {
	t.Helper()
	all = slices.Clone(all)
	cluster.Eventually(t, long, "every document is accepted", func() error {
		var refused error
		all = slices.DeleteFunc(all, func(d document) bool {
			err := put(t.Context(), c, d)
			switch {
			case err == nil:
				return true
			case apierrors.IsNotFound(err), apierrors.IsForbidden(err) && strings.Contains(err.Error(), "quota"):
				refused = err
			default:
				t.Fatalf("applying %s %s: %v", d.GetKind(), client.ObjectKeyFromObject(d), err)
			}
			return false
		})
		return refused
	})
}

func awaitReady(t testing.TB, c client.Client, all []document) {
	t.Helper()
	cluster.Eventually(t, long, fmt.Sprintf("%d objects are Ready", len(all)), func() error {
		for _, d := range all {
			if err := ready(t, c, d); err != nil {
				return err
			}
		}
		return nil
	})
}

func ready(t testing.TB, c client.Client, d document) error {
	t.Helper()
	o := like(t, d)
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(d), o); err != nil {
		return err
	}
	return isReady(o)
}

func isReady(o condition.Object) error {
	if condition.True(o, v1alpha1.ConditionReady) && o.GetObservedGeneration() == o.GetGeneration() {
		return nil
	}
	c := meta.FindStatusCondition(*o.GetConditions(), v1alpha1.ConditionReady)
	if c == nil {
		c = &metav1.Condition{Message: "not looked at"}
	}
	return fmt.Errorf("%T %s is not Ready: %s: %s", o, client.ObjectKeyFromObject(o), c.Reason, c.Message)
}

// stalled wants an object to be stalled for a reason, with a message that holds all these words.
func stalled(o condition.Object, reason string, words ...string) error {
	c := meta.FindStatusCondition(*o.GetConditions(), v1alpha1.ConditionStalled)
	if c == nil || c.Status != metav1.ConditionTrue || c.Reason != reason {
		return fmt.Errorf("%T %s has conditions %+v, want it stalled with %s", o, client.ObjectKeyFromObject(o), *o.GetConditions(), reason)
	}
	for _, word := range words {
		if !strings.Contains(c.Message, word) {
			return fmt.Errorf("%T %s says %q, want %q in it", o, client.ObjectKeyFromObject(o), c.Message, word)
		}
	}
	return nil
}

// like is an empty object of the same kind.
func like(t testing.TB, d document) condition.Object {
	t.Helper()
	empty, err := cluster.Scheme().New(d.GroupVersionKind())
	if err != nil {
		t.Fatal(err)
	}
	o, ok := empty.(condition.Object)
	if !ok {
		t.Fatalf("%s has no conditions", d.GroupVersionKind())
	}
	return o
}

// awaitGone waits until none of the documents' objects is there.
func awaitGone(t testing.TB, c client.Client, all []document) {
	t.Helper()
	cluster.Eventually(t, long, fmt.Sprintf("%d objects are gone", len(all)), func() error {
		for _, d := range all {
			o := like(t, d)
			err := c.Get(t.Context(), client.ObjectKeyFromObject(d), o)
			if err == nil {
				return fmt.Errorf("%s %s is there: %w", d.GetKind(), client.ObjectKeyFromObject(d), isReady(o))
			}
			if !apierrors.IsNotFound(err) {
				return err
			}
		}
		return nil
	})
}

func discard(t testing.TB, c client.Client, all []document) {
	t.Helper()
	for _, d := range all {
		if err := client.IgnoreNotFound(c.Delete(t.Context(), d.DeepCopy())); err != nil {
			t.Fatalf("deleting %s %s: %v", d.GetKind(), client.ObjectKeyFromObject(d), err)
		}
	}
}
