package objects_test

import (
	"flag"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/operator/objects"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

var speed = flag.Int("speed", 0, "measure with so many Secrets and ConfigMaps; 31000 are what others publish figures of")

// TestSpeed measures, and holds nothing but that all comes back.
func TestSpeed(t *testing.T) {
	if *speed == 0 {
		t.Skip("it measures: -speed 31000")
	}
	s := newScene(t, "speed", "qui")
	quota := &corev1.ResourceQuota{}
	if err := s.Admin.Get(t.Context(), client.ObjectKey{Namespace: s.in("qui"), Name: "broletto"}, quota); err != nil {
		t.Fatal(err)
	}
	quota.Spec.Hard["count/secrets"], quota.Spec.Hard["count/configmaps"] = resource.MustParse("100k"), resource.MustParse("100k")
	if err := s.Admin.Update(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, stage.Patience, "the quota is raised", func() error {
		s.Read(quota)
		return stage.Same(int64(100000), quota.Status.Hard.Name("count/secrets", resource.DecimalSI).Value())
	})
	var all []entry
	for i := range *speed {
		kind, data := "ConfigMap", any(map[string]any{"a": fmt.Sprintf("%0200d", i)})
		if i%2 == 0 {
			kind, data = "Secret", map[string]any{"a": "Z2VoZWlt"}
		}
		all = append(all, entry{resources[kind], &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": kind, "metadata": map[string]any{"name": fmt.Sprintf("o-%06d", i)}, "data": data,
		}}})
		if kind == "Secret" {
			all[i].object.Object["type"] = "Opaque"
		}
	}
	timed := func(what string, do func()) {
		begun := time.Now()
		do()
		t.Logf("%s %d objects: %.1f s", what, *speed, time.Since(begun).Seconds())
	}
	apply := func(want [6]int, edit ...func(*objects.Order)) {
		if got := s.apply(all, s.order("qui", edit...)); counts(got) != want {
			t.Errorf("%v", counts(got))
		}
	}
	timed("dry run of", func() { apply([6]int{*speed}, func(o *objects.Order) { o.DryRun = true }) })
	timed("put back", func() { apply([6]int{*speed}) })
	timed("put back again", func() { apply([6]int{2: *speed}) })
	timed("collect", func() {
		if got, _ := s.collect("qui"); len(got) != *speed {
			t.Errorf("collected %d", len(got))
		}
	})
}
