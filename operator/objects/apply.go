package objects

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"

	"github.com/broletto/broletto/operator/acting"
)

const (
	writers      = 16
	largest      = 3 << 19 // bytes of an object, about: etcd takes no more
	fieldManager = "broletto-backup"
)

// Conflicts says what becomes of an object that stands there and differs.
type Conflicts string

// Ways with conflicts.
const (
	Skip    Conflicts = "Skip"    // it stays
	Replace Conflicts = "Replace" // it is updated; a Job or a pod, which cannot be, is deleted and made anew
)

// Order is what is to be put back, and how.
type Order struct {
	Namespace string // to put objects in
	From      string // that they were in
	Conflicts Conflicts
	Bindings  bool // whether roles and role bindings are put back too
	DryRun    bool // nothing is written; each object is judged by itself, not what they are together
	May       May  // what whoever asked for it may do in Namespace
	Names     int  // how many objects the report names of each outcome
}

// Page is objects of one resource.
type Page struct {
	Resource Resource
	Objects  []*unstructured.Unstructured
}

// Apply puts objects back as the account of the namespace, which the operator must have made. Pages come ordered by Wave, and are read as
// they are needed. Whatever the pages say, nothing is written in another namespace or in the cluster; what is refused is told, and the rest
// goes on. After an error, the same call does what is left to do.
func (c *Client) Apply(ctx context.Context, o Order, pages iter.Seq2[Page, error]) (Report, error) {
	if err := c.ready(ctx, o.Namespace); err != nil {
		return Report{}, err
	}
	all, _, err := c.discover(ctx)
	if err != nil {
		return Report{}, err
	}
	a := &applying{Order: o, client: c.acting, served: all, successors: map[types.UID]successor{}}
	a.may, a.names = once(o.May), o.Names
	err = a.run(ctx, pages)
	return a.report, err
}

// applying is one Apply under way.
type applying struct {
	Order
	ledger
	client  dynamic.Interface
	served  map[schema.GroupResource]*served
	may     May
	planned sync.Map // rules of the Roles that were let pass, by name
	stood   sync.Map // what stands in the namespace, by Resource

	owners     sync.Mutex
	successors map[types.UID]successor // by the UID that the archive names
	orphans    []orphan
}

// successor is the object that stands for one of the archive.
type successor struct {
	group, kind, name string
	uid               types.UID
}

// orphan is an object that had owners.
type orphan struct {
	Resource
	name   string
	uid    types.UID
	owners []metav1.OwnerReference
}

func (a *applying) run(ctx context.Context, pages iter.Seq2[Page, error]) error {
	serial, wave := 0, 0
	g, inWave := errgroup.WithContext(ctx)
	g.SetLimit(writers)
	for p, err := range pages {
		if err != nil {
			return errors.Join(err, g.Wait())
		}
		if now := Wave(p.Resource); now != wave {
			if err := g.Wait(); err != nil {
				return err
			}
			wave = now
			g, inWave = errgroup.WithContext(ctx)
			g.SetLimit(writers)
		}
		for _, o := range p.Objects {
			serial++
			number := serial
			g.Go(func() error { return a.one(inWave, number, p.Resource, o) })
		}
		if inWave.Err() != nil {
			break
		}
	}
	if err := g.Wait(); err != nil || a.DryRun {
		return err
	}
	return a.adopt(ctx)
}

// one puts one object back and enters what became of it.
func (a *applying) one(ctx context.Context, serial int, r Resource, o *unstructured.Unstructured) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	out, err := a.put(ctx, r, o)
	why, isRefused := refusedBy(err, r)
	if err != nil && !isRefused {
		return fmt.Errorf("putting %s %q back in %s: %w", r, o.GetName(), a.Namespace, err)
	}
	if isRefused {
		out = refused
	}
	a.enter(serial, r, o.GetName(), out, why)
	return nil
}

