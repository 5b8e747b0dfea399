package objects

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// standing is what is known of an object that stood in the namespace when the first of its resource was to be put back. What is there is not
// made in vain: such an attempt is a request more, and what it would have used of a quota stays taken until that is counted anew.
type standing struct {
	uid   types.UID
	owned bool // it has owners
	sum   digest
}

// digest is of what of an object is compared. Those that are alike in all but how they are written may have different ones.
type digest [sha256.Size]byte

func digestOf(bare map[string]any) (digest, error) {
	text, err := json.Marshal(bare)
	return sha256.Sum256(text), err
}

// stands lists a resource once, and finds an object of that name.
func (a *applying) stands(ctx context.Context, r Resource, status bool, name string) (s standing, found bool, err error) {
	listed, _ := a.stood.LoadOrStore(r, sync.OnceValues(func() (map[string]standing, error) { return a.look(ctx, r, status) }))
	all, err := listed.(func() (map[string]standing, error))()
	s, found = all[name]
	return s, found, err
}

// look lists a resource. Where the account may not, nobody knows what stands there until it is made.
func (a *applying) look(ctx context.Context, r Resource, status bool) (map[string]standing, error) {
	out := map[string]standing{}
	err := list(a.as(ctx), a.at(r), func(page []unstructured.Unstructured) error {
		for i := range page {
			o := &page[i]
			s := standing{uid: o.GetUID(), owned: len(o.GetOwnerReferences()) > 0}
			if name := o.GetName(); o.GetDeletionTimestamp() == nil {
				strip(r, o, status)
				var err error
				if s.sum, err = digestOf(o.Object); err != nil {
					return fmt.Errorf("looking at %s %q: %w", r, name, err)
				}
				out[name] = s
			}
		}
		return nil
	})
	if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
		return nil, nil
	}
	return out, err
}

// object is as much of it as is needed of what is left alone.
func (s standing) object(name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{}}
	o.SetName(name)
	o.SetUID(s.uid)
	if s.owned {
		o.SetOwnerReferences([]metav1.OwnerReference{{}})
	}
	return o
}

// list visits the objects of a resource page by page.
func list(ctx context.Context, from lister, visit func([]unstructured.Unstructured) error) error {
	options := metav1.ListOptions{Limit: firstPage}
	for {
		var l *unstructured.UnstructuredList
		err := again(ctx, func() (err error) {
			l, err = from.List(ctx, options)
			return err
		})
		if apierrors.IsResourceExpired(err) && options.Continue != "" && goesOn(err) != "" { // it took long: the rest as it is now
			options.Continue = goesOn(err)
			continue
		}
		if err != nil {
			return err
		}
		bytes := 0
		for i := range l.Items {
			bytes += size(l.Items[i].Object)
		}
		options.Continue, options.Limit = l.GetContinue(), int64(min(page, max(1, pageBytes*len(l.Items)/max(1, bytes))))
		if err := visit(l.Items); err != nil || options.Continue == "" {
			return err
		}
	}
}

type lister interface {
	List(ctx context.Context, options metav1.ListOptions) (*unstructured.UnstructuredList, error)
}
