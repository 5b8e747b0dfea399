package stack

import (
	"context"
	"encoding/json"

	"k8s.io/apimachinery/pkg/types"

	"github.com/broletto/broletto/operator/run"
	"github.com/broletto/broletto/operator/vault"
)

// Vault is what of the vault a decision about a stack needs; runners reach the rest through the broker. It is *[vault.Vault].
type Vault interface {
	// Key is secret, and of this stack alone.
	Key(ctx context.Context, s vault.Stack) ([]byte, error)
	// KnownKey is Key as it was a moment ago, and costs no request most times.
	KnownKey(ctx context.Context, s vault.Stack) ([]byte, error)
	// PutOrder keeps what a run has to do; a later one replaces it.
	PutOrder(ctx context.Context, s vault.Stack, run types.UID, o run.Order) error
	// Report is how a run ended; nil: it has not said so.
	Report(ctx context.Context, s vault.Stack, run types.UID) (*run.Report, error)
	// AppliedInputs are the inputs of what was applied last, and the names of the secret ones; [vault.ErrNotFound]: nothing ever was.
	AppliedInputs(ctx context.Context, s vault.Stack) (map[string]json.RawMessage, []string, error)
	// Lock is who holds the state; nil: nobody.
	Lock(ctx context.Context, s vault.Stack) (*vault.Lock, error)
	// Release gives the lock of a run back; that of another run stays.
	Release(ctx context.Context, s vault.Stack, run types.UID) error
	// ForgetRun and Forget delete all that is kept of a run, and of a stack. Of nothing, they succeed.
	ForgetRun(ctx context.Context, s vault.Stack, run types.UID) error
	Forget(ctx context.Context, s vault.Stack) error
}

var _ Vault = (*vault.Vault)(nil)
