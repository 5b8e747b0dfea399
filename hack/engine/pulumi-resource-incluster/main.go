// Command pulumi-resource-incluster is a provider for Pulumi with one resource, a ConfigMap of the cluster that its program runs in.
// It is what tests and demos of stacks create: Pulumi's provider for Kubernetes cannot be built from Go modules.
package main

import (
	"context"
	"fmt"
	"os"

	provider "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
)

// Name of the package in programs, and its version in their state.
const (
	packageName    = "incluster"
	packageVersion = "0.1.0"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-resource-incluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	p, err := inclusterProvider()
	if err != nil {
		return err
	}
	return p.Run(ctx, packageName, packageVersion)
}

func inclusterProvider() (provider.Provider, error) {
	return infer.NewProviderBuilder().
		WithDescription("Objects of the cluster that the program runs in.").
		WithLicense("Apache-2.0").
		WithResources(infer.Resource(ConfigMap{})).
		Build()
}
