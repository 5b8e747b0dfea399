package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/archive"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/hooks"
	"github.com/broletto/broletto/operator/outcome"
)

const (
	// hookPause is when a backup whose hook failed is begun anew.
	hookPause = 5 * time.Minute
	// hookMessage bounds a message in a status, in bytes.
	hookMessage = 1024
)

// policyOf is the policy whose hooks and databases a backup has: the one that made it or, of what somebody wrote himself, the first by name that has
// some and backs the same workspace up. Without one, it is empty.
func (r *Backups) policyOf(ctx context.Context, b *v1alpha1.Backup) (*v1alpha1.BackupPolicy, error) {
	p := &v1alpha1.BackupPolicy{}
	if name := b.Labels[v1alpha1.LabelPolicy]; name != "" {
		err := r.Client.Get(ctx, client.ObjectKey{Namespace: b.Namespace, Name: name}, p)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("reading policy %s: %w", name, err)
		}
		return p, nil
	}
	w := &v1alpha1.Workspace{}
	if err := r.Client.Get(ctx, client.ObjectKey{Namespace: b.Namespace, Name: string(b.Spec.Workspace)}, w); err != nil {
		if apierrors.IsNotFound(err) {
			return p, nil
		}
		return nil, fmt.Errorf("reading workspace %s: %w", b.Spec.Workspace, err)
	}
	var all v1alpha1.BackupPolicyList
	if err := r.Client.List(ctx, &all, client.InNamespace(b.Namespace), client.DisableReadYourWritesConsistency); err != nil {
		return nil, fmt.Errorf("listing the policies of %s: %w", b.Namespace, err)
	}
	for i := range all.Items {
		one := &all.Items[i]
		wanted, err := selects(one)
		if err != nil || len(one.Spec.Hooks)+len(one.Spec.Databases) == 0 || !wanted(w) { // the policy's own status says what is wrong with it
			continue
		}
		if p.Name == "" || one.Name < p.Name {
			p = one
		}
	}
	return p, nil
}

// alone waits until no other backup of the workspace has hooks under way: they would get into each other's way.
func (r *Backups) alone(ctx context.Context, s *scope) error {
	var all v1alpha1.BackupList
	if err := r.Client.List(ctx, &all, client.InNamespace(s.Namespace), client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency); err != nil {
		return fmt.Errorf("listing the backups of %s: %w", s.Namespace, err)
	}
	for i := range all.Items {
		if o := &all.Items[i]; o.UID != s.UID && o.Spec.Workspace == s.Spec.Workspace && owes(o.Status.Hooks) {
			return &outcome.Wait{Reason: v1alpha1.ReasonRunningHooks, After: 5 * time.Second, Message: "backup " + o.Name + " of the same workspace has its hooks run: this one waits"}
		}
	}
	return nil
}

// await looks whether the command has ended that is run for a backup. While it goes on, nothing else does.
func (r *Backups) await(ctx context.Context, s *scope) error { return r.awaitFor(ctx, s.Backup, 0) }

func (r *Backups) awaitFor(ctx context.Context, b *v1alpha1.Backup, atMost time.Duration) error {
	c, ended, err := r.Hooks.Await(ctx, b.UID, atMost)
	switch {
	case c == nil:
		return nil
	case !ended:
		return &outcome.Wait{Reason: v1alpha1.ReasonRunningHooks, Message: "hook " + c.Hook.Name + " is run: status.hooks says how far", After: hooks.Moment}
	}
	ran(&b.Status.Hooks, c.Hook.Name, c.After, err, r.Now())
	return r.Client.Status().Update(ctx, b) // it is told once
}

// ran notes what came of a command.
func ran(all *[]v1alpha1.HookRun, name string, after bool, err error, now time.Time) {
	row, came, part := rowOf(all, name), v1alpha1.HookDone, "before"
	if after {
		part = "after"
	}
	switch {
	case errors.Is(err, hooks.ErrNoPod):
		came = v1alpha1.HookSkipped
	case err != nil:
		came = v1alpha1.HookFailed
		if !after {
			row.FailedAt = &metav1.Time{Time: now.Truncate(time.Second)}
		}
	}
	if err != nil {
		text := strings.TrimPrefix(row.Message+"; "+part+": "+err.Error(), "; ")
		row.Message = condition.Cut(text, hookMessage)
	}
	if after {
		row.After = came
	} else {
		row.Before = came
	}
}

func rowOf(all *[]v1alpha1.HookRun, name string) *v1alpha1.HookRun {
	i := slices.IndexFunc(*all, func(h v1alpha1.HookRun) bool { return h.Name == name })
	if i < 0 {
		*all = append(*all, v1alpha1.HookRun{Name: name})
		i = len(*all) - 1
	}
	return &(*all)[i]
}

// owes tells whether something is to be run still after what was run before.
func owes(all []v1alpha1.HookRun) bool {
	return slices.ContainsFunc(all, func(h v1alpha1.HookRun) bool { return h.After == "" })
}

