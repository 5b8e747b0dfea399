package node

import (
	"context"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/test/stage"
)

// TestUpgrade goes back to the chart and the image of the commit before, and upgrades to those of this one, while tenants' pods run and
// try what they may not reach: no container is restarted, and nothing opens.
func TestUpgrade(t *testing.T) {
	chart := previous(t)
	cities(t)
	insider, outsider := clientOf(sportello), clientOf(bellinzona)
	servers := []spot{{sportello, near}, {sportello, far}}
	at := settle(t, append(servers, insider, outsider)...)
	aims := targets(at, servers...)
	insider.reaches(t, true, aims...)
	outsider.reaches(t, false, aims...)
	before := containers(t)

	trying, stop := context.WithCancel(t.Context())
	within, without := &hammer{by: insider, may: true}, &hammer{by: outsider}
	var hammering sync.WaitGroup
	for _, h := range []*hammer{within, without} {
		hammering.Go(func() { h.try(trying, t, aims) })
	}
	for _, step := range []struct{ chart, tag string }{{chart, "previous"}, {repository + "/charts/broletto", ""}} {
		if err := the.upgrade(t.Context(), step.chart, "--reset-values", "--set=image.tag="+step.tag); err != nil {
			t.Error(err)
		}
		the.rolledOut(t)
		if image := operatorImage(t); step.tag != "" && !strings.HasSuffix(image, ":"+step.tag) {
			t.Errorf("%s runs instead of the image with tag %s", image, step.tag)
		}
		cities(t) // all is ready, and applying it again changes nothing
	}
	stop()
	hammering.Wait()
	t.Logf("meanwhile another tenant tried %d times to reach a pod, and the workspace's own got through %d times", without.tries.Load(), within.tries.Load())
	if without.tries.Load() < 50 || within.tries.Load() < 50 {
		t.Error("that is too little to prove anything")
	}
	if diff := cmp.Diff(before, containers(t)); diff != "" {
		t.Errorf("tenants' pods before and after (-before +after):\n%s", diff)
	}
}

// previous makes the image of the commit before this one, loads it on the nodes, and returns the chart of that commit.
func previous(t *testing.T) string {
	t.Helper()
	defer times.measure("image of the commit before")()
	checkout := filepath.Join(t.TempDir(), "broletto")
	for _, args := range [][]string{
		{"git", "clone", "--quiet", "--shared", "--no-checkout", repository, checkout},
		{"git", "-C", checkout, "checkout", "--quiet", "HEAD~1"},
		{"go", "run", "-C", repository + "/hack/image", "./cmd/image", "-root", checkout, "-out", checkout + "/dist", "-arch", runtime.GOARCH, "-tag", "previous"},
	} {
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	archives, err := filepath.Glob(checkout + "/dist/*.tar")
	if err != nil || len(archives) != 1 {
		t.Fatalf("the image of the commit before: %v, %v", archives, err)
	}
	the.order(t, "load", archives[0])
	return filepath.Join(checkout, "charts", "broletto")
}

// container is what tells whether one was restarted or replaced.
type container struct {
	UID, ID  string
	Restarts int32
}

// containers are those of all tenants.
func containers(t *testing.T) map[string]container {
	t.Helper()
	c := the.admin(t)
	var namespaces corev1.NamespaceList
	if err := c.List(t.Context(), &namespaces, client.HasLabels{v1alpha1.LabelTenant}); err != nil {
		t.Fatal(err)
	}
	out := map[string]container{}
	for _, ns := range namespaces.Items {
		var list corev1.PodList
		if err := c.List(t.Context(), &list, client.InNamespace(ns.Name)); err != nil {
			t.Fatal(err)
		}
		for _, pod := range list.Items {
			for _, s := range pod.Status.ContainerStatuses {
				out[ns.Name+"/"+pod.Name+"/"+s.Name] = container{string(pod.UID), s.ContainerID, s.RestartCount}
			}
		}
	}
	return out
}

func operatorImage(t *testing.T) string {
	t.Helper()
	d := &appsv1.Deployment{ObjectMeta: stage.In(system, "broletto-operator")}
	if err := the.admin(t).Get(t.Context(), client.ObjectKeyFromObject(d), d); err != nil {
		t.Fatal(err)
	}
	return d.Spec.Template.Spec.Containers[0].Image
}
