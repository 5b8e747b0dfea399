package keys

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/archive"
	"github.com/broletto/broletto/operator/depot"
)

// fieldManager owns what the verb writes.
const fieldManager = "broletto-cli"

// Options say which keys come back, and with what.
type Options struct {
	// Namespace is the operator's.
	Namespace  string
	Repository string
	// Tenants are those whose keys come back; none: all of the bucket.
	Tenants []string
	// Identity is the path of the escrow's file, as age-keygen writes it.
	Identity string
	// DryRun says what would come back, and writes nothing.
	DryRun bool
}

// Command is the verb of the platform engineer.
func Command() *cobra.Command {
	var o Options
	command := &cobra.Command{
		Use: "restore-keys REPOSITORY [TENANT...]", Short: "Bring the keys of backups back from the bucket, with the escrow's identity", Args: cobra.MinimumNArgs(1),
		Long: "Bring the keys of backups back from the bucket, with the escrow's identity. It is read here, and only the tenants' keys reach the cluster. " +
			"Backups of which the cluster knows nothing appear by themselves then.",
	}
	o.verb(command, Run)
	command.Flags().BoolVar(&o.DryRun, "dry-run", false, "say what would come back, and write nothing")
	return command
}

// verb gives a command what every verb has that opens a bucket: its flags, and the cluster that says where that is.
func (o *Options) verb(command *cobra.Command, run func(context.Context, *rest.Config, io.Writer, Options) error) {
	command.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := config.GetConfig()
		if err != nil {
			return fmt.Errorf("finding the cluster: %w (set KUBECONFIG)", err)
		}
		o.Repository, o.Tenants = args[0], args[1:]
		return run(cmd.Context(), cfg, cmd.OutOrStdout(), *o)
	}
	flags := command.Flags()
	flags.StringVar(&o.Namespace, "namespace", "broletto-system", "namespace of the operator")
	flags.StringVar(&o.Identity, "identity", "", "file with the identity of the repository's escrow, as age-keygen writes it (required)")
	_ = command.MarkFlagRequired("identity") // it is a flag of ours
}

// opened is a repository's bucket, and what is in it.
type opened struct {
	client     client.Client
	depot      *depot.Depot
	repository *v1alpha1.BackupRepository
	store      archive.Store
	found      []archive.Found // of each tenant that was asked for
}

// reach opens a repository's bucket with the escrow's identity. The cluster says where it is.
func (o Options) reach(ctx context.Context, cfg *rest.Config) (*opened, error) {
	identity, err := read(o.Identity)
	if err != nil {
		return nil, err
	}
	cfg = rest.CopyConfig(cfg)
	cfg.UserAgent = fieldManager
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	c, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("connecting to the cluster at %s: %w", cfg.Host, err)
	}
	b := &opened{client: c, depot: &depot.Depot{Client: client.WithFieldOwner(c, fieldManager), Live: c, Namespace: o.Namespace}, repository: &v1alpha1.BackupRepository{}}
	if err := c.Get(ctx, client.ObjectKey{Name: o.Repository}, b.repository); err != nil {
		return nil, fmt.Errorf("reading backup repository %s: %w", o.Repository, err)
	}
	if b.store, err = b.depot.Bucket(ctx, b.repository); err != nil {
		return nil, err
	}
	if b.found, err = archive.Rebuild(ctx, b.store, identity, o.Tenants...); err != nil {
		return nil, err
	}
	for _, name := range o.Tenants {
		if !slices.ContainsFunc(b.found, func(f archive.Found) bool { return f.Tenant == name }) {
			b.found = append(b.found, archive.Found{Tenant: name})
		}
	}
	return b, nil
}

// Run brings keys back and prints what it found.
func Run(ctx context.Context, cfg *rest.Config, out io.Writer, o Options) error {
	b, err := o.reach(ctx, cfg)
	if err != nil {
		return err
	}
	if err := bring(ctx, b.depot, b.found, out, o); err != nil || o.DryRun {
		return err
	}
	look := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationLook, time.Now().UTC().Format(time.RFC3339Nano))
	if err := b.client.Patch(ctx, b.repository, client.RawPatch(types.MergePatchType, []byte(look))); err != nil {
		return fmt.Errorf("having backup repository %s looked through: %w (it is some minutes later anyway)", o.Repository, err)
	}
	return nil
}

// read is the identity in a file as age-keygen writes it, beside lines of comment.
func read(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading the escrow's identity: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "AGE-SECRET-KEY-") {
			return line, nil
		}
	}
	return "", fmt.Errorf("reading the escrow's identity: %s has no line AGE-SECRET-KEY-1…: take the file that age-keygen wrote for the repository's spec.escrow", path)
}

// bring puts back the keys that were found, and tells of each.
func bring(ctx context.Context, d *depot.Depot, found []archive.Found, out io.Writer, o Options) error {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "TENANT\tKEY\tBACKUPS\tWORKSPACES\tSIGNED BY")
	var failures []error
	for _, f := range found {
		what, err := one(ctx, d, f, o)
		if err != nil {
			failures = append(failures, fmt.Errorf("tenant %s: %w", f.Tenant, err))
			what = "left alone"
		}
		backups, _ := f.Count()
		signer := "-"
		if f.Key != (archive.Key{}) {
			signer = hex.EncodeToString(f.Key.Public()[:8])
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\n", f.Tenant, what, backups, cmp.Or(strings.Join(slices.Sorted(maps.Keys(f.Chains)), ","), "-"), signer)
	}
	failures = append(failures, table.Flush())
	for _, f := range found {
		for _, fault := range faults(f) {
			fmt.Fprintf(out, "look at %s\n", fault)
		}
	}
	return errors.Join(failures...)
}

// one puts one tenant's key back and says what became of it.
func one(ctx context.Context, d *depot.Depot, f archive.Found, o Options) (string, error) {
	backups, broken := f.Count()
	switch {
	case f.Key == archive.Key{}:
		return "", errors.New("the bucket has no key of it that this identity opens: take that of the repository's escrow, or one of the tenant's own recipients")
	case backups == 0 && broken > 0:
		return "", errors.New("the key that the bucket has opens none of its backups: look for older versions of the files in its keys/")
	case o.DryRun:
		return "found", nil
	}
	lost, err := d.PutBack(ctx, o.Repository, f.Tenant, f.Key)
	if lost {
		return "put back", err
	}
	return "was there", err
}

// faults are what is wrong with the tenant's part of the bucket, one a line.
func faults(f archive.Found) (out []archive.Fault) {
	out = append(out, f.Faults...)
	for _, workspace := range slices.Sorted(maps.Keys(f.Chains)) {
		out = append(out, f.Chains[workspace].Faults...)
	}
	return out
}
