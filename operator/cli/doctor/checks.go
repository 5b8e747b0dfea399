package doctor

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/version"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/config"
	"github.com/broletto/broletto/operator/apply"
	"github.com/broletto/broletto/operator/guard"
)

const (
	// upgrade is the way out of an installation that is not of this version.
	upgrade = "install the chart, or the manifests, of the version that this program is of"
	// leaseName is the lease that the operator that works holds.
	leaseName = "broletto"
	// countedWithin is how long the controller manager may take to count what a new quota limits.
	countedWithin = time.Minute
)

// version wants an API server of which the admission policies are understood.
func (d *doctor) version(context.Context) ([]Finding, error) {
	info, err := d.api.ServerVersion()
	if err != nil {
		return nil, fmt.Errorf("asking the API server for its version: %w", err)
	}
	running, err := version.ParseGeneric(info.GitVersion)
	if err != nil {
		return nil, err
	}
	switch {
	case running.LessThan(version.MajorMinor(1, 34)):
		return []Finding{fail("API server", "upgrade the cluster", "Kubernetes %s is older than 1.34, which Broletto needs", info.GitVersion)}, nil
	case running.LessThan(version.MajorMinor(1, 36)):
		return []Finding{ok("API server", "Kubernetes %s; from 1.36 on, pods and claims also get their tenant's defaults, and objects their finalizers, at once", info.GitVersion)}, nil
	default:
		return []Finding{ok("API server", "Kubernetes %s", info.GitVersion)}, nil
	}
}

// kinds wants our definitions, as this program knows them.
func (d *doctor) kinds(ctx context.Context) (out []Finding, err error) {
	files, err := fs.Glob(config.CRDs, "crd/broletto.dev_*.yaml")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := fs.ReadFile(config.CRDs, file)
		if err != nil {
			return nil, err
		}
		want, live := &unstructured.Unstructured{}, &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, want); err != nil {
			return nil, fmt.Errorf("reading config/%s: %w", file, err)
		}
		live.SetGroupVersionKind(want.GroupVersionKind())
		switch err := d.client.Get(ctx, client.ObjectKeyFromObject(want), live); {
		case apierrors.IsNotFound(err):
			out = append(out, fail(want.GetName(), upgrade, "the definition is not installed"))
		case err != nil:
			return out, err
		case !established(live):
			out = append(out, fail(want.GetName(), "see its status.conditions", "the API server does not serve it"))
		case !apply.Contains(want.Object["spec"], live.Object["spec"]):
			out = append(out, fail(want.GetName(), upgrade, "the definition is of another version"))
		default:
			out = append(out, ok(want.GetName(), "installed and served"))
		}
	}
	return out, nil
}

func established(crd *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
	return slices.ContainsFunc(conditions, func(c any) bool {
		condition, _ := c.(map[string]any)
		return condition["type"] == "Established" && condition["status"] == "True"
	})
}

// deployment is the operator's; nil: there is none.
func (d *doctor) deployment(ctx context.Context) (*appsv1.Deployment, error) {
	var list appsv1.DeploymentList
	labels := client.MatchingLabels{"app.kubernetes.io/name": "broletto", "app.kubernetes.io/component": "operator"}
	if err := d.client.List(ctx, &list, client.InNamespace(d.Namespace), labels); err != nil || len(list.Items) == 0 {
		return nil, err
	}
	return &list.Items[0], nil
}

// argument is what the operator was told by a flag.
func argument(operator *appsv1.Deployment, flag, otherwise string) string {
	for _, container := range operator.Spec.Template.Spec.Containers {
		for _, argument := range container.Args {
			if value, is := strings.CutPrefix(argument, flag+"="); is {
				return value
			}
		}
	}
	return otherwise
}

// policies wants the admission policies in force, for the operator and the platform group that this cluster has.
func (d *doctor) policies(ctx context.Context) (out []Finding, err error) {
	user, group := guard.Operator, guard.PlatformGroup
	operator, err := d.deployment(ctx)
	if err != nil {
		return nil, err
	}
	if operator != nil {
		user = "system:serviceaccount:" + operator.Namespace + ":" + operator.Spec.Template.Spec.ServiceAccountName
		group = argument(operator, "--platform-group", group)
	}
	wanted, err := guard.Policies(user, group)
	if err != nil {
		return nil, err
	}
	revision, err := guard.Revision()
	if err != nil {
		return nil, err
	}
	standing, err := guard.Standing(ctx, d.client, wanted, revision)
	if err != nil {
		return nil, err
	}
	var broken []string
	for _, name := range slices.Sorted(maps.Keys(standing)) {
		switch {
		case standing[name]:
		case strings.HasPrefix(name, "broletto-default-"):
			out = append(out, warn(name, "upgrade the cluster to Kubernetes 1.36, or see the operator's log", "not in force: tenants write by hand what it would fill in"))
		default:
			broken = append(broken, name)
		}
	}
	for _, name := range broken {
		out = append(out, fail(name, "see the operator's log: it keeps them; "+upgrade, "not in force as this version wants it"))
	}
	if len(broken) == 0 {
		out = append(out, ok("admission policies", "in force"))
	}
	return out, nil
}

