package probe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// Port is where servers listen unless they are told otherwise.
const Port = 8080

// Command is the verb of the operator's image that pods run to try the cluster's network.
func Command() *cobra.Command {
	command := &cobra.Command{Use: "probe", Short: "Try which paths of the network are open, from inside a pod", Args: cobra.NoArgs}
	command.AddCommand(serveCommand(), tryCommand())
	return command
}

func serveCommand() *cobra.Command {
	var port uint16
	var address, name string
	command := &cobra.Command{
		Use: "serve", Short: "Answer questions on TCP and UDP until stopped", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if name == "" {
				if name, err = os.Hostname(); err != nil {
					return fmt.Errorf("naming this server: %w (give --name)", err)
				}
			}
			server, err := Listen(cmd.Context(), address, port, name)
			if err != nil {
				return fmt.Errorf("listening on port %d: %w (give another --port)", port, err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s answers on port %d, TCP and UDP\n", name, server.Port())
			return server.Serve(cmd.Context())
		},
	}
	command.Flags().Uint16Var(&port, "port", Port, "port for both protocols; 0 for any free one")
	command.Flags().StringVar(&address, "address", "", "address to listen at (default: all)")
	command.Flags().StringVar(&name, "name", "", "who answers (default: the host's name, which in a pod is the pod's)")
	return command
}

func tryCommand() *cobra.Command {
	var timeout time.Duration
	var end Until
	var until, report string
	command := &cobra.Command{
		Use: "try TARGET...", Short: "Try targets such as tcp://10.244.1.5:8080, all at once", Args: cobra.MinimumNArgs(1),
		Long: "Tries all targets at once and prints one line of JSON for each, in their order. Targets are tcp://ADDRESS:PORT or udp://ADDRESS:PORT.\n" +
			"It exits with 0 whenever it could try, whatever the outcome.",
		RunE: func(cmd *cobra.Command, targets []string) error {
			for _, target := range targets {
				if err := Check(target); err != nil {
					return err
				}
			}
			switch until {
			case "":
				end = Until{}
			case "open":
				end.Wanted = func(r Result) bool { return r.Open }
			case "closed":
				end.Wanted = Result.Closed
			default:
				return fmt.Errorf("--until %q: want open or closed", until)
			}
			var lines bytes.Buffer
			encoder := json.NewEncoder(&lines)
			encoder.SetEscapeHTML(false)
			for _, result := range TryUntil(cmd.Context(), targets, timeout, end) {
				if err := encoder.Encode(result); err != nil {
					return err
				}
			}
			_, err := cmd.OutOrStdout().Write(lines.Bytes())
			if report != "" {
				err = errors.Join(err, os.WriteFile(report, lines.Bytes(), 0o644))
			}
			return err
		},
	}
	command.Flags().DurationVar(&timeout, "timeout", 2*time.Second, "bound of one attempt")
	command.Flags().StringVar(&until, "until", "", "try each target again until it is open, or closed")
	command.Flags().IntVar(&end.Times, "times", 1, "how many times in a row, with --until")
	command.Flags().DurationVar(&end.Within, "within", 15*time.Second, "bound of all attempts at a target, with --until")
	command.Flags().StringVar(&report, "report", "", "file that gets the lines too, such as /dev/termination-log")
	return command
}
