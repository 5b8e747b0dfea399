package stack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/apply"
	"github.com/broletto/broletto/operator/outcome"
	"github.com/broletto/broletto/operator/vault"
)

// create makes the next run. Its name is a count, so that two of us make one run.
func (r *Reconciler) create(ctx context.Context, s *v1alpha1.Stack, all []*v1alpha1.StackRun, step Step, in inputs) (*v1alpha1.StackRun, error) {
	attempt := attemptOf(s.Status.Run)
	for _, old := range all {
		attempt = max(attempt, old.Spec.Attempt)
	}
	attempt++
	out := &v1alpha1.StackRun{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Namespace, Name: runName(s.Name, attempt),
			Labels:      map[string]string{v1alpha1.LabelStack: s.Name, v1alpha1.LabelOwner: string(s.UID)},
			Annotations: map[string]string{annotationCredentials: in.credentials},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.GroupVersion.String(), Kind: "Stack", Name: s.Name, UID: s.UID, Controller: new(true),
			}},
		},
		Spec: v1alpha1.StackRunSpec{
			Stack: s.Name, StackUID: s.UID, Workspace: s.Spec.Workspace, Operation: step.Operation, Engine: s.Spec.Engine,
			Inputs: in.all, Attempt: attempt, TimeoutMinutes: s.Spec.TimeoutMinutes,
		},
	}
	if asked(s) && step.Operation != v1alpha1.OperationLook && step.Operation != v1alpha1.OperationApply {
		out.Annotations[annotationReplan] = question(s)
	}
	if step.Revision != "" {
		out.Annotations[annotationRevision] = step.Revision
	}
	if step.Plan != nil {
		out.Spec.Plan, out.Spec.PlanRun = step.Plan.Status.Plan.Digest, step.Plan.Name
	}
	err := r.Client.Create(ctx, out)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil, &outcome.Wait{Reason: v1alpha1.ReasonDeleting, Message: "namespace " + s.Namespace + " is being deleted: no run can be made"}
	}
	return out, wrapped(err, "creating run %s", out.Name)
}

// begin brings a run as far as its Job: rights, order, Job, and who the broker may answer. Each step may be done twice.
func (r *Reconciler) begin(ctx context.Context, s *v1alpha1.Stack, one *v1alpha1.StackRun, runs []*v1alpha1.StackRun) error {
	m, failure, err := r.material(ctx, s, one)
	if err != nil {
		return err
	}
	plan := newest(runs, func(p *v1alpha1.StackRun) bool { return one.Spec.PlanRun != "" && p.Name == one.Spec.PlanRun })
	if one.Spec.PlanRun != "" && plan == nil {
		failure = &v1alpha1.RunFailure{Class: v1alpha1.FailureOutOfDate, Message: "the plan is there no more; a new one is made"}
	}
	if failure != nil {
		return r.end(ctx, s, one, failure)
	}
	c, err := r.surroundings(ctx)
	if err != nil {
		return err
	}
	isFirst := !slices.ContainsFunc(runs, func(p *v1alpha1.StackRun) bool { return p.Status.JobUID != "" })
	for _, o := range Rights(s, c) {
		if err := r.ensure(ctx, s, o, isFirst); err != nil {
			return explained(err, s)
		}
	}
	if err := r.Vault.PutOrder(ctx, of(s), one.UID, Order(s, one, plan, m, r.Rules)); err != nil {
		return fmt.Errorf("keeping the order of run %s: %w", one.Name, err)
	}
	job, err := r.job(ctx, s, one, c)
	if err != nil {
		return explained(err, s)
	}
	now := metav1.NewTime(r.now())
	one.Status.Phase, one.Status.Job, one.Status.JobUID, one.Status.StartedAt = v1alpha1.RunPending, job.Name, job.UID, &now
	return wrapped(r.Client.Status().Update(ctx, one), "writing the status of run %s", one.Name)
}

// material is what a run is made of. A failure says that there is nothing any more that it could be made of.
func (r *Reconciler) material(ctx context.Context, s *v1alpha1.Stack, one *v1alpha1.StackRun) (m material, failure *v1alpha1.RunFailure, err error) {
	switch one.Spec.Operation {
	case v1alpha1.OperationLook, v1alpha1.OperationDestroy:
		m.inputs, m.secret, err = r.Vault.AppliedInputs(ctx, of(s))
		if errors.Is(err, vault.ErrNotFound) {
			return m, &v1alpha1.RunFailure{Class: v1alpha1.FailureOutOfDate, Message: "nothing was applied"}, nil
		}
		return m, nil, wrapped(err, "reading what of stack %s was applied last", s.Name)
	default:
		m, err = r.gather(ctx, s, r.Vault.Key)
		if unusable, is := errors.AsType[*outcome.Stall](err); is {
			return m, &v1alpha1.RunFailure{Class: v1alpha1.FailureOutOfDate, Message: unusable.Error()}, nil
		}
		if err == nil && m.digests.all != one.Spec.Inputs {
			failure = &v1alpha1.RunFailure{Class: v1alpha1.FailureOutOfDate, Message: "source or inputs changed before the run began"}
		}
		return m, failure, err
	}
}

