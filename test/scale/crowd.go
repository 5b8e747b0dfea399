package main

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/config"
	"github.com/broletto/broletto/operator/embedded"
)

// crowd is a consortium with its tenants, all alike but for their names: those of the Varese sample, multiplied.
type crowd struct {
	name                string // of the consortium, and the beginning of the tenants'
	codes               int    // the first tenant's statistical code
	tenants, workspaces int

	consortium *v1alpha1.Consortium
	tenant     *v1alpha1.Tenant
	workspace  *v1alpha1.Workspace
}

func newCrowd(name string, codes, tenants, workspaces int) (*crowd, error) {
	c := &crowd{
		name: name, codes: codes, tenants: tenants, workspaces: workspaces,
		consortium: &v1alpha1.Consortium{}, tenant: &v1alpha1.Tenant{}, workspace: &v1alpha1.Workspace{},
	}
	for file, into := range map[string]client.Object{
		"00-consortium": c.consortium, "10-tenants": c.tenant, "20-workspaces": c.workspace,
	} {
		if err := sample(file, into); err != nil {
			return nil, fmt.Errorf("reading sample %s: %w", file, err)
		}
	}
	c.consortium.Name = name
	return c, nil
}

// sample reads the first object of a file of the Varese sample.
func sample(file string, into client.Object) error {
	text, err := config.Samples.ReadFile("samples/varese/" + file + ".yaml")
	if err != nil {
		return err
	}
	objects, err := embedded.Documents(text)
	if err != nil {
		return err
	}
	return runtime.DefaultUnstructuredConverter.FromUnstructured(objects[0].Object, into)
}

// tenantName is as long for every crowd whose name is: the objects of two crowds are of one size.
func (c *crowd) tenantName(i int) string { return fmt.Sprintf("%s-%04d", c.name, i) }

// newTenant is the sample's, with a code and a domain of its own and quota for its workspaces.
func (c *crowd) newTenant(i int) *v1alpha1.Tenant {
	t := c.tenant.DeepCopy()
	t.Name = c.tenantName(i)
	t.Spec.Consortium = c.name
	t.Spec.Codes = v1alpha1.Codes{ISTAT: fmt.Sprintf("%06d", c.codes+i), IPA: fmt.Sprintf("c_%s_%04d", c.name, i)}
	t.Spec.Administrators = []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: t.Name + ":ced"}}
	t.Spec.Domains = []v1alpha1.Hostname{v1alpha1.Hostname(t.Name + ".va.example")}
	t.Spec.Quota = v1alpha1.Quota{}
	for name, each := range c.consortium.Spec.Defaults.Workspace.Quota {
		sum := resource.Quantity{Format: each.Quantity().Format}
		for range c.workspaces {
			sum.Add(each.Quantity())
		}
		t.Spec.Quota[name] = v1alpha1.Amount(sum.String())
	}
	t.Spec.Limits.Workspaces = new(int32(c.workspaces))
	return t
}

// newWorkspace is, in turn, the sample's site; an application for the other members, used by two groups; and a test
// environment that a pipeline works in. They come to 7, 9 and 9 objects.
func (c *crowd) newWorkspace(tenant string, i int) *v1alpha1.Workspace {
	w := c.workspace.DeepCopy()
	w.Namespace = tenant
	kind := []string{"sito", "sportello", "prova"}[i%3]
	w.Name = fmt.Sprintf("%s-%03d", kind, i)
	w.Spec.Network.Hosts = []v1alpha1.Hostname{v1alpha1.Hostname(w.Name + "." + tenant + ".va.example")}
	switch kind {
	case "sportello":
		w.Spec.Network.Exposure = v1alpha1.ExposureConsortium
		w.Spec.Network.Egress = []v1alpha1.Egress{{CIDR: "203.0.113.0/24", Ports: []int32{443}, Protocol: "TCP"}}
		w.Spec.Access = []v1alpha1.Access{
			{Role: v1alpha1.RoleEdit, Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: tenant + ":applicazioni"}},
			{Role: v1alpha1.RoleView, Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: tenant + ":anagrafe"}},
		}
	case "prova":
		w.Spec.Environment = v1alpha1.Test
		w.Spec.Access = []v1alpha1.Access{
			{Role: v1alpha1.RoleEdit, Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Name: "pipeline"}},
		}
	}
	return w
}

// has tells whether an object belongs to the crowd: its tenants, their homes and workspaces are named after it.
func (c *crowd) has(o metav1.Object) bool {
	name := o.GetNamespace()
	if name == "" {
		name = o.GetName()
	}
	return name == c.name || strings.HasPrefix(name, c.name+"-")
}
