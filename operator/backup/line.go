package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/outcome"
)

const (
	// nearly is when whoever is next looks again, should nobody wake him.
	nearly = 5 * time.Second
	// meanwhile is when the others do.
	meanwhile = time.Minute
)

// passes are the backups that a pass of this process is at. What else is at work says so in its status, so that nothing is lost with the process.
type passes struct {
	lock sync.Mutex
	at   map[types.UID]bool
}

func (p *passes) leave(uid types.UID) {
	p.lock.Lock()
	defer p.lock.Unlock()
	delete(p.at, uid)
}

// begun tells whether something goes on for a backup between two passes: a mover, or a hook.
func begun(b *v1alpha1.Backup) bool {
	return b.DeletionTimestamp.IsZero() && b.Status.VerifiedAt == nil && (moving(b) || owes(b.Status.Hooks) || goesOn(readyReason(b)))
}

// idle tells whether nothing of a backup goes on after a pass that ended so.
func idle(b *v1alpha1.Backup, err error) bool {
	wait, waits := errors.AsType[*outcome.Wait](err)
	return !moving(b) && !owes(b.Status.Hooks) && !(waits && goesOn(wait.Reason))
}

func goesOn(reason string) bool {
	return reason == v1alpha1.ReasonMovingVolumes || reason == v1alpha1.ReasonRunningHooks
}

// readyReason is why a backup is Ready or not; empty: nobody has said.
func readyReason(b *v1alpha1.Backup) string {
	if c := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		return c.Reason
	}
	return ""
}

// admit lets a backup begin when it is its turn. What has begun goes on.
func (r *Backups) admit(ctx context.Context, s *scope) error {
	from := &v1alpha1.BackupRepository{}
	err := r.Client.Get(ctx, client.ObjectKey{Name: string(s.Spec.Repository)}, from)
	if apierrors.IsNotFound(err) {
		return nil // whoever opens it says so
	}
	if err != nil {
		return fmt.Errorf("reading repository %s: %w", s.Spec.Repository, err)
	}
	if !condition.True(from, v1alpha1.ConditionReady) {
		return nil // likewise
	}
	r.passes.lock.Lock()
	defer r.passes.lock.Unlock()
	if !begun(s.Backup) {
		line, now, err := r.line(ctx, from, s.Backup)
		if err != nil {
			return err
		}
		if place := slices.IndexFunc(line, func(b *v1alpha1.Backup) bool { return b.UID == s.UID }); place >= now {
			return waits(from, place)
		}
	}
	if r.passes.at == nil {
		r.passes.at = map[types.UID]bool{}
	}
	r.passes.at[s.UID] = true
	return nil
}

// waits tells a backup about how many come before it: not exactly, since that would have all of them written to with each that ends.
func waits(from *v1alpha1.BackupRepository, place int) error {
	after, before := meanwhile, "500 or more others come first"
	for _, bound := range []int{500, 100, 20, 5} {
		if place < bound {
			before = fmt.Sprintf("fewer than %d others come first", bound)
		}
	}
	if place == 0 {
		after, before = nearly, "it is next"
	}
	return &outcome.Wait{Reason: v1alpha1.ReasonWaiting, After: after, Message: fmt.Sprintf(
		"backup repository %s takes %d backups at once, and not all of them of one tenant: %s", from.Name, from.AtOnce(), before)}
}

// line are the backups that wait for their turn in a repository, in order, and how many of the first may begin now. The one that asks is in it,
// if there is one. passes is locked.
func (r *Backups) line(ctx context.Context, from *v1alpha1.BackupRepository, asks *v1alpha1.Backup) (line []*v1alpha1.Backup, now int, err error) {
	var list v1alpha1.BackupList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, 0, fmt.Errorf("listing the backups in repository %s: %w", from.Name, err)
	}
	var all, waiting, working []*v1alpha1.Backup
	for i := range list.Items {
		b := &list.Items[i]
		if string(b.Spec.Repository) != from.Name || asks != nil && b.UID == asks.UID {
			continue
		}
		all = append(all, b)
		switch {
		case r.passes.at[b.UID] || begun(b):
			working = append(working, b)
		case b.Status.VerifiedAt == nil && b.DeletionTimestamp.IsZero() && (readyReason(b) == v1alpha1.ReasonWaiting || readyReason(b) == ""):
			waiting = append(waiting, b)
		}
	}
	if asks != nil {
		waiting = append(waiting, asks)
	}
	line, now = turns(waiting, working, all, from.AtOnce())
	return line, now, nil
}

