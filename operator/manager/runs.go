package manager

import (
	"context"
	"errors"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/broletto/broletto/operator/broker"
	"github.com/broletto/broletto/operator/vault"
	"github.com/broletto/broletto/operator/volumes"
)

// BrokerURL is where runners find the broker unless they are told otherwise: the Service of that name.
const BrokerURL = "https://broletto-broker.broletto-system.svc:9443"

// runs sets the vault and the broker up; nil where no address is given. Here, and nowhere else, is decided where the vault is.
func runs(mgr ctrl.Manager, o Options) (*Stacks, error) {
	if o.BrokerAddress == "" || o.BrokerAddress == "0" {
		return nil, nil
	}
	// Neither Secrets nor tenants' pods are read from a cache: it would hold them all.
	live, err := client.New(mgr.GetConfig(), client.Options{Scheme: mgr.GetScheme(), HTTPClient: mgr.GetHTTPClient(), Mapper: mgr.GetRESTMapper()})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), renewDeadline)
	defer cancel()
	secrets := vault.NewSecrets(live, o.Namespace)
	store, err := stateStore(ctx, mgr.GetLogger(), secrets, o.StateStore, o.StateStoreCredentials)
	if err != nil {
		return nil, err
	}
	kept := vault.New(store, secrets) // the keys stay here: another store sees nothing but ciphertext
	b, err := broker.New(ctx, broker.Options{
		Address: o.BrokerAddress, URL: o.BrokerURL, Namespace: o.Namespace, Vault: kept, Live: live, Runs: mgr.GetClient(), Now: o.Now,
		Movers: &volumes.Orders{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Depot: depotOf(mgr, mgr.GetClient(), o)},
	})
	if err != nil {
		return nil, err
	}
	return &Stacks{Vault: kept, Keys: kept, RunnerImage: o.RunnerImage, BrokerURL: b.URL(), BrokerCA: b.CA()}, errors.Join(mgr.Add(b), metrics.Registry.Register(b.Collector()))
}
