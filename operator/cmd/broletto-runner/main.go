// Command broletto-runner does one run of a stack and ends. The operator starts it in a Job; it takes no arguments.
package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/engine"
	"github.com/broletto/broletto/operator/engine/pulumi"
	"github.com/broletto/broletto/operator/engine/terraform"
	"github.com/broletto/broletto/operator/run"
	"github.com/broletto/broletto/operator/runner"
	"github.com/broletto/broletto/operator/source"
)

func main() {
	if err := do(); err != nil {
		fmt.Fprintln(os.Stderr, "broletto-runner:", err)
		os.Exit(1)
	}
}

// do returns an error when nobody was told how the run ended; how it did is no matter of the exit code.
func do() error {
	if err := runner.Guard(); err != nil {
		return err
	}
	// The engine is asked to end by the runner, with its grace: a signal to all of the pod comes to it by itself.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	token := setting(run.EnvToken, run.DefaultToken)
	broker, err := runner.NewClient(os.Getenv(run.EnvBroker), os.Getenv(run.EnvBrokerCA), token)
	if err != nil {
		return err
	}
	folder := setting(run.EnvEngines, run.DefaultEngines)
	r := runner.Runner{
		Broker:  broker,
		Engines: engines(folder),
		Fetch: func(ctx context.Context, s run.Source, dir string) (string, error) {
			return source.Fetch(ctx, s, dir, source.Options{Ranges: s.Ranges})
		},
		Check:   check,
		Work:    setting(run.EnvWork, run.DefaultWork),
		Account: setting(run.EnvAccount, run.DefaultAccount),
		Host:    os.Getenv("KUBERNETES_SERVICE_HOST"), Port: os.Getenv("KUBERNETES_SERVICE_PORT"),
		Path: folder,
		Log:  os.Stdout,
		Reap: runner.Reap,
	}
	return r.Run(ctx)
}

func setting(name, otherwise string) string { return cmp.Or(os.Getenv(name), otherwise) }

// engines are those that the image has.
func engines(folder string) map[v1alpha1.EngineName]engine.Engine {
	has := map[v1alpha1.EngineName]engine.Engine{}
	mirror := filepath.Join(folder, "providers")
	for name, binary := range map[v1alpha1.EngineName]string{v1alpha1.OpenTofu: "tofu", v1alpha1.Terraform: "terraform"} {
		if path := filepath.Join(folder, binary); exists(path) {
			has[name] = terraform.New(path, mirror)
		}
	}
	if exists(filepath.Join(folder, "pulumi")) {
		has[v1alpha1.Pulumi] = pulumi.New(folder)
	}
	return has
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// check holds code against what the platform rules out. What it has ruled out since may still be taken away.
func check(dir string, o run.Order) error {
	p := source.Policy{Forbidden: o.Forbidden}
	if o.Operation == v1alpha1.OperationDestroy || o.Operation == v1alpha1.OperationLook {
		p.Forbidden = nil
	}
	return source.Check(dir, o.Engine, p)
}
