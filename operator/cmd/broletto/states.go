package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	"github.com/broletto/broletto/operator/manager"
)

func moveStatesCommand() *cobra.Command {
	var from, to manager.Options
	command := &cobra.Command{
		Use: "move-states", Short: "Move what is kept of stacks to another state store, while no operator runs", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.GetConfig()
			if err != nil {
				return fmt.Errorf("finding the cluster: %w (set KUBECONFIG, or run inside a pod)", err)
			}
			to.Namespace = from.Namespace
			moved, err := manager.MoveStates(cmd.Context(), cfg, from, to)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d moved: start the operator with the new --state-store\n", moved)
			return err
		},
	}
	flags := command.Flags()
	flags.StringVar(&from.Namespace, "namespace", manager.Namespace, "namespace of the operator")
	flags.StringVar(&from.StateStore, "from", manager.StateStore, "state store that is left, as the operator's --state-store")
	flags.StringVar(&from.StateStoreCredentials, "from-credentials", "", "folder of its credentials")
	flags.StringVar(&to.StateStore, "to", manager.StateStore, "state store that is moved to, as the operator's --state-store")
	flags.StringVar(&to.StateStoreCredentials, "to-credentials", "", "folder of its credentials")
	return command
}
