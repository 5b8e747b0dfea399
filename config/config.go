// Package config embeds the manifests that install Broletto, so that the demo, the tests and the benchmark install
// the very files that users do.
package config

import "embed"

// CRDs holds crd/*.yaml, the custom resource definitions.
//
//go:embed crd/*.yaml
var CRDs embed.FS

// RBAC holds rbac/*.yaml, what the operator and its audiences may do.
//
//go:embed rbac/*.yaml
var RBAC embed.FS

// Policies holds policies/*.yaml, the admission policies, and the kustomization that names their revision.
//
//go:embed policies/*.yaml
var Policies embed.FS

// Samples holds samples/<consortium>/*.yaml, two real consortia as manifests. Apply them in the order of their names.
//
//go:embed samples/*/*.yaml
var Samples embed.FS
