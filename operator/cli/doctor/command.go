package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	"github.com/broletto/broletto/api/v1alpha1"
)

// Options are what a person may choose.
type Options struct {
	// Namespace is the operator's.
	Namespace string
	// Network is whether to try the network, which takes a minute and makes pods.
	Network bool
	// Image holds broletto probe; empty: that of the operator's Deployment.
	Image string
}

// Command is the verb of the platform engineer.
func Command() *cobra.Command {
	var o Options
	var output string
	command := &cobra.Command{
		Use: "doctor", Short: "Look whether the cluster is fit, and try whether its network enforces policies", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			show := printText
			if output == "json" {
				show = printJSON
			} else if output != "text" {
				return fmt.Errorf("--output %q: want text or json", output)
			}
			cfg, err := config.GetConfig()
			if err != nil {
				return fmt.Errorf("finding the cluster: %w (set KUBECONFIG, or run inside a pod)", err)
			}
			findings, err := Run(cmd.Context(), cfg, o)
			if err := errors.Join(err, show(cmd.OutOrStdout(), findings)); err != nil {
				return err
			}
			if n := failed(findings); n > 0 {
				return fmt.Errorf("%d of %d findings are failures", n, len(findings))
			}
			return nil
		},
	}
	flags := command.Flags()
	flags.StringVar(&o.Namespace, "namespace", "broletto-system", "namespace of the operator")
	flags.BoolVar(&o.Network, "network", true, "try whether the network enforces policies: makes pods on every node, for about a minute")
	flags.StringVar(&o.Image, "image", "", "image of the pods that try it (default: that of the operator's Deployment)")
	flags.StringVar(&output, "output", "text", "text or json")
	return command
}

// doctor is one look at one cluster.
type doctor struct {
	Options
	client client.Client
	api    discovery.ServerVersionInterface
	now    func() time.Time
	pace   pace
}

// Run looks at everything and returns what it found. An error is a failure to look at anything at all.
func Run(ctx context.Context, cfg *rest.Config, o Options) ([]Finding, error) {
	d, err := connect(cfg, o)
	if err != nil {
		return nil, err
	}
	return d.look(ctx)
}

func connect(cfg *rest.Config, o Options) (*doctor, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1 // the API server's own fairness bounds us
	cfg.UserAgent = "broletto-doctor"
	known := runtime.NewScheme()
	if err := errors.Join(scheme.AddToScheme(known), v1alpha1.AddToScheme(known)); err != nil {
		return nil, err
	}
	c, err := client.New(cfg, client.Options{Scheme: known})
	if err != nil {
		return nil, fmt.Errorf("connecting to the cluster at %s: %w", cfg.Host, err)
	}
	api, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return nil, err
	}
	return &doctor{Options: o, client: client.WithFieldOwner(c, fieldManager), api: api, now: time.Now, pace: usual}, nil
}

func (d *doctor) look(ctx context.Context) ([]Finding, error) {
	checks := []struct {
		name string
		look func(context.Context) ([]Finding, error)
	}{
		{"version", d.version}, {"kinds", d.kinds}, {"policies", d.policies}, {"operator", d.operator}, {"storage", d.storage},
		{"quota", d.quota}, {"dns", d.dns}, {"nodes", d.nodes}, {"network", d.network},
	}
	var all []Finding
	for _, check := range checks {
		findings, err := check.look(ctx)
		if err != nil && ctx.Err() == nil {
			findings = append(findings, fail(check.name, "run it as somebody who may, such as a cluster administrator, when the cluster answers", "%v", err))
		}
		for _, f := range findings {
			f.Check = check.name
			all = append(all, f)
		}
		if ctx.Err() != nil {
			return all, fmt.Errorf("stopped before all was looked at: %w", cmp.Or(err, ctx.Err())) // which tells what is left, if anything is
		}
	}
	return all, nil
}
