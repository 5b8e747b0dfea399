package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
)

// plan asks for a new plan and waits until the operator has answered: with a plan, with nothing to do, or with what is wrong.
func (c *cluster) plan(ctx context.Context, name, question string) (*v1alpha1.Stack, error) {
	s, err := c.stack(ctx, name)
	if err != nil {
		return nil, err
	}
	asked := s.DeepCopy()
	metav1.SetMetaDataAnnotation(&asked.ObjectMeta, v1alpha1.AnnotationReplan, question)
	if err := c.client.Patch(ctx, asked, client.MergeFrom(s), client.FieldOwner(fieldManager)); err != nil {
		return nil, fmt.Errorf("asking for a plan of stack %s: %w", name, err)
	}
	return c.await(ctx, asked, func(s *v1alpha1.Stack) (bool, error) {
		stalled := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionStalled)
		ready := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionReady)
		switch {
		case s.Status.Replanned != question || ready == nil:
			return false, nil
		case stalled != nil && stalled.Status == metav1.ConditionTrue:
			return true, fmt.Errorf("stack %s: %s: %s", s.Name, stalled.Reason, stalled.Message)
		}
		return ready.Status == metav1.ConditionTrue || ready.Reason == v1alpha1.ReasonAwaitingApproval, nil
	})
}

// await watches a stack until done says so.
func (c *cluster) await(ctx context.Context, s *v1alpha1.Stack, done func(*v1alpha1.Stack) (bool, error)) (*v1alpha1.Stack, error) {
	watch, err := c.client.Watch(ctx, &v1alpha1.StackList{}, &client.ListOptions{
		Namespace: s.Namespace, FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, s.Name),
	})
	if err != nil {
		return nil, fmt.Errorf("watching stack %s: %w", s.Name, err)
	}
	defer watch.Stop()
	for event := range watch.ResultChan() { // begins with the stack as it is
		now, isStack := event.Object.(*v1alpha1.Stack)
		if !isStack {
			return nil, fmt.Errorf("watching stack %s: %w", s.Name, apierrors.FromObject(event.Object))
		}
		if finished, err := done(now); finished || err != nil {
			return now, err
		}
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("stack %s has not answered in time: its status says why; wait longer by --timeout", s.Name)
	}
	return nil, fmt.Errorf("watching stack %s ended: call it again", s.Name)
}

// approve writes the digest of the present plan. With another digest than the present plan's nothing is approved.
func (c *cluster) approve(ctx context.Context, s *v1alpha1.Stack, digest v1alpha1.Digest) error {
	plan := s.Status.Plan
	waits := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case plan == nil || waits == nil || waits.Reason != v1alpha1.ReasonAwaitingApproval:
		return fmt.Errorf("stack %s: no plan waits for approval: ask for one by plan %s", s.Name, s.Name)
	case digest != "" && digest != plan.Digest:
		return fmt.Errorf("stack %s: the plan that waits is %s, not %s: look at it, and approve that one", s.Name, plan.Digest, digest)
	}
	if s.Spec.ApprovedPlan == plan.Digest { // the same plan was approved and used before: it wants to be approved again
		var err error
		if s, err = c.retract(ctx, s); err != nil {
			return err
		}
	}
	approved := s.DeepCopy()
	approved.Spec.ApprovedPlan = plan.Digest
	patch := client.MergeFromWithOptions(s, client.MergeFromWithOptimisticLock{})
	if err := c.client.Patch(ctx, approved, patch, client.FieldOwner(fieldManager)); err != nil {
		return fmt.Errorf("approving the plan of stack %s: %w", s.Name, err)
	}
	return nil
}

// retract takes an approval back and waits until the operator has seen that.
func (c *cluster) retract(ctx context.Context, s *v1alpha1.Stack) (*v1alpha1.Stack, error) {
	without := s.DeepCopy()
	without.Spec.ApprovedPlan = ""
	if err := c.client.Patch(ctx, without, client.MergeFrom(s), client.FieldOwner(fieldManager)); err != nil {
		return nil, fmt.Errorf("taking back what was approved of stack %s: %w", s.Name, err)
	}
	return c.await(ctx, without, func(s *v1alpha1.Stack) (bool, error) { return s.Status.ObservedGeneration >= without.Generation, nil })
}

