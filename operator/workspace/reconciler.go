package workspace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/apply"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/guardrail"
	"github.com/broletto/broletto/operator/outcome"
	"github.com/broletto/broletto/operator/quota"
)

// Finalizer keeps a Workspace until its namespace is gone.
const Finalizer = "broletto.dev/workspace"

// longest is how long a settled workspace goes without a look: clocks are set, and it may expire meanwhile.
const longest = 12 * time.Hour

// Reconciler makes workspaces.
type Reconciler struct {
	Client client.Client
	Apply  *apply.Applier
	Events events.EventRecorder
	Now    func() time.Time
}

// facts are what a decision about a workspace rests on.
type facts struct {
	Context
	allocation *v1alpha1.Allocation // nil: the ledger holds nothing for this workspace
	claims     []corev1.PersistentVolumeClaim
}

// Reconcile looks at a workspace, makes what its tenant's ledger holds for it, and tells.
func (r *Reconciler) Reconcile(ctx context.Context, w *v1alpha1.Workspace) (ctrl.Result, error) {
	if !w.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, w)
	}
	if controllerutil.AddFinalizer(w, Finalizer) {
		if err := r.Client.Update(ctx, w); err != nil {
			return ctrl.Result{}, err
		}
	}
	before := w.DeepCopy()
	next, err := r.converge(ctx, w)
	return outcome.Settle(ctx, r.Client, before, w, "namespace "+w.TargetNamespace()+" is ready", next, err)
}

// converge makes the namespace. It returns when to look again though nothing changes.
func (r *Reconciler) converge(ctx context.Context, w *v1alpha1.Workspace) (next time.Duration, err error) {
	seen, err := r.observe(ctx, w)
	if err != nil {
		return 0, err
	}
	wrong := check(w, seen.Context)
	verdict := wrong
	asked := quota.Request(seen.Consortium.Spec.Defaults.Workspace.Quota, seen.Tenant, w)
	if verdict == nil && !seen.holds(w, asked) {
		verdict = unanswerable(w, seen.Tenant, asked)
	}
	if seen.allocation == nil {
		return 0, cmp.Or(tenantVerdict(seen.Tenant), verdict)
	}
	if stands, err := r.Apply.Exists(ctx, apply.Set{Owner: w.UID, Root: root(w, seen.Context)}); err != nil || (wrong != nil && !stands) {
		return 0, cmp.Or(err, wrong) // what is wrong is not begun
	}
	pending := r.sync(ctx, w, seen.Context)
	if pending != nil && !isQuotaPending(pending) {
		return 0, pending
	}
	w.Status.Namespace = w.TargetNamespace()
	w.Status.Quota = seen.allocation.Quota
	w.Status.AllocationRevision = seen.allocation.Revision
	r.tell(w, seen)
	if err := r.volumesBound(ctx, w, seen); err != nil {
		return 0, err
	}
	if verdict = cmp.Or(verdict, pending); verdict != nil {
		return 0, verdict
	}
	next = longest
	if at := w.Spec.ExpiresAt; at != nil && at.After(r.Now()) {
		next = min(next, at.Sub(r.Now()))
	}
	return next, r.counted(ctx, w)
}

// holds tells whether the ledger holds just what the workspace asks for.
func (f facts) holds(w *v1alpha1.Workspace, asked corev1.ResourceList) bool {
	return f.allocation != nil && quota.Equal(f.allocation.Quota, asked) &&
		slices.Equal(f.allocation.Hosts, slices.Sorted(slices.Values(w.Spec.Network.Hosts)))
}

func (r *Reconciler) observe(ctx context.Context, w *v1alpha1.Workspace) (facts, error) {
	var seen facts
	tenant, consortium := &v1alpha1.Tenant{}, &v1alpha1.Consortium{}
	err := r.Client.Get(ctx, client.ObjectKey{Name: w.Namespace}, tenant)
	if apierrors.IsNotFound(err) {
		return seen, outcome.Stalled(v1alpha1.ReasonNotAHomeNamespace, "namespace %s is no tenant's home: write workspaces in the namespace named like the tenant", w.Namespace)
	}
	if err != nil {
		return seen, fmt.Errorf("reading tenant %s: %w", w.Namespace, err)
	}
	err = r.Client.Get(ctx, client.ObjectKey{Name: tenant.Spec.Consortium}, consortium)
	if apierrors.IsNotFound(err) {
		return seen, outcome.Stalled(v1alpha1.ReasonConsortiumNotFound, "there is no consortium %s, to which tenant %s belongs", tenant.Spec.Consortium, tenant.Name)
	}
	if err != nil {
		return seen, fmt.Errorf("reading consortium %s: %w", tenant.Spec.Consortium, err)
	}
	seen.Tenant, seen.Consortium = tenant, consortium
	seen.Member = member(tenant)
	seen.Suspended = !seen.Member || expired(w, r.Now())
	for i := range tenant.Status.Allocations {
		if tenant.Status.Allocations[i].UID == w.UID {
			seen.allocation = &tenant.Status.Allocations[i]
			seen.Granted, seen.Hosts = seen.allocation.Quota, seen.allocation.Hosts
		}
	}
	return seen, cmp.Or(r.observeNamespace(ctx, w, &seen), r.observePeers(ctx, w, &seen), r.observeClaims(ctx, w, &seen))
}