// hold runs what is to be run before the data are read. It is written down before it is begun: whatever happens then, what is to be run after it is.
func (r *Backups) hold(ctx context.Context, s *scope) error {
	if s.manifest != nil {
		return nil
	}
	policy, err := r.policyOf(ctx, s.Backup)
	if err != nil {
		return err
	}
	if !owes(s.Status.Hooks) { // there was no attempt, or it is over
		if err := failed(s.Status.Hooks); err != nil && resting(s.Status.Hooks, r.Now()) {
			return err
		}
		s.Status.Hooks = nil
		if len(policy.Spec.Hooks) > 0 {
			if err := r.alone(ctx, s); err != nil {
				return err
			}
		}
	}
	for _, h := range policy.Spec.Hooks {
		before := rowOf(&s.Status.Hooks, h.Name).Before
		if before == v1alpha1.HookRunning { // and nobody knows what became of it
			return &outcome.Wait{Reason: v1alpha1.ReasonHookFailed, Message: "the operator was ended while hook " + h.Name + " was run: the backup is begun anew", After: time.Millisecond}
		}
		if before == "" {
			if err := r.before(ctx, s, h); err != nil {
				return err
			}
		}
		if err := failed(s.Status.Hooks); err != nil {
			return err
		}
	}
	return nil
}

func (r *Backups) before(ctx context.Context, s *scope, h v1alpha1.Hook) error {
	if err := r.room(s); err != nil {
		return err
	}
	row := rowOf(&s.Status.Hooks, h.Name)
	row.Before = v1alpha1.HookRunning
	if len(h.Before) == 0 {
		row.Before = v1alpha1.HookDone
	}
	if err := r.Client.Status().Update(ctx, s.Backup); err != nil || len(h.Before) == 0 {
		return err
	}
	r.Hooks.Begin(s.UID, hooks.Command{Namespace: s.TargetNamespace(), Hook: h})
	return r.awaitFor(ctx, s.Backup, hooks.Moment)
}

// room waits until another command may be run in the workspace.
func (r *Backups) room(s *scope) error {
	if r.Hooks.Room(s.TargetNamespace()) {
		return nil
	}
	return &outcome.Wait{Reason: v1alpha1.ReasonRunningHooks, After: 5 * time.Second, Message: fmt.Sprintf("%d hooks are run in the workspace already: this one waits", hooks.AtOnce)}
}

// failed is the verdict on what was run before; nil: none failed.
func failed(all []v1alpha1.HookRun) error {
	for _, h := range all {
		if h.Before == v1alpha1.HookFailed {
			return outcome.Stalled(v1alpha1.ReasonHookFailed, "hook %s failed, so the backup is not made; it is begun anew some minutes later: %s", h.Name, h.Message)
		}
	}
	return nil
}

// resting tells whether it is too early to begin anew. What is far from now was noted by another clock.
func resting(all []v1alpha1.HookRun, now time.Time) bool {
	return slices.ContainsFunc(all, func(h v1alpha1.HookRun) bool {
		return h.FailedAt != nil && now.Sub(h.FailedAt.Time).Abs() < hookPause
	})
}

// release runs what is to be run after the data were read, or after it turned out that they cannot be: the last hook first.
func (r *Backups) release(ctx context.Context, s *scope) error {
	if !owes(s.Status.Hooks) {
		return nil
	}
	policy, err := r.policyOf(ctx, s.Backup)
	if err != nil {
		return err
	}
	known := policy.Spec.Hooks
	for _, row := range slices.Backward(slices.Clone(s.Status.Hooks)) {
		if row.After != "" {
			continue
		}
		i := slices.IndexFunc(known, func(h v1alpha1.Hook) bool { return h.Name == row.Name })
		switch {
		case row.Before == v1alpha1.HookSkipped || row.Before == "":
			rowOf(&s.Status.Hooks, row.Name).After = v1alpha1.HookSkipped
		case i < 0:
			ran(&s.Status.Hooks, row.Name, true, errors.New("the policy names it no longer"), r.Now())
		case len(known[i].After) == 0:
			rowOf(&s.Status.Hooks, row.Name).After = v1alpha1.HookDone
		default:
			if err := r.room(s); err != nil {
				return err
			}
			r.Hooks.Begin(s.UID, hooks.Command{Namespace: s.TargetNamespace(), Hook: known[i], After: true})
			if err := r.awaitFor(ctx, s.Backup, hooks.Moment); err != nil {
				return err
			}
		}
	}
	return nil
}

// giveUp runs what is to be run after a backup that cannot go on, and returns why that is.
func (r *Backups) giveUp(ctx context.Context, s *scope, why error) error {
	wait, waits := errors.AsType[*outcome.Wait](why)
	if apierrors.IsConflict(why) || waits && (wait.Reason == v1alpha1.ReasonRunningHooks || wait.Reason == v1alpha1.ReasonMovingVolumes) {
		return why
	}
	if err := r.release(ctx, s); err != nil {
		return err
	}
	return why
}

// letGo ends what is run for a backup that is being deleted, and runs what is to be run after it.
func (r *Backups) letGo(ctx context.Context, b *v1alpha1.Backup) error {
	if slices.ContainsFunc(b.Status.Hooks, func(h v1alpha1.HookRun) bool { return h.Before == v1alpha1.HookRunning }) {
		r.Hooks.Stop(b.UID)
	}
	if err := r.awaitFor(ctx, b, hooks.Moment); err != nil {
		return err
	}
	return r.release(ctx, &scope{Backup: b})
}

// unheld are the hooks that were not run: what their commands would have written is not in the backup.
func unheld(all []v1alpha1.HookRun) (out []archive.LeftOut) {
	for _, h := range all {
		if h.Before == v1alpha1.HookSkipped {
			out = append(out, archive.LeftOut{What: "hooks/" + h.Name, Why: "it was not run: " + strings.TrimPrefix(h.Message, "before: ")})
		}
	}
	return out
}
