package stack

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
)

// fieldManager owns what these verbs write.
const fieldManager = "broletto-cli"

// Commands are the verbs: plan, approve, logs, unlock.
func Commands() []*cobra.Command {
	return []*cobra.Command{planCommand(), approveCommand(), logsCommand(), unlockCommand()}
}

// cluster is a person's way to the API server: as kubectl has it, from KUBECONFIG, in the namespace of the context unless told otherwise.
type cluster struct {
	client    client.WithWatch
	logs      kubernetes.Interface
	namespace string
}

// who are the flags by which kubectl says where and as whom, under the same names.
type who struct{ namespace, context, kubeconfig string }

func (w *who) flags(c *cobra.Command) {
	c.Flags().StringVarP(&w.namespace, "namespace", "n", "", "home namespace of the comune (default: that of the context)")
	c.Flags().StringVar(&w.context, "context", "", "context of the kubeconfig (default: the current one)")
	c.Flags().StringVar(&w.kubeconfig, "kubeconfig", "", "path of the kubeconfig (default: KUBECONFIG, or that in your home folder)")
}

func (w *who) connect() (*cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = w.kubeconfig
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: w.context})
	cfg, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("finding the cluster: %w (set KUBECONFIG)", err)
	}
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, fmt.Errorf("finding the namespace: %w (name it by --namespace)", err)
	}
	if w.namespace != "" {
		namespace = w.namespace
	}
	cfg.UserAgent = fieldManager
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	c, err := client.NewWithWatch(cfg, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("connecting to the cluster at %s: %w", cfg.Host, err)
	}
	logs, err := kubernetes.NewForConfig(cfg)
	return &cluster{client: c, logs: logs, namespace: namespace}, err
}

// stack reads a stack.
func (c *cluster) stack(ctx context.Context, name string) (*v1alpha1.Stack, error) {
	s := &v1alpha1.Stack{}
	if err := c.client.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: name}, s); err != nil {
		return nil, fmt.Errorf("reading stack %s in %s: %w", name, c.namespace, err)
	}
	return s, nil
}

func planCommand() *cobra.Command {
	var w who
	var wait time.Duration
	command := &cobra.Command{
		Use: "plan STACK", Short: "Ask for a new plan of a stack, wait for it and show it", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := w.connect()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), wait)
			defer cancel()
			s, err := c.plan(ctx, args[0], time.Now().UTC().Format(time.RFC3339Nano))
			if err != nil {
				return err
			}
			return printPlan(cmd.OutOrStdout(), s)
		},
	}
	w.flags(command)
	command.Flags().DurationVar(&wait, "timeout", 15*time.Minute, "how long to wait for the plan")
	return command
}

func approveCommand() *cobra.Command {
	var w who
	command := &cobra.Command{
		Use: "approve STACK [DIGEST]", Short: "Let the plan that was shown be applied", Args: cobra.RangeArgs(1, 2),
		Long: "Let the plan that was shown be applied. Give the digest that \"plan\" printed, so that no other plan is meant; without it, the present plan is shown and approved.",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := w.connect()
			if err != nil {
				return err
			}
			s, err := c.stack(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			var digest string
			if len(args) == 2 {
				digest = args[1]
			} else if err := printPlan(cmd.OutOrStdout(), s); err != nil {
				return err
			}
			if err := c.approve(cmd.Context(), s, v1alpha1.Digest(digest)); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "approved; see: kubectl get stack %s -n %s --watch\n", s.Name, s.Namespace)
			return err
		},
	}
	w.flags(command)
	return command
}

func logsCommand() *cobra.Command {
	var w who
	var follow bool
	command := &cobra.Command{
		Use: "logs STACK|RUN", Short: "Show what the last run of a stack, or a run, printed; secrets are left out", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := w.connect()
			if err != nil {
				return err
			}
			return c.log(cmd.Context(), cmd.OutOrStdout(), args[0], follow)
		},
	}
	w.flags(command)
	command.Flags().BoolVarP(&follow, "follow", "f", false, "go on while the run does")
	return command
}

func unlockCommand() *cobra.Command {
	var w who
	command := &cobra.Command{
		Use: "unlock STACK RUN", Short: "End the run that holds a stack's state, and free the state", Args: cobra.ExactArgs(2),
		Long: "End the run that holds a stack's state, and free the state. RUN is what status.lock of the stack names: another one that took the lock meanwhile is left alone. The run's pod is seen gone before the state is free.",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := w.connect()
			if err != nil {
				return err
			}
			s, err := c.stack(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := c.unlock(cmd.Context(), s, args[1]); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "asked; see: kubectl describe stack %s -n %s\n", s.Name, s.Namespace)
			return err
		},
	}
	w.flags(command)
	return command
}
