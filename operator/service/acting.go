package service

import (
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/operator/acting"
)

// NewActing makes a client that acts as the account of a workspace, which each request's context names: see [acting.In].
func NewActing(cfg *rest.Config, mapper meta.RESTMapper) (client.Client, error) {
	return client.New(acting.Service.Config(cfg), client.Options{Mapper: mapper, Scheme: runtime.NewScheme()})
}
