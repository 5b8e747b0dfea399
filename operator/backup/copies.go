package backup

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/outcome"
)

// inCopy is a policy as it is for one of its copies: the same in another repository, without drills.
func inCopy(p *v1alpha1.BackupPolicy, repository v1alpha1.RepositoryName) *v1alpha1.BackupPolicy {
	out := p.DeepCopy()
	out.Spec.Repository, out.Spec.Copies, out.Spec.Drill, out.Spec.RecoveryTimeMinutes = repository, nil, nil, nil
	out.Status.Workspaces, out.Status.Copies = nil, nil
	for i := range out.Status.Effective {
		out.Status.Effective[i].DrillEveryDays = nil
	}
	for _, c := range p.Status.Copies {
		if c.Repository == repository {
			out.Status.Workspaces = c.DeepCopy().Workspaces
		}
	}
	return out
}

// suffix ends the names of the backups of a copy: those of one night are otherwise of one name in all repositories.
func suffix(repository v1alpha1.RepositoryName) string {
	sum := sha256.Sum256([]byte(repository))
	return "-" + hex.EncodeToString(sum[:3])
}

// copies does in each further repository what is due there, and says when something falls due next. What holds one back, holds back no other.
func (r *Policies) copies(ctx context.Context, p *v1alpha1.BackupPolicy, h home, now time.Time) (next time.Time, failed error) {
	var rows []v1alpha1.PolicyCopy
	for _, repository := range p.Spec.Copies {
		view := inCopy(p, repository)
		at, err := r.inOne(ctx, view, h, now)
		next, failed = earliest(next, at), cmp.Or(failed, err)
		rows = append(rows, v1alpha1.PolicyCopy{Repository: repository, Workspaces: view.Status.Workspaces})
	}
	p.Status.Copies = rows
	if failed == nil && len(rows) > 0 {
		failed = r.apart(ctx, p)
	}
	return next, failed
}

// courtesy is how long a copy waits for the backup of its workspace that is under way in another repository.
const courtesy = time.Hour

// inOne does in one further repository what is due there.
func (r *Policies) inOne(ctx context.Context, view *v1alpha1.BackupPolicy, h home, now time.Time) (time.Time, error) {
	s, err := r.observe(ctx, view, h, now)
	if err != nil {
		return time.Time{}, err
	}
	s.suffix, s.restores = suffix(view.Spec.Repository), nil
	s.busy = map[string]time.Time{}
	for _, b := range s.elsewhere {
		if b.Labels[v1alpha1.LabelPolicy] == view.Name && underWay(&b) {
			s.busy[string(b.Spec.Workspace)] = b.CreationTimestamp.Add(courtesy)
		}
	}
	step := decide(view, s)
	view.Status.Workspaces = step.rows
	if err := r.begin(ctx, view, step); err != nil {
		return step.next, err
	}
	return step.next, r.remove(ctx, view, step)
}

// apart tells of repositories that fail together.
func (r *Policies) apart(ctx context.Context, p *v1alpha1.BackupPolicy) error {
	domains := map[string]v1alpha1.RepositoryName{}
	for _, name := range slices.Concat([]v1alpha1.RepositoryName{p.Spec.Repository}, p.Spec.Copies) {
		one := &v1alpha1.BackupRepository{}
		if err := r.Client.Get(ctx, client.ObjectKey{Name: string(name)}, one); err != nil {
			return fmt.Errorf("reading repository %s: %w", name, err)
		}
		if other, is := domains[one.Spec.FailureDomain]; is {
			return outcome.Stalled(v1alpha1.ReasonSameFailureDomain, "repositories %s and %s are both in failure domain %s, and fail together: name one of another domain in spec.copies", other, name, one.Spec.FailureDomain)
		}
		domains[one.Spec.FailureDomain] = name
	}
	return nil
}
