package backup

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/depot"
	"github.com/broletto/broletto/operator/outcome"
)

// Policies has workspaces backed up on schedule, lets go what is kept no longer, rehearses restores, and watches promises.
type Policies struct {
	Client client.Client
	Depot  *depot.Depot
	Now    func() time.Time
}

// Reconcile does what is due, and tells how the policy stands.
func (r *Policies) Reconcile(ctx context.Context, p *v1alpha1.BackupPolicy) (ctrl.Result, error) {
	if !p.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // its backups stay
	}
	before := p.DeepCopy()
	next, err := r.converge(ctx, p)
	depot.Log(ctx, err)
	return outcome.Settle(ctx, r.Client, before, p, "what the policy promises holds", next, err)
}

func (r *Policies) converge(ctx context.Context, p *v1alpha1.BackupPolicy) (time.Duration, error) {
	now := r.Now().Truncate(time.Second)
	h, err := r.home(ctx, p)
	if err != nil {
		return 0, err
	}
	low := r.floors(ctx, p, h, now)
	first, err := r.run(ctx, p, h, now)
	others, short := r.copies(ctx, p, h, now)
	if err := cmp.Or(err, tellPolicy(p, now), low, short); err != nil { // what is in the way says more than what it breaks
		return 0, err
	}
	return max(earliest(first, others).Sub(r.Now()), time.Second), nil
}

// run does what is due in the policy's own repository, and says when something falls due there next.
func (r *Policies) run(ctx context.Context, p *v1alpha1.BackupPolicy, h home, now time.Time) (time.Time, error) {
	s, err := r.observe(ctx, p, h, now)
	if err != nil {
		return time.Time{}, err
	}
	step := decide(p, s)
	p.Status.Workspaces = step.rows
	p.Status.NextRun = nil
	if next := s.calendar.next(now); !next.IsZero() {
		p.Status.NextRun = &metav1.Time{Time: next}
	}
	return step.next, cmp.Or(r.begin(ctx, p, step), r.drill(ctx, p, step), r.remove(ctx, p, step))
}

// home is what a policy finds where it is, in whatever repository it backs up.
type home struct {
	consortium *v1alpha1.Consortium
	calendar   calendar
	unreadable error    // why there is no calendar
	workspaces []string // that it backs up, sorted
	classes    map[string]v1alpha1.DataClass
}

// home reads what is there whatever the repository.
func (r *Policies) home(ctx context.Context, p *v1alpha1.BackupPolicy) (h home, err error) {
	tenant := &v1alpha1.Tenant{}
	err = r.Client.Get(ctx, client.ObjectKey{Name: p.Namespace}, tenant)
	if apierrors.IsNotFound(err) {
		return h, outcome.Stalled(v1alpha1.ReasonNotAHomeNamespace, "namespace %s is no tenant's home: write it in a home namespace", p.Namespace)
	}
	if err != nil {
		return h, fmt.Errorf("reading tenant %s: %w", p.Namespace, err)
	}
	h.consortium = &v1alpha1.Consortium{}
	if err := r.Client.Get(ctx, client.ObjectKey{Name: tenant.Spec.Consortium}, h.consortium); err != nil {
		return h, fmt.Errorf("reading consortium %s: %w", tenant.Spec.Consortium, err)
	}
	h.calendar, h.unreadable = newCalendar(p.Spec.Schedule, cmp.Or(p.Spec.TimeZone, h.consortium.Spec.TimeZone))
	h.classes, err = r.workspaces(ctx, p)
	h.workspaces = slices.Sorted(maps.Keys(h.classes))
	return h, err
}

// observe reads everything else that a decision rests on.
func (r *Policies) observe(ctx context.Context, p *v1alpha1.BackupPolicy, h home, now time.Time) (s standing, err error) {
	if _, _, err := r.Depot.Find(ctx, p.Spec.Repository, p.Namespace); err != nil {
		return s, err
	}
	if h.unreadable != nil {
		return s, &outcome.Stall{Reason: v1alpha1.ReasonInvalidSchedule, Err: h.unreadable}
	}
	s.now, s.calendar, s.workspaces, s.classes = now, h.calendar, h.workspaces, h.classes
	var backups v1alpha1.BackupList
	if err := r.Client.List(ctx, &backups, client.InNamespace(p.Namespace)); err != nil {
		return s, fmt.Errorf("listing the backups of %s: %w", p.Namespace, err)
	}
	s.taken = map[string]bool{}
	for _, b := range backups.Items {
		if b.Labels[v1alpha1.LabelPolicy] != p.Name {
			s.taken[b.Name] = true
		}
	}
	for _, b := range backups.Items {
		if b.Spec.Repository == p.Spec.Repository {
			s.backups = append(s.backups, b)
		} else {
			s.elsewhere = append(s.elsewhere, b)
		}
	}
	var restores v1alpha1.RestoreList
	if err := r.Client.List(ctx, &restores, client.InNamespace(p.Namespace), client.MatchingLabels{v1alpha1.LabelPolicy: p.Name}); err != nil {
		return s, fmt.Errorf("listing the drills of policy %s: %w", p.Name, err)
	}
	s.restores = restores.Items
	return s, nil
}

