package stack

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/vault"
)

// tell makes the status what the runs say. What no run says any more, since runs are kept for a while only, stays as it was.
func tell(s *v1alpha1.Stack, runs []*v1alpha1.StackRun) {
	if s.Status.Approved != s.Spec.ApprovedPlan {
		s.Status.Approved = ""
	}
	for _, one := range runs {
		s.Status.Run = one.Name
		if question := one.Annotations[annotationReplan]; question != "" {
			s.Status.Replanned = question
		}
		if one.Spec.Operation == v1alpha1.OperationApply && !one.Finished() && one.Spec.Plan == s.Spec.ApprovedPlan {
			s.Status.Approved = one.Spec.Plan
		}
		if one.Status.Phase == v1alpha1.RunSucceeded {
			succeeded(&s.Status, one)
		}
	}
	h := read(s, runs)
	s.Status.Attempts = int32(h.failures) //nolint:gosec // it is at most the number of runs that are kept
	if p := s.Status.Plan; p != nil && (h.plan == nil || h.plan.Name != p.Run) {
		p.ExpiresAt = nil // it waits no longer
	}
	tellDrift(s, h)
}

// succeeded adds what a run brought about.
func succeeded(status *v1alpha1.StackStatus, one *v1alpha1.StackRun) {
	last := status.Applied
	plan := one.Status.Plan
	if plan != nil && (status.Plan == nil || attemptOf(status.Plan.Run) <= one.Spec.Attempt) && (one.Spec.Operation == v1alpha1.OperationPlan || one.Spec.Operation == v1alpha1.OperationConverge) {
		status.Plan = &v1alpha1.StackPlan{PlanSummary: *plan, Run: one.Name, Revision: one.Status.Revision}
		if one.Spec.Operation == v1alpha1.OperationPlan && !plan.Empty() {
			status.Plan.ExpiresAt = &metav1.Time{Time: expiry(one)}
		}
	}
	switch {
	case one.Spec.Operation == v1alpha1.OperationLook, one.Spec.Operation == v1alpha1.OperationDestroy, !settles(one):
		return
	case last != nil && attemptOf(last.Run) > one.Spec.Attempt:
		return
	}
	now := &v1alpha1.StackApplied{Run: one.Name, Inputs: one.Spec.Inputs, Revision: one.Status.Revision, At: *one.Status.FinishedAt}
	switch {
	case applies(one) && plan != nil && !plan.Empty():
		now.Digest = plan.Digest
	case applies(one) && one.Spec.Plan != "":
		now.Digest = one.Spec.Plan
	case last != nil: // there was nothing to apply
		now.Digest = last.Digest
	}
	switch {
	case now.Revision != "":
	case last != nil && last.Run == one.Name:
		now.Revision = last.Revision
	case status.Plan != nil && status.Plan.Run == one.Spec.PlanRun:
		now.Revision = status.Plan.Revision
	}
	status.Applied = now
}

// tellDrift reports on drift: what the last look found, and since when.
func tellDrift(s *v1alpha1.Stack, h history) {
	seen := s.Status.Drift
	switch {
	case s.Spec.Drift == nil:
		s.Status.Drift = nil
		condition.Withdraw(s, v1alpha1.ConditionDrifted)
		return
	case h.look != nil && h.look.Status.Plan != nil:
		now := &v1alpha1.StackDrift{PlanSummary: *h.look.Status.Plan, LookedAt: *h.look.Status.FinishedAt}
		if !now.Empty() {
			now.Since = &now.LookedAt
			if seen != nil && seen.Since != nil {
				now.Since = seen.Since
			}
		}
		s.Status.Drift = now
	case seen != nil && h.settled != nil && !h.settled.at.Before(seen.LookedAt.Time):
		s.Status.Drift = &v1alpha1.StackDrift{LookedAt: seen.LookedAt} // what was found is put right
	}
	switch drift := s.Status.Drift; {
	case h.blind != nil:
		condition.Doubt(s, v1alpha1.ConditionDrifted, reasonOf(classOf(h.blind)), "the last look failed: "+h.blind.Status.Failure.Message)
	case drift == nil:
		condition.Withdraw(s, v1alpha1.ConditionDrifted)
	case drift.Since != nil:
		condition.Report(s, v1alpha1.ConditionDrifted, true, v1alpha1.ReasonDrifted, "the workspace is not as it was applied: status.drift says what a plan would change")
	default:
		condition.Report(s, v1alpha1.ConditionDrifted, false, v1alpha1.ReasonSucceeded, "")
	}
}

