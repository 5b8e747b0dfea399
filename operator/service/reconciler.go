package service

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/outcome"
)

const (
	// Finalizer keeps a ServiceInstance until what was made for it is gone.
	Finalizer = "broletto.dev/serviceinstance"

	// longest is how long to go without a look: clocks are set meanwhile.
	longest = 12 * time.Hour
	// lookAgain is how often to look at objects in a workspace, which nobody watches: the operator has no right to read them but as the account there.
	lookAgain = 5 * time.Minute
)

// Instances provisions what comuni ask for.
type Instances struct {
	Client client.Client
	Live   client.Reader
	Acting client.Client // as the account of a workspace: see NewActing
	Events events.EventRecorder
	Now    func() time.Time
}

// scope is one look at an instance.
type scope struct {
	*v1alpha1.ServiceInstance
	consortium *v1alpha1.Consortium // observe
	offering   offered              // observe
	zone       *time.Location       // observe
	values     Values               // parameters
	workspace  *v1alpha1.Workspace  // place
}

// Reconcile looks at an instance, makes what its offering says once that is awarded, and tells.
func (r *Instances) Reconcile(ctx context.Context, i *v1alpha1.ServiceInstance) (ctrl.Result, error) {
	if !i.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, i)
	}
	if controllerutil.AddFinalizer(i, Finalizer) {
		if err := r.Client.Update(ctx, i); err != nil {
			return ctrl.Result{}, err
		}
	}
	before := i.DeepCopy()
	s := &scope{ServiceInstance: i}
	next, err := r.converge(ctx, s)
	return outcome.Settle(ctx, r.Client, before, i, s.done(), next, err)
}

func (s *scope) done() string {
	return fmt.Sprintf("%s %s is provisioned in %s", s.Spec.Offering, s.Status.Version, s.TargetNamespace())
}

func (r *Instances) converge(ctx context.Context, s *scope) (next time.Duration, err error) {
	for _, phase := range []func(context.Context, *scope) error{r.observe, r.parameters, r.award, r.place} {
		if err := phase(ctx, s); err != nil {
			return 0, err
		}
	}
	stays, err := r.stays(ctx, s)
	if err != nil || stays {
		return longest, err
	}
	if err := r.begin(ctx, s); err != nil {
		return 0, err
	}
	if s.offering.Spec.Provisions.Stack != nil {
		return longest, r.provisionStack(ctx, s)
	}
	return lookAgain, r.provisionObjects(ctx, s)
}

// observe reads whose instance it is and what is offered.
func (r *Instances) observe(ctx context.Context, s *scope) error {
	tenant, offering := &v1alpha1.Tenant{}, &v1alpha1.ServiceOffering{}
	err := r.Client.Get(ctx, client.ObjectKey{Name: s.Namespace}, tenant)
	if apierrors.IsNotFound(err) {
		return outcome.Stalled(v1alpha1.ReasonNotAHomeNamespace, "namespace %s is no tenant's home: ask for services in the namespace named like the tenant", s.Namespace)
	}
	if err != nil {
		return fmt.Errorf("reading tenant %s: %w", s.Namespace, err)
	}
	err = r.Client.Get(ctx, client.ObjectKey{Name: string(s.Spec.Offering)}, offering)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading offering %s: %w", s.Spec.Offering, err)
	}
	if err != nil || offering.Spec.Consortium != tenant.Spec.Consortium {
		return outcome.Stalled(v1alpha1.ReasonOfferingNotFound, "consortium %s offers no %s: kubectl get serviceofferings lists what it does; make another instance", tenant.Spec.Consortium, s.Spec.Offering)
	}
	s.consortium = &v1alpha1.Consortium{}
	err = r.Client.Get(ctx, client.ObjectKey{Name: tenant.Spec.Consortium}, s.consortium)
	if apierrors.IsNotFound(err) {
		return outcome.Stalled(v1alpha1.ReasonConsortiumNotFound, "there is no consortium %s, to which tenant %s belongs", tenant.Spec.Consortium, tenant.Name)
	}
	if err != nil {
		return fmt.Errorf("reading consortium %s: %w", tenant.Spec.Consortium, err)
	}
	if s.zone, err = time.LoadLocation(s.consortium.Spec.TimeZone); err != nil {
		return fmt.Errorf("consortium %s: %w", s.consortium.Name, err)
	}
	s.offering, err = check(offering)
	return err
}

