package manager

import (
	"errors"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/broletto/broletto/operator/backup"
	"github.com/broletto/broletto/operator/depot"
	"github.com/broletto/broletto/operator/objects"
	"github.com/broletto/broletto/operator/repository"
	"github.com/broletto/broletto/operator/restore"
)

// backups sets up what backs up and restores; operator is the operator's own user name.
func backups(mgr ctrl.Manager, c client.Client, operator string, o Options) error {
	reading, err := objects.New(mgr.GetConfig())
	if err != nil {
		return err
	}
	d := &depot.Depot{Client: c, Live: mgr.GetAPIReader(), Namespace: o.Namespace}
	return errors.Join(
		(&repository.Reconciler{Client: c, Live: mgr.GetAPIReader(), Depot: d, Now: o.Now}).SetupWithManager(mgr),
		(&backup.Backups{Client: c, Live: mgr.GetAPIReader(), Depot: d, Objects: reading, Now: o.Now}).SetupWithManager(mgr),
		(&backup.Policies{Client: c, Depot: d, Now: o.Now}).SetupWithManager(mgr),
		(&restore.Reconciler{Client: c, Live: mgr.GetAPIReader(), Depot: d, Objects: reading, Now: o.Now, Operator: operator}).SetupWithManager(mgr),
		metrics.Registry.Register(backup.Collector(mgr.GetCache())),
		metrics.Registry.Register(repository.Collector(mgr.GetCache())),
	)
}