func (a *applying) put(ctx context.Context, claimed Resource, o *unstructured.Unstructured) (outcome, error) {
	r, status, err := a.judge(claimed, o)
	if err != nil {
		return refused, err
	}
	rights := r.String() == roles || r.String() == roleBindings
	if rights && !a.Bindings {
		return withheld, nil
	}
	if err := a.may(ctx, "create", r); err != nil {
		return refused, err
	}
	want := a.moved(bare(r, o, status))
	switch r.String() {
	case roles:
		err = a.role(ctx, want)
	case roleBindings:
		err = a.binding(ctx, want)
	}
	if err != nil {
		return refused, err
	}
	live, out, err := a.write(ctx, r, want, status)
	if err == nil && !a.DryRun && live != nil {
		a.remember(r, o, live, out)
	}
	return out, err
}

// judge finds the resource of an entry among those of the cluster. It believes nothing that the entry says.
func (a *applying) judge(claimed Resource, o *unstructured.Unstructured) (r Resource, status bool, err error) {
	s := a.served[claimed.groupResource()]
	version := o.GroupVersionKind().Version
	metadata, isMap := o.Object["metadata"].(map[string]any)
	switch {
	case s == nil:
		return r, false, refusal("this cluster has no namespaced resource of that name: ask the platform to install it")
	case !s.belongs():
		return r, false, refusal("objects of this kind are not put back")
	case o.GroupVersionKind().Group != s.Group || o.GetKind() != s.Kind:
		return r, false, refusal(fmt.Sprintf("it calls itself %.63q of %.63q", o.GetKind(), o.GetAPIVersion()))
	case !slices.Contains(s.versions, version):
		return r, false, refusal(fmt.Sprintf("this cluster serves %s in %s, not in %.63q: ask the platform to serve that version", s, strings.Join(s.versions, ", "), version))
	case !isMap || o.GetName() == "" || len(o.GetName()) > 253 || len(content.IsPathSegmentName(o.GetName())) > 0:
		return r, false, refusal("it has no name that an object can have")
	case metadata["namespace"] != nil && metadata["namespace"] != a.From:
		return r, false, refusal(fmt.Sprintf("it is of namespace %.63q, not of %s", fmt.Sprint(metadata["namespace"]), a.From))
	case size(o.Object) > largest:
		return r, false, refusal("it is larger than the cluster takes objects")
	}
	r = s.Resource
	r.Version = version
	if why := remade(r, o); why != "" {
		return r, false, refusal("it is not put back: " + why)
	}
	return r, s.status[version], nil
}

// moved is a bare object in its new place. Labels and annotations of ours tell of the old one, and are worth nothing in another.
func (a *applying) moved(o *unstructured.Unstructured) *unstructured.Unstructured {
	o.SetNamespace(a.Namespace)
	if a.Namespace != a.From {
		for _, which := range []string{"labels", "annotations"} {
			forget(o, which, ours)
			if all, found, _ := unstructured.NestedMap(o.Object, "metadata", which); found && len(all) == 0 {
				unstructured.RemoveNestedField(o.Object, "metadata", which)
			}
		}
	}
	return o
}

// write creates an object, or does with the one that stands there what is to be done in a conflict. It returns what stands there then.
func (a *applying) write(ctx context.Context, r Resource, want *unstructured.Unstructured, status bool) (live *unstructured.Unstructured, out outcome, err error) {
	s, found, err := a.stands(ctx, r, status, want.GetName())
	if err != nil {
		return nil, refused, err
	}
	if found {
		sum, err := digestOf(want.Object)
		if err == nil && sum == s.sum {
			return s.object(want.GetName()), same, nil
		}
		live, out, err = a.met(ctx, r, want, status)
		if !apierrors.IsNotFound(err) {
			return live, out, err
		}
	}
	err = again(ctx, func() error {
		live, err = a.at(r).Create(a.as(ctx), want, metav1.CreateOptions{DryRun: a.dry(), FieldManager: fieldManager})
		return err
	})
	if !apierrors.IsAlreadyExists(err) {
		if a.DryRun && a.follows(err) {
			return nil, created, nil
		}
		if a.DryRun && r.String() == "serviceaccounts" && err == nil {
			a.planned.Store("account "+want.GetName(), nil)
		}
		return live, created, err
	}
	return a.met(ctx, r, want, status)
}

