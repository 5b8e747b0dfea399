package manager

import (
	"cmp"
	"errors"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/broletto/broletto/operator/backup"
	"github.com/broletto/broletto/operator/depot"
	"github.com/broletto/broletto/operator/hooks"
	"github.com/broletto/broletto/operator/objects"
	"github.com/broletto/broletto/operator/repository"
	"github.com/broletto/broletto/operator/restore"
	"github.com/broletto/broletto/operator/volumes"
)

// MoverImage is what the pods that move volumes run unless they are told otherwise.
const MoverImage = "broletto-mover"

// backups sets up what backs up and restores; operator is the operator's own user name.
func backups(mgr ctrl.Manager, c client.Client, operator string, o Options) error {
	reading, err := objects.New(mgr.GetConfig())
	if err != nil {
		return err
	}
	commands, err := hooks.New(mgr.GetConfig())
	if err != nil {
		return err
	}
	d := depotOf(mgr, c, o)
	movers := &volumes.Movers{Client: c, Live: mgr.GetAPIReader(), Now: o.Now, Context: volumes.Context{Image: cmp.Or(o.MoverImage, MoverImage), Namespace: o.Namespace}}
	if o.Stacks != nil {
		movers.BrokerURL, movers.BrokerCA, movers.BrokerPort = o.Stacks.BrokerURL, string(o.Stacks.BrokerCA), cmp.Or(o.Stacks.BrokerPort, brokerPort)
	}
	return errors.Join(
		(&repository.Reconciler{Client: c, Live: mgr.GetAPIReader(), Depot: d, Movers: movers, Now: o.Now}).SetupWithManager(mgr),
		(&backup.Backups{Client: c, Live: mgr.GetAPIReader(), Depot: d, Objects: reading, Movers: movers, Hooks: commands, Now: o.Now}).SetupWithManager(mgr),
		(&backup.Policies{Client: c, Depot: d, Now: o.Now}).SetupWithManager(mgr),
		(&restore.Reconciler{Client: c, Live: mgr.GetAPIReader(), Depot: d, Objects: reading, Movers: movers, Hooks: commands, Now: o.Now, Operator: operator}).SetupWithManager(mgr),
		metrics.Registry.Register(backup.Collector(mgr.GetCache())),
		metrics.Registry.Register(backup.Coverage(mgr.GetCache())),
		metrics.Registry.Register(repository.Collector(mgr.GetCache())),
	)
}

// depotOf opens backup repositories.
func depotOf(mgr ctrl.Manager, c client.Client, o Options) *depot.Depot {
	return &depot.Depot{Client: c, Live: mgr.GetAPIReader(), Namespace: o.Namespace}
}
