// Package guardrail builds the objects that every managed namespace has, a tenant's home and its workspaces alike. It
// is pure: values in, apply configurations out.
package guardrail

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	networkingv1ac "k8s.io/client-go/applyconfigurations/networking/v1"
	rbacv1ac "k8s.io/client-go/applyconfigurations/rbac/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/apply"
)

// Cluster roles that we ship, one per audience. None is built in, and none that a tenant is bound to is aggregated: what a future chart adds
// to "edit" reaches no tenant.
const (
	RoleTenantAdmin    = "broletto-tenant-admin"
	RoleTenantView     = "broletto-tenant-view"
	RoleWorkspaceAdmin = "broletto-workspace-admin"
	RoleWorkspaceEdit  = "broletto-workspace-edit"
	RoleWorkspaceView  = "broletto-workspace-view"
	// RoleBackup holds what the platform adds to what backups read and restores write. No tenant is bound to it.
	RoleBackup = "broletto-backup"
)

// podSecurityVersion pins the Pod Security Standards: an upgrade of the cluster changes no tenant's rules by itself.
// It is the oldest Kubernetes that we support.
const podSecurityVersion = "v1.34"

// Allowance is what the admission policies allow in one namespace beside what they allow its tenant everywhere.
type Allowance struct {
	Hosts      []v1alpha1.Hostname
	Subjects   []v1alpha1.Subject
	Services   []corev1.ServiceType // beside ClusterIP
	PullAlways bool                 // pods ask the registry for every image
}

// Namespace is a managed namespace: labelled with whose it is, annotated with what the admission policies allow there, pinned to a
// Pod Security Standard in all three modes.
func Namespace(name string, t *v1alpha1.Tenant, level v1alpha1.PodSecurity, a Allowance) *corev1ac.NamespaceApplyConfiguration {
	standard := strings.ToLower(string(level))
	labels := map[string]string{
		v1alpha1.LabelConsortium:  t.Spec.Consortium,
		v1alpha1.LabelTenant:      t.Name,
		v1alpha1.LabelCostCarrier: costCarrier(t),
		v1alpha1.LabelAnyRegistry: strconv.FormatBool(len(t.Spec.Registries) == 0),
		v1alpha1.LabelPullAlways:  strconv.FormatBool(a.PullAlways),
		v1alpha1.LabelAnyNode:     strconv.FormatBool(len(t.Spec.NodePools) == 0),

		"pod-security.kubernetes.io/enforce":         standard,
		"pod-security.kubernetes.io/enforce-version": podSecurityVersion,
		"pod-security.kubernetes.io/audit":           standard,
		"pod-security.kubernetes.io/audit-version":   podSecurityVersion,
		"pod-security.kubernetes.io/warn":            standard,
		"pod-security.kubernetes.io/warn-version":    podSecurityVersion,
	}
	return corev1ac.Namespace(name).WithAnnotations(allowances(t, a)).WithLabels(labels)
}

// allowances says everything, also what is empty: an annotation that somebody adds is drift like one that somebody changes.
func allowances(t *v1alpha1.Tenant, a Allowance) map[string]string {
	return map[string]string{
		v1alpha1.AnnotationHosts:           items(a.Hosts),
		v1alpha1.AnnotationSubjects:        items(People(a.Subjects)),
		v1alpha1.AnnotationServiceTypes:    items(a.Services),
		v1alpha1.AnnotationStorageClasses:  items(classes(t)),
		v1alpha1.AnnotationRegistries:      items(t.Spec.Registries),
		v1alpha1.AnnotationNodePools:       items(t.Spec.NodePools),
		v1alpha1.AnnotationPriorityClasses: items(t.Spec.PriorityClasses),
		v1alpha1.AnnotationRuntimeClasses:  items(t.Spec.RuntimeClasses),
	}
}

func items[T ~string](list []T) string {
	texts := make([]string, 0, len(list))
	for _, item := range list {
		texts = append(texts, string(item))
	}
	return strings.Join(texts, " ")
}

func classes(t *v1alpha1.Tenant) (out []string) {
	for _, class := range t.Spec.StorageClasses {
		out = append(out, class.Name)
	}
	return out
}

