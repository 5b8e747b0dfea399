// Package acting lets the operator act as an account of a workspace, so that what a tenant had a say in is never written with the
// operator's own rights. It knows the accounts, makes them and takes them away.
package acting

import (
	"context"
	"errors"
	"net/http"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"

	"github.com/broletto/broletto/operator/guardrail"
)

// +kubebuilder:rbac:groups="",resources=serviceaccounts,verbs=impersonate,resourceNames=broletto-backup;broletto-service
// +kubebuilder:rbac:groups="",resources=serviceaccounts,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=rolebindings,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=clusterroles,verbs=bind,resourceNames=broletto-backup;broletto-workspace-admin;broletto-workspace-edit

// Account is one of the accounts that a workspace may have for the operator to act as. No tenant gets a token of it, and no pod runs as it.
type Account struct {
	name  string
	binds []binding // in the order in which they are made: whoever sees that the last one is in force knows it of all
}

type binding struct{ name, role string }

var (
	// Service writes the objects of service instances, with the rights of the workspace's editors.
	Service = Account{"broletto-service", []binding{{"broletto-service", guardrail.RoleWorkspaceEdit}}}
	// Backup reads and puts back the workspace's objects, with the rights of its administrators and what the platform adds to them.
	Backup = Account{"broletto-backup", []binding{
		{"broletto-backup-kinds", guardrail.RoleBackup},
		{"broletto-backup", guardrail.RoleWorkspaceAdmin},
	}}
)

// Name is the account's name in every workspace that has it.
func (a Account) Name() string { return a.name }

// Config is the operator's configuration changed to act as the account in the namespace that each request's context names: see [In]. A
// request whose context names none is not sent.
func (a Account) Config(cfg *rest.Config) *rest.Config {
	cfg = rest.CopyConfig(cfg)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return acting{a, next} })
	return cfg
}

type in struct{}

// In says in which namespace the requests of a context are made, as the account there.
func In(ctx context.Context, namespace string) context.Context {
	return context.WithValue(ctx, in{}, namespace)
}

type acting struct {
	account Account
	next    http.RoundTripper
}

func (a acting) RoundTrip(request *http.Request) (*http.Response, error) {
	namespace, _ := request.Context().Value(in{}).(string)
	if namespace == "" {
		return nil, errors.New("a request in a workspace names no account to act as")
	}
	request = request.Clone(request.Context())
	request.Header.Set(transport.ImpersonateUserHeader, "system:serviceaccount:"+namespace+":"+a.account.name)
	return a.next.RoundTrip(request)
}
