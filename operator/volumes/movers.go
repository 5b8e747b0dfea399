package volumes

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/apply"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/move"
	"github.com/broletto/broletto/operator/outcome"
)

// +kubebuilder:rbac:groups=batch,resources=jobs,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=pods,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=persistentvolumeclaims,verbs=list
// +kubebuilder:rbac:groups="",resources=serviceaccounts,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=get;list;watch;create;patch;delete

const (
	// Attempts is how many movers are tried for one volume, each later than the one before by pause.
	Attempts = 3
	pause    = time.Minute
	// roomPatience is how long a mover's pod may take to begin.
	roomPatience = 15 * time.Minute
	// lookEvery is when to look again at what goes on by itself.
	lookEvery = 30 * time.Second
	// messageBytes bounds a message in a status.
	messageBytes = 1024
)

// Movers runs movers, and says what becomes of them.
type Movers struct {
	Client client.Client // with its cache of Jobs and pods that carry [v1alpha1.LabelRun]
	Live   client.Reader
	Context
	Now func() time.Time
}

// Step brings a task one step on, and notes in v how it stands, which is in the status of the object that it is for. It returns what is waited
// for; nil: it is over.
func (m *Movers) Step(ctx context.Context, t Task, v *v1alpha1.VolumeMove, of client.Object) error {
	if Over(v) {
		return nil
	}
	v.Attempt = max(v.Attempt, 1)
	t.Attempt = v.Attempt
	if t.Operation == move.Backup && t.Database == nil {
		if err := m.copied(ctx, t, v); err != nil {
			return err
		}
		if v.From == v1alpha1.FromVolume && t.Holder != "" {
			fail(v, "it is ReadWriteOncePod, and pod "+t.Holder+" has it: make it ReadWriteOnce, have a class that takes snapshots and quota for a copy, or stop the pod for as long as backups take")
			return nil
		}
		t.Copied = v.From == v1alpha1.FromSnapshot
	}
	job, err := m.job(ctx, t)
	if err != nil {
		return err
	}
	if v.Job != job.UID { // the broker answers nobody else
		v.Job, v.User, v.Group, v.FSGroup = job.UID, t.User, t.Group, t.FSGroup
		if err := m.note(ctx, of); err != nil {
			return err
		}
	}
	end := endOf(job)
	if end == nil {
		return m.watch(ctx, t, v, job)
	}
	var pods corev1.PodList // the cache may be behind, and nothing of one attempt may live when the next begins
	if err := m.Live.List(ctx, &pods, client.InNamespace(t.Namespace), client.MatchingLabels{v1alpha1.LabelRun: string(t.UID)}); err != nil {
		return fmt.Errorf("listing the pods of movers in %s: %w", t.Namespace, err)
	}
	var report *move.Report
	for i := range pods.Items {
		p := &pods.Items[i]
		if owner := metav1.GetControllerOf(p); owner == nil || owner.UID != job.UID {
			continue
		}
		if p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
			return wait(v, "pod "+p.Name+" of the mover has not ended: if its node is lost, delete the node or force the pod's deletion", lookEvery)
		}
		report = reportOf(p)
	}
	return m.judge(v, end, report)
}

// note writes an object's status. The answer is read into a copy: v is in the one that is written.
func (m *Movers) note(ctx context.Context, of client.Object) error {
	written := of.DeepCopyObject().(client.Object)
	if err := m.Client.Status().Update(ctx, written); err != nil {
		return err
	}
	of.SetResourceVersion(written.GetResourceVersion())
	return nil
}

// Over tells whether a volume is done with.
func Over(v *v1alpha1.VolumeMove) bool {
	return v.Phase == v1alpha1.VolumeDone || v.Phase == v1alpha1.VolumeSkipped || v.Phase == v1alpha1.VolumeFailed
}

