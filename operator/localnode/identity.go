package localnode

import (
	"context"
	"crypto/tls"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	rbacv1ac "k8s.io/client-go/applyconfigurations/rbac/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/broletto/broletto/hack/kube"
	"github.com/broletto/broletto/operator/embedded"
)

// schedulerUser binds pods to the node; it is also the name of the role that lets it.
const schedulerUser = "broletto-local-node"

// For makes who the node is on a control plane of ours, with the few rights that it needs, and says so in options.
func For(ctx context.Context, c *embedded.Cluster) (o Options, err error) {
	if err := grant(ctx, c); err != nil {
		return o, fmt.Errorf("giving the local node its rights: %w", err)
	}
	if o.Node, err = c.Config(User, Group); err != nil {
		return o, err
	}
	if o.Scheduler, err = c.Config(schedulerUser); err != nil {
		return o, err
	}
	cert, key, err := c.LoopbackCertificate(User)
	if err != nil {
		return o, fmt.Errorf("certifying the local node's endpoint: %w", err)
	}
	if o.Serving, err = tls.X509KeyPair(cert, key); err != nil {
		return o, err
	}
	o.Authority, o.ClientName = c.CA(), kube.KubeletClient
	return o, nil
}

func grant(ctx context.Context, c *embedded.Cluster) error {
	admin, err := c.Admin()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(admin)
	if err != nil {
		return err
	}
	force := metav1.ApplyOptions{FieldManager: schedulerUser, Force: true}
	rule := func(group, resource string, verbs ...string) *rbacv1ac.PolicyRuleApplyConfiguration {
		return rbacv1ac.PolicyRule().WithAPIGroups(group).WithResources(resource).WithVerbs(verbs...)
	}
	role := rbacv1ac.ClusterRole(schedulerUser).WithRules(
		rule(corev1.GroupName, "pods", "get", "list", "watch"), rule(corev1.GroupName, "pods/binding", "create"), rule(batchv1.GroupName, "jobs", "get"),
	)
	if _, err := client.RbacV1().ClusterRoles().Apply(ctx, role, force); err != nil {
		return err
	}
	binding := rbacv1ac.ClusterRoleBinding(schedulerUser).
		WithSubjects(rbacv1ac.Subject().WithAPIGroup(rbacv1.GroupName).WithKind(rbacv1.UserKind).WithName(schedulerUser)).
		WithRoleRef(rbacv1ac.RoleRef().WithAPIGroup(rbacv1.GroupName).WithKind("ClusterRole").WithName(schedulerUser))
	_, err = client.RbacV1().ClusterRoleBindings().Apply(ctx, binding, force)
	return err
}