// parameters are checked here too: the offering may have changed since they were written.
func (r *Instances) parameters(_ context.Context, s *scope) error {
	values, wrong := s.offering.schema.Complete(s.Spec.Parameters)
	if len(wrong) > 0 && s.offered() {
		return outcome.Stalled(v1alpha1.ReasonParametersRefused, "spec.parameters: %s", strings.Join(wrong, "; "))
	}
	s.values = values
	return nil
}

// offered tells whether the instance takes the version that is offered now; one that is pinned to another is not measured by it.
func (s *scope) offered() bool {
	return s.Spec.Version == "" || s.Spec.Version == s.offering.Spec.Version
}

// award holds back what is not provisioned yet; what runs goes on.
func (r *Instances) award(_ context.Context, s *scope) error {
	if s.Status.Version != "" {
		return nil
	}
	if err := awarded(s.offering.Name, s.offering.Spec.Procurement, r.Now(), s.zone); err != nil {
		return err
	}
	if !s.offered() {
		return outcome.Stalled(v1alpha1.ReasonVersionNotOffered, "spec.version: %s %s is not offered, %s is: take it, or leave the version out",
			s.offering.Name, s.Spec.Version, s.offering.Spec.Version)
	}
	return nil
}

// place looks at the workspace.
func (r *Instances) place(ctx context.Context, s *scope) error {
	s.workspace = &v1alpha1.Workspace{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: string(s.Spec.Workspace)}, s.workspace)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading workspace %s: %w", s.Spec.Workspace, err)
	}
	notReady := func(what string) error {
		return &outcome.Wait{Reason: v1alpha1.ReasonWorkspaceNotReady, Message: fmt.Sprintf("workspace %s %s", s.Spec.Workspace, what)}
	}
	switch {
	case err != nil:
		return notReady("does not exist: write it")
	case !slices.Contains(s.offering.Spec.DataClasses, s.workspace.Spec.DataClass):
		return outcome.Stalled(v1alpha1.ReasonDataClassNotAllowed, "%s may hold data of class %s, and workspace %s is of class %s: ask for it in another workspace",
			s.offering.Name, join(s.offering.Spec.DataClasses), s.workspace.Name, s.workspace.Spec.DataClass)
	case !s.workspace.DeletionTimestamp.IsZero():
		return notReady("is being deleted")
	case !condition.True(s.workspace, v1alpha1.ConditionReady):
		return notReady("is not ready: its status says why")
	case meta.IsStatusConditionTrue(s.workspace.Status.Conditions, v1alpha1.ConditionSuspended):
		return notReady("is suspended: its status says why")
	}
	return nil
}

// stays tells whether the instance stays as it is, since it is pinned to another version, or others go first.
func (r *Instances) stays(ctx context.Context, s *scope) (bool, error) {
	if s.Status.Version == "" || s.Status.Version == s.offering.Spec.Version {
		return false, nil
	}
	if !s.offered() {
		return true, r.preview(ctx, s)
	}
	if s.Spec.Version == "" {
		all, err := instancesOf(ctx, r.Client, s.offering.Name)
		if err != nil {
			return false, err
		}
		if its, why := (roll{s.offering.Spec.Version, all}).turn(s.ServiceInstance); !its {
			s.Status.Upgrade = nil
			condition.Report(s, v1alpha1.ConditionConforms, false, v1alpha1.ReasonUpgradeWaits, why)
			return true, nil
		}
	}
	return false, nil
}

// preview tells what the offered version would change. It is worked out once: the API server is asked about every object.
func (r *Instances) preview(ctx context.Context, s *scope) error {
	version := s.offering.Spec.Version
	told := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionConforms)
	if s.Status.Upgrade != nil && s.Status.Upgrade.Version == version && told != nil && told.Reason == v1alpha1.ReasonUpgradeWaits && told.ObservedGeneration == s.Generation {
		return nil
	}
	changes, err := r.changes(ctx, s)
	if err != nil {
		return err
	}
	s.Status.Upgrade = &v1alpha1.Upgrade{Version: version, Changes: changes}
	condition.Report(s, v1alpha1.ConditionConforms, false, v1alpha1.ReasonUpgradeWaits, fmt.Sprintf(
		"kept as %s was provisioned, parameters included, while spec.version is %s: status.upgrade shows what %s would change", s.Status.Version, s.Spec.Version, version))
	return nil
}