// surroundings are what the objects of a run depend on. The API server has no selector: it is found by its endpoints.
func (r *Reconciler) surroundings(ctx context.Context) (Context, error) {
	c := Context{Image: r.Image, Namespace: r.Namespace, BrokerURL: r.BrokerURL, BrokerCA: string(r.BrokerCA), BrokerPort: r.BrokerPort}
	var slice discoveryv1.EndpointSlice
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: metav1.NamespaceDefault, Name: "kubernetes"}, &slice)
	if client.IgnoreNotFound(err) != nil { // one on loopback has none, and no pods that could reach it
		return c, fmt.Errorf("reading the endpoints of the API server: %w", err)
	}
	for _, e := range slice.Endpoints {
		for _, ip := range e.Addresses {
			for _, port := range slice.Ports {
				if port.Port != nil {
					c.APIServer = append(c.APIServer, Address{IP: ip, Port: *port.Port})
				}
			}
		}
	}
	return c, nil
}

// ensure makes an object in the workspace as it should be, without a look before where it is new. One of that name that is not the stack's is
// left alone.
func (r *Reconciler) ensure(ctx context.Context, s *v1alpha1.Stack, o apply.Object, isNew bool) error {
	live, err := r.typed(o)
	if err != nil {
		return err
	}
	if isNew {
		if err := r.make(ctx, o, live); !apierrors.IsAlreadyExists(err) {
			return err
		}
		if live, err = r.typed(o); err != nil {
			return err
		}
	}
	kind, key := *o.GetKind(), client.ObjectKeyFromObject(live)
	err = r.Live.Get(ctx, key, live)
	if apierrors.IsNotFound(err) {
		return r.make(ctx, o, live)
	}
	if err != nil {
		return fmt.Errorf("reading %s %s: %w", kind, key, err)
	}
	if live.GetLabels()[v1alpha1.LabelOwner] != string(s.UID) {
		return outcome.Stalled(v1alpha1.ReasonNamespaceConflict, "%s %s in %s exists already and is not this stack's: delete it, or name the stack differently",
			kind, key.Name, key.Namespace)
	}
	return wrapped(r.Client.Apply(ctx, o, client.ForceOwnership, client.FieldOwner(apply.FieldManager)), "applying %s %s", kind, key)
}

// make creates an object; into is an empty one of its kind. That costs half of an apply, and adopts nothing.
func (r *Reconciler) make(ctx context.Context, o apply.Object, into client.Object) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, into); err != nil {
		return err
	}
	return wrapped(r.Client.Create(ctx, into, client.FieldOwner(apply.FieldManager)), "creating %s %s", *o.GetKind(), client.ObjectKeyFromObject(into))
}

// typed is an object of the kind, namespace and name of an apply configuration.
func (r *Reconciler) typed(o apply.Object) (client.Object, error) {
	ref := apply.Reference(o)
	made, err := r.Client.Scheme().New(schemaOf(ref))
	if err != nil {
		return nil, err
	}
	out := made.(client.Object)
	out.SetNamespace(*o.GetNamespace())
	out.SetName(ref.Name)
	return out, nil
}

// job creates the Job of a run, or finds the one that was created before we stopped.
func (r *Reconciler) job(ctx context.Context, s *v1alpha1.Stack, one *v1alpha1.StackRun, c Context) (*batchv1.Job, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(Job(s, one, c))
	if err != nil {
		return nil, err
	}
	job := &batchv1.Job{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, job); err != nil {
		return nil, err
	}
	err = r.Client.Create(ctx, job)
	if !apierrors.IsAlreadyExists(err) {
		return job, wrapped(err, "creating Job %s", job.Name)
	}
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(job), job); err != nil {
		return nil, fmt.Errorf("reading Job %s: %w", job.Name, err)
	}
	switch {
	case job.Labels[v1alpha1.LabelRun] == string(one.UID) && job.DeletionTimestamp.IsZero():
		return job, nil
	case job.Labels[v1alpha1.LabelRun] == "" || job.Labels[v1alpha1.LabelStack] != s.Name:
		return nil, outcome.Stalled(v1alpha1.ReasonNamespaceConflict, "Job %s in %s exists already and is not this stack's: delete it", job.Name, job.Namespace)
	}
	if err := r.stop(ctx, job); err != nil {
		return nil, err
	}
	return nil, &outcome.Wait{Reason: v1alpha1.ReasonDeleting, Message: "Job " + job.Name + " of an earlier stack is being deleted"}
}

// stop ends a Job. It goes when its pods are gone: whoever sees it gone may be sure that nothing of it runs.
func (r *Reconciler) stop(ctx context.Context, job *batchv1.Job) error {
	if !job.DeletionTimestamp.IsZero() {
		return nil
	}
	err := r.Client.Delete(ctx, job, client.PropagationPolicy(metav1.DeletePropagationForeground), client.Preconditions{UID: &job.UID})
	return wrapped(client.IgnoreNotFound(err), "deleting Job %s in %s", job.Name, job.Namespace)
}

// explained turns what the API server refused into what a person or the clock can do about it.
func explained(err error, s *v1alpha1.Stack) error {
	namespace := s.TargetNamespace()
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return &outcome.Wait{Reason: v1alpha1.ReasonWorkspaceNotReady, Message: "namespace " + namespace + " is being deleted"}
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "quota"):
		return &outcome.Wait{Reason: v1alpha1.ReasonNoRoom, After: beatLook, Message: "the quota of " + namespace + " has no room for the run: wait, delete something, or ask for more"}
	}
	return err
}
