package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/depot"
	"github.com/broletto/broletto/operator/hooks"
	"github.com/broletto/broletto/operator/move"
	"github.com/broletto/broletto/operator/outcome"
	"github.com/broletto/broletto/operator/volumes"
)

const (
	// askEvery is when a check is asked again that has not passed.
	askEvery = 5 * time.Second
	// checkMessage bounds a message in a status, in bytes.
	checkMessage = 1024
)

// check asks, after everything was restored and compared, what the policy of a drill wants asked. What that is is written down before the first is
// asked: what was restored is not restored again for it, and a policy that is changed meanwhile changes nothing.
func (r *Reconciler) check(ctx context.Context, s *scope) error {
	if !isDrill(s.Restore) {
		return nil
	}
	if !checking(s.Restore) {
		if failed(s.Restore) {
			return nil
		}
		asked, err := r.asked(ctx, s)
		if err != nil || len(asked) == 0 {
			return err
		}
		for _, c := range asked {
			s.Status.Checks = append(s.Status.Checks, v1alpha1.CheckRun{DrillCheck: c})
		}
		if err := r.Client.Status().Update(ctx, s.Restore); err != nil {
			return err
		}
	}
	for i := range s.Status.Checks {
		if s.Status.Checks[i].Passed != nil {
			continue
		}
		if err := r.ask(ctx, s, i); err != nil {
			return err
		}
	}
	return nil
}

// failed tells whether something did not come back as it was.
func failed(one *v1alpha1.Restore) bool { return verdict(one) != nil }

// checking tells whether everything was restored and compared, and checks are asked.
func checking(one *v1alpha1.Restore) bool { return one.Status.Checks != nil }

// asked are the checks of the drill's policy.
func (r *Reconciler) asked(ctx context.Context, s *scope) ([]v1alpha1.DrillCheck, error) {
	p := &v1alpha1.BackupPolicy{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: s.Labels[v1alpha1.LabelPolicy]}, p)
	if err := client.IgnoreNotFound(err); err != nil {
		return nil, fmt.Errorf("reading policy %s: %w", s.Labels[v1alpha1.LabelPolicy], err)
	}
	if p.Spec.Drill == nil { // nobody wants to know any more
		return nil, nil
	}
	for _, c := range p.Spec.Drill.Checks {
		if c.HTTP != nil && c.HTTP.Port == 0 { // the record of the drill says what was asked
			c.HTTP.Port = usual[c.HTTP.Scheme]
		}
	}
	return p.Spec.Drill.Checks, nil
}

// usual are the ports of schemes.
var usual = map[v1alpha1.CheckScheme]int32{v1alpha1.CheckHTTP: 80, v1alpha1.CheckHTTPS: 443}

// answer is why a check does not pass now; no why: it passes.
type answer struct {
	why string
	// final: it is not asked again.
	final bool
}

// ask asks one check until it passes, or its time is over.
func (r *Reconciler) ask(ctx context.Context, s *scope, i int) error {
	if s.Status.Checks[i].BeganAt == nil {
		s.Status.Checks[i].BeganAt = &metav1.Time{Time: r.Now().Truncate(time.Second)}
		if err := r.Client.Status().Update(ctx, s.Restore); err != nil {
			return err
		}
	}
	c := &s.Status.Checks[i]
	left := c.BeganAt.Add(time.Duration(c.TimeoutSeconds) * time.Second).Sub(r.Now())
	by := r.podsReady
	switch {
	case c.Command != nil:
		by = r.command
	case c.HTTP != nil:
		by = r.http
	}
	said, err := by(ctx, s, c, left)
	if err != nil {
		return err
	}
	last := c.Message
	c.Message = condition.Cut(said.why, checkMessage)
	if said.why != "" && !said.final && left > 0 {
		wait := &outcome.Wait{Reason: v1alpha1.ReasonChecking, Message: "check " + c.Name + " has not passed yet: status.checks says why", After: min(left, askEvery)}
		if c.Message != last { // it is told when the time is over; a young restore waits in silence
			if err := r.Client.Status().Update(ctx, s.Restore); err != nil {
				return err
			}
		}
		return wait
	}
	c.Passed = new(said.why == "")
	c.Seconds = int32(max(0, r.Now().Sub(c.BeganAt.Time)/time.Second))
	return nil
}

// podsReady looks whether pods are there and all of them Ready.
func (r *Reconciler) podsReady(ctx context.Context, s *scope, c *v1alpha1.CheckRun, _ time.Duration) (answer, error) {
	var pods corev1.PodList
	if err := r.Live.List(ctx, &pods, client.InNamespace(s.Status.Namespace)); err != nil {
		return answer{}, fmt.Errorf("listing the pods of %s: %w", s.Status.Namespace, err)
	}
	return answer{why: unready(pods.Items, labels.SelectorFromSet(c.PodsReady.PodSelector.MatchLabels))}, nil
}