// changes are what the offered version would do, in the order of the manifests, at most 64.
func (r *Instances) changes(ctx context.Context, s *scope) ([]string, error) {
	if s.offering.Spec.Provisions.Stack != nil {
		return []string{"change Stack/" + StackName(s.ServiceInstance)}, nil
	}
	wanted, wrong := s.wanted()
	if wrong != "" {
		return []string{condition.Cut("refuse spec.parameters: "+wrong, longestText)}, nil
	}
	if err := r.account(ctx, s.workspace); err != nil {
		return nil, err
	}
	pairs, err := r.compare(ctx, s.ServiceInstance, wanted, false)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, p := range pairs {
		switch {
		case p.live == nil:
			out = append(out, "make "+refOf(p.want).short())
		case p.refused != nil:
			out = append(out, "refuse "+refOf(p.want).short())
		case !p.same:
			out = append(out, "change "+refOf(p.want).short())
		}
	}
	for _, ref := range inventory(s.ServiceInstance) {
		if !slices.ContainsFunc(refs(wanted), ref.sameObject) {
			out = append(out, "take away "+ref.short())
		}
	}
	return out[:min(len(out), 64)], nil
}

// wanted are the objects of the offered version, or what is wrong with the parameters for it.
func (s *scope) wanted() (objects []*unstructured.Unstructured, wrong string) {
	if _, wrong := s.offering.schema.Complete(s.Spec.Parameters); len(wrong) > 0 {
		return nil, strings.Join(wrong, "; ")
	}
	objects, err := objectsOf(s.ServiceInstance, s.offering, s.values)
	if err != nil {
		return nil, err.Error()
	}
	return objects, ""
}

// longestText is how much of a text the status takes, in bytes.
const longestText = 1000

// begin says before anything is written that the instance goes to another version: others wait for it, and stop when it fails.
func (r *Instances) begin(ctx context.Context, s *scope) error {
	return r.tell(ctx, s, func() {
		if version := s.offering.Spec.Version; s.Status.Version != "" && s.Status.Version != version {
			s.Status.Upgrade = &v1alpha1.Upgrade{Version: version}
			condition.Report(s, v1alpha1.ConditionConforms, false, v1alpha1.ReasonUpgrading, fmt.Sprintf("on the way from %s to %s", s.Status.Version, version))
		}
	})
}

// record says before anything is made what may be there from now on.
func (r *Instances) record(ctx context.Context, s *scope, stack string, objects []string) error {
	return r.tell(ctx, s, func() { s.Status.Stack, s.Status.Objects = stack, objects })
}

// tell writes the status at once if something in it is new.
func (r *Instances) tell(ctx context.Context, s *scope, change func()) error {
	before := s.DeepCopy()
	change()
	if equality.Semantic.DeepEqual(before.Status, s.Status) {
		return nil
	}
	return r.Client.Status().Update(ctx, s.ServiceInstance)
}

// reached says that the instance is what the offering says.
func (s *scope) reached() {
	s.Status.Version, s.Status.Upgrade = s.offering.Spec.Version, nil
}

func instancesOf(ctx context.Context, c client.Reader, offering string) (out []*v1alpha1.ServiceInstance, err error) {
	var all v1alpha1.ServiceInstanceList
	if err := c.List(ctx, &all, client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency); err != nil {
		return nil, fmt.Errorf("listing instances: %w", err)
	}
	for i := range all.Items {
		if string(all.Items[i].Spec.Offering) == offering {
			out = append(out, &all.Items[i])
		}
	}
	return out, nil
}

func join[T ~string](values []T) string {
	texts := make([]string, 0, len(values))
	for _, v := range values {
		texts = append(texts, string(v))
	}
	return strings.Join(texts, ", ")
}
