package workspace

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/apply"
	"github.com/broletto/broletto/operator/guardrail"
	"github.com/broletto/broletto/operator/quota"
)

// Context is what a workspace's desired state depends on beside its spec.
type Context struct {
	Consortium *v1alpha1.Consortium
	Tenant     *v1alpha1.Tenant
	Granted    corev1.ResourceList // what the ledger holds for the workspace
	Hosts      []v1alpha1.Hostname // which hosts it holds for it
	Callers    []Peer              // workspaces that list this one in connectTo
	Called     []Peer              // workspaces that list this one in allowFrom
	Suspended  bool                // no new pods
	Member     bool                // false: nobody has rights
	Claims     []string            // names of the claims that exist
	Vetted     []string            // for whom the bindings of the workspace's own making were looked through last; nil: it has none yet
}

// Peer is a workspace of a tenant.
type Peer struct{ Tenant, Workspace string }

// Desired is a workspace's namespace and all that Broletto puts in it: guardrails first, then rights. Volumes come last, since
// the API server refuses what a quota counts until the controller manager has counted once.
func Desired(w *v1alpha1.Workspace, c Context) apply.Set {
	namespace := w.TargetNamespace()
	objects := []apply.Object{
		guardrail.DefaultAccount(namespace),
		guardrail.DenyAll(namespace),
		granted(w, c),
		containerLimits(namespace, share(c)),
		guardrail.Quota(namespace, hard(c)),
	}
	if c.Member && w.DeletionTimestamp.IsZero() {
		objects = append(objects, guardrail.Accounts(namespace, subjects(w, v1alpha1.RoleAdmin, v1alpha1.RoleEdit, v1alpha1.RoleView))...)
		objects = append(objects, rights(w, c.Tenant)...)
	}
	objects = append(objects, volumes(w, c)...)
	return apply.Set{Owner: w.UID, Root: root(w, c), Objects: objects}
}

func root(w *v1alpha1.Workspace, c Context) apply.Object {
	return guardrail.Namespace(w.TargetNamespace(), c.Tenant, c.Consortium.Spec.Defaults.Workspace.PodSecurity, allowance(w, c)).
		WithLabels(map[string]string{
			v1alpha1.LabelWorkspace:   w.Name,
			v1alpha1.LabelEnvironment: string(w.Spec.Environment),
			v1alpha1.LabelDataClass:   string(w.Spec.DataClass),
		}).
		WithAnnotations(map[string]string{v1alpha1.AnnotationVetted: strings.Join(vetted(w, c), " ")})
}

// allowance is what the admission policies let this workspace use. A host that the ledger holds and that lies outside the tenant's
// domains, since they have shrunk, is served no longer. Who is no member gives rights to nobody.
func allowance(w *v1alpha1.Workspace, c Context) guardrail.Allowance {
	out := guardrail.Allowance{PullAlways: c.Consortium.Spec.Defaults.Workspace.ImagePullPolicy == corev1.PullAlways}
	for _, host := range c.Hosts {
		if hostWithin(host, c.Tenant.Spec.Domains) {
			out.Hosts = append(out.Hosts, host)
		}
	}
	slices.Sort(out.Hosts)
	if c.Member && w.DeletionTimestamp.IsZero() {
		out.Subjects = slices.Concat(c.Tenant.Spec.Administrators, c.Tenant.Spec.Viewers, subjects(w, v1alpha1.RoleAdmin, v1alpha1.RoleEdit, v1alpha1.RoleView))
	}
	for _, s := range []struct {
		resource corev1.ResourceName
		kind     corev1.ServiceType
	}{{corev1.ResourceServicesLoadBalancers, corev1.ServiceTypeLoadBalancer}, {corev1.ResourceServicesNodePorts, corev1.ServiceTypeNodePort}} {
		if granted := c.Granted[s.resource]; !granted.IsZero() {
			out.Services = append(out.Services, s.kind)
		}
	}
	return out
}

// ephemeralPerPod bounds what a pod may write to its node's disk, where the quota does not say.
var ephemeralPerPod = resource.MustParse("2Gi")

// hard is the ResourceQuota: the workspace's share and object counts; no pods while suspended.
func hard(c Context) corev1.ResourceList {
	out := guardrail.Counts(c.Tenant.Spec.Limits)
	maps.Copy(out, share(c))
	if c.Suspended {
		for _, workload := range workloads {
			out[workload] = resource.MustParse("0")
		}
	}
	return out
}

var workloads = []corev1.ResourceName{
	corev1.ResourcePods, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory,
}

// share is what the ledger granted, and nothing of what nobody granted: what a quota does not name is not bounded by it.
func share(c Context) corev1.ResourceList {
	out := corev1.ResourceList{}
	for _, name := range slices.Concat(workloads, []corev1.ResourceName{
		corev1.ResourceRequestsStorage, corev1.ResourceServicesLoadBalancers, corev1.ResourceServicesNodePorts,
	}) {
		out[name] = resource.MustParse("0")
	}
	out[corev1.ResourceLimitsEphemeralStorage] = times(ephemeralPerPod, c.Granted[corev1.ResourcePods])
	maps.Copy(out, c.Granted)
	return out
}

