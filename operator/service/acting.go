package service

import (
	"context"
	"errors"
	"net/http"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// +kubebuilder:rbac:groups="",resources=serviceaccounts,verbs=impersonate,resourceNames=broletto-service

// NewActing makes a client that acts as a workspace's account, which each request's context names: see as. A request that names none is
// not sent, so that nothing of a template is ever written with the operator's own rights.
func NewActing(cfg *rest.Config, mapper meta.RESTMapper) (client.Client, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return acting{next} })
	return client.New(cfg, client.Options{Mapper: mapper, Scheme: runtime.NewScheme()})
}

type actingIn struct{}

// as says in which workspace a request is made, as the account there.
func as(ctx context.Context, namespace string) context.Context {
	return context.WithValue(ctx, actingIn{}, namespace)
}

type acting struct{ next http.RoundTripper }

func (a acting) RoundTrip(request *http.Request) (*http.Response, error) {
	namespace, _ := request.Context().Value(actingIn{}).(string)
	if namespace == "" {
		return nil, errors.New("a request in a workspace names no account to act as")
	}
	request = request.Clone(request.Context())
	request.Header.Set(transport.ImpersonateUserHeader, "system:serviceaccount:"+namespace+":"+AccountName)
	return a.next.RoundTrip(request)
}
