package tenant

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/apply"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/guardrail"
	"github.com/broletto/broletto/operator/outcome"
)

// Finalizer keeps a Tenant until its home namespace is gone.
const Finalizer = "broletto.dev/tenant"

// longest is how long a settled tenant goes without a look: clocks are set, and a membership may end meanwhile.
const longest = 12 * time.Hour

// Reconciler makes homes and keeps the ledgers.
type Reconciler struct {
	Client client.Client
	Apply  *apply.Applier
	Events events.EventRecorder
	Now    func() time.Time
	// Namespace is where the evidence about the cluster's network lies: that of the operator.
	Namespace string
	// Keys are what tenants' things are encrypted with; nil: there are none.
	Keys Keys

	claims Claims
}

// Keys are the keys of tenants.
type Keys interface {
	// ForgetTenant takes a tenant's key away for good; of none, it succeeds.
	ForgetTenant(ctx context.Context, tenant string) error
}

// facts are what a decision about a tenant rests on.
type facts struct {
	consortium *v1alpha1.Consortium // nil: not found
	namespace  *corev1.Namespace    // nil: not found
	workspaces []v1alpha1.Workspace
	zone       *time.Location
	membership membership
}

// Reconcile looks at a tenant, decides what it gets, and tells.
func (r *Reconciler) Reconcile(ctx context.Context, t *v1alpha1.Tenant) (ctrl.Result, error) {
	if !t.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, t)
	}
	if controllerutil.AddFinalizer(t, Finalizer) {
		if err := r.Client.Update(ctx, t); err != nil {
			return ctrl.Result{}, err
		}
	}
	before := t.DeepCopy()
	until, doubt := r.network(ctx, t)
	next, err := r.converge(ctx, t)
	result, err := outcome.Settle(ctx, r.Client, before, t, "home namespace "+t.Name+" is ready", next, errors.Join(err, doubt))
	if err == nil && until > 0 && (result.RequeueAfter == 0 || until < result.RequeueAfter) {
		result.RequeueAfter = until
	}
	return result, err
}

// converge makes the home and keeps the ledger. It returns when to look again though nothing changes.
func (r *Reconciler) converge(ctx context.Context, t *v1alpha1.Tenant) (next time.Duration, err error) {
	seen, err := r.observe(ctx, t)
	if err != nil {
		return 0, err
	}
	verdict, err := r.check(ctx, t, seen)
	if err != nil {
		return 0, err
	}
	if seen.consortium != nil {
		t.Status.Allocations = allocate(t, seen.consortium.Spec.Defaults.Workspace.Quota, seen.workspaces, verdict == nil)
		t.Status.Allocated = total(t.Status.Allocations)
	}
	if err := r.home(ctx, t, seen, verdict); err != nil {
		return 0, err
	}
	next = longest
	if change := seen.membership.change; !change.IsZero() {
		next = min(next, change.Sub(r.Now()))
	}
	return next, nil
}

func (r *Reconciler) observe(ctx context.Context, t *v1alpha1.Tenant) (facts, error) {
	var seen facts
	consortium, namespace := &v1alpha1.Consortium{}, &corev1.Namespace{}
	err := r.Client.Get(ctx, client.ObjectKey{Name: t.Spec.Consortium}, consortium)
	if client.IgnoreNotFound(err) != nil {
		return seen, fmt.Errorf("reading consortium %s: %w", t.Spec.Consortium, err)
	}
	if err == nil {
		seen.consortium = consortium
		if seen.zone, err = time.LoadLocation(consortium.Spec.TimeZone); err != nil {
			return seen, fmt.Errorf("reading the time zone of consortium %s: %w", consortium.Name, err)
		}
		seen.membership = memberOn(t.Spec.Memberships, r.Now(), seen.zone)
	}
	err = r.Client.Get(ctx, client.ObjectKey{Name: t.Name}, namespace)
	if client.IgnoreNotFound(err) != nil {
		return seen, fmt.Errorf("reading namespace %s: %w", t.Name, err)
	}
	if err == nil {
		seen.namespace = namespace
	}
	seen.workspaces, err = r.workspaces(ctx, t)
	return seen, err
}

// workspaces are as the cache has them. They need not show our own writes: what a status does not prove yet is not given back.
func (r *Reconciler) workspaces(ctx context.Context, t *v1alpha1.Tenant) ([]v1alpha1.Workspace, error) {
	var list v1alpha1.WorkspaceList
	if err := r.Client.List(ctx, &list, client.InNamespace(t.Name), client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency); err != nil {
		return nil, fmt.Errorf("listing the workspaces of tenant %s: %w", t.Name, err)
	}
	return list.Items, nil
}