// met meets the object that stands there, as often as somebody else writes it meanwhile.
func (a *applying) met(ctx context.Context, r Resource, want *unstructured.Unstructured, status bool) (live *unstructured.Unstructured, out outcome, err error) {
	err = again(ctx, func() error {
		live, out, err = a.meet(ctx, r, want, status)
		return err
	})
	return live, out, err
}

// follows tells whether a dry run lacks only what would have been put back before. The API server says of no kind what it missed but in words.
func (a *applying) follows(err error) bool {
	if !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) {
		return false
	}
	missing := false
	a.planned.Range(func(key, _ any) bool {
		missing = strings.Contains(err.Error(), `"`+strings.TrimPrefix(key.(string), "account ")+`" not found`)
		return !missing
	})
	return missing
}

// meet compares an object with the one that stands there.
func (a *applying) meet(ctx context.Context, r Resource, want *unstructured.Unstructured, status bool) (*unstructured.Unstructured, outcome, error) {
	live, err := a.at(r).Get(a.as(ctx), want.GetName(), getNow)
	switch {
	case err != nil:
		return nil, refused, err
	case live.GetDeletionTimestamp() != nil:
		return nil, refused, refusal("one of that name is being deleted: try again when it is gone")
	case equality.Semantic.DeepEqual(want.Object, bare(r, live, status).Object):
		return live, same, nil
	case a.Conflicts != Replace:
		return live, skipped, nil
	case remade(r, live) != "":
		return nil, refused, refusal("one of that name is there, and " + remade(r, live))
	case r.String() == "pods" || r.String() == "jobs.batch":
		return a.anew(ctx, r, want, live)
	}
	if err := a.may(ctx, "update", r); err != nil {
		return nil, refused, err
	}
	updated, err := a.at(r).Update(a.as(ctx), grafted(r, want, live), metav1.UpdateOptions{DryRun: a.dry(), FieldManager: fieldManager})
	switch {
	case err != nil:
		return nil, refused, err
	case equality.Semantic.DeepEqual(bare(r, updated, status).Object, bare(r, live, status).Object):
		return updated, same, nil // it was written in another way
	}
	return updated, replaced, nil
}