// observeNamespace finds for whom the bindings in the namespace were looked through last.
func (r *Reconciler) observeNamespace(ctx context.Context, w *v1alpha1.Workspace, seen *facts) error {
	var ns corev1.Namespace
	err := r.Client.Get(ctx, client.ObjectKey{Name: w.TargetNamespace()}, &ns)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading namespace %s: %w", w.TargetNamespace(), err)
	}
	seen.Vetted = strings.Fields(ns.Annotations[v1alpha1.AnnotationVetted])
	return nil
}

// observePeers finds who of the named peers names this workspace too.
func (r *Reconciler) observePeers(ctx context.Context, w *v1alpha1.Workspace, seen *facts) error {
	self := Peer{Tenant: w.Namespace, Workspace: w.Name}
	ask := func(named []v1alpha1.Peer, theirs func(*v1alpha1.Workspace) []v1alpha1.Peer) (out []Peer, err error) {
		for _, p := range named {
			peer, other := peerOf(w, p), &v1alpha1.Workspace{}
			err := r.Client.Get(ctx, client.ObjectKey{Namespace: peer.Tenant, Name: peer.Workspace}, other)
			if client.IgnoreNotFound(err) != nil {
				return nil, fmt.Errorf("reading workspace %s of tenant %s: %w", peer.Workspace, peer.Tenant, err)
			}
			if err == nil && names(other, theirs(other), self) {
				out = append(out, peer)
			}
		}
		return out, nil
	}
	var err, err2 error
	seen.Callers, err = ask(w.Spec.Network.AllowFrom, func(o *v1alpha1.Workspace) []v1alpha1.Peer { return o.Spec.Network.ConnectTo })
	seen.Called, err2 = ask(w.Spec.Network.ConnectTo, func(o *v1alpha1.Workspace) []v1alpha1.Peer { return o.Spec.Network.AllowFrom })
	return cmp.Or(err, err2)
}

func (r *Reconciler) observeClaims(ctx context.Context, w *v1alpha1.Workspace, seen *facts) error {
	if len(declared(w)) == 0 {
		return nil
	}
	var list corev1.PersistentVolumeClaimList
	if err := r.Client.List(ctx, &list, client.InNamespace(w.TargetNamespace())); err != nil {
		return fmt.Errorf("listing claims in %s: %w", w.TargetNamespace(), err)
	}
	seen.claims = list.Items
	for _, claim := range list.Items {
		seen.Claims = append(seen.Claims, claim.Name)
	}
	return nil
}

// member tells whether the tenant is one today, as its status says; one that nobody looked at yet has nothing to lose.
func member(t *v1alpha1.Tenant) bool {
	return !meta.IsStatusConditionFalse(t.Status.Conditions, v1alpha1.ConditionMember)
}

func expired(w *v1alpha1.Workspace, now time.Time) bool {
	return w.Spec.ExpiresAt != nil && !w.Spec.ExpiresAt.After(now)
}

// tenantVerdict passes on that the tenant itself is not ready: its ledger answers nobody until it is.
func tenantVerdict(t *v1alpha1.Tenant) error {
	ready := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Status == "True" {
		return nil
	}
	return &outcome.Wait{Reason: v1alpha1.ReasonTenantNotReady, Message: fmt.Sprintf("tenant %s is not ready: %s", t.Name, ready.Message)}
}

// sync makes the namespace and all in it as it should be. When somebody has left, the policy shuts first, since the namespace says who may
// be given rights; then the bindings of the workspace's own making are looked through; then the namespace says that they were.
func (r *Reconciler) sync(ctx context.Context, w *v1alpha1.Workspace, c Context) error {
	err := r.apply(ctx, w, c)
	if _, foreign := errors.AsType[*apply.Foreign](err); foreign || !left(w, c) {
		return explained(err, w.TargetNamespace())
	}
	withdrawn := r.disown(ctx, w, c) // rights of the past go even when something new fails
	if err == nil && withdrawn == nil {
		c.Vetted = nil
		err = r.apply(ctx, w, c)
	}
	return cmp.Or(explained(err, w.TargetNamespace()), withdrawn)
}

func (r *Reconciler) apply(ctx context.Context, w *v1alpha1.Workspace, c Context) error {
	set := Desired(w, c)
	set.Made = condition.True(w, v1alpha1.ConditionReady)
	set.Unfinished = !set.Made
	drifted, err := r.Apply.Sync(ctx, set)
	for _, ref := range drifted {
		r.Events.Eventf(w, ref.In(w.TargetNamespace()), corev1.EventTypeWarning, "DriftRepaired", "Repair",
			"%s %s in %s was changed or deleted; it is as it should be again", ref.Kind, ref.Name, w.TargetNamespace())
	}
	return err
}