// lane is what a tenant has of one sort: what its policies made, or what somebody wrote.
type lane struct {
	tenant string
	policy bool
}

func laneOf(b *v1alpha1.Backup) lane { return lane{b.Namespace, b.Labels[v1alpha1.LabelPolicy] != ""} }

func tenantOf(b *v1alpha1.Backup) string { return b.Namespace }

// turns puts those that wait in order, and says how many of the first may begin beside those at work. First comes the tenant that has fewest at
// work, then the one that was served the longest ago, then what has waited longest; and of a tenant so what policies made and what somebody
// wrote. No tenant has all places, unless there is but one.
func turns(waiting, working, all []*v1alpha1.Backup, atOnce int) (line []*v1alpha1.Backup, now int) {
	line = slices.SortedFunc(slices.Values(waiting), older)
	rank(line, working, all, laneOf)
	ranks := rank(line, working, all, tenantOf)
	for now < len(line) && len(working)+now < atOnce && ranks[line[now]] < max(atOnce-1, 1) {
		now++
	}
	return line, now
}

// rank sorts a line that has an order already, fairly among groups: by how many of its group are at work or come first, then by when the group
// was served last. The ranks are those numbers.
func rank[G comparable](line, working, all []*v1alpha1.Backup, group func(*v1alpha1.Backup) G) map[*v1alpha1.Backup]int {
	count, served, ranks := map[G]int{}, map[G]time.Time{}, map[*v1alpha1.Backup]int{}
	for _, b := range working {
		count[group(b)]++
	}
	for _, b := range all {
		served[group(b)] = latest(served[group(b)], ended(b))
	}
	for _, b := range line {
		ranks[b] = count[group(b)]
		count[group(b)]++
	}
	slices.SortStableFunc(line, func(a, b *v1alpha1.Backup) int {
		return cmp.Or(cmp.Compare(ranks[a], ranks[b]), served[group(a)].Compare(served[group(b)]), older(a, b))
	})
	return ranks
}

// ended is when a backup was made or has failed; zero: neither.
func ended(b *v1alpha1.Backup) (at time.Time) {
	if b.Status.VerifiedAt != nil {
		at = b.Status.VerifiedAt.Time
	}
	if c := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionStalled); c != nil {
		at = latest(at, c.LastTransitionTime.Time)
	}
	return at
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func older(a, b *v1alpha1.Backup) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name))
}

// ends tells of backups that have left their place to another.
var ends = predicate.Funcs{
	CreateFunc: func(event.CreateEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := readyReason(e.ObjectOld.(*v1alpha1.Backup)), readyReason(e.ObjectNew.(*v1alpha1.Backup))
		return before != after && after != v1alpha1.ReasonWaiting && !goesOn(after)
	},
}

// next are those that may begin when a backup has left its place.
func (r *Backups) next(ctx context.Context, o client.Object) (out []reconcile.Request) {
	from := &v1alpha1.BackupRepository{}
	if err := r.Client.Get(ctx, client.ObjectKey{Name: string(o.(*v1alpha1.Backup).Spec.Repository)}, from); err != nil {
		return nil // they look again themselves
	}
	r.passes.lock.Lock()
	defer r.passes.lock.Unlock()
	line, now, err := r.line(ctx, from, nil)
	if err != nil {
		return nil
	}
	for _, b := range line[:now] {
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(b)})
	}
	return out
}
