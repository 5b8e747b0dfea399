// Package concern finds whom a change concerns: the objects that are to be looked at again since another one changed.
package concern

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Requests are for the objects of the list's kind that fit, in a namespace or, if that is empty, in all. They are the cache's own: fits may not
// change them. The list is an empty one, and is filled. What cannot be listed is logged: a watch has nobody to return an error to.
func Requests[O client.Object](ctx context.Context, c client.Reader, list client.ObjectList, namespace string, fits func(O) bool) (out []reconcile.Request) {
	err := c.List(ctx, list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency)
	if err == nil {
		err = meta.EachListItem(list, func(item runtime.Object) error {
			if o, is := item.(O); is && fits(o) {
				out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(o)})
			}
			return nil
		})
	}
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "listing what a change concerns", "list", fmt.Sprintf("%T", list), "namespace", namespace)
	}
	return out
}
