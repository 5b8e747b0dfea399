//go:build linux

package node

import (
	"os"
	"path/filepath"

	"github.com/broletto/broletto/hack/node/csi"
	"github.com/broletto/broletto/hack/node/localpath"
)

// startVolumes runs what makes, mounts, grows, snapshots and removes volumes.
func (b *box) startVolumes() error {
	config := filepath.Join(b.Dir, "control", "pki", "volumes.kubeconfig")
	root, socket, self := filepath.Join(b.Dir, "volumes"), "/run/csi.sock", filepath.Join(b.Dir, "bin", "node")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	local, err := localpath.Args(config, filepath.Join(b.Dir, "local-path"))
	if err != nil {
		return err
	}
	all := []*unit{
		{name: "local-path-provisioner", command: append([]string{filepath.Join(b.Bin, "local-path-provisioner")}, local...)},
		{name: "csi-controller", command: []string{self, "csi", "--kubeconfig=" + config, "--root=" + root, "--socket=" + socket}},
	}
	for _, name := range Nodes {
		kubelet := filepath.Join(b.Dir, name, "kubelet")
		all = append(all, &unit{name: "csi-" + name, command: []string{self, "csi", "--node=" + name, "--root=" + root, "--kubelet=" + kubelet}})
	}
	sidecars := csi.Sidecars(socket, config)
	for _, program := range sortedKeys(sidecars) {
		all = append(all, &unit{name: program, command: append([]string{filepath.Join(b.Bin, program)}, sidecars[program]...)})
	}
	for _, u := range all {
		if err := b.units.run(u); err != nil {
			return err
		}
	}
	return nil
}
