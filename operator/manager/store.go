package manager

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/operator/vault"
	"github.com/broletto/broletto/operator/vault/bucket"
	"github.com/broletto/broletto/operator/vault/postgres"
)

// StateStore is where the vault keeps states unless it is told otherwise.
const StateStore = "secrets"

// stateStore is what an address says: "secrets", s3://bucket/prefix?endpoint=https://host&region=name, or postgres://user@host/database. One that is
// elsewhere is tried now: if it cannot keep states, the operator does not start; if it is not there, all but stacks works until it is.
func stateStore(ctx context.Context, log logr.Logger, secrets vault.Store, address, credentials string) (vault.Store, error) {
	if address == "" || address == StateStore {
		return secrets, nil
	}
	remote, err := remoteStore(address, credentials)
	if err != nil {
		return nil, err
	}
	switch err := remote.Open(ctx); {
	case errors.Is(err, vault.ErrUnfit):
		return nil, err
	case err != nil:
		log.Error(err, "No stack runs until the state store can be reached: it is tried again whenever a stack needs it")
	}
	return remote, nil
}

// MoveStates takes what is kept of all stacks from one state store to another. No operator may run meanwhile.
func MoveStates(ctx context.Context, cfg *rest.Config, from, to Options) (moved int, err error) {
	live, err := client.New(cfg, client.Options{})
	if err != nil {
		return 0, err
	}
	var both [2]vault.Store
	for i, o := range []Options{from, to} {
		both[i] = vault.NewSecrets(live, o.Namespace)
		if o.StateStore != StateStore {
			if both[i], err = remoteStore(o.StateStore, o.StateStoreCredentials); err != nil {
				return 0, err
			}
		}
	}
	return vault.Move(ctx, both[0], both[1])
}

func remoteStore(address, credentials string) (*vault.Remote, error) {
	u, err := url.Parse(address)
	if err != nil { // its error would repeat the address, which may hold a password
		return nil, errors.New("--state-store is no URL: write it as s3://…, as postgres://…, or as " + StateStore)
	}
	switch u.Scheme {
	case "s3":
		return bucket.New(u, credentials)
	case "postgres":
		return postgres.New(u, credentials)
	}
	return nil, fmt.Errorf("--state-store has the scheme %q: write it as s3://…, as postgres://…, or as %s", u.Scheme, StateStore)
}
