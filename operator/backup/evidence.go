package backup

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/archive"
	"github.com/broletto/broletto/operator/condition"
	"github.com/broletto/broletto/operator/depot"
)

// attest has the record of a drill in the bucket, signed, and notes in its result by what it is known. What is there already is the truth: an
// earlier pass wrote it, and was ended before it could note that.
func (r *Policies) attest(ctx context.Context, p *v1alpha1.BackupPolicy, o over) error {
	from, tenant, err := r.Depot.Find(ctx, p.Spec.Repository, p.Namespace)
	if err != nil {
		return err
	}
	a, err := r.Depot.Open(ctx, from, tenant)
	if err != nil {
		return err
	}
	d, err := record(p, o)
	if err != nil {
		return err
	}
	if d, err = a.Attest(ctx, d); err != nil {
		return depot.Unanswered(from, err)
	}
	attested(o.result, from.Name, d)
	return nil
}

// record is the record of a drill.
func record(p *v1alpha1.BackupPolicy, o over) (archive.Drill, error) {
	one, result := o.restore, o.result
	d := archive.Drill{
		Policy: p.Name, Workspace: one.Labels[v1alpha1.LabelWorkspace], Backup: one.Spec.Backup, Sequence: one.Status.Sequence, Manifest: one.Status.Manifest,
		Restore: one.Name, UID: string(one.UID), Began: began(one), Ended: result.At.Time, Seconds: result.Seconds, BytesRead: result.BytesRead,
		Passed: *result.Passed, Message: result.Message, Checks: checksOf(one),
	}
	if one.Status.StartedAt != nil {
		d.Began = one.Status.StartedAt.Time
	}
	for i := range d.Checks {
		text, err := json.Marshal(one.Status.Checks[i].DrillCheck)
		if err != nil {
			return d, fmt.Errorf("writing down check %s: %w", d.Checks[i].Name, err)
		}
		d.Checks[i].Asked = text
	}
	return d, nil
}

// checksOf are the checks of a drill, in their order. One that was not asked to its end has not passed.
func checksOf(one *v1alpha1.Restore) []archive.Check {
	out := []archive.Check{}
	for _, c := range one.Status.Checks {
		check := archive.Check{Name: c.Name, Passed: c.Passed != nil && *c.Passed, Seconds: c.Seconds, Message: c.Message}
		if c.Passed == nil && c.Message == "" {
			check.Message = "it was not asked"
		}
		out = append(out, check)
	}
	return out
}

// results are checks as the status of a policy has them.
func results(checks []archive.Check) (out []v1alpha1.DrillCheckResult) {
	for _, c := range checks {
		out = append(out, v1alpha1.DrillCheckResult{Name: c.Name, Passed: &c.Passed, Seconds: c.Seconds, Message: condition.Cut(c.Message, drillCheckMessage)})
	}
	return out
}

// attested is the result as its record in a repository has it.
func attested(result *v1alpha1.DrillResult, repository string, d archive.Drill) {
	result.At, result.Seconds, result.BytesRead = metav1.Time{Time: d.Ended.Truncate(time.Second)}, d.Seconds, d.BytesRead
	result.Passed, result.Message, result.Checks = &d.Passed, d.Message, results(d.Checks)
	result.Evidence = &v1alpha1.DrillEvidence{
		Repository: v1alpha1.RepositoryName(repository), Name: d.Evidence.Name, Digest: d.Evidence.Hash.String(), Signature: base64.StdEncoding.EncodeToString(d.Evidence.Signature),
	}
}