// selects tells which workspaces a policy is for.
func selects(p *v1alpha1.BackupPolicy) (func(*v1alpha1.Workspace) bool, error) {
	if p.Spec.Selector == nil {
		return func(w *v1alpha1.Workspace) bool {
			return slices.Contains(p.Spec.Workspaces, v1alpha1.WorkspaceName(w.Name))
		}, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(p.Spec.Selector)
	return func(w *v1alpha1.Workspace) bool {
		return selector.Matches(labels.Set(w.Labels)) && w.Labels[v1alpha1.LabelPolicy] == "" // what a drill made is not backed up
	}, err
}

// workspaces are those that the policy names or selects, with their classes. One that is named and not there is told, and holds the others back from
// nothing: a policy that is not Ready is seen.
func (r *Policies) workspaces(ctx context.Context, p *v1alpha1.BackupPolicy) (map[string]v1alpha1.DataClass, error) {
	var all v1alpha1.WorkspaceList
	if err := r.Client.List(ctx, &all, client.InNamespace(p.Namespace), client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency); err != nil {
		return nil, fmt.Errorf("listing the workspaces of %s: %w", p.Namespace, err)
	}
	wanted, err := selects(p)
	if err != nil {
		return nil, outcome.Stalled(v1alpha1.ReasonInvalidSchedule, "spec.selector: %w", err)
	}
	classes := map[string]v1alpha1.DataClass{}
	for i := range all.Items {
		if w := &all.Items[i]; w.DeletionTimestamp.IsZero() && wanted(w) {
			classes[w.Name] = w.Spec.DataClass
		}
	}
	return classes, nil
}

// begin makes the backups that are due. One of that name that is there already was made by an earlier pass, or is somebody's own.
func (r *Policies) begin(ctx context.Context, p *v1alpha1.BackupPolicy, step plan) error {
	for _, o := range step.begin {
		b := &v1alpha1.Backup{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: o.name, Labels: map[string]string{v1alpha1.LabelPolicy: p.Name}}}
		b.Spec = v1alpha1.BackupSpec{Workspace: v1alpha1.WorkspaceName(o.workspace), Repository: p.Spec.Repository}
		if err := r.Client.Create(ctx, b); err != nil && !apierrors.IsAlreadyExists(err) {
			return r.refused(err, "backup", o.name)
		}
	}
	return nil
}

// refused tells of a quota that is used up as what only a person can help with.
func (r *Policies) refused(err error, what, name string) error {
	if apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota") {
		return outcome.Stalled(v1alpha1.ReasonQuotaExceeded, "no %s more may be made in this namespace: delete some that are needed no longer, shorten spec.retention, or ask the platform to raise limits.backups", what)
	}
	return fmt.Errorf("making %s %s: %w", what, name, err)
}

// drill has evidence of rehearsals that have ended, clears away those of which there is some, and begins others. The workspace that one makes goes
// with it.
func (r *Policies) drill(ctx context.Context, p *v1alpha1.BackupPolicy, step plan) error {
	for _, o := range step.over {
		if err := r.attest(ctx, p, o); err != nil {
			return err
		}
	}
	for _, name := range step.clear {
		one := &v1alpha1.Restore{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: name}}
		if err := r.Client.Delete(ctx, one); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("clearing drill %s away: %w", name, err)
		}
	}
	for _, o := range step.drill {
		one := &v1alpha1.Restore{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: o.name, Labels: map[string]string{
			v1alpha1.LabelPolicy: p.Name, v1alpha1.LabelWorkspace: o.workspace,
		}}}
		one.Spec = v1alpha1.RestoreSpec{Backup: o.backup, Into: v1alpha1.RestoreTarget{NewWorkspace: drillWorkspace(o.name)}, Bindings: v1alpha1.BindingsRestore}
		if err := r.Client.Create(ctx, one); err != nil && !apierrors.IsAlreadyExists(err) {
			return r.refused(err, "restore", o.name)
		}
	}
	return nil
}

// remove lets backups go.
func (r *Policies) remove(ctx context.Context, p *v1alpha1.BackupPolicy, step plan) error {
	for _, name := range step.remove {
		b := &v1alpha1.Backup{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: name}}
		if err := r.Client.Delete(ctx, b); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("removing backup %s: %w", name, err)
		}
	}
	return nil
}

// tellPolicy reports whether the promises hold, and returns what breaks the first that does not.
func tellPolicy(p *v1alpha1.BackupPolicy, now time.Time) (broken error) {
	for kind, judge := range map[string]func(*v1alpha1.BackupPolicy, time.Time) (bool, string, string){
		v1alpha1.ConditionRecoveryPointKept: pointKept, v1alpha1.ConditionRecoveryTimeKept: timeKept,
	} {
		kept, reason, message := judge(p, now)
		condition.Report(p, kind, kept, reason, message)
		if !kept && (broken == nil || kind == v1alpha1.ConditionRecoveryPointKept) {
			broken = outcome.Stalled(reason, "%s", message)
		}
	}
	if missing := missing(p); broken == nil && len(missing) > 0 {
		broken = outcome.Stalled(v1alpha1.ReasonWorkspaceNotFound, "there is no workspace %s here: write it, or take it out of spec.workspaces", strings.Join(missing, ", "))
	}
	return broken
}

// missing are the workspaces that the policy names and that are not there.
func missing(p *v1alpha1.BackupPolicy) (names []string) {
	for _, name := range p.Spec.Workspaces {
		if !slices.ContainsFunc(p.Status.Workspaces, func(w v1alpha1.PolicyWorkspace) bool { return w.Name == name }) {
			names = append(names, string(name))
		}
	}
	return names
}
