//go:build !linux

// Command node needs Linux.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "node: nodes need Linux: use a virtual machine, or install the chart on any other cluster (docs/install.md)")
	os.Exit(1)
}
