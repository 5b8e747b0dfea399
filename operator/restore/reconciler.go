package restore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/archive"
	"github.com/broletto/broletto/operator/depot"
	"github.com/broletto/broletto/operator/hooks"
	"github.com/broletto/broletto/operator/objects"
	"github.com/broletto/broletto/operator/outcome"
	"github.com/broletto/broletto/operator/volumes"
)

// soon is when to look again at what the cluster does by itself.
const soon = time.Second

// Reconciler restores.
type Reconciler struct {
	Client  client.Client
	Live    client.Reader
	Depot   *depot.Depot
	Objects *objects.Client
	Movers  *volumes.Movers
	Hooks   *hooks.Runner
	Now     func() time.Time
	// Operator is the operator's own user name: what it asks for itself is a drill.
	Operator string
}

// scope is one pass over one restore; each field says who fills it.
type scope struct {
	*v1alpha1.Restore
	requester  authenticationv1.UserInfo  // who
	backup     *v1alpha1.Backup           // find
	repository archive.Repository         // open
	from       *v1alpha1.BackupRepository // open
	manifest   *archive.Manifest          // open
	workspace  *v1alpha1.Workspace        // place
}

// Reconcile restores, once.
func (r *Reconciler) Reconcile(ctx context.Context, one *v1alpha1.Restore) (ctrl.Result, error) {
	if !one.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // what it brought back stays; a drill's workspace is its own and goes with it
	}
	before := one.DeepCopy()
	err := r.converge(ctx, one)
	depot.Log(ctx, err)
	done := "everything that the backup holds is there"
	if one.Spec.Mode == v1alpha1.RestoreDryRun {
		done = "nothing was written: status says what would be; set spec.mode to Apply to have it done"
	}
	return outcome.Settle(ctx, r.Client, before, one, done, 0, err)
}

func (r *Reconciler) converge(ctx context.Context, one *v1alpha1.Restore) error {
	if one.Status.FinishedAt != nil && one.Status.ObservedGeneration == one.Generation {
		return verdict(one)
	}
	if one.Status.FinishedAt != nil { // it was a dry run
		one.Status.FinishedAt, one.Status.Volumes = nil, nil
	}
	s := &scope{Restore: one}
	for _, phase := range []func(context.Context, *scope) error{r.who, r.find, r.open, r.place, r.fill, r.restore, r.load, r.compare, r.check, r.clear} {
		if err := phase(ctx, s); err != nil {
			return err
		}
	}
	one.Status.FinishedAt = &metav1.Time{Time: r.Now().Truncate(time.Second)}
	return verdict(one)
}

// verdict is what a restore that is over came to.
func verdict(one *v1alpha1.Restore) error {
	switch {
	case len(one.Status.Lost) > 0:
		return outcome.Stalled(v1alpha1.ReasonPartlyRestored, "the backup no longer holds all that it did: status.lost says what; take another backup for that")
	case failedVolumes(one) != nil:
		return outcome.Stalled(v1alpha1.ReasonPartlyRestored, "volumes were not restored: %s", strings.Join(failedVolumes(one), "; "))
	case len(one.Status.Refused) > 0:
		return outcome.Stalled(v1alpha1.ReasonPartlyRestored, "some objects were refused: status.refused says which, and why; make another restore when that is mended")
	case isDrill(one) && len(one.Status.Conflicts) > 0:
		return outcome.Stalled(v1alpha1.ReasonPartlyRestored, "what came back is not what was backed up: %s", strings.Join(one.Status.Conflicts, ", "))
	case failedChecks(one) != nil:
		return outcome.Stalled(v1alpha1.ReasonCheckFailed, "everything came back, and a check failed: %s", strings.Join(failedChecks(one), "; "))
	}
	return nil
}

// isDrill tells whether a policy rehearses: only the operator writes the label.
func isDrill(one *v1alpha1.Restore) bool { return one.Labels[v1alpha1.LabelPolicy] != "" }

// rehearses tells whether the operator asked for a drill: nobody's rights but the account's bound it.
func (r *Reconciler) rehearses(s *scope) bool {
	return isDrill(s.Restore) && s.requester.Username == r.Operator
}

// who finds who asked: the admission policies write it down.
func (r *Reconciler) who(_ context.Context, s *scope) error {
	name, known := s.Annotations[v1alpha1.AnnotationRequester]
	if !known || name == "" {
		return outcome.Stalled(v1alpha1.ReasonRequesterUnknown, "nobody knows who wrote this restore, since the admission policies were not in force: delete it and write it again")
	}
	s.requester = authenticationv1.UserInfo{Username: name}
	for group := range strings.SplitSeq(s.Annotations[v1alpha1.AnnotationRequesterGroups], "\n") {
		if group != "" {
			s.requester.Groups = append(s.requester.Groups, group)
		}
	}
	s.Status.Requester = name[:min(len(name), 512)]
	return nil
}

// find finds the backup.
func (r *Reconciler) find(ctx context.Context, s *scope) error {
	s.backup = &v1alpha1.Backup{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: s.Spec.Backup}, s.backup)
	switch {
	case apierrors.IsNotFound(err):
		return outcome.Stalled(v1alpha1.ReasonBackupNotFound, "there is no backup %s in %s: kubectl get backups lists those there are", s.Spec.Backup, s.Namespace)
	case err != nil:
		return fmt.Errorf("reading backup %s: %w", s.Spec.Backup, err)
	case s.backup.Status.VerifiedAt == nil:
		return &outcome.Wait{Reason: v1alpha1.ReasonBackupNotReady, Message: "backup " + s.backup.Name + " was not read back yet: its status says why"}
	}
	return nil
}

