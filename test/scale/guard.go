package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/hack/kube"
	"github.com/broletto/broletto/operator/guardrail"
)

// latencyReport is what one creation costs in a workspace's namespace, in milliseconds, beside the same in two namespaces that are nobody's:
// one that has the same quota, limits and Pod Security, and so lacks only what the admission policies cost; and a bare one, which
// pays for no quota either. Ratios are medians of pairs made one right after the other.
type latencyReport struct {
	Pairs     int     `json:"pairs"`
	Guarded   float64 `json:"guardedMilliseconds"`
	Alike     float64 `json:"alikeMilliseconds"`
	Bare      float64 `json:"bareMilliseconds"`
	Ratio     float64 `json:"ratio"`     // guarded by alike
	BareRatio float64 `json:"bareRatio"` // guarded by bare
}

const (
	alike = "scale-alike"
	bare  = "scale-bare"
)

// created are the objects that are timed, and whether they are only tried.
var created = []struct {
	kind   string
	dryRun bool
	object func(namespace, name string) client.Object
}{
	{"ConfigMap", false, func(namespace, name string) client.Object {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string]string{"a": "b"}}
	}},
	{"Pod, dry run", true, func(namespace, name string) client.Object {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.PodSpec{
			SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			Containers: []corev1.Container{{Name: "app", Image: "registry.example/app:1", SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			}}},
		}}
	}},
	{"Service", false, func(namespace, name string) client.Object {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "app"}, Ports: []corev1.ServicePort{{Port: 80}},
		}}
	}},
}

// latency times creations in a workspace of a hosted crowd beside the same elsewhere, as somebody whom the policies judge like everybody.
func (b *bench) latency(ctx context.Context, r *report, c *crowd) error {
	namespace := c.newWorkspace(c.tenantName(0), 0).TargetNamespace()
	if err := b.neighbours(ctx, namespace); err != nil {
		return fmt.Errorf("making namespaces to compare with: %w", err)
	}
	cfg, err := b.cluster.Config(kube.AdminUser, kube.AdminGroup)
	if err != nil {
		return err
	}
	people, err := client.New(cfg, client.Options{Scheme: b.admin.Scheme(), Mapper: b.admin.RESTMapper()})
	if err != nil {
		return err
	}
	r.Latency = map[string]latencyReport{}
	for _, what := range created {
		var times [3][]time.Duration
		var overAlike, overBare []float64
		for i := range 20 + b.pairs {
			var took [3]time.Duration
			for j := range took { // each is first in turn
				at := (i + j) % len(took)
				o := what.object([]string{namespace, alike, bare}[at], fmt.Sprintf("timed-%d", i))
				if took[at], err = timed(ctx, people, o, what.dryRun); err != nil {
					return fmt.Errorf("timing a %s: %w", what.kind, err)
				}
			}
			if i < 20 { // the first pay for connections and compilation
				continue
			}
			for at := range took {
				times[at] = append(times[at], took[at])
			}
			overAlike, overBare = append(overAlike, took[0].Seconds()/took[1].Seconds()), append(overBare, took[0].Seconds()/took[2].Seconds())
		}
		ms := func(d []time.Duration) float64 { return median(d).Seconds() * 1000 }
		r.Latency[what.kind] = latencyReport{b.pairs, ms(times[0]), ms(times[1]), ms(times[2]), median(overAlike), median(overBare)}
	}
	return nil
}

// timed creates an object and takes it away again, off the clock.
func timed(ctx context.Context, c client.Client, o client.Object, dryRun bool) (time.Duration, error) {
	var options []client.CreateOption
	if dryRun {
		options = append(options, client.DryRunAll)
	}
	begun := time.Now()
	err := c.Create(ctx, o, options...)
	took := time.Since(begun)
	if err == nil && !dryRun {
		err = c.Delete(ctx, o)
	}
	return took, err
}

// neighbours makes a namespace that is like a workspace's but for being nobody's, and a bare one.
func (b *bench) neighbours(ctx context.Context, like string) error {
	var ns corev1.Namespace
	var quota corev1.ResourceQuota
	var limits corev1.LimitRange
	if err := errors.Join(
		b.admin.Get(ctx, client.ObjectKey{Name: like}, &ns),
		b.admin.Get(ctx, client.ObjectKey{Namespace: like, Name: guardrail.QuotaName}, &quota),
		b.admin.Get(ctx, client.ObjectKey{Namespace: like, Name: "broletto"}, &limits),
	); err != nil {
		return err
	}
	labels := map[string]string{}
	for key, value := range ns.Labels {
		if strings.HasPrefix(key, "pod-security.") {
			labels[key] = value
		}
	}
	counted := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: alike, Name: "q"}, Spec: quota.Spec}
	if err := errors.Join(
		b.admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: alike, Labels: labels}}),
		b.admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: bare}}),
		b.admin.Create(ctx, &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: alike, Name: "l"}, Spec: limits.Spec}),
		b.admin.Create(ctx, counted),
	); err != nil {
		return err
	}
	for !guardrail.Counted(counted) {
		if err := errors.Join(pause(ctx, 100*time.Millisecond), b.admin.Get(ctx, client.ObjectKeyFromObject(counted), counted)); err != nil {
			return err
		}
	}
	accounts := []client.ObjectKey{{Namespace: alike, Name: "default"}, {Namespace: bare, Name: "default"}}
	for _, key := range accounts { // without it no pod is admitted
		for b.admin.Get(ctx, key, &corev1.ServiceAccount{}) != nil {
			if err := pause(ctx, 100*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}
