package objects

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/broletto/broletto/operator/acting"
)

const (
	lists     = 8       // how many resources are listed at once
	firstPage = 25      // objects; how large they are is then known
	page      = 500     // objects at most
	pageBytes = 8 << 20 // of JSON, about, at most
)

// LeftOut is what a backup lacks, why, and the way out.
type LeftOut struct{ What, Why string }

// Collect visits the objects of a workspace: resources in the order of their names, objects of each in the order of theirs. Whatever one
// of the administrators may make and the account may not read is left out, and told.
func (c *Client) Collect(ctx context.Context, namespace string, administrators []May, visit func(Resource, *unstructured.Unstructured) error) ([]LeftOut, error) {
	if err := c.ready(ctx, namespace); err != nil {
		return nil, err
	}
	all, leftOut, err := c.discover(ctx)
	if err != nil {
		return nil, err
	}
	var resources []*listing
	for _, s := range all {
		if s.belongs() {
			resources = append(resources, &listing{served: s, pages: make(chan []*unstructured.Unstructured)})
		}
	}
	slices.SortFunc(resources, func(a, b *listing) int { return cmp.Compare(a.String(), b.String()) })

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		readers, ctx := errgroup.WithContext(ctx)
		readers.SetLimit(lists) // begun in order, so that what is visited next is being read
		for _, l := range resources {
			readers.Go(func() error { return c.read(ctx, namespace, l, administrators) })
		}
		return readers.Wait()
	})
	g.Go(func() error {
		for _, l := range resources {
			for {
				objects, more, err := next(ctx, l.pages)
				if err != nil {
					return err
				}
				if !more {
					break
				}
				for _, o := range objects {
					if err := visit(l.Resource, o); err != nil {
						return err
					}
				}
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, l := range resources {
		if l.leftOut != nil {
			leftOut = append(leftOut, *l.leftOut)
		}
	}
	return leftOut, nil
}

// listing is a resource and what is read of it. Its pages are closed when all is read, and left open on an error.
type listing struct {
	*served
	pages   chan []*unstructured.Unstructured
	leftOut *LeftOut
}

func next(ctx context.Context, pages chan []*unstructured.Unstructured) ([]*unstructured.Unstructured, bool, error) {
	select {
	case objects, more := <-pages:
		return objects, more, nil
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
}

// read lists a resource as the workspace's account.
func (c *Client) read(ctx context.Context, namespace string, l *listing, administrators []May) error {
	err := list(acting.In(ctx, namespace), c.acting.Resource(l.versioned()).Namespace(namespace), func(page []unstructured.Unstructured) error {
		var kept []*unstructured.Unstructured
		for i := range page {
			if o := &page[i]; remade(l.Resource, o) == "" && o.GetDeletionTimestamp() == nil && !finished(l.Resource, o) {
				kept = append(kept, lean(o, l.status[l.Version]))
			}
		}
		select {
		case l.pages <- kept:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	switch {
	case apierrors.IsForbidden(err):
		l.leftOut, err = c.forbidden(ctx, l.Resource, administrators)
	case apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err): // its definition has gone meanwhile
		err = nil
	case err != nil:
		return fmt.Errorf("listing %s in %s: %w", l, namespace, err)
	}
	close(l.pages)
	return err
}

// goesOn is the token by which a list goes on that took longer than the API server remembers.
func goesOn(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return status.Status().Continue
	}
	return ""
}

// forbidden tells what is left out of a resource that the account may not read: nothing, if no administrator may make any.
func (c *Client) forbidden(ctx context.Context, r Resource, administrators []May) (*LeftOut, error) {
	for _, may := range administrators {
		err := may(ctx, "create", r)
		if err == nil {
			return &LeftOut{r.String(), fmt.Sprintf("an administrator may make them and account %s may not read them: ask the platform to "+
				"add them to a ClusterRole labelled broletto.dev/backup: \"true\"", acting.Backup.Name())}, nil
		}
		if !apierrors.IsForbidden(err) {
			return nil, err
		}
	}
	return nil, nil
}

// lean is an object without what the API server and controllers write on it. Its UID stays: other objects name it as their owner.
func lean(o *unstructured.Unstructured, status bool) *unstructured.Unstructured {
	for _, field := range []string{"managedFields", "resourceVersion", "generation", "creationTimestamp", "selfLink"} {
		unstructured.RemoveNestedField(o.Object, "metadata", field)
	}
	if status {
		delete(o.Object, "status")
	}
	return o
}

// size is about how many bytes of JSON a value is.
func size(value any) int {
	switch value := value.(type) {
	case map[string]any:
		sum := 2
		for key, v := range value {
			sum += len(key) + 4 + size(v)
		}
		return sum
	case []any:
		sum := 2
		for _, v := range value {
			sum += 1 + size(v)
		}
		return sum
	case string:
		return len(value) + 2
	}
	return 8
}

// ours tells whether a label or annotation is one of Broletto's.
func ours(key string) bool { return strings.HasPrefix(key, "broletto.dev/") }