// open opens the backup.
func (r *Reconciler) open(ctx context.Context, s *scope) (err error) {
	var tenant *v1alpha1.Tenant
	if s.from, tenant, err = r.Depot.Find(ctx, s.backup.Spec.Repository, s.Namespace); err != nil {
		return err
	}
	if s.repository, err = r.Depot.Open(ctx, s.from, tenant); err != nil {
		return err
	}
	s.manifest, err = s.repository.Read(ctx, string(s.backup.Spec.Workspace), s.backup.Status.Sequence)
	switch {
	case errors.Is(err, archive.ErrNotFound), errors.Is(err, archive.ErrDamaged), err == nil && s.manifest.Hash.String() != s.backup.Status.Manifest:
		return outcome.Stalled(v1alpha1.ReasonDamaged, "the manifest of backup %s is gone or is not what was written: take another backup, and have the platform look at repository %s", s.backup.Name, s.from.Name)
	case err != nil:
		return depot.Unanswered(s.from, err)
	}
	s.Status.Sequence, s.Status.Manifest = s.manifest.Sequence, s.manifest.Hash.String()
	return nil
}

// restore puts the objects back. An interrupted pass begins again, and finds what is there.
func (r *Reconciler) restore(ctx context.Context, s *scope) error {
	if loading(s.Restore) || checking(s.Restore) {
		return nil
	}
	if s.Status.StartedAt == nil {
		s.Status.StartedAt = &metav1.Time{Time: r.Now().Truncate(time.Second)}
		if err := r.Client.Status().Update(ctx, s.Restore); err != nil {
			return err
		}
	}
	report, lost, err := r.put(ctx, s, false, everything)
	if err != nil {
		return err
	}
	st := &s.Status
	st.Creates, st.Same, st.Skipped, st.Replaced = count(report.Created), count(report.Same), count(report.Skipped), count(report.Replaced)
	st.Conflicts, st.Refused, st.Lost = names(report.Skipped, report.Replaced), nil, lost
	for _, n := range report.Refused.First {
		st.Refused = append(st.Refused, depot.LeftOut(n.Object, n.Why))
	}
	return nil
}

// compare looks, after a drill, whether everything is as the backup has it: to restore once more would change nothing.
func (r *Reconciler) compare(ctx context.Context, s *scope) error {
	if !isDrill(s.Restore) || checking(s.Restore) {
		return nil
	}
	report, lost, err := r.put(ctx, s, true, everything)
	if err != nil {
		return err
	}
	s.Status.Conflicts = names(report.Created, report.Replaced, report.Skipped)
	s.Status.Same, s.Status.Lost = count(report.Same), lost
	return nil
}

func everything(archive.Page) bool { return true }

// put puts the objects of some pages of the backup back or, with look, finds what that would change.
func (r *Reconciler) put(ctx context.Context, s *scope, look bool, which func(archive.Page) bool) (objects.Report, []string, error) {
	order := objects.Order{
		Namespace: s.Status.Namespace, From: s.backup.TargetNamespace(), Conflicts: objects.Skip, Bindings: s.Spec.Bindings == v1alpha1.BindingsRestore,
		DryRun: look || s.Spec.Mode == v1alpha1.RestoreDryRun, Names: depot.Named, May: r.Objects.May(s.Status.Namespace, s.requester),
	}
	if s.Spec.Into.Conflicts == v1alpha1.ConflictsReplace || look {
		order.Conflicts = objects.Replace
	}
	if r.rehearses(s) {
		order.May = func(context.Context, string, objects.Resource) error { return nil } // the account's rights alone bound it
	}
	var lost []archive.Lost
	var failed error
	report, err := r.Objects.Apply(ctx, order, r.pages(ctx, s, which, &lost, &failed))
	if failed != nil {
		return report, nil, depot.Unanswered(s.from, failed)
	}
	if err != nil {
		return report, nil, fmt.Errorf("restoring into %s: %w", s.Status.Namespace, err)
	}
	return report, depot.LostNames(lost), nil
}

// pages are the objects of the backup, what others need first.
func (r *Reconciler) pages(ctx context.Context, s *scope, which func(archive.Page) bool, lost *[]archive.Lost, failed *error) iter.Seq2[objects.Page, error] {
	m := *s.manifest
	m.Pages = slices.DeleteFunc(slices.Clone(m.Pages), func(p archive.Page) bool { return !which(p) })
	slices.SortStableFunc(m.Pages, func(a, b archive.Page) int {
		return objects.Wave(objects.Resource(a.Resource)) - objects.Wave(objects.Resource(b.Resource))
	})
	return func(yield func(objects.Page, error) bool) {
		stopped := errors.New("nobody wants more")
		gone, err := s.repository.Objects(ctx, &m, func(resource archive.Resource, _ string, line []byte) error {
			o := &unstructured.Unstructured{}
			if err := o.UnmarshalJSON(line); err != nil {
				o.Object = map[string]any{} // it is refused by the name that it lacks
			}
			s.Status.BytesRead += int64(len(line))
			if !yield(objects.Page{Resource: objects.Resource(resource), Objects: []*unstructured.Unstructured{o}}, nil) {
				return stopped
			}
			return nil
		})
		*lost = gone
		if err != nil && !errors.Is(err, stopped) {
			*failed = err
			yield(objects.Page{}, err)
		}
	}
}

func count(t objects.Tally) int32 { return int32(min(t.Count, 1<<31-1)) } //nolint:gosec // it is bounded

// names are the first objects of some tallies.
func names(tallies ...objects.Tally) (out []string) {
	for _, t := range tallies {
		for _, n := range t.First {
			if len(out) < depot.Named {
				out = append(out, n.Object)
			}
		}
	}
	return out
}
