package tenant

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/apply"
	"github.com/broletto/broletto/operator/guardrail"
)

// Desired is a tenant's home: guardrails first, rights last, and no rights at all for who is no member. No pod runs and
// no volume lies in a home: it holds what a comune asks for.
func Desired(t *v1alpha1.Tenant, member bool) apply.Set {
	home := t.Name
	objects := []apply.Object{
		guardrail.DefaultAccount(home),
		guardrail.DenyAll(home),
		guardrail.Quota(home, homeQuota(t)),
	}
	if member {
		objects = append(objects, guardrail.Accounts(home, slices.Concat(t.Spec.Administrators, t.Spec.Viewers))...)
		objects = append(objects, guardrail.Bindings(home,
			guardrail.Granted{Name: "admin", Role: guardrail.RoleTenantAdmin, Subjects: t.Spec.Administrators, AccountsIn: home},
			guardrail.Granted{Name: "view", Role: guardrail.RoleTenantView, Subjects: t.Spec.Viewers, AccountsIn: home},
		)...)
	}
	return apply.Set{
		Owner:   t.UID,
		Root:    guardrail.Namespace(home, t, v1alpha1.PodSecurityRestricted, guardrail.Allowance{PullAlways: true}),
		Objects: objects,
	}
}

func homeQuota(t *v1alpha1.Tenant) corev1.ResourceList {
	hard := guardrail.Counts(t.Spec.Limits)
	hard["count/workspaces.broletto.dev"] = guardrail.Count(t.Spec.Limits.Workspaces)
	hard["count/stacks.broletto.dev"] = guardrail.Count(t.Spec.Limits.Stacks)
	hard["count/serviceinstances.broletto.dev"] = guardrail.Count(t.Spec.Limits.ObjectsPerWorkspace)
	hard["count/backups.broletto.dev"] = guardrail.Count(t.Spec.Limits.Backups)
	hard["count/backuppolicies.broletto.dev"] = guardrail.Count(t.Spec.Limits.ObjectsPerWorkspace)
	hard["count/restores.broletto.dev"] = guardrail.Count(t.Spec.Limits.ObjectsPerWorkspace)
	for _, none := range []corev1.ResourceName{
		corev1.ResourcePods, corev1.ResourcePersistentVolumeClaims, corev1.ResourceServicesLoadBalancers, corev1.ResourceServicesNodePorts, "count/services",
	} {
		hard[none] = resource.MustParse("0")
	}
	return hard
}
