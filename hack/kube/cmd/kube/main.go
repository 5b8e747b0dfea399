// Command kube builds and runs the control plane from a terminal or a Makefile.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/broletto/broletto/hack/kube"
)

const usage = `usage:
  kube build [binary ...]            build into the cache and print the folder; without names, what kube up needs
  kube build-node                    the same for what nodes run
  kube build-engines                 the same for what stacks are run with
  kube build-stores                  the same for what stands for object stores in tests
  kube build-backups                 the same for what backups are measured beside
  kube up [--dir folder] [--port n]  run until interrupted; prints the path of the admin's kubeconfig
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "kube:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "build":
			return show(kube.Build(ctx, os.Stderr, args[1:]...))
		case "build-node":
			return show(kube.BuildNode(ctx, os.Stderr))
		case "build-engines":
			return show(kube.BuildEngines(ctx, os.Stderr))
		case "build-stores":
			return show(kube.BuildStores(ctx, os.Stderr))
		case "build-backups":
			return show(kube.BuildBackups(ctx, os.Stderr))
		case "up":
			return up(ctx, args[1:])
		}
	}
	fmt.Fprint(os.Stderr, usage)
	return errors.New("build, build-node, build-engines, build-stores, build-backups or up?")
}

// show prints the folder that a build made.
func show(dir string, err error) error {
	if err == nil {
		fmt.Println(dir)
	}
	return err
}

func up(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("kube up", flag.ContinueOnError)
	o := kube.Options{Progress: os.Stderr}
	flags.StringVar(&o.Dir, "dir", "", "data folder, kept; default: a temporary one")
	flags.IntVar(&o.Port, "port", 0, "port of the API server on 127.0.0.1; default: a free one")
	if err := flags.Parse(args); err != nil {
		return err
	}
	c, err := kube.Start(ctx, o)
	if err != nil {
		return err
	}
	defer func() {
		if stopped := c.Stop(); err == nil { // else it repeats err
			err = stopped
		}
	}()
	config, err := c.Kubeconfig(kube.AdminUser, kube.AdminGroup)
	if err != nil {
		return err
	}
	path := filepath.Join(c.Dir(), "admin.kubeconfig")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		return err
	}
	fmt.Println(path)
	return c.Wait(ctx)
}
