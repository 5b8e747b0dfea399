package manager

import (
	"context"
	"errors"

	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/broletto/broletto/operator/backup"
	"github.com/broletto/broletto/operator/depot"
	"github.com/broletto/broletto/operator/guard"
	"github.com/broletto/broletto/operator/objects"
	"github.com/broletto/broletto/operator/repository"
	"github.com/broletto/broletto/operator/restore"
)

// backups sets up what backs up and restores.
func backups(mgr ctrl.Manager, c client.Client, recorder events.EventRecorder, o Options) error {
	reading, err := objects.New(mgr.GetConfig())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), renewDeadline)
	defer cancel()
	operator, err := guard.WhoAmI(ctx, mgr.GetConfig())
	if err != nil {
		return err
	}
	d := &depot.Depot{Client: c, Live: mgr.GetAPIReader(), Namespace: o.Namespace}
	return errors.Join(
		(&repository.Reconciler{Client: c, Depot: d, Now: o.Now}).SetupWithManager(mgr),
		(&backup.Backups{Client: c, Live: mgr.GetAPIReader(), Depot: d, Objects: reading, Events: recorder, Now: o.Now}).SetupWithManager(mgr),
		(&backup.Policies{Client: c, Depot: d, Now: o.Now}).SetupWithManager(mgr),
		(&restore.Reconciler{Client: c, Live: mgr.GetAPIReader(), Depot: d, Objects: reading, Now: o.Now, Operator: operator}).SetupWithManager(mgr),
		metrics.Registry.Register(backup.Collector(mgr.GetCache())),
		metrics.Registry.Register(repository.Collector(mgr.GetCache())),
	)
}
