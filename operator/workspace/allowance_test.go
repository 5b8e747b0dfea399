package workspace

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/guardrail"
)

func TestAllowance(t *testing.T) {
	t.Parallel()
	ict, web := v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: "ict"}, v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: "web"}
	for name, row := range map[string]struct {
		reason string
		edit   func(*v1alpha1.Workspace, *Context)
		want   guardrail.Allowance
	}{
		"nothing": {"nothing was granted", func(*v1alpha1.Workspace, *Context) {}, guardrail.Allowance{Subjects: []v1alpha1.Subject{ict}}},
		"hosts": {"the ledger's, sorted", func(_ *v1alpha1.Workspace, c *Context) {
			c.Hosts = []v1alpha1.Hostname{"b.lugano.example", "a.lugano.example"}
		}, guardrail.Allowance{Hosts: []v1alpha1.Hostname{"a.lugano.example", "b.lugano.example"}, Subjects: []v1alpha1.Subject{ict}}},
		"a lost domain": {"the ledger still holds the host", func(_ *v1alpha1.Workspace, c *Context) {
			c.Hosts = []v1alpha1.Hostname{"www.chiasso.example", "evil-lugano.example"}
		}, guardrail.Allowance{Subjects: []v1alpha1.Subject{ict}}},
		"access": {"whom the workspace names", func(w *v1alpha1.Workspace, _ *Context) {
			w.Spec.Access = []v1alpha1.Access{{Role: v1alpha1.RoleEdit, Subject: web}}
		}, guardrail.Allowance{Subjects: []v1alpha1.Subject{ict, web}}},
		"no member": {"nobody may be given rights", func(_ *v1alpha1.Workspace, c *Context) { c.Member = false }, guardrail.Allowance{}},
		"load balancer": {"granted by the quota", func(_ *v1alpha1.Workspace, c *Context) {
			c.Granted = corev1.ResourceList{"services.loadbalancers": resource.MustParse("1"), "services.nodeports": resource.MustParse("0")}
		}, guardrail.Allowance{Services: []corev1.ServiceType{corev1.ServiceTypeLoadBalancer}, Subjects: []v1alpha1.Subject{ict}}},
		"pull always": {"the consortium's choice", func(_ *v1alpha1.Workspace, c *Context) {
			c.Consortium.Spec.Defaults.Workspace.ImagePullPolicy = corev1.PullAlways
		}, guardrail.Allowance{PullAlways: true, Subjects: []v1alpha1.Subject{ict}}},
	} {
		w, c := &v1alpha1.Workspace{}, Context{Consortium: &v1alpha1.Consortium{}, Tenant: &v1alpha1.Tenant{}, Member: true}
		c.Tenant.Spec.Administrators, c.Tenant.Spec.Domains = []v1alpha1.Subject{ict}, []v1alpha1.Hostname{"lugano.example"}
		row.edit(w, &c)
		if diff := cmp.Diff(row.want, allowance(w, c), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s, %s (-want +got):\n%s", name, row.reason, diff)
		}
	}
}