// job is the Job of a task, which is made if it is not there.
func (m *Movers) job(ctx context.Context, t Task) (*batchv1.Job, error) {
	job := &batchv1.Job{}
	where := client.ObjectKey{Namespace: t.Namespace, Name: t.JobName()}
	err := m.Client.Get(ctx, where, job)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("reading Job %s: %w", where, err)
	}
	if err == nil && !job.DeletionTimestamp.IsZero() {
		return nil, &outcome.Wait{Reason: v1alpha1.ReasonMovingVolumes, Message: "an earlier mover of volume " + t.Claim + " is being ended", After: time.Second}
	}
	if err == nil {
		return job, nil
	}
	for _, o := range Rights(t, m.Context) {
		if err := m.Client.Apply(ctx, o, client.ForceOwnership, client.FieldOwner(apply.FieldManager)); err != nil {
			return nil, explained(err, t)
		}
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(Job(t, m.Context))
	if err != nil {
		return nil, err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, job); err != nil {
		return nil, err
	}
	err = m.Client.Create(ctx, job)
	if !apierrors.IsAlreadyExists(err) {
		return job, explained(err, t)
	}
	if err := m.Live.Get(ctx, where, job); err != nil {
		return nil, fmt.Errorf("reading Job %s: %w", where, err)
	}
	if job.Labels[v1alpha1.LabelRun] != string(t.UID) {
		return nil, outcome.Stalled(v1alpha1.ReasonNamespaceConflict, "Job %s exists already and is not a mover's: delete it", where)
	}
	return job, nil
}

// explained turns what the API server refused into what a person or the clock can do about it.
func explained(err error, t Task) error {
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return &outcome.Wait{Reason: v1alpha1.ReasonWorkspaceNotReady, Message: "namespace " + t.Namespace + " is being deleted"}
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "quota"):
		return &outcome.Wait{Reason: v1alpha1.ReasonNoRoom, After: time.Minute, Message: "the quota of " + t.Namespace + " has no room for a mover: wait, delete something, or ask for more"}
	case err != nil:
		return fmt.Errorf("having volume %s of %s moved: %w", t.Claim, t.Namespace, err)
	}
	return nil
}

// watch tells how a mover gets on.
func (m *Movers) watch(ctx context.Context, t Task, v *v1alpha1.VolumeMove, job *batchv1.Job) error {
	v.Phase = v1alpha1.VolumeWaiting
	var pods corev1.PodList
	if err := m.Client.List(ctx, &pods, client.InNamespace(t.Namespace), client.MatchingLabels{v1alpha1.LabelRun: string(t.UID)}); err != nil {
		return fmt.Errorf("listing the pods of movers in %s: %w", t.Namespace, err)
	}
	begun := false
	why := "its pod is not made: most often the quota of " + t.Namespace + " has no room for " + t.needs() + " of limits; \"kubectl describe job " + job.Name + "\" there says why"
	for _, p := range pods.Items {
		if owner := metav1.GetControllerOf(&p); owner == nil || owner.UID != job.UID {
			continue
		}
		begun = p.Status.Phase != corev1.PodPending
		why = "its pod " + p.Name + " has not begun: " + held(&p)
	}
	if begun {
		v.Phase = v1alpha1.VolumeMoving
		var p move.Progress
		if json.Unmarshal([]byte(job.Annotations[annotationProgress]), &p) == nil {
			v.Bytes, v.Files, v.TotalBytes, v.BytesPerSecond, v.SecondsLeft = p.Bytes, p.Files, p.TotalBytes, p.BytesPerSecond, p.SecondsLeft
		}
		return wait(v, "", lookEvery)
	}
	age := m.Now().Sub(job.CreationTimestamp.Time)
	if age < roomPatience {
		return wait(v, why, min(roomPatience-age, lookEvery))
	}
	if err := m.stop(ctx, job); err != nil {
		return err
	}
	fail(v, "no mover could begin within "+roomPatience.String()+": "+why)
	return nil
}

// held says what holds a pod that has not begun.
func held(p *corev1.Pod) string {
	for _, c := range p.Status.InitContainerStatuses {
		if c.State.Waiting != nil && c.State.Waiting.Reason == "CreateContainerConfigError" { // the Secret, or a key of it
			return c.State.Waiting.Message
		}
	}
	return "the pod's status says why"
}

// wait is for a mover.
func wait(v *v1alpha1.VolumeMove, why string, after time.Duration) error {
	v.Message = why
	return &outcome.Wait{Reason: v1alpha1.ReasonMovingVolumes, Message: what(v) + " is on its way: status.volumes says how far", After: after}
}

func fail(v *v1alpha1.VolumeMove, why string) {
	v.Phase, v.Message = v1alpha1.VolumeFailed, condition.Cut(why, messageBytes)
	v.TotalBytes, v.BytesPerSecond, v.SecondsLeft = 0, 0, 0
}

