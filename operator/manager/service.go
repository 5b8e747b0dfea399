package manager

import (
	"errors"

	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/broletto/broletto/operator/service"
)

// catalogue adds the catalogue's controllers and collectors.
func catalogue(mgr ctrl.Manager, c client.Client, recorder events.EventRecorder, o Options) error {
	acting, err := service.NewActing(mgr.GetConfig(), mgr.GetRESTMapper())
	if err != nil {
		return err
	}
	return errors.Join(
		(&service.Offerings{Client: c}).SetupWithManager(mgr),
		(&service.Instances{Client: c, Live: mgr.GetAPIReader(), Acting: acting, Events: recorder, Now: o.Now}).SetupWithManager(mgr),
		metrics.Registry.Register(service.OfferingCollector(mgr.GetCache())),
		metrics.Registry.Register(service.InstanceCollector(mgr.GetCache())),
	)
}
