package stack

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/apply"
	"github.com/broletto/broletto/operator/outcome"
)

func schemaOf(ref apply.Ref) schema.GroupVersionKind {
	return schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
}

// LabelLocalNode is "true" on a node that is a process of this machine: its runs are jailed less than a pod's, and it is for development only.
const LabelLocalNode = "broletto.dev/local-node"

// follow brings the run that is under way on. It returns what is waited for; nil: the run has ended.
func (r *Reconciler) follow(ctx context.Context, s *v1alpha1.Stack, one *v1alpha1.StackRun, runs []*v1alpha1.StackRun) error {
	if one.Status.JobUID == "" {
		if err := r.begin(ctx, s, one, runs); err != nil || one.Finished() {
			return err
		}
	}
	job, err := r.jobOf(ctx, one)
	if err != nil {
		return err
	}
	if r.unlocks(s, one) && job != nil {
		if job.DeletionTimestamp.IsZero() {
			r.Events.Eventf(s, one, corev1.EventTypeWarning, "Unlocked", "Unlock", "run %s is ended, as the annotation %s wants", one.Name, v1alpha1.AnnotationUnlock)
		}
		if err := r.stop(ctx, job); err != nil {
			return err
		}
	}
	if job != nil && !ended(job) {
		return r.watch(ctx, s, one)
	}
	pods, err := r.pods(ctx, r.Live, one) // the cache may be behind, and nothing of a run may live when the next begins
	if err != nil {
		return err
	}
	for _, p := range pods {
		if s.Status.Executor == "" { // it ran so shortly that nobody saw it
			if err := r.executor(ctx, s, &p); err != nil {
				return err
			}
		}
		if !over(&p) {
			return wait(one, "pod "+p.Name+" of the run has not ended: if its node is lost, delete the node or force the pod's deletion")
		}
	}
	return r.end(ctx, s, one, lost(pods))
}

// jobOf is the Job of a run; nil: it is gone.
func (r *Reconciler) jobOf(ctx context.Context, one *v1alpha1.StackRun) (*batchv1.Job, error) {
	job := &batchv1.Job{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: one.TargetNamespace(), Name: one.Status.Job}, job)
	if apierrors.IsNotFound(err) || (err == nil && job.UID != one.Status.JobUID) {
		return nil, nil
	}
	return job, wrapped(err, "reading Job %s", one.Status.Job)
}

func (r *Reconciler) pods(ctx context.Context, from client.Reader, one *v1alpha1.StackRun) ([]corev1.Pod, error) {
	var list corev1.PodList
	err := from.List(ctx, &list, client.InNamespace(one.TargetNamespace()), client.MatchingLabels{v1alpha1.LabelRun: string(one.UID)})
	return list.Items, wrapped(err, "listing the pods of run %s", one.Name)
}

// ended tells whether the Job controller has said its last word.
func ended(job *batchv1.Job) bool {
	for _, c := range job.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}

// over tells whether no process of a pod runs any more.
func over(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// watch tells how a run goes on.
func (r *Reconciler) watch(ctx context.Context, s *v1alpha1.Stack, one *v1alpha1.StackRun) error {
	pods, err := r.pods(ctx, r.Client, one)
	if err != nil {
		return err
	}
	for i := range pods {
		if rest := r.unseen(&pods[i]); rest > 0 {
			return waitFor(one, "", rest)
		}
		if pods[i].Status.Phase == corev1.PodRunning && (one.Status.Phase != v1alpha1.RunRunning || s.Status.Executor == "") {
			if err := r.executor(ctx, s, &pods[i]); err != nil {
				return err
			}
		}
		if pods[i].Status.Phase == corev1.PodRunning && one.Status.Phase != v1alpha1.RunRunning {
			one.Status.Phase = v1alpha1.RunRunning
			if err := r.Client.Status().Update(ctx, one); err != nil {
				return fmt.Errorf("writing the status of run %s: %w", one.Name, err)
			}
		}
		if unschedulable(&pods[i]) {
			return &outcome.Wait{Reason: v1alpha1.ReasonNoRoom, Message: "no node has room for the runner's pod", After: beatLook}
		}
	}
	if len(pods) == 0 {
		age := r.now().Sub(one.Status.StartedAt.Time)
		if age >= roomPatience {
			return &outcome.Wait{Reason: v1alpha1.ReasonNoRoom, After: beatLook, Message: "the runner's pod cannot be made: most often the quota of " +
				one.TargetNamespace() + " has no room for 1 CPU and 512Mi of limits; \"kubectl describe job\" there says why"}
		}
		return waitFor(one, "", roomPatience-age)
	}
	return wait(one, "")
}

// unseen is how much longer it is not told that a pod runs: small stacks are done before anybody could have read it.
func (r *Reconciler) unseen(p *corev1.Pod) time.Duration {
	if p.Status.Phase != corev1.PodRunning || p.Status.StartTime == nil {
		return 0
	}
	return min(outcome.Patience, outcome.Patience-r.Now().Sub(p.Status.StartTime.Time))
}

func unschedulable(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			return true
		}
	}
	return false
}

