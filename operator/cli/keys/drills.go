package keys

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/archive"
	"github.com/broletto/broletto/operator/depot"
)

// DrillsCommand is the verb of the auditor.
func DrillsCommand() *cobra.Command {
	var o Options
	command := &cobra.Command{
		Use: "drills REPOSITORY [TENANT...]", Short: "Verify the signed records of drills in the bucket, with the escrow's identity", Args: cobra.MinimumNArgs(1),
		Long: "Verify the signed records of drills in the bucket, with the escrow's identity, and list them. The cluster only says where the bucket is, and which records its policies name. " +
			"It fails when a record is not as the tenant's key signed it, when one is missing that a policy names, or when a key is not to be had.",
	}
	o.verb(command, Drills)
	return command
}

// Drills prints the records of drills that are as they were signed, and fails when some are not.
func Drills(ctx context.Context, cfg *rest.Config, out io.Writer, o Options) error {
	b, err := o.reach(ctx, cfg)
	if err != nil {
		return err
	}
	var failures []error
	there := map[string]string{} // by name; of those that are no records, nothing
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "TENANT\tWORKSPACE\tPOLICY\tBACKUP\tWRITTEN\tPASSED\tSECONDS\tBYTES\tCHECKS\tSHA-256")
	for _, f := range b.found {
		for _, fault := range f.Faults {
			failures = append(failures, fault)
		}
		if f.Key == (archive.Key{}) {
			continue // a fault says so, or the bucket has nothing of it
		}
		drills, faults, err := archive.Repository{Store: b.store, Tenant: f.Tenant, Key: f.Key}.Drills(ctx)
		if err != nil {
			return err
		}
		for _, d := range drills {
			there[d.Evidence.Name] = d.Evidence.Hash.String()
			fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\t%s\t%d\t%d\t%s\t%s\n", d.Tenant, d.Workspace, d.Policy, d.Sequence, d.Written.UTC().Format(time.RFC3339),
				passed(d), d.Seconds, d.BytesRead, checks(d), d.Evidence.Hash)
		}
		for _, fault := range faults {
			there[fault.Name] = ""
			failures = append(failures, fault)
		}
	}
	failures = append(failures, b.missing(ctx, o.Tenants, there)...)
	return errors.Join(append(failures, table.Flush())...)
}

// missing are the last records that policies of the cluster name, and that are not among those that are there.
func (b *opened) missing(ctx context.Context, tenants []string, there map[string]string) (failures []error) {
	var policies v1alpha1.BackupPolicyList
	if err := b.client.List(ctx, &policies); err != nil {
		return []error{fmt.Errorf("listing backup policies, to see whether a record is missing: %w", err)}
	}
	for i := range policies.Items {
		p := &policies.Items[i]
		if len(tenants) > 0 && !slices.Contains(tenants, p.Namespace) {
			continue
		}
		for _, e := range depot.Evidence(p, b.repository.Name, time.Now()) {
			digest, found := there[e.Name]
			switch {
			case !found:
				failures = append(failures, archive.Fault{Name: e.Name, Err: fmt.Errorf("%w, and the status of backup policy %s/%s names it", archive.ErrNotFound, p.Namespace, p.Name)})
			case digest != "" && digest != e.Digest:
				failures = append(failures, archive.Fault{Name: e.Name, Err: fmt.Errorf("it is another one than the status of backup policy %s/%s names", p.Namespace, p.Name)})
			}
		}
	}
	return failures
}

func passed(d archive.Drill) string {
	if d.Passed {
		return "yes"
	}
	return "no"
}

// checks is how many of its checks have passed.
func checks(d archive.Drill) string {
	n := 0
	for _, c := range d.Checks {
		if c.Passed {
			n++
		}
	}
	return fmt.Sprintf("%d/%d", n, len(d.Checks))
}