// judge says what a mover came to. What may go better the next time is tried again.
func (m *Movers) judge(v *v1alpha1.VolumeMove, end *time.Time, r *move.Report) error {
	v.Message, v.TotalBytes, v.BytesPerSecond, v.SecondsLeft = "", 0, 0, 0
	why := "the mover's pod went without a word"
	passes := true
	if r != nil {
		v.Bytes, v.Files, v.Sent, v.Received = r.Bytes, r.Files, r.Requests.Sent, r.Requests.Received
		if r.Operation == move.Backup { // what is restored stays what it was, also for the next attempt
			v.Snapshot, v.Root = r.Snapshot, r.Root
		}
		if r.Failure == nil {
			v.Phase = v1alpha1.VolumeDone
			return nil
		}
		why = string(r.Failure.Class) + ": " + r.Failure.Message
		for _, p := range r.Problems {
			if p.Message != r.Failure.Message { // as that of a dump, which is all there is
				why += "; " + p.Path + ": " + p.Message
			}
		}
		if r.Failure.Class == move.FailureSource && r.Snapshot != "" { // the snapshot has the rest
			v.Phase, v.Message = v1alpha1.VolumeDone, condition.Cut(why, messageBytes)
			return nil
		}
		switch r.Failure.Class {
		case move.FailureStore, move.FailureStalled, move.FailureInterrupted:
		case move.FailureSource, move.FailureTarget: // a server of a database may be restarted; what broke off has left nothing
			passes = v.Database != nil
		default:
			passes = false
		}
	}
	if !passes || v.Attempt >= Attempts {
		fail(v, why)
		return nil
	}
	v.Phase = v1alpha1.VolumeWaiting
	if rest := end.Add(time.Duration(v.Attempt) * pause).Sub(m.Now()); rest > 0 && rest <= Attempts*pause {
		return wait(v, why+"; it is tried again", rest)
	}
	v.Attempt++
	return wait(v, why+"; it is tried again", time.Millisecond)
}

// what names what is moved.
func what(v *v1alpha1.VolumeMove) string {
	if v.Database != nil {
		return v.Name
	}
	return "volume " + v.Name
}

// Damaged tells whether a volume failed since the store has lost or changed what was written.
func Damaged(v *v1alpha1.VolumeMove) bool {
	return v.Phase == v1alpha1.VolumeFailed && strings.HasPrefix(v.Message, string(move.FailureDamaged)+": ")
}

// reportOf is what a mover said at its end; nil: nothing.
func reportOf(p *corev1.Pod) *move.Report {
	for _, c := range p.Status.ContainerStatuses {
		var r move.Report
		if c.State.Terminated != nil && json.Unmarshal([]byte(c.State.Terminated.Message), &r) == nil && r.Operation != "" {
			return &r
		}
	}
	return nil
}

// endOf is when the Job controller said its last word; nil: it has not.
func endOf(job *batchv1.Job) *time.Time {
	for _, c := range job.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return &c.LastTransitionTime.Time
		}
	}
	return nil
}

// Clear ends the movers of a Backup or Restore, takes copies of its volumes away, and tells whether no mover is left.
func (m *Movers) Clear(ctx context.Context, namespace string, uid types.UID, all []v1alpha1.VolumeMove) (gone bool, err error) {
	if slices.ContainsFunc(all, func(v v1alpha1.VolumeMove) bool { return v.From != v1alpha1.FromVolume }) { // or they are about to be taken
		if err := m.uncopy(ctx, namespace, uid); err != nil {
			return false, err
		}
	}
	var jobs batchv1.JobList // the cache may not know of the last one
	if err := m.Live.List(ctx, &jobs, client.InNamespace(namespace), client.MatchingLabels{v1alpha1.LabelRun: string(uid)}); err != nil {
		return false, fmt.Errorf("listing the movers in %s: %w", namespace, err)
	}
	for i := range jobs.Items {
		if err := m.stop(ctx, &jobs.Items[i]); err != nil {
			return false, err
		}
	}
	return len(jobs.Items) == 0, nil
}

// stop ends a Job. It goes when its pods are gone.
func (m *Movers) stop(ctx context.Context, job *batchv1.Job) error {
	if !job.DeletionTimestamp.IsZero() {
		return nil
	}
	err := m.Client.Delete(ctx, job, client.PropagationPolicy(metav1.DeletePropagationForeground), client.Preconditions{UID: &job.UID})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting Job %s in %s: %w", job.Name, job.Namespace, err)
	}
	return nil
}