// unlock asks that the lock of a run be broken.
func (c *cluster) unlock(ctx context.Context, s *v1alpha1.Stack, run string) error {
	lock := s.Status.Lock
	switch {
	case lock == nil:
		return fmt.Errorf("stack %s: nobody holds its state", s.Name)
	case lock.Run != run:
		return fmt.Errorf("stack %s: its state is held by %s since %s, not by %s", s.Name, lock.Run, lock.Since.UTC(), run)
	}
	asked := s.DeepCopy()
	metav1.SetMetaDataAnnotation(&asked.ObjectMeta, v1alpha1.AnnotationUnlock, run)
	if err := c.client.Patch(ctx, asked, client.MergeFrom(s), client.FieldOwner(fieldManager)); err != nil {
		return fmt.Errorf("asking to unlock stack %s: %w", s.Name, err)
	}
	return nil
}

// log copies what the runner of a run printed: of the run of that name, or of a stack's last one.
func (c *cluster) log(ctx context.Context, out io.Writer, name string, follow bool) error {
	run, err := c.run(ctx, name)
	if err != nil {
		return err
	}
	pods, err := c.logs.CoreV1().Pods(run.TargetNamespace()).List(ctx, metav1.ListOptions{LabelSelector: v1alpha1.LabelRun + "=" + string(run.UID)})
	if err != nil {
		return fmt.Errorf("finding the pod of run %s: %w", run.Name, err)
	}
	if len(pods.Items) == 0 {
		return fmt.Errorf("run %s has no pod (any more): the last two runs of a stack keep theirs; its status says how it went", run.Name)
	}
	stream, err := c.logs.CoreV1().Pods(run.TargetNamespace()).GetLogs(pods.Items[0].Name, &corev1.PodLogOptions{Container: "runner", Follow: follow}).Stream(ctx)
	if err != nil {
		return fmt.Errorf("reading the log of pod %s: %w", pods.Items[0].Name, err)
	}
	_, err = io.Copy(out, stream)
	return errors.Join(err, stream.Close())
}

func (c *cluster) run(ctx context.Context, name string) (*v1alpha1.StackRun, error) {
	s, err := c.stack(ctx, name)
	switch {
	case err == nil && s.Status.Run == "":
		return nil, fmt.Errorf("stack %s has had no run yet", name)
	case err == nil:
		name = s.Status.Run
	case !apierrors.IsNotFound(err):
		return nil, err
	}
	run := &v1alpha1.StackRun{}
	if err := c.client.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: name}, run); err != nil {
		return nil, fmt.Errorf("there is no stack %s, nor a run: %w", name, err)
	}
	return run, nil
}

// printPlan shows what waits for approval, or was looked at last.
func printPlan(out io.Writer, s *v1alpha1.Stack) error {
	plan := s.Status.Plan
	if plan == nil {
		_, err := fmt.Fprintf(out, "stack %s has no plan: all is as its source says\n", s.Name)
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "stack\t%s/%s\n", s.Namespace, s.Name)
	fmt.Fprintf(w, "revision\t%s\n", plan.Revision)
	fmt.Fprintf(w, "plan\t%d to add, %d to change, %d to destroy, %d outputs\n", plan.Adds, plan.Changes, plan.Destroys, plan.Outputs)
	for _, change := range slices.SortedFunc(slices.Values(plan.Resources), byAddress) {
		fmt.Fprintf(w, "  %s\t%s\n", change.Action, change.Address)
	}
	if plan.MonthlyCost != "" {
		fmt.Fprintf(w, "cost\t%s a month\n", plan.MonthlyCost)
	}
	if plan.ExpiresAt != nil {
		fmt.Fprintf(w, "approve until\t%s\n", plan.ExpiresAt.UTC().Format("2006-01-02 15:04 MST"))
	}
	fmt.Fprintf(w, "digest\t%s\n", plan.Digest)
	return w.Flush()
}

func byAddress(a, b v1alpha1.PlannedChange) int {
	return strings.Compare(string(a.Address), string(b.Address))
}
