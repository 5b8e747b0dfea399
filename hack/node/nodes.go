//go:build linux

package node

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"text/template"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/broletto/broletto/hack/kube"
)

// nodeLabels put the nodes into the pool that the tenants of the scenarios name.
const nodeLabels = "broletto.dev/node-pool=shared"

//go:embed templates
var templateFiles embed.FS

var templates = template.Must(template.ParseFS(templateFiles, "templates/*"))

// node is one of the box's machines: a network namespace, and the processes in it.
type node struct {
	*box
	name, address, podRange string
}

// What the templates read.
func (n *node) Name() string      { return n.name }
func (n *node) Address() string   { return n.address }
func (n *node) PodRange() string  { return n.podRange }
func (n *node) Cluster() string   { return kube.PodRange }
func (n *node) Folder() string    { return filepath.Join(n.Dir, n.name) }
func (n *node) Programs() string  { return n.Bin }
func (n *node) Socket() string    { return "/run/" + n.name + "/containerd.sock" }
func (n *node) CgroupDir() string { return "/" + n.Cgroups + "/" + n.name }
func (n *node) Authority() string { return filepath.Join(n.Dir, "control", "pki", "ca.crt") }
func (n *node) Config(user string) string {
	return filepath.Join(n.Dir, "control", "pki", user+".kubeconfig")
}

// write renders a template into the node's folder.
func (n *node) write(name string) (path string, err error) {
	var text bytes.Buffer
	if err := templates.ExecuteTemplate(&text, filepath.Base(name), n); err != nil {
		return "", err
	}
	path = filepath.Join(n.Folder(), name)
	return path, os.WriteFile(path, text.Bytes(), 0o644)
}

func (n *node) unit(program string, flags ...string) error {
	return n.units.run(&unit{name: program + "-" + n.name, network: n.name, path: []string{n.Bin}, command: append([]string{filepath.Join(n.Bin, program)}, flags...)})
}

// startContainers runs containerd and gives it the images.
func (n *node) startContainers(ctx context.Context) error {
	for _, folder := range []string{n.Folder(), filepath.Join(n.Folder(), "cni"), filepath.Join(n.Folder(), "kubelet"), "/run/" + n.name} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	config, err := n.write("containerd.toml")
	if err != nil {
		return err
	}
	if _, err := n.write("cni/10-ptp.conflist"); err != nil {
		return err
	}
	if err := n.unit("containerd", "--config="+config); err != nil {
		return err
	}
	if err := await(ctx, "containerd of "+n.name, func(ctx context.Context) error { return n.ctr(ctx, "version") }); err != nil {
		return err
	}
	return n.importImages(ctx, n.Images)
}

// importImages loads all images of a tar archive.
func (n *node) importImages(ctx context.Context, archive string) error {
	return n.ctr(ctx, "--namespace=k8s.io", "images", "import", "--all-platforms=false", "--local", archive)
}

func (n *node) ctr(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(n.Bin, "ctr"), append([]string{"--address=" + n.Socket()}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ctr %v on %s: %w: %s", args, n.name, err, bytes.TrimSpace(out))
	}
	return nil
}

// startPods runs the rest: kubelet, kube-proxy, and the enforcer of network policies.
func (n *node) startPods(ctx context.Context) error {
	if _, err := n.kubeconfig("kubelet-"+n.name, "system:node:"+n.name, "system:nodes"); err != nil {
		return err
	}
	kubelet, err := n.write("kubelet.yaml")
	if err != nil {
		return err
	}
	proxy, err := n.write("kube-proxy.yaml")
	if err != nil {
		return err
	}
	err = errors.Join(
		n.unit("kubelet", "--config="+kubelet, "--kubeconfig="+n.Config("kubelet-"+n.name), "--root-dir="+filepath.Join(n.Folder(), "kubelet"),
			"--cert-dir="+filepath.Join(n.Folder(), "pki"), "--hostname-override="+n.name, "--node-ip="+n.address, "--node-labels="+nodeLabels),
		n.unit("kube-proxy", "--config="+proxy),
	)
	if err != nil {
		return err
	}
	if err := await(ctx, "node "+n.name, n.addressed); err != nil {
		return err
	}
	if err := n.units.run(&unit{name: "policy-" + n.name, network: n.name, command: []string{filepath.Join(n.Dir, "bin", "node"), "enforce", "--kubeconfig=" + n.Config("policy"), "--node=" + n.name}}); err != nil {
		return err
	}
	return await(ctx, "node "+n.name, n.ready)
}

// addressed gives the node its range of pod addresses as soon as it has registered itself.
func (n *node) addressed(ctx context.Context) error {
	patch := fmt.Sprintf(`{"spec":{"podCIDR":%q,"podCIDRs":[%q]}}`, n.podRange, n.podRange)
	_, err := n.client.CoreV1().Nodes().Patch(ctx, n.name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

func (n *node) ready(ctx context.Context) error {
	found, err := n.client.CoreV1().Nodes().Get(ctx, n.name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, c := range found.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return errors.New(c.Message)
		}
	}
	for _, t := range found.Spec.Taints {
		if t.Key == corev1.TaintNodeNotReady {
			return errors.New("it is tainted " + t.Key)
		}
	}
	return nil
}