// People are the groups and users among subjects, as "Group:lugano:ict", sorted; accounts are known by their namespace.
func People(subjects []v1alpha1.Subject) (out []string) {
	for _, s := range subjects {
		if s.Kind != v1alpha1.SubjectServiceAccount {
			out = append(out, string(s.Kind)+":"+s.Name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func costCarrier(t *v1alpha1.Tenant) string {
	if t.Spec.Sponsor != nil && t.Spec.Sponsor.CostCarrier == v1alpha1.CostCarrierSponsor {
		return string(t.Spec.Sponsor.Tenant)
	}
	return t.Name
}

// DefaultAccount is the account that pods get when they name none: it carries no token, so a pod that needs the API says so.
func DefaultAccount(namespace string) apply.Object { return Account(namespace, "default") }

// Account is a service account without token in its pods; whoever acts as it asks for a token by name.
func Account(namespace, name string) apply.Object {
	return corev1ac.ServiceAccount(name, namespace).WithAutomountServiceAccountToken(false)
}

// Accounts are the accounts that the operator makes for subjects of kind ServiceAccount, by name.
func Accounts(namespace string, subjects []v1alpha1.Subject) []apply.Object {
	var names []string
	for _, s := range subjects {
		if s.Kind == v1alpha1.SubjectServiceAccount {
			names = append(names, s.Name)
		}
	}
	slices.Sort(names)
	var out []apply.Object
	for _, name := range slices.Compact(names) {
		out = append(out, Account(namespace, name))
	}
	return out
}

// DenyAll closes a namespace in both directions. It stands alone, so that nothing that is opened or closed later touches it.
func DenyAll(namespace string) apply.Object {
	return networkingv1ac.NetworkPolicy("default-deny", namespace).WithSpec(networkingv1ac.NetworkPolicySpec().
		WithPodSelector(metav1ac.LabelSelector()).
		WithPolicyTypes(networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress))
}

// Quota is a ResourceQuota of our name with hard limits.
func Quota(namespace string, hard corev1.ResourceList) apply.Object {
	return corev1ac.ResourceQuota(QuotaName, namespace).WithSpec(corev1ac.ResourceQuotaSpec().WithHard(hard))
}

// QuotaName is the name of the ResourceQuota of every managed namespace.
const QuotaName = "broletto"

// Counted tells whether the controller manager has counted everything that a ResourceQuota limits. Until then the API
// server refuses every creation that the quota counts.
func Counted(q *corev1.ResourceQuota) bool {
	for name, hard := range q.Spec.Hard {
		_, counted := q.Status.Used[name]
		if limit, known := q.Status.Hard[name]; !counted || !known || limit.Cmp(hard) != 0 {
			return false
		}
	}
	return len(q.Spec.Hard) > 0
}

// Blocker says what keeps a namespace from going, as its controller tells; empty while nothing does.
func Blocker(ns *corev1.Namespace) string {
	var texts []string
	for _, c := range ns.Status.Conditions {
		if c.Status == corev1.ConditionTrue {
			texts = append(texts, c.Message)
		}
	}
	slices.Sort(texts)
	return strings.Join(texts, "; ")
}

// Granted is a binding of a cluster role to subjects. Accounts are those of accountsIn; nobody else's can be named.
type Granted struct {
	Name, Role string
	Subjects   []v1alpha1.Subject
	AccountsIn string
}

// Bindings are the role bindings of a namespace; a role with no subjects has none.
func Bindings(namespace string, grants ...Granted) []apply.Object {
	var out []apply.Object
	for _, g := range grants {
		if len(g.Subjects) == 0 {
			continue
		}
		out = append(out, rbacv1ac.RoleBinding(g.Name, namespace).
			WithRoleRef(rbacv1ac.RoleRef().WithAPIGroup(rbacv1.GroupName).WithKind("ClusterRole").WithName(g.Role)).
			WithSubjects(subjects(g)...))
	}
	return out
}

// subjects are sorted and without duplicates: several entries of a manifest may name the same group.
func subjects(g Granted) []*rbacv1ac.SubjectApplyConfiguration {
	sorted := slices.Clone(g.Subjects)
	slices.SortFunc(sorted, func(a, b v1alpha1.Subject) int {
		return strings.Compare(fmt.Sprint(a.Kind, "/", a.Name), fmt.Sprint(b.Kind, "/", b.Name))
	})
	var out []*rbacv1ac.SubjectApplyConfiguration
	for _, s := range slices.Compact(sorted) {
		subject := rbacv1ac.Subject().WithKind(string(s.Kind)).WithName(s.Name)
		if s.Kind == v1alpha1.SubjectServiceAccount {
			subject.WithNamespace(g.AccountsIn)
		} else {
			subject.WithAPIGroup(rbacv1.GroupName)
		}
		out = append(out, subject)
	}
	return out
}

// Counts are the object counts that every managed namespace is bound to, so that no tenant fills the cluster's store. Kinds of which
// we make objects ourselves are not among them: a tenant that used a count up would keep us from making a guardrail anew.
func Counts(limits v1alpha1.Limits) corev1.ResourceList {
	out := corev1.ResourceList{}
	for _, name := range []corev1.ResourceName{
		"count/configmaps", "count/secrets", "count/services", "count/jobs.batch", "count/cronjobs.batch", "persistentvolumeclaims",
		"count/deployments.apps", "count/statefulsets.apps", "count/ingresses.networking.k8s.io", "count/roles.rbac.authorization.k8s.io",
		"count/horizontalpodautoscalers.autoscaling", "count/poddisruptionbudgets.policy",
	} {
		out[name] = Count(limits.ObjectsPerWorkspace)
	}
	replicaSets := out["count/deployments.apps"].DeepCopy()
	replicaSets.Mul(revisions)
	out["count/replicasets.apps"] = replicaSets
	return out
}

// revisions are how many ReplicaSets a Deployment keeps: the present one and, by default, ten to go back to.
const revisions = 11
