// Package manifests holds the objects that a box with nodes begins with.
package manifests

import "embed"

// Files are the objects, one file for each concern. csi.yaml needs the CRDs of external-snapshotter first.
//
//go:embed *.yaml
var Files embed.FS
