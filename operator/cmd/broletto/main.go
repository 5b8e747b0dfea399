// Command broletto is the operator of a shared municipal cloud, its demo, and the verbs of its people.
package main

import (
	"context"
	"fmt"
	stdlog "log"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	_ "time/tzdata" // a consortium names its time zone, and the image has no zones but these

	"github.com/spf13/cobra"
	_ "golang.org/x/crypto/x509roots/fallback" // stores of backups and states have certificates, and the image knows no authorities but these
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/broletto/broletto/hack/kube"
	"github.com/broletto/broletto/operator/cli/doctor"
	"github.com/broletto/broletto/operator/cli/keys"
	"github.com/broletto/broletto/operator/cli/stack"
	"github.com/broletto/broletto/operator/demo"
	"github.com/broletto/broletto/operator/guard"
	"github.com/broletto/broletto/operator/manager"
	"github.com/broletto/broletto/operator/probe"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "broletto:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use: "broletto", Short: "Broletto turns one short manifest of a comune into isolated, auditable hosting",
		SilenceUsage: true, SilenceErrors: true, Version: version(),
	}
	root.AddCommand(operatorCommand(), moveStatesCommand(), demoCommand(), doctor.Command(), keys.Command(), keys.DrillsCommand(), probe.Command())
	root.AddCommand(stack.Commands()...)
	return root.ExecuteContext(ctx)
}

func operatorCommand() *cobra.Command {
	var o manager.Options
	var verbose bool
	command := &cobra.Command{
		Use: "operator", Short: "Run the operator until it is stopped", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Getenv("GOGC") == "" { // nearly all of our memory is the cache, which lives long: collect often, it is cheap
				debug.SetGCPercent(30)
			}
			logger := zap.New(zap.UseDevMode(verbose))
			log.SetLogger(logger)
			klog.SetLogger(logger)
			stdlog.SetFlags(0)
			stdlog.SetOutput(relay{})
			cfg, err := config.GetConfig()
			if err != nil {
				return fmt.Errorf("finding the cluster: %w (set KUBECONFIG, or run inside a pod)", err)
			}
			mgr, err := manager.New(cfg, o)
			if err != nil {
				return err
			}
			return mgr.Start(cmd.Context())
		},
	}
	flags := command.Flags()
	flags.StringVar(&o.Namespace, "namespace", manager.Namespace, "namespace in which the operator runs and keeps its lease")
	flags.BoolVar(&o.LeaderElection, "leader-elect", true, "let several replicas run, of which one works")
	flags.StringVar(&o.MetricsAddress, "metrics-bind-address", ":8443", "address that serves /metrics over HTTPS; 0 for none")
	flags.StringVar(&o.CertDir, "metrics-cert-dir", "", "folder with tls.crt and tls.key of the metrics server; empty: self-signed")
	flags.StringVar(&o.ProbeAddress, "health-probe-bind-address", ":8081", "address that serves /healthz and /readyz; 0 for none")
	flags.StringVar(&o.BrokerAddress, "broker-bind-address", ":9443", "address that serves runners of stacks over HTTPS; 0 for none")
	flags.StringVar(&o.BrokerURL, "broker-url", manager.BrokerURL, "where runners of stacks find the broker")
	flags.StringVar(&o.RunnerImage, "runner-image", manager.RunnerImage, "image of the pods that run stacks")
	flags.StringVar(&o.MoverImage, "mover-image", manager.MoverImage, "image of the pods that move volumes into stores of backups and back")
	flags.StringVar(&o.StateStore, "state-store", manager.StateStore, "where states of stacks are kept: secrets, s3://bucket/prefix?endpoint=https://host&region=name, or postgres://host/database")
	flags.StringVar(&o.StateStoreCredentials, "state-store-credentials", "", "folder with access-key-id and secret-access-key, or username and password, of the state store")
	flags.StringSliceVar(&o.SourceRanges, "source-ranges", nil, "ranges of private addresses that sources of stacks may be fetched from, such as 10.20.0.0/16")
	flags.StringVar(&o.PlatformGroup, "platform-group", guard.PlatformGroup, "group that may, in an emergency, write what only the operator writes")
	flags.BoolVar(&verbose, "verbose", false, "log for people, in detail, instead of JSON for machines")
	return command
}

// relay turns what libraries print by the standard logger, such as failed TLS handshakes, into lines of our own log.
type relay struct{}

func (relay) Write(line []byte) (int, error) {
	log.Log.Info(strings.TrimSpace(string(line)))
	return len(line), nil
}

func demoCommand() *cobra.Command {
	var o demo.Options
	command := &cobra.Command{
		Use: "demo", Short: "Host two real consortia on this machine and show what a comune has", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Out = cmd.OutOrStdout()
			o.Runner, o.Engines, o.Stores = beside("broletto-runner"), kube.BuildEngines, kube.BuildStores
			return demo.Run(cmd.Context(), o)
		},
	}
	command.Flags().StringVar(&o.Dir, "dir", "", "data folder (default: broletto/demo in your cache folder)")
	command.Flags().IntVar(&o.Port, "port", 0, "port of the API server on 127.0.0.1 (default: that of the last run, or any free one)")
	command.Flags().StringVar(&o.Node, "nodes", "", "host on the cluster with nodes that \"make node\" left in this folder, and try the traffic between workspaces (alone: its usual folder)")
	command.Flags().Lookup("nodes").NoOptDefVal = demo.NodeFolder()
	command.Flags().BoolVar(&o.Once, "once", false, "stop after the report")
	return command
}

// beside is the path of another program in this one's folder; empty: it is not there.
func beside(name string) string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	path := filepath.Join(filepath.Dir(self), name)
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// release is what hack/image stamps: the version, and the commit.
var release string

func version() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