// operator wants one that works: available, and with a lease that is renewed.
func (d *doctor) operator(ctx context.Context) (out []Finding, err error) {
	operator, err := d.deployment(ctx)
	if err != nil {
		return nil, err
	}
	if operator == nil {
		return []Finding{fail("namespace "+d.Namespace, "install the chart, or say --namespace", "there is no Deployment of the operator")}, nil
	}
	name := "deployment " + operator.Name
	if operator.Status.AvailableReplicas == 0 {
		out = append(out, fail(name, "see its pods in namespace "+d.Namespace, "no replica is available"))
	} else {
		out = append(out, ok(name, "%d of %d replicas are available", operator.Status.AvailableReplicas, operator.Status.Replicas))
	}
	if argument(operator, "--leader-elect", "true") == "false" {
		return out, nil
	}
	var lease coordinationv1.Lease
	err = d.client.Get(ctx, client.ObjectKey{Namespace: d.Namespace, Name: leaseName}, &lease)
	if client.IgnoreNotFound(err) != nil {
		return out, err
	}
	return append(out, led(&lease, d.now())), nil
}

// led tells whether somebody renews the lease.
func led(lease *coordinationv1.Lease, now time.Time) Finding {
	const name, wayOut = "lease " + leaseName, "see the operator's log"
	s := lease.Spec
	if s.HolderIdentity == nil || *s.HolderIdentity == "" || s.RenewTime == nil || s.LeaseDurationSeconds == nil {
		return fail(name, wayOut, "nobody holds it: no operator works")
	}
	if age := now.Sub(s.RenewTime.Time); age > 2*time.Duration(*s.LeaseDurationSeconds)*time.Second {
		return fail(name, wayOut, "it was renewed %s ago: no operator works", age.Round(time.Second))
	}
	return ok(name, "held and renewed by %s", *s.HolderIdentity)
}

// storage wants every storage class that a tenant names.
func (d *doctor) storage(ctx context.Context) (out []Finding, err error) {
	var tenants v1alpha1.TenantList
	var classes storagev1.StorageClassList
	for _, list := range []client.ObjectList{&tenants, &classes} {
		if err := d.client.List(ctx, list); err != nil {
			return nil, err
		}
	}
	wanted := map[string][]string{}
	for _, t := range tenants.Items {
		for _, class := range t.Spec.StorageClasses {
			wanted[class.Name] = append(wanted[class.Name], t.Name)
		}
	}
	there := map[string]bool{}
	for _, class := range classes.Items {
		there[class.Name] = true
	}
	for _, class := range slices.Sorted(maps.Keys(wanted)) {
		if who := wanted[class]; !there[class] {
			out = append(out, fail("storage class "+class, "make it, or take it out of spec.storageClasses", "there is none, and %s", named("tenant", who)+" names it"))
		} else {
			out = append(out, ok("storage class "+class, "there is one, which %s may use", named("tenant", who)))
		}
	}
	if len(wanted) == 0 {
		out = append(out, ok("storage classes", "no tenant names one yet"))
	}
	return out, nil
}

// quota wants a controller manager that counts: until it has, nothing can be made that a quota limits.
func (d *doctor) quota(ctx context.Context) ([]Finding, error) {
	var quotas corev1.ResourceQuotaList
	if err := d.client.List(ctx, &quotas, client.HasLabels{v1alpha1.LabelOwner}); err != nil {
		return nil, err
	}
	var uncounted []string
	for i := range quotas.Items {
		q := &quotas.Items[i]
		if len(q.Status.Hard) == 0 && d.now().Sub(q.CreationTimestamp.Time) > countedWithin {
			uncounted = append(uncounted, q.Namespace)
		}
	}
	if len(uncounted) > 0 {
		return []Finding{fail("controller manager", "see whether it runs, and its log", "it has not counted the quota of %s", named("namespace", uncounted))}, nil
	}
	return []Finding{ok("controller manager", "all %d quotas are counted", len(quotas.Items))}, nil
}

// dns wants the pods that tenants' network policies open the way to.
func (d *doctor) dns(ctx context.Context) ([]Finding, error) {
	var pods corev1.PodList
	if err := d.client.List(ctx, &pods, client.InNamespace("kube-system"), client.MatchingLabels{"k8s-app": "kube-dns"}); err != nil {
		return nil, err
	}
	ready := 0
	for _, pod := range pods.Items {
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
				ready++
			}
		}
	}
	if ready == 0 {
		return []Finding{fail("cluster DNS", "label the pods of the cluster's DNS so, or see why they are not ready",
			"no pod in kube-system with the label k8s-app=kube-dns is ready: tenants' pods may ask no other")}, nil
	}
	return []Finding{ok("cluster DNS", "%d pods are ready", ready)}, nil
}

// nodes wants all of them ready.
func (d *doctor) nodes(ctx context.Context) ([]Finding, error) {
	var list corev1.NodeList
	if err := d.client.List(ctx, &list); err != nil {
		return nil, err
	}
	if len(list.Items) == 0 {
		return []Finding{fail("nodes", "add one", "the cluster has none: no pod can run")}, nil
	}
	var down []string
	for i := range list.Items {
		if !nodeReady(&list.Items[i]) {
			down = append(down, list.Items[i].Name)
		}
	}
	if len(down) > 0 {
		return []Finding{warn(named("node", down), "see their conditions", "not ready")}, nil
	}
	return []Finding{ok("nodes", "all %d are ready", len(list.Items))}, nil
}

func nodeReady(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// named is up to three names, and what they are names of.
func named(what string, names []string) string {
	more := ""
	if len(names) > 1 {
		what += "s"
	}
	if len(names) > 3 {
		names, more = names[:3], " and others"
	}
	return what + " " + strings.Join(names, ", ") + more
}