// anew deletes what cannot be changed, and makes it again.
func (a *applying) anew(ctx context.Context, r Resource, want, live *unstructured.Unstructured) (*unstructured.Unstructured, outcome, error) {
	if err := a.may(ctx, "delete", r); err != nil {
		return nil, refused, err
	}
	uid, now := live.GetUID(), int64(0)
	err := a.at(r).Delete(a.as(ctx), live.GetName(), metav1.DeleteOptions{
		DryRun: a.dry(), Preconditions: &metav1.Preconditions{UID: &uid}, GracePeriodSeconds: &now, PropagationPolicy: new(metav1.DeletePropagationBackground),
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, refused, err
	}
	if a.DryRun {
		return nil, replaced, nil
	}
	var made *unstructured.Unstructured
	err = again(ctx, func() (err error) { // by itself: all of it once more would find nothing to replace
		made, err = a.at(r).Create(a.as(ctx), want, metav1.CreateOptions{FieldManager: fieldManager})
		return err
	})
	if apierrors.IsAlreadyExists(err) {
		return nil, refused, refusal("one of that name is being deleted: try again when it is gone")
	}
	return made, replaced, err
}

// remember notes which object stands for one of the archive, and whose it was.
func (a *applying) remember(r Resource, o, live *unstructured.Unstructured, out outcome) {
	a.owners.Lock()
	defer a.owners.Unlock()
	if o.GetUID() != "" {
		a.successors[o.GetUID()] = successor{r.Group, r.Kind, live.GetName(), live.GetUID()}
	}
	if owners := o.GetOwnerReferences(); out != skipped && len(owners) > 0 && len(live.GetOwnerReferences()) == 0 {
		a.orphans = append(a.orphans, orphan{r, live.GetName(), live.GetUID(), owners})
	}
}

// adopt gives what was put back its owners, where they were put back too. An owner that the archive does not hold owns nothing.
func (a *applying) adopt(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(writers)
	for _, o := range a.orphans {
		var owners []metav1.OwnerReference
		for _, ref := range o.owners {
			s, known := a.successors[ref.UID]
			gv, err := schema.ParseGroupVersion(ref.APIVersion)
			if known && err == nil && s.group == gv.Group && s.kind == ref.Kind && s.name == ref.Name && s.uid != o.uid {
				ref.UID = s.uid
				owners = append(owners, ref)
			}
		}
		if len(owners) == 0 {
			continue
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": o.uid, "ownerReferences": owners}})
		if err != nil {
			return err
		}
		g.Go(func() error {
			err := again(ctx, func() error {
				_, err := a.at(o.Resource).Patch(a.as(ctx), o.name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
				return err
			})
			if _, isRefused := refusedBy(err, o.Resource); err == nil || isRefused || apierrors.IsNotFound(err) {
				return nil // it stays its own
			}
			return fmt.Errorf("giving %s %q in %s its owners: %w", o.Resource, o.name, a.Namespace, err)
		})
	}
	return g.Wait()
}

func (a *applying) as(ctx context.Context) context.Context { return acting.In(ctx, a.Namespace) }

func (a *applying) at(r Resource) dynamic.ResourceInterface {
	return a.client.Resource(r.versioned()).Namespace(a.Namespace)
}

func (a *applying) dry() []string {
	if a.DryRun {
		return []string{metav1.DryRunAll}
	}
	return nil
}

var getNow = metav1.GetOptions{}

// again tries as long as the API server may come to another answer: about twenty seconds.
func again(ctx context.Context, try func() error) (err error) {
	backoff := wait.Backoff{Duration: 50 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 9}
	for {
		err = try()
		if err == nil || !passing(err) || backoff.Steps == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(backoff.Step()):
		}
	}
}

// passing tells whether an error may pass. A quota that many writers use at once is a conflict.
func passing(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsTooManyRequests(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err) || utilnet.IsConnectionRefused(err) || utilnet.IsConnectionReset(err) || utilnet.IsProbableEOF(err)
}

// refusal is why we do not put an object back.
type refusal string

func (r refusal) Error() string { return string(r) }

// refusedBy says why an object was refused, by us or the API server, and what to do; not so for an error that ends the whole. What a Secret
// holds is not said, so of what the API server has against one only its kind and the fields are.
func refusedBy(err error, r Resource) (why string, isRefused bool) {
	if own, isOurs := errors.AsType[refusal](err); isOurs {
		return string(own), true
	}
	status := apierrors.APIStatus(nil)
	if !errors.As(err, &status) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) || apierrors.IsUnauthorized(err) || apierrors.IsNotFound(err) {
		return "", false
	}
	why = err.Error()
	if r.String() == "secrets" && (apierrors.IsInvalid(err) || apierrors.IsBadRequest(err)) {
		why = string(status.Status().Reason)
		if details := status.Status().Details; details != nil {
			for _, cause := range details.Causes {
				why += ", " + cause.Field + ": " + string(cause.Type)
			}
		}
	}
	switch {
	case apierrors.IsForbidden(err) && strings.Contains(why, "exceeded quota"):
		why += "; free some, or raise the workspace's quota"
	case apierrors.IsForbidden(err) && strings.Contains(why, acting.Backup.Name()+`" cannot`):
		why += `; ask the platform to add it to a ClusterRole labelled broletto.dev/backup: "true"`
	case passing(err) && !apierrors.IsInternalError(err):
		return "", false
	}
	return why, true
}
