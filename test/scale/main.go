// Command scale measures what Broletto costs: many tenants and workspaces, from apply to Ready, beside a plain client that
// writes the very same objects to the same control plane. It asserts nothing about time: it fails only when something is
// broken, and docs/benchmark.md says how to read what it prints.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/broletto/broletto/api/v1alpha1"
)

// options say what is measured.
type options struct {
	tenants    int
	workspaces int // of each tenant
	writers    int // requests under way at a time, of whoever writes
	rest       time.Duration
	pairs      int      // creations of each kind that are timed in a guarded namespace and beside it
	order      string   // of the phases: one b, and an a for each run of the plain client
	instances  bool     // measure the catalogue, and nothing else
	stacks     int      // measure so many stacks, and nothing else
	objects    int      // measure a backup and a restore of so many objects, and nothing else
	batch      int      // of which so many are each side's turn
	engine     string   // of the stacks
	alone      bool     // all stacks at once, and no shell beside them
	ballast    int      // of each stack's state, in KiB
	env        []string // of the operator, beside this process's own
	progress   io.Writer
}

func main() { os.Exit(program()) }

func program() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log.SetLogger(zap.New(zap.WriteTo(io.Discard))) // the clients'; the operator logs to a file
	o := options{progress: os.Stderr}
	var file string
	flag.IntVar(&o.tenants, "tenants", 50, "number of tenants")
	flag.IntVar(&o.workspaces, "workspaces", 3, "number of workspaces of each tenant")
	flag.IntVar(&o.writers, "writers", 8, "number of requests that the clients have under way at a time")
	flag.DurationVar(&o.rest, "rest", time.Minute, "how long to count requests at rest")
	flag.IntVar(&o.pairs, "pairs", 300, "how many creations of each kind to time in a guarded namespace and beside it; 0: none")
	flag.StringVar(&o.order, "order", "baaa", "order of the phases: b is Broletto, once; each a is one run of the plain client")
	flag.BoolVar(&o.instances, "instances", false, "measure the catalogue instead: 120 instances of one tenant, and 15 tenants with ten each")
	flag.IntVar(&o.stacks, "stacks", 0, "measure stacks instead: so many by Broletto, and as many by a shell loop over the bare engine")
	flag.IntVar(&o.objects, "objects", 0, "measure a backup and a restore of so many objects instead, at most 33000, beside a plain client that writes them")
	flag.IntVar(&o.batch, "batch", 25, "how many stacks the shell and Broletto do in turn")
	flag.BoolVar(&o.alone, "alone", false, "have Broletto do all stacks at once, and no shell")
	flag.StringVar(&o.engine, "engine", "OpenTofu", "engine of the stacks: OpenTofu or Pulumi")
	flag.IntVar(&o.ballast, "ballast", 0, "how many KiB of text that does not compress each stack's plan holds beside its ConfigMap (OpenTofu)")
	flag.Func("env", "variable of the operator's environment, for example GOGC=50; may be repeated", func(v string) error {
		o.env = append(o.env, v)
		return nil
	})
	flag.StringVar(&file, "json", "", "file for the report as JSON")
	flag.Parse()
	if err := run(ctx, o, file, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		return 1
	}
	return 0
}

func run(ctx context.Context, o options, file string, out io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	if o.instances {
		return measureCatalogue(ctx, o, out)
	}
	if o.stacks > 0 {
		r, err := measureStacks(ctx, o)
		if err != nil {
			return err
		}
		return r.print(out)
	}
	if o.objects > 0 {
		r, err := measureObjects(ctx, o)
		if err != nil {
			return err
		}
		return r.print(out)
	}
	r, err := measure(ctx, o)
	if err != nil {
		return err
	}
	if file != "" {
		text, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
	}
	return r.print(out)
}

func (o options) check() error {
	if o.tenants < 1 || o.workspaces < 1 || o.writers < 1 || o.tenants > 9999 || o.workspaces > 500 {
		return errors.New("-tenants is between 1 and 9999, -workspaces between 1 and 500, -writers at least 1")
	}
	if o.stacks > 0 && (o.batch < 1 || loops[v1alpha1.EngineName(o.engine)] == "") {
		return errors.New("-batch is at least 1, -engine OpenTofu or Pulumi")
	}
	if strings.Trim(o.order, "ab") != "" || strings.Count(o.order, "b") != 1 || !strings.Contains(o.order, "a") {
		return fmt.Errorf("-order %q: write one b and at least one a, for example aba", o.order)
	}
	return nil
}