// executor finds what runs a pod: a node, or a process that stands in for one.
func (r *Reconciler) executor(ctx context.Context, s *v1alpha1.Stack, p *corev1.Pod) error {
	if p.Spec.NodeName == "" {
		return nil
	}
	node := &metav1.PartialObjectMetadata{}
	node.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Node"))
	if err := r.Live.Get(ctx, client.ObjectKey{Name: p.Spec.NodeName}, node); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading node %s: %w", p.Spec.NodeName, err)
	}
	s.Status.Executor = "Job"
	if node.Labels[LabelLocalNode] == "true" {
		s.Status.Executor = "LocalProcess"
	}
	return nil
}

// wait is the verdict while a run is under way.
func wait(one *v1alpha1.StackRun, message string) error { return waitFor(one, message, beatLook) }

func waitFor(one *v1alpha1.StackRun, message string, after time.Duration) error {
	reason, doing := v1alpha1.ReasonPlanning, "a plan is being made"
	switch one.Spec.Operation {
	case v1alpha1.OperationApply:
		reason, doing = v1alpha1.ReasonApplying, "the approved plan is being applied"
	case v1alpha1.OperationConverge:
		reason, doing = v1alpha1.ReasonApplying, "a plan is being made and applied"
	case v1alpha1.OperationLook:
		doing = "the workspace is being looked at for drift"
	case v1alpha1.OperationDestroy:
		reason, doing = v1alpha1.ReasonDestroying, "what was applied is being destroyed"
	case v1alpha1.OperationPlan:
	}
	if message != "" {
		doing += ": " + message
	}
	return &outcome.Wait{Reason: reason, Message: doing, After: after}
}

// lost is how a run failed of which there is no report.
func lost(pods []corev1.Pod) *v1alpha1.RunFailure {
	why := "its pod is gone"
	for _, p := range pods {
		why = "its pod ended"
		if p.Status.Reason != "" {
			why += " (" + p.Status.Reason + ")"
		}
		for _, c := range p.Status.ContainerStatuses {
			if t := c.State.Terminated; t != nil && t.Reason != "" {
				why += fmt.Sprintf(" (%s, exit code %d)", t.Reason, t.ExitCode)
			}
		}
	}
	return &v1alpha1.RunFailure{Class: v1alpha1.FailureLost, Message: "the run ended without a report: " + why + "; what it did is found out by the next plan"}
}

// end closes a run: by its report if there is one, else by the failure given. Its lock goes first, so that no finished run holds one.
func (r *Reconciler) end(ctx context.Context, s *v1alpha1.Stack, one *v1alpha1.StackRun, failure *v1alpha1.RunFailure) error {
	report, err := r.Vault.Report(ctx, of(s), one.UID)
	if err != nil {
		return fmt.Errorf("reading the report of run %s: %w", one.Name, err)
	}
	if err := r.Vault.Release(ctx, of(s), one.UID); err != nil {
		return fmt.Errorf("releasing the lock of run %s: %w", one.Name, err)
	}
	now := metav1.NewTime(r.now())
	one.Status.Phase, one.Status.FinishedAt = v1alpha1.RunSucceeded, &now
	if report != nil {
		failure = report.Failure
		one.Status.Plan, one.Status.Revision, one.Status.Serial = report.Plan, report.Revision, report.Serial
	}
	if failure == nil && unplanned(one) {
		failure = unreadable
	}
	if failure != nil {
		one.Status.Phase, one.Status.Failure = v1alpha1.RunFailed, bounded(failure)
	}
	err = r.Client.Status().Update(ctx, one)
	if apierrors.IsInvalid(err) { // a runner runs a tenant's code: its word may be anything
		one.Status.Plan, one.Status.Revision, one.Status.Serial = nil, "", 0
		one.Status.Phase, one.Status.Failure = v1alpha1.RunFailed, unreadable
		err = r.Client.Status().Update(ctx, one)
	}
	if err != nil {
		return fmt.Errorf("writing the status of run %s: %w", one.Name, err)
	}
	r.tellEnd(s, one)
	return nil
}

// unreadable is how a run failed whose report is none.
var unreadable = &v1alpha1.RunFailure{Class: v1alpha1.FailureInfrastructure, Message: "the run's report cannot be read"}

// unplanned tells whether a run lacks the plan that it was made for.
func unplanned(one *v1alpha1.StackRun) bool {
	if one.Spec.Operation == v1alpha1.OperationApply || one.Spec.Operation == v1alpha1.OperationDestroy {
		return false
	}
	plan := one.Status.Plan
	return plan == nil || (plan.Digest == "" && !plan.Empty())
}

func bounded(f *v1alpha1.RunFailure) *v1alpha1.RunFailure {
	const most = 2000
	out := f.DeepCopy()
	if text := []rune(out.Message); len(out.Message) > most {
		out.Message = string(text[:min(len(text), most/4)]) + "…"
	}
	return out
}

func (r *Reconciler) tellEnd(s *v1alpha1.Stack, one *v1alpha1.StackRun) {
	if f := one.Status.Failure; f != nil {
		r.Events.Eventf(s, one, corev1.EventTypeWarning, "RunFailed", string(one.Spec.Operation), "run %s failed (%s): %s", one.Name, f.Class, short(f.Message))
		return
	}
	r.Events.Eventf(s, one, corev1.EventTypeNormal, "RunSucceeded", string(one.Spec.Operation), "run %s succeeded", one.Name)
}

// short is what an event holds of a message.
func short(message string) string {
	if text := []rune(message); len(text) > 200 {
		return string(text[:200]) + "…"
	}
	return message
}
