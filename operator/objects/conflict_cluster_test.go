package objects_test

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/operator/objects"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// TestConflicts changes objects after they were collected.
func TestConflicts(t *testing.T) {
	t.Parallel()
	s := newScene(t, "conflict", "qui")
	s.fill("qui")
	before, _ := s.collect("qui")
	changes := map[string]struct{ patch, becomes string }{
		"configmaps/albo":             {`{"data":{"ente":"altro"},"metadata":{"labels":{"nuova":"x"}}}`, "replaced"},
		"configmaps/fisso":            {`{"metadata":{"annotations":{"a":"b"}}}`, "replaced"},
		"secrets/db":                  {`{"data":{"password":"YWx0cm8="}}`, "replaced"},
		"services/sito":               {`{"spec":{"ports":[{"name":"http","port":81}]}}`, "replaced"},
		"deployments.apps/sito":       {`{"spec":{"replicas":2}}`, "replaced"},
		"jobs.batch/carica":           {`{"spec":{"backoffLimit":1}}`, "replaced"},
		"pods/solo":                   {`{"metadata":{"labels":{"a":"b"}}}`, "replaced"},
		"serviceaccounts/robot":       {`{"imagePullSecrets":[]}`, "replaced"},
		"persistentvolumeclaims/dati": {`{"metadata":{"labels":{"a":"b"}}}`, "replaced"},
	}
	uids := map[string]types.UID{}
	var immutable entry
	for _, e := range before {
		live := s.live(e, s.in("qui"))
		uids[e.String()] = live.GetUID()
		if e.String() == "configmaps/fisso" {
			immutable = e
		}
		if change, changed := changes[e.String()]; changed {
			if err := s.Admin.Patch(t.Context(), live, client.RawPatch(types.MergePatchType, []byte(change.patch))); err != nil {
				t.Fatalf("%s: %v", e, err)
			}
		}
	}
	n, differ := len(before), len(changes)
	for _, dry := range []bool{true, false} {
		if got := s.apply(before, s.order("qui", func(o *objects.Order) { o.DryRun = dry })); counts(got) != [6]int{2: n - differ, 3: differ} {
			t.Errorf("skipping, dry run %t: %q", dry, told(got))
		}
	}
	replace := func(o *objects.Order) { o.Conflicts = objects.Replace }
	if got := s.apply(before, s.order("qui", replace, func(o *objects.Order) { o.DryRun = true })); counts(got) != [6]int{1: differ, 2: n - differ} {
		t.Errorf("replacing, dry run: %q", told(got))
	}
	if got := s.apply(before, s.order("qui", replace)); counts(got) != [6]int{1: differ, 2: n - differ} {
		t.Errorf("replacing: %q", told(got))
	}
	if got := s.apply(before, s.order("qui", replace)); counts(got) != [6]int{2: n} {
		t.Errorf("replacing a second time: %q", told(got))
	}
	for _, e := range before {
		anew := e.String() == "jobs.batch/carica" || e.String() == "pods/solo"
		if live := s.live(e, s.in("qui")); (live.GetUID() != uids[e.String()]) != anew {
			t.Errorf("%s was deleted and made again, or was not: want %t", e, anew)
		}
	}

	// What cannot change is refused, and never deleted.
	unstructuredSet(immutable.object, "altro", "data", "a")
	got := s.apply([]entry{immutable}, s.order("qui", replace))
	if counts(got) != [6]int{5: 1} || !strings.Contains(got.Refused.First[0].Why, "immutable") || s.live(immutable, s.in("qui")).GetUID() != uids["configmaps/fisso"] {
		t.Errorf("immutable: %q", told(got))
	}
}

// TestResumed breaks off in the middle and begins anew: what was owned has its owner in the end, and nothing is told to have been made twice.
func TestResumed(t *testing.T) {
	t.Parallel()
	s := newScene(t, "resumed", "qui")
	s.fill("qui")
	before, _ := s.collect("qui")
	s.empty("qui", before)
	var first []entry
	for _, e := range before {
		if e.String() == "configmaps/figlio" || e.String() == "secrets/db" || e.String() == "deployments.apps/sito" {
			first = append(first, e)
		}
	}
	child := first[0]
	if _, err := s.client.Apply(t.Context(), s.order("qui"), broken(first)); err == nil || !strings.Contains(err.Error(), "the store is down") {
		t.Fatalf("it did not break off: %v", err)
	}
	if owners := s.live(child, s.in("qui")).GetOwnerReferences(); len(owners) > 0 {
		t.Fatalf("it broke off too late: %v", owners)
	}
	got := s.apply(before, s.order("qui"))
	if counts(got) != [6]int{0: len(before) - 3, 2: 3} {
		t.Errorf("%q", told(got))
	}
	if owners := s.live(child, s.in("qui")).GetOwnerReferences(); len(owners) != 1 || owners[0].Name != "sito" {
		t.Errorf("the child's owners are %v", owners)
	}

	s.fillQuota("qui", "count/configmaps")
	if got := s.apply(before, s.order("qui")); counts(got) != [6]int{2: len(before)} {
		t.Errorf("what is there needs no quota: %q", told(got))
	}
}

// fillQuota leaves no room for one more of what a workspace's quota counts.
func (s scene) fillQuota(workspace string, counted corev1.ResourceName) {
	s.Helper()
	quota := &corev1.ResourceQuota{}
	cluster.Eventually(s, stage.Patience, "the quota is full", func() error {
		if err := s.Admin.Get(s.Context(), client.ObjectKey{Namespace: s.in(workspace), Name: "broletto"}, quota); err != nil {
			return err
		}
		used, hard := quota.Status.Used[counted], quota.Status.Hard[counted]
		if used.Cmp(hard) == 0 {
			return nil
		}
		quota.Spec.Hard[counted] = used
		return errors.Join(errors.New("it has room"), s.Admin.Update(s.Context(), quota))
	})
}

func unstructuredSet(o *unstructured.Unstructured, value string, path ...string) {
	_ = unstructured.SetNestedField(o.Object, value, path...)
}
