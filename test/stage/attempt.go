package stage

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/test/cluster"
)

// Request is a real request to the API server.
type Request func(context.Context, client.Client) error

// Attempt is a request, and whether the API server lets it pass.
type Attempt struct {
	reason  string
	request Request
	passes  bool
}

// Attempts are requests by what they do.
type Attempts map[string]Attempt

// Passes is a request that somebody may make.
func Passes(reason string, request Request) Attempt { return Attempt{reason, request, true} }

// Forbidden is a request that somebody may not make.
func Forbidden(reason string, request Request) Attempt { return Attempt{reason, request, false} }

// Try makes every attempt as somebody and fails the test where the API server answers otherwise.
func (s *Stage) Try(who string, cfg *rest.Config, attempts Attempts) {
	s.Helper()
	c := cluster.Client(s, cfg)
	for what, attempt := range attempts {
		err := attempt.request(s.Context(), c)
		if attempt.passes && err != nil {
			s.Errorf("%s cannot: %s (%s): %v", who, what, attempt.reason, err)
		}
		if !attempt.passes && !apierrors.IsForbidden(err) {
			s.Errorf("%s, want forbidden: %s (%s): %v", who, what, attempt.reason, err)
		}
	}
}

// Making creates an object.
func Making(o client.Object) Request {
	return func(ctx context.Context, c client.Client) error {
		return c.Create(ctx, o.DeepCopyObject().(client.Object))
	}
}

// Reading gets an object.
func Reading(o client.Object) Request {
	return func(ctx context.Context, c client.Client) error {
		return c.Get(ctx, client.ObjectKeyFromObject(o), o.DeepCopyObject().(client.Object))
	}
}

// Listing lists a kind in a namespace, or in all.
func Listing(list client.ObjectList, namespace string) Request {
	return func(ctx context.Context, c client.Client) error {
		return c.List(ctx, list.DeepCopyObject().(client.ObjectList), client.InNamespace(namespace))
	}
}

// Patching labels an object.
func Patching(o client.Object) Request {
	return func(ctx context.Context, c client.Client) error {
		return c.Patch(ctx, o.DeepCopyObject().(client.Object), client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"eve":"was-here"}}}`)))
	}
}

// Deleting deletes an object.
func Deleting(o client.Object) Request {
	return func(ctx context.Context, c client.Client) error {
		return c.Delete(ctx, o.DeepCopyObject().(client.Object))
	}
}