// observeLock tells who holds the state, where somebody may: a settled stack asks nobody. It also breaks the lock that people want broken,
// once nothing lives that could hold it; one of the run that is under way goes with the run.
func (r *Reconciler) observeLock(ctx context.Context, s *v1alpha1.Stack, runs []*v1alpha1.StackRun) error {
	one := unfinished(runs)
	if told := s.Status.Lock; told != nil && one == nil && told.Run == lastOf(runs).Name { // it was released before the run was closed
		s.Status.Lock = nil
		condition.Withdraw(s, v1alpha1.ConditionLocked)
	}
	if r.lockKnown(s, one, runs) {
		return nil
	}
	lock, err := r.Vault.Lock(ctx, of(s))
	if err != nil {
		return fmt.Errorf("reading the lock of stack %s: %w", s.Name, err)
	}
	own := lock != nil && one != nil && one.UID == lock.RunUID
	alive := ""
	if lock != nil && !own {
		if alive, err = r.holder(ctx, s, lock); err != nil {
			return err
		}
		if alive == "" && lock.Run == s.Annotations[v1alpha1.AnnotationUnlock] {
			if err := r.unlock(ctx, s, lock); err != nil {
				return err
			}
			lock = nil
		}
	}
	if lock == nil {
		s.Status.Lock = nil
		condition.Withdraw(s, v1alpha1.ConditionLocked)
		return nil
	}
	s.Status.Lock = &v1alpha1.StackLock{Run: lock.Run, Pod: lock.Pod, Since: metav1.NewTime(lock.Since.Truncate(time.Second))}
	if !lock.Beat.IsZero() {
		s.Status.Lock.Beat = &metav1.Time{Time: lock.Beat.Truncate(time.Second)}
	}
	message := "a run holds the state; status.lock says which: it goes with the run, or by \"kubectl broletto unlock\", which ends that"
	switch {
	case own:
	case alive != "":
		message = fmt.Sprintf("run %s is none any more, and its pod %s lives and holds the state: delete that pod in %s, or wait for its end", lock.Run, alive, s.TargetNamespace())
	default:
		message = fmt.Sprintf("run %s is none any more, nothing of it lives, and it has not given the state back: \"kubectl broletto unlock %s %[1]s\" frees it", lock.Run, s.Name)
	}
	condition.Report(s, v1alpha1.ConditionLocked, true, v1alpha1.ReasonStateLocked, message)
	return nil
}

// lockKnown tells whether a look at the lock would bring nothing new. one is the run that is under way.
func (r *Reconciler) lockKnown(s *v1alpha1.Stack, one *v1alpha1.StackRun, runs []*v1alpha1.StackRun) bool {
	told := s.Status.Lock
	switch {
	case s.Annotations[v1alpha1.AnnotationUnlock] != "":
		return false
	case told == nil:
		return (one == nil || one.Status.Phase != v1alpha1.RunRunning) && classOf(lastOf(runs)) != v1alpha1.FailureLocked
	}
	return one != nil && told.Run == one.Name && told.Beat != nil && r.Now().Sub(told.Beat.Time) < vault.BeatEvery
}

// unlocks tells whether people want the run ended that is under way.
func (r *Reconciler) unlocks(s *v1alpha1.Stack, one *v1alpha1.StackRun) bool {
	return s.Annotations[v1alpha1.AnnotationUnlock] == one.Name
}

// holder is the name of a pod that holds a lock and lives; empty: none does.
func (r *Reconciler) holder(ctx context.Context, s *v1alpha1.Stack, lock *vault.Lock) (string, error) {
	var list corev1.PodList
	err := r.Live.List(ctx, &list, client.InNamespace(s.TargetNamespace()), client.MatchingLabels{v1alpha1.LabelRun: string(lock.RunUID)})
	if err != nil {
		return "", fmt.Errorf("listing the pods of run %s: %w", lock.Run, err)
	}
	for i := range list.Items {
		if !over(&list.Items[i]) {
			return list.Items[i].Name, nil
		}
	}
	return "", nil
}

// unlock breaks the lock of a run of which nothing lives any more.
func (r *Reconciler) unlock(ctx context.Context, s *v1alpha1.Stack, lock *vault.Lock) error {
	if err := r.Vault.Release(ctx, of(s), lock.RunUID); err != nil {
		return fmt.Errorf("releasing the lock of run %s: %w", lock.Run, err)
	}
	r.Events.Eventf(s, nil, corev1.EventTypeWarning, "Unlocked", "Unlock", "the lock of run %s was broken, as the annotation %s wants", lock.Run, v1alpha1.AnnotationUnlock)
	return nil
}

func lastOf(runs []*v1alpha1.StackRun) *v1alpha1.StackRun {
	if len(runs) == 0 {
		return &v1alpha1.StackRun{}
	}
	return runs[len(runs)-1]
}
