package service_test

import (
	"errors"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/acting"
	"github.com/broletto/broletto/test/cluster"
	"github.com/broletto/broletto/test/stage"
)

// TestWatches runs the whole operator and touches each thing that an instance's state rests on. It does not run beside other tests: the
// operator would work on their objects too.
func TestWatches(t *testing.T) {
	s := scene{Stage: stage.New(t, "watch")}
	s.Operate(day(t, "2027-03-31T21:59:48Z")) // some seconds before the first of April in Zurich
	c, a := s.Consortium(), s.Tenant("a")
	s.tenant = a
	s.Says(c, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	s.Says(a, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	tomorrow := s.offer("tomorrow", func(o *v1alpha1.ServiceOffering) {
		o.Spec.Procurement.AwardedOn = "2027-04-01"
		manifests(s, `{apiVersion: v1, kind: ConfigMap, metadata: {name: tomorrow}}`)(o)
	})
	o := s.offer("albo", func(o *v1alpha1.ServiceOffering) { o.Spec.Procurement.State = v1alpha1.ProcurementTendering })
	s.Says(o, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	waits := s.ask(tomorrow, "tomorrow")
	i := s.ask(o, "albo")
	s.Says(i, v1alpha1.ConditionReconciling, v1alpha1.ReasonAwaitingAward)
	demands(s, o, v1alpha1.Demand{Instances: 1, Quantity: 1, Tenants: 1})

	stage.Edit(s.Stage, o, func(o *v1alpha1.ServiceOffering) { o.Spec.Procurement.State = v1alpha1.ProcurementAwarded }) // the award
	s.Says(i, v1alpha1.ConditionReconciling, v1alpha1.ReasonWorkspaceNotReady)
	s.workspace = s.Workspace(a, "sito")
	s.Says(i, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)     // the workspace
	s.Says(waits, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded) // the clock
	demands(s, o, v1alpha1.Demand{Instances: 1, Quantity: 1, Tenants: 1, Provisioned: 1})

	binding := &rbacv1.RoleBinding{ObjectMeta: stage.In(s.workspace.TargetNamespace(), acting.Service.Name())}
	s.Remove(binding.DeepCopy())
	cluster.Eventually(t, stage.Patience, "the account has its rights again", func() error {
		if !s.Exists(binding) {
			return errors.New("there is no binding")
		}
		return nil
	})
	stage.Edit(s.Stage, i, func(i *v1alpha1.ServiceInstance) {
		i.Spec.Parameters["ente"] = apiextensionsv1.JSON{Raw: []byte(`"Lozza"`)}
	})
	holds(s, "ente", "Lozza") // its own spec
	stage.Edit(s.Stage, o, func(o *v1alpha1.ServiceOffering) {
		o.Spec.Version = "1.1.0"
		manifests(s, strings.ReplaceAll(configMap, "x$", "y$"))(o)
	})
	holds(s, "repliche", "y1") // the offering
	demands(s, o, v1alpha1.Demand{Instances: 1, Quantity: 1, Tenants: 1, Provisioned: 1})

	s.Remove(i)
	cluster.Eventually(t, stage.Patience, "it goes with what it made", func() error {
		if s.Exists(i) || s.Exists(s.made("albo")) {
			return errors.New("it is there")
		}
		return nil
	})
	demands(s, o, v1alpha1.Demand{})
}

func demands(s scene, o *v1alpha1.ServiceOffering, want v1alpha1.Demand) {
	s.Helper()
	cluster.Eventually(s, stage.Patience, "the demand for "+o.Name, func() error {
		s.Read(o)
		return stage.Same(&want, o.Status.Demand)
	})
}

func holds(s scene, key, want string) {
	s.Helper()
	cluster.Eventually(s, stage.Patience, "the object says "+want, func() error {
		made := s.made("albo")
		s.Read(made)
		return stage.Same(want, made.Data[key])
	})
}