// explained turns what the applier met into what a person or the clock can do about it.
func explained(err error, namespace string) error {
	var foreign *apply.Foreign
	var terminating *apply.Terminating
	switch {
	case errors.As(err, &foreign):
		return outcome.Stalled(v1alpha1.ReasonNamespaceConflict, "namespace %s exists already and is not ours; nothing was written to it: "+
			"ask the platform to delete it, or name the workspace differently", namespace)
	case errors.As(err, &terminating), apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return &outcome.Wait{Reason: v1alpha1.ReasonDeleting, Message: err.Error() + "; it is made again when it is gone"}
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "quota"):
		return &outcome.Wait{Reason: v1alpha1.ReasonQuotaPending, After: time.Second, Message: "a volume does not fit the quota of " + namespace +
			": the controller manager has not counted it yet, or other claims use it up"}
	}
	return err
}

// isQuotaPending tells whether all is in place but volumes, which come last.
func isQuotaPending(err error) bool {
	var wait *outcome.Wait
	return errors.As(err, &wait) && wait.Reason == v1alpha1.ReasonQuotaPending
}

// tell reports on consent and suspension.
func (r *Reconciler) tell(w *v1alpha1.Workspace, seen facts) {
	network := w.Spec.Network
	missing := append(unanswered(w, network.AllowFrom, seen.Callers), unanswered(w, network.ConnectTo, seen.Called)...)
	switch {
	case len(network.AllowFrom)+len(network.ConnectTo) == 0:
		condition.Withdraw(w, v1alpha1.ConditionPeersConsent)
	case len(missing) > 0:
		condition.Report(w, v1alpha1.ConditionPeersConsent, false, v1alpha1.ReasonConsentMissing,
			"closed until they name this workspace too: "+strings.Join(missing, ", "))
	default:
		condition.Report(w, v1alpha1.ConditionPeersConsent, true, v1alpha1.ReasonSucceeded, "")
	}
	switch {
	case !seen.Member:
		condition.Report(w, v1alpha1.ConditionSuspended, true, v1alpha1.ReasonMembershipEnded, "the tenant is no member today: no new pods, no rights, data is kept")
	case seen.Suspended:
		condition.Report(w, v1alpha1.ConditionSuspended, true, v1alpha1.ReasonExpired, "spec.expiresAt has passed: no new pods, data is kept; move it, or delete the workspace")
	default:
		condition.Report(w, v1alpha1.ConditionSuspended, false, v1alpha1.ReasonActive, "")
	}
}

// volumesBound reports on the volumes. The claims may be older than what was just applied: an event brings us back.
func (r *Reconciler) volumesBound(ctx context.Context, w *v1alpha1.Workspace, seen facts) error {
	var pending []string
	reason := v1alpha1.ReasonVolumesPending
	for _, v := range declared(w) {
		if slices.ContainsFunc(seen.claims, func(c corev1.PersistentVolumeClaim) bool {
			return c.Name == v.Name && c.Status.Phase == corev1.ClaimBound
		}) {
			continue
		}
		class := quota.ClassOf(seen.Tenant, v)
		err := r.Client.Get(ctx, client.ObjectKey{Name: class}, &storagev1.StorageClass{})
		switch {
		case apierrors.IsNotFound(err):
			reason = v1alpha1.ReasonStorageClassMissing
			pending = append(pending, v.Name+" (this cluster has no storage class "+class+")")
		case err != nil:
			return fmt.Errorf("reading storage class %s: %w", class, err)
		default:
			pending = append(pending, v.Name+" (waits for its first pod or its provisioner)")
		}
	}
	switch {
	case len(declared(w)) == 0:
		condition.Withdraw(w, v1alpha1.ConditionVolumesBound)
	case len(pending) > 0:
		condition.Report(w, v1alpha1.ConditionVolumesBound, false, reason, "not bound: "+strings.Join(pending, ", "))
	default:
		condition.Report(w, v1alpha1.ConditionVolumesBound, true, v1alpha1.ReasonSucceeded, "")
	}
	return nil
}

// counted waits until the workspace's quota lets pods be made.
func (r *Reconciler) counted(ctx context.Context, w *v1alpha1.Workspace) error {
	var q corev1.ResourceQuota
	if err := r.Client.Get(ctx, client.ObjectKey{Namespace: w.TargetNamespace(), Name: guardrail.QuotaName}, &q); err != nil {
		return fmt.Errorf("reading the quota of namespace %s: %w", w.TargetNamespace(), err)
	}
	if !guardrail.Counted(&q) {
		return &outcome.Wait{Reason: v1alpha1.ReasonQuotaPending, Message: "the controller manager has not yet counted the objects in namespace " + w.TargetNamespace()}
	}
	return nil
}