// unready says which of the selected pods are not Ready, and why; empty: some are there, and all of them are.
func unready(pods []corev1.Pod, selector labels.Selector) string {
	pods = slices.DeleteFunc(slices.Clone(pods), func(p corev1.Pod) bool {
		return !selector.Matches(labels.Set(p.Labels)) || !p.DeletionTimestamp.IsZero() || p.Status.Phase == corev1.PodSucceeded || p.Labels[v1alpha1.LabelRun] != ""
	})
	if len(pods) == 0 {
		return fmt.Sprintf("there is no pod with the labels %s: has the backup what makes it, and the quota of the workspace room for it?", selector)
	}
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	var bad []string
	for i := range pods {
		if why := notReady(&pods[i]); why != "" {
			bad = append(bad, why)
		}
	}
	if bad == nil {
		return ""
	}
	return fmt.Sprintf("%d of %d pods are not Ready: %s", len(bad), len(pods), strings.Join(bad[:min(len(bad), 4)], "; "))
}

// notReady says why a pod is not Ready; empty: it is.
func notReady(p *corev1.Pod) string {
	said := "no node has taken it"
	if p.Spec.NodeName != "" {
		said = "it is on node " + p.Spec.NodeName
	}
	for _, c := range p.Status.Conditions {
		switch {
		case c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && p.Status.Phase == corev1.PodRunning:
			return ""
		case (c.Type == corev1.PodScheduled || c.Type == corev1.PodReady) && c.Status != corev1.ConditionTrue && c.Message != "":
			said = c.Message
		}
	}
	for _, c := range p.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil {
			said = fmt.Sprintf("container %s: %s", c.Name, strings.TrimSuffix(w.Reason+": "+w.Message, ": "))
		}
	}
	return fmt.Sprintf("%s is %s: %s", p.Name, p.Status.Phase, said)
}

// command has a command run in a pod of the workspace, as hooks are.
func (r *Reconciler) command(ctx context.Context, s *scope, c *v1alpha1.CheckRun, left time.Duration) (answer, error) {
	running, ended, err := r.Hooks.Await(ctx, s.UID, 0)
	if running == nil {
		if left <= 0 { // and what it said last is why; or the operator was ended while it was run
			return answer{why: cmp.Or(c.Message, "it has not ended in time")}, nil
		}
		r.Hooks.Begin(s.UID, hooks.Command{Namespace: s.Status.Namespace, Hook: v1alpha1.Hook{
			Name: c.Name, PodSelector: c.Command.PodSelector, Container: c.Command.Container, Before: c.Command.Command, TimeoutSeconds: int32(max(1, left/time.Second)),
		}})
		running, ended, err = r.Hooks.Await(ctx, s.UID, hooks.Moment)
	}
	if running != nil && !ended {
		return answer{}, &outcome.Wait{Reason: v1alpha1.ReasonChecking, Message: "the command of check " + c.Name + " is run", After: hooks.Moment}
	}
	return because(err), nil
}

// because is that of a command which has ended.
func because(err error) answer {
	if err == nil {
		return answer{}
	}
	return answer{why: err.Error()}
}

// http has a pod in the workspace ask: the operator is no client of a tenant's.
func (r *Reconciler) http(ctx context.Context, s *scope, c *v1alpha1.CheckRun, _ time.Duration) (answer, error) {
	port, err := depot.Port(s.from)
	if err != nil {
		return answer{}, err
	}
	if c.Mover == nil {
		c.Mover = &v1alpha1.VolumeMove{Name: c.Name, Phase: v1alpha1.VolumeWaiting}
	}
	err = r.Movers.Step(ctx, volumes.Task{
		Operation: move.Check, For: client.ObjectKeyFromObject(s.Restore), UID: s.UID, Namespace: s.Status.Namespace, Workspace: s.workspace.UID,
		Claim: c.Name, Profile: v1alpha1.ProfileGeneral, User: volumes.Nobody, Group: volumes.Nobody, StorePort: port,
	}, c.Mover, s.Restore)
	wait, waits := errors.AsType[*outcome.Wait](err)
	switch {
	case waits && c.Mover.Phase == v1alpha1.VolumeMoving: // it asks until the time is over by itself
		return answer{}, &outcome.Wait{Reason: v1alpha1.ReasonChecking, Message: "check " + c.Name + " is asked by a pod in the workspace", After: wait.After}
	case waits && c.Mover.Message != "":
		return answer{why: "it could not be asked: " + c.Mover.Message}, nil
	case waits:
		return answer{why: "it could not be asked: " + wait.Message}, nil
	case err != nil:
		return answer{}, err
	case c.Mover.Phase == v1alpha1.VolumeDone:
		return answer{}, nil
	}
	return answer{why: strings.TrimPrefix(c.Mover.Message, string(move.FailureAnswer)+": "), final: true}, nil
}

// failedChecks says which checks have failed, and why.
func failedChecks(one *v1alpha1.Restore) (texts []string) {
	for _, c := range one.Status.Checks {
		if c.Passed != nil && !*c.Passed {
			texts = append(texts, c.Name+": "+c.Message)
		}
	}
	return texts
}