// times multiplies an amount by a number of pods; the schema bounds both far below overflow.
func times(amount, count resource.Quantity) resource.Quantity {
	return *resource.NewQuantity(amount.Value()*count.Value(), resource.BinarySI)
}

// containerLimits gives a container that says nothing modest requests and limits, never more than the workspace has, and no
// request above the limit, which the API server would refuse.
func containerLimits(namespace string, share corev1.ResourceList) apply.Object {
	limits := corev1.ResourceList{
		corev1.ResourceCPU:              atMost("500m", share[corev1.ResourceLimitsCPU]),
		corev1.ResourceMemory:           atMost("512Mi", share[corev1.ResourceLimitsMemory]),
		corev1.ResourceEphemeralStorage: atMost("1Gi", share[corev1.ResourceLimitsEphemeralStorage]),
	}
	requests := corev1.ResourceList{}
	for name, amount := range map[corev1.ResourceName]string{
		corev1.ResourceCPU: "50m", corev1.ResourceMemory: "128Mi", corev1.ResourceEphemeralStorage: "64Mi",
	} {
		requests[name] = atMost(amount, limits[name])
		if bound, bounded := share["requests."+name]; bounded && bound.Cmp(requests[name]) < 0 {
			requests[name] = bound
		}
	}
	return corev1ac.LimitRange("broletto", namespace).WithSpec(corev1ac.LimitRangeSpec().WithLimits(
		corev1ac.LimitRangeItem().WithType(corev1.LimitTypeContainer).WithDefault(limits).WithDefaultRequest(requests)))
}

func atMost(amount string, bound resource.Quantity) resource.Quantity {
	if q := resource.MustParse(amount); q.Cmp(bound) <= 0 {
		return q
	}
	return bound
}

// volumes are the claims of spec.storage. A class that the tenant may not use gets no new claim, nor do volumes that the granted
// quota does not hold, nor a workspace that goes; a claim that exists stays, since to leave it out is to delete its data.
func volumes(w *v1alpha1.Workspace, c Context) []apply.Object {
	var out []apply.Object
	t := c.Tenant
	room := w.DeletionTimestamp.IsZero() && fits(w, c)
	for _, v := range declared(w) {
		if (!room || !classAllowed(t, v)) && !slices.Contains(c.Claims, v.Name) {
			continue
		}
		out = append(out, corev1ac.PersistentVolumeClaim(v.Name, w.TargetNamespace()).WithSpec(corev1ac.PersistentVolumeClaimSpec().
			WithAccessModes(corev1.ReadWriteOnce).
			WithStorageClassName(quota.ClassOf(t, v)).
			WithResources(corev1ac.VolumeResourceRequirements().WithRequests(corev1.ResourceList{corev1.ResourceStorage: v.Size.Quantity()}))))
	}
	return out
}

// fits tells whether the granted quota holds all volumes together.
func fits(w *v1alpha1.Workspace, c Context) bool {
	var sum resource.Quantity
	need := corev1.ResourceList{}
	for class, size := range quota.Volumes(c.Tenant, w) {
		need[quota.OfClass(class)] = size
		sum.Add(size)
	}
	need[corev1.ResourceRequestsStorage] = sum
	return quota.AtMost(need, c.Granted)
}

func declared(w *v1alpha1.Workspace) []v1alpha1.Volume {
	if w.Spec.Storage == nil {
		return nil
	}
	return w.Spec.Storage.Volumes
}

func classAllowed(t *v1alpha1.Tenant, v v1alpha1.Volume) bool {
	return slices.ContainsFunc(t.Spec.StorageClasses, func(c v1alpha1.StorageClass) bool { return c.Name == quota.ClassOf(t, v) })
}

// rights bind the tenant's administrators and viewers, and whom spec.access names. Accounts of the tenant live in its home.
func rights(w *v1alpha1.Workspace, t *v1alpha1.Tenant) []apply.Object {
	namespace := w.TargetNamespace()
	return guardrail.Bindings(namespace,
		guardrail.Granted{Name: "tenant-admin", Role: guardrail.RoleWorkspaceAdmin, Subjects: t.Spec.Administrators, AccountsIn: t.Name},
		guardrail.Granted{Name: "tenant-view", Role: guardrail.RoleWorkspaceView, Subjects: t.Spec.Viewers, AccountsIn: t.Name},
		guardrail.Granted{Name: "admin", Role: guardrail.RoleWorkspaceAdmin, Subjects: subjects(w, v1alpha1.RoleAdmin), AccountsIn: namespace},
		guardrail.Granted{Name: "edit", Role: guardrail.RoleWorkspaceEdit, Subjects: subjects(w, v1alpha1.RoleEdit), AccountsIn: namespace},
		guardrail.Granted{Name: "view", Role: guardrail.RoleWorkspaceView, Subjects: subjects(w, v1alpha1.RoleView), AccountsIn: namespace},
	)
}

func subjects(w *v1alpha1.Workspace, roles ...v1alpha1.AccessRole) []v1alpha1.Subject {
	var out []v1alpha1.Subject
	for _, a := range w.Spec.Access {
		if slices.Contains(roles, a.Role) {
			out = append(out, a.Subject)
		}
	}
	return out
}
