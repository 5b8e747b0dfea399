package service

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/metrics"
)

var (
	offeringInfo = prometheus.NewDesc("broletto_service_offering_info",
		"An offering of the catalogue: its version and how far its tender is.", []string{"offering", "consortium", "version", "procurement"}, nil)
	demandInstances = prometheus.NewDesc("broletto_service_demand_instances",
		"How many instances of an offering the members ask for.", []string{"offering"}, nil)
	demandQuantity = prometheus.NewDesc("broletto_service_demand_quantity",
		"How many units of an offering the members ask for, in the unit of its price.", []string{"offering"}, nil)
	demandTenants = prometheus.NewDesc("broletto_service_demand_tenants",
		"How many tenants ask for an offering.", []string{"offering"}, nil)
	instanceInfo = prometheus.NewDesc("broletto_service_instance_info",
		"An instance of a service, the version that is provisioned, and where it stands: Ready, Reconciling or Stalled.",
		[]string{"tenant", "instance", "offering", "workspace", "version", "state"}, nil)
	instanceQuantity = prometheus.NewDesc("broletto_service_instance_quantity",
		"How many units an instance asks for.", []string{"tenant", "instance", "offering"}, nil)
)

// OfferingCollector exports the catalogue and the demand for it.
func OfferingCollector(cache client.Reader) prometheus.Collector {
	return metrics.Collector[*v1alpha1.ServiceOffering]{
		Kind:   "ServiceOffering",
		Series: []*prometheus.Desc{offeringInfo, demandInstances, demandQuantity, demandTenants},
		List:   metrics.Items(cache, func(l *v1alpha1.ServiceOfferingList) []v1alpha1.ServiceOffering { return l.Items }),
		Each: func(o *v1alpha1.ServiceOffering, emit metrics.Emit) {
			emit(offeringInfo, 1, o.Name, o.Spec.Consortium, string(o.Spec.Version), string(o.Spec.Procurement.State))
			if d := o.Status.Demand; d != nil {
				emit(demandInstances, float64(d.Instances), o.Name)
				emit(demandQuantity, float64(d.Quantity), o.Name)
				emit(demandTenants, float64(d.Tenants), o.Name)
			}
		},
	}
}

// InstanceCollector exports what comuni ask for and what they have.
func InstanceCollector(cache client.Reader) prometheus.Collector {
	return metrics.Collector[*v1alpha1.ServiceInstance]{
		Kind:   "ServiceInstance",
		Series: []*prometheus.Desc{instanceInfo, instanceQuantity},
		List:   metrics.Items(cache, func(l *v1alpha1.ServiceInstanceList) []v1alpha1.ServiceInstance { return l.Items }),
		Each: func(i *v1alpha1.ServiceInstance, emit metrics.Emit) {
			emit(instanceInfo, 1, i.Namespace, i.Name, string(i.Spec.Offering), string(i.Spec.Workspace), string(i.Status.Version), state(i))
			emit(instanceQuantity, float64(i.Spec.Quantity), i.Namespace, i.Name, string(i.Spec.Offering))
		},
	}
}

// state is the verdict that stands; empty before the first look.
func state(i *v1alpha1.ServiceInstance) string {
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionStalled, v1alpha1.ConditionReconciling} {
		if meta.IsStatusConditionTrue(i.Status.Conditions, kind) {
			return kind
		}
	}
	return ""
}