// home makes the home of a sound tenant, takes the rights of one that is no member, whatever else is wrong with it, and leaves all
// others as they are.
func (r *Reconciler) home(ctx context.Context, t *v1alpha1.Tenant, seen facts, verdict error) error {
	if verdict != nil && !seen.expelled(t) {
		return verdict
	}
	set := Desired(t, verdict == nil)
	set.Made = condition.True(t, v1alpha1.ConditionReady)
	set.Unfinished = !set.Made
	drifted, err := r.Apply.Sync(ctx, set)
	for _, ref := range drifted {
		r.Events.Eventf(t, ref.In(t.Name), corev1.EventTypeWarning, "DriftRepaired", "Repair", "%s %s in %s was changed or deleted; it is as it should be again", ref.Kind, ref.Name, t.Name)
	}
	if err != nil {
		return explained(err)
	}
	t.Status.Namespace = t.Name
	if verdict != nil {
		return verdict
	}
	return r.counted(ctx, t)
}

// expelled tells whether the tenant has a home and is no member today.
func (f facts) expelled(t *v1alpha1.Tenant) bool {
	return f.consortium != nil && !f.membership.active && f.namespace != nil && f.namespace.Labels[v1alpha1.LabelOwner] == string(t.UID)
}

// counted waits until the home's quota lets workspaces be written.
func (r *Reconciler) counted(ctx context.Context, t *v1alpha1.Tenant) error {
	var q corev1.ResourceQuota
	if err := r.Client.Get(ctx, client.ObjectKey{Namespace: t.Name, Name: guardrail.QuotaName}, &q); err != nil {
		return fmt.Errorf("reading the quota of namespace %s: %w", t.Name, err)
	}
	if !guardrail.Counted(&q) {
		return &outcome.Wait{Reason: v1alpha1.ReasonQuotaPending, Message: "the controller manager has not yet counted the objects in namespace " + t.Name}
	}
	return nil
}

// finalize takes a tenant's home away: rights first, then the namespace. It never deletes a workspace.
func (r *Reconciler) finalize(ctx context.Context, t *v1alpha1.Tenant) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(t, Finalizer) {
		return ctrl.Result{}, nil
	}
	before := t.DeepCopy()
	err := r.leave(ctx, t)
	if err == nil {
		err = r.forget(ctx, t)
	}
	if err == nil {
		controllerutil.RemoveFinalizer(t, Finalizer)
		return ctrl.Result{}, client.IgnoreNotFound(r.Client.Update(ctx, t))
	}
	return outcome.Settle(ctx, r.Client, before, t, "", 0, err)
}

func (r *Reconciler) leave(ctx context.Context, t *v1alpha1.Tenant) error {
	workspaces, err := r.workspaces(ctx, t)
	if err != nil {
		return err
	}
	if len(workspaces) > 0 {
		var names []string
		for _, w := range workspaces {
			names = append(names, w.Name)
		}
		slices.Sort(names)
		return &outcome.Stall{Reason: v1alpha1.ReasonWorkspacesRemain, Err: fmt.Errorf(
			"a tenant goes after its workspaces: delete workspaces %s in namespace %s", strings.Join(names, ", "), t.Name)}
	}
	set := Desired(t, false)
	exists, err := r.Apply.Exists(ctx, set)
	if err != nil || !exists {
		return err
	}
	if _, err := r.Apply.Sync(ctx, set); err != nil && !isTerminating(err) {
		return err
	}
	gone, err := r.Apply.Remove(ctx, set)
	if err != nil || gone {
		return err
	}
	return &outcome.Wait{Reason: v1alpha1.ReasonDeleting, Message: "namespace " + t.Name + " is being deleted"}
}

// forget takes away the key of a tenant whose home, and with it every stack, is gone: what is left of it in a store or a backup cannot be read
// any more. Workspaces that were retained hold nothing that is encrypted with it.
func (r *Reconciler) forget(ctx context.Context, t *v1alpha1.Tenant) error {
	if r.Keys == nil {
		return nil
	}
	return r.Keys.ForgetTenant(ctx, t.Name)
}

func isTerminating(err error) bool {
	var terminating *apply.Terminating
	return errors.As(err, &terminating) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}

