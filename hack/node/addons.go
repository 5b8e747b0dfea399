//go:build linux

package node

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
)

// manifestFiles are the objects that a box has from the beginning, a file for each concern.
//
//go:embed manifests
var manifestFiles embed.FS

// snapshotModule has the kinds of volume snapshots, in the version that goes with the controllers.
const snapshotModule = "github.com/kubernetes-csi/external-snapshotter/client/v8"

// foreignKinds are files of definitions, in YAML, that we read from their module instead of copying them.
func foreignKinds(ctx context.Context, source string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", snapshotModule)
	cmd.Dir = filepath.Join(source, "hack", "node")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("finding module %s: %w", snapshotModule, err)
	}
	return filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "config", "crd", "snapshot.storage.k8s.io_*.yaml"))
}

// startAddons makes the objects, and runs what serves volumes and the world outside.
func (b *box) startAddons(ctx context.Context) error {
	names, err := fs.Glob(manifestFiles, "manifests/*.yaml")
	if err != nil {
		return err
	}
	if err := b.applyFiles(ctx, b.Kinds, os.ReadFile); err != nil {
		return err
	}
	if err := b.applyFiles(ctx, names, manifestFiles.ReadFile); err != nil {
		return err
	}
	if err := b.startVolumes(); err != nil {
		return err
	}
	return b.startWorld()
}

// applyFiles applies what stands in files, in their order.
func (b *box) applyFiles(ctx context.Context, names []string, read func(string) ([]byte, error)) error {
	for _, name := range names {
		text, err := read(name)
		if err != nil {
			return err
		}
		if err := b.apply(ctx, text); err != nil {
			return fmt.Errorf("applying %s: %w", filepath.Base(name), err)
		}
	}
	return nil
}

// apply does what "kubectl apply --server-side" does, and waits for kinds that are to be made first.
func (b *box) apply(ctx context.Context, text []byte) error {
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(b.client.Discovery()))
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		o := &unstructured.Unstructured{}
		if err := documents.Decode(&o.Object); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if len(o.Object) == 0 {
			continue
		}
		if err := await(ctx, o.GetKind()+" "+o.GetName(), func(ctx context.Context) error { return b.applyOne(ctx, mapper, o) }); err != nil {
			return err
		}
	}
}

func (b *box) applyOne(ctx context.Context, mapper *restmapper.DeferredDiscoveryRESTMapper, o *unstructured.Unstructured) error {
	kind := o.GroupVersionKind()
	mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		mapper.Reset()
		return err
	}
	var resource dynamic.ResourceInterface = b.dynamic.Resource(mapping.Resource)
	if o.GetNamespace() != "" {
		resource = b.dynamic.Resource(mapping.Resource).Namespace(o.GetNamespace())
	}
	_, err = resource.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: "box", Force: true})
	return err
}

// startWorld answers at the addresses outside the cluster.
func (b *box) startWorld() error {
	for _, address := range sortedKeys(worldRoutes) {
		for _, port := range []string{"443", "8080"} {
			command := []string{filepath.Join(b.Dir, "bin", "broletto"), "probe", "serve", "--name=" + worldName, "--address=" + address, "--port=" + port}
			if err := b.units.run(&unit{name: worldName + "-" + address + "-" + port, network: worldName, command: command}); err != nil {
				return err
			}
		}
	}
	return nil
}

// awaitAddons waits until names are served.
func (b *box) awaitAddons(ctx context.Context) error {
	return await(ctx, "CoreDNS", func(ctx context.Context) error {
		d, err := b.client.AppsV1().Deployments("kube-system").Get(ctx, "coredns", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !available(d) {
			return errors.New("not available yet")
		}
		return nil
	})
}

func available(d *appsv1.Deployment) bool {
	return d.Status.ObservedGeneration == d.Generation && d.Spec.Replicas != nil && d.Status.AvailableReplicas == *d.Spec.Replicas
}