// explained turns what the applier met into what a person or the clock can do about it.
func explained(err error) error {
	if foreign, is := errors.AsType[*apply.Foreign](err); is {
		return conflict(foreign.Name)
	}
	if isTerminating(err) {
		return &outcome.Wait{Reason: v1alpha1.ReasonDeleting, Message: err.Error() + "; it is made again when it is gone"}
	}
	return err
}

func conflict(namespace string) error {
	return &outcome.Stall{Reason: v1alpha1.ReasonNamespaceConflict, Err: fmt.Errorf(
		"namespace %s exists already and is not ours; nothing was written to it: delete it, or take another name", namespace)}
}

// check answers the questions that a tenant's manifest raises, each in a condition of its own, and returns the first that
// keeps the tenant from going on: a *Wait or a *Stall. err is a failure to find out.
func (r *Reconciler) check(ctx context.Context, t *v1alpha1.Tenant, seen facts) (verdict, err error) {
	rivals, err := r.claim(ctx, t)
	if err != nil {
		return nil, err
	}
	codes, domains := split(rivals)
	verdicts := []error{
		report(t, v1alpha1.ConditionConsortiumFound, consortiumFits(t, seen.consortium)),
		report(t, v1alpha1.ConditionCodesUnique, exclusive(v1alpha1.ReasonDuplicateCode, codes, "correct spec.codes, or delete the tenant that should not be")),
		report(t, v1alpha1.ConditionDomainsUnique, exclusive(v1alpha1.ReasonDomainConflict, domains, "take it out of spec.domains of one of the two")),
		report(t, v1alpha1.ConditionNamespaceOwned, ownedOrFree(t, seen.namespace)),
	}
	if seen.consortium != nil {
		verdicts = append(verdicts, report(t, v1alpha1.ConditionMember, seen.membership.verdict(r.Now(), seen.zone)))
	}
	for _, verdict := range verdicts {
		if verdict != nil {
			return verdict, nil
		}
	}
	return nil, nil
}

// claim asks for what the tenant does not hold yet; one that holds all that it claims asks nobody.
func (r *Reconciler) claim(ctx context.Context, t *v1alpha1.Tenant) ([]Rival, error) {
	if slices.Equal(t.Status.Claims, claimsOf(t)) {
		return nil, nil
	}
	var all v1alpha1.TenantList
	if err := r.Client.List(ctx, &all, client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency); err != nil {
		return nil, fmt.Errorf("listing tenants: %w", err)
	}
	held, rivals := r.claims.Grant(t, all.Items)
	t.Status.Claims = held
	return rivals, nil
}

// report sets the condition of one question from its verdict and passes the verdict on.
func report(t *v1alpha1.Tenant, kind string, verdict error) error {
	var wait *outcome.Wait
	var stall *outcome.Stall
	switch {
	case errors.As(verdict, &wait):
		condition.Report(t, kind, false, wait.Reason, wait.Message)
	case errors.As(verdict, &stall):
		condition.Report(t, kind, false, stall.Reason, stall.Error())
	default:
		condition.Report(t, kind, true, v1alpha1.ReasonSucceeded, "")
	}
	return verdict
}

func consortiumFits(t *v1alpha1.Tenant, c *v1alpha1.Consortium) error {
	if c == nil {
		return &outcome.Stall{Reason: v1alpha1.ReasonConsortiumNotFound, Err: fmt.Errorf(
			"there is no consortium %s: create it, or make the tenant anew under another", t.Spec.Consortium)}
	}
	codes := t.Spec.Codes
	foreign := codes.BFS != ""
	if c.Spec.Country == v1alpha1.Switzerland {
		foreign = codes.ISTAT != "" || codes.Cadastral != "" || codes.IPA != ""
	}
	if foreign {
		return &outcome.Stall{Reason: v1alpha1.ReasonCodeSystemMismatch, Err: fmt.Errorf(
			"spec.codes are of another country than consortium %s, which is in %s: bfs belongs to CH; istat, cadastral and ipa to IT", c.Name, c.Spec.Country)}
	}
	return nil
}

func exclusive(reason string, taken []string, wayOut string) error {
	if len(taken) == 0 {
		return nil
	}
	return &outcome.Stall{Reason: reason, Err: fmt.Errorf("%s; %s", strings.Join(taken, "; "), wayOut)}
}

func ownedOrFree(t *v1alpha1.Tenant, ns *corev1.Namespace) error {
	if ns == nil || ns.Labels[v1alpha1.LabelOwner] == string(t.UID) {
		return nil
	}
	return conflict(t.Name)
}
